"""Standing messages, sans-IO: state that senders have announced, kept for receivers that restart.

Actors such as the swarm keep no checkpoint; a restarted one learns again what it is to serve, because the
supervisor keeps the last message for each (sender, receiver, kind, slot). Messages that are `retained`
outlive the session that sent them. Bounded: so many for each sender, and those of so many ended sessions,
of which the oldest go first.

Owns these messages and the names of ended sessions. Never sends anything: ledger.py does.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

MAX_PER_SENDER = 4096
MAX_PER_SESSION = 8
MAX_BYTES_PER_SENDER = 4 * 1024 * 1024
MAX_BYTES_PER_SESSION = 64 * 1024
"""Of all standing messages of one sender. Honest ones stay far below: a trusted device takes some 300 bytes,
a search with all the addresses of a QR code 10 KiB."""
MAX_ENDED_SESSIONS = 1024
"""Ended sessions whose last view is kept for the gateway, and whose names are not used again."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Envelope:
    """One message under way. `sender` and `incarnation` are stamped by the supervisor; the body is opaque."""

    sender: str
    incarnation: int
    kind: str
    id: bytes
    body: msgspec.Raw

    @property
    def size(self) -> int:
        """Bytes that it counts for in an inbox."""
        return memoryview(self.body).nbytes + 128

    def __repr__(self) -> str:
        return f"Envelope({self.kind} from {self.sender})"


_Key = tuple[str, str, bytes]
"""Sender, kind, slot: identifies a standing message among those of one receiver."""


@dataclass(slots=True)
class StandingMessages:
    """All standing messages of a node, by receiver and by sender."""

    _by_receiver: dict[str, dict[_Key, Envelope]] = field(default_factory=dict)
    _by_sender: dict[str, dict[tuple[str, _Key], bool]] = field(default_factory=dict)
    """For each sender: receiver and key of each message, and whether it is retained."""
    _bytes: dict[str, int] = field(default_factory=dict)
    """For each sender: the size of all its messages."""
    _ended: OrderedDict[str, list[tuple[str, _Key]]] = field(default_factory=OrderedDict)
    """For each ended session, oldest first: receiver and key of what is kept of it."""

    def keep(self, to: str, slot: bytes, envelope: Envelope, *, retained: bool = False) -> bool:
        """Keep a message in place of the former one in its slot.

        Return False, and keep the former one, if its sender has too many messages or bytes.
        """
        sender = envelope.sender
        key = (sender, envelope.kind, slot)
        sent = self._by_sender.setdefault(sender, {})
        if (to, key) not in sent and len(sent) >= _limit(sender):
            return False
        former = self._by_receiver.get(to, {}).get(key)
        size = self._bytes.get(sender, 0) + envelope.size - (former.size if former is not None else 0)
        if size > _byte_limit(sender):
            return False
        self._forget(to, key)  # so that the new one comes last
        sent[to, key] = retained
        self._by_receiver.setdefault(to, {})[key] = envelope
        self._bytes[sender] = size
        return True

    def withdraw(self, to: str, sender: str, kind: str, slot: bytes) -> None:
        """Drop a standing message, if it exists."""
        self._drop(to, (sender, kind, slot))

    def withdraw_all(self, to: str, sender: str, kind: str) -> None:
        """Drop the standing messages of this kind in every slot."""
        for key in [key for key in self._by_receiver.get(to, {}) if key[:2] == (sender, kind)]:
            self._drop(to, key)

    def drop_actor(self, name: str) -> None:
        """Drop what an actor has sent, and what is kept for it: it will not be there any more."""
        for to, key in list(self._by_sender.pop(name, {})):
            self._forget(to, key)
        for key in list(self._by_receiver.get(name, {})):
            self._drop(name, key)
        self._by_receiver.pop(name, None)

    def for_receiver(self, receiver: str) -> list[Envelope]:
        """Return the standing messages for `receiver`, in the order in which they were sent."""
        return list(self._by_receiver.get(receiver, {}).values())

    def end_session(self, session: str, supervisor: str, slot: bytes, *, keep_retained: bool) -> None:
        """Drop the standing messages from and for an ended session, except the retained ones it sent.

        Without `keep_retained` those go too: the session did not end itself, so its last view may be from the
        middle of a pairing and show a code. What is kept, and the SessionEnded that the supervisor itself
        posts to the gateway in `slot`, is dropped when MAX_ENDED_SESSIONS others have ended.
        """
        for key in list(self._by_receiver.get(session, {})):
            self._drop(session, key)
        self._by_receiver.pop(session, None)
        sent = self._by_sender.pop(session, {})
        kept = [place for place, retained in sent.items() if retained and keep_retained]
        for to, key in sent.keys() - kept:
            self._forget(to, key)
        self._ended[session] = [*kept, ("gateway", (supervisor, "SessionEnded", slot))]
        while len(self._ended) > MAX_ENDED_SESSIONS:
            _, places = self._ended.popitem(last=False)
            for to, key in places:
                self._drop(to, key)

    def has_ended(self, session: str) -> bool:
        """Say whether a session of that name has ended, among the last MAX_ENDED_SESSIONS."""
        return session in self._ended

    def _forget(self, to: str, key: _Key) -> None:
        envelope = self._by_receiver.get(to, {}).pop(key, None)
        if envelope is None:
            return
        self._bytes[envelope.sender] -= envelope.size
        if not self._bytes[envelope.sender]:
            del self._bytes[envelope.sender]

    def _drop(self, to: str, key: _Key) -> None:
        self._forget(to, key)
        self._by_sender.get(key[0], {}).pop((to, key), None)


def _limit(sender: str) -> int:
    return MAX_PER_SESSION if "-" in sender else MAX_PER_SENDER


def _byte_limit(sender: str) -> int:
    return MAX_BYTES_PER_SESSION if "-" in sender else MAX_BYTES_PER_SENDER

"""Standing messages, sans-IO: what a restarted receiver is told first, and what outlives an ended session.

Keeps one envelope for each (sender, receiver, kind, slot), the last. Bounded: so many for one sender, and
the retained ones of so many ended sessions, the oldest pushed out.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

MAX_PER_SENDER = 4096
MAX_PER_SESSION = 8
MAX_ENDED = 1024
"""Ended sessions whose last words are kept for the gateway, and whose names are not used again."""


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
        """Bytes that it counts for in a mailbox."""
        return memoryview(self.body).nbytes + 128

    def __repr__(self) -> str:
        return f"Envelope({self.kind} from {self.sender})"


_Key = tuple[str, str, bytes]
"""Sender, kind, slot: names a standing message among those of one receiver."""


@dataclass(slots=True)
class Standing:
    """All standing messages of a node."""

    _owed: dict[str, dict[_Key, Envelope]] = field(default_factory=dict)
    _said: dict[str, dict[tuple[str, _Key], bool]] = field(default_factory=dict)
    """By sender: receiver and key, and whether the message is retained."""
    _ended: OrderedDict[str, list[tuple[str, _Key]]] = field(default_factory=OrderedDict)

    def keep(self, to: str, slot: bytes, envelope: Envelope, *, retained: bool = False) -> bool:
        """Keep a message in place of the former one in its slot. False: its sender has too many."""
        key = (envelope.sender, envelope.kind, slot)
        said = self._said.setdefault(envelope.sender, {})
        if (to, key) not in said and len(said) >= _limit(envelope.sender):
            return False
        said[to, key] = retained
        owed = self._owed.setdefault(to, {})
        owed.pop(key, None)
        owed[key] = envelope
        return True

    def withdraw(self, to: str, sender: str, kind: str, slot: bytes) -> None:
        """End a standing message, if it exists."""
        self._forget(to, (sender, kind, slot))

    def owed_to(self, receiver: str) -> list[Envelope]:
        """Return the standing messages for `receiver`, in the order in which they were sent."""
        return list(self._owed.get(receiver, {}).values())

    def end(self, session: str, supervisor: str, slot: bytes, *, last_words: bool) -> None:
        """Drop what an ended session said and is owed, but for what is retained; that stays for a while.

        `last_words`: it has ended itself. What a session said that was ended in the middle is dropped whole:
        it may show a code.
        """
        self._owed.pop(session, None)
        said = self._said.pop(session, {})
        kept = [place for place, retained in said.items() if retained and last_words]
        for to, key in said.keys() - kept:
            self._owed.get(to, {}).pop(key, None)
        self._ended[session] = [*kept, ("gateway", (supervisor, "SessionEnded", slot))]
        while len(self._ended) > MAX_ENDED:
            _, places = self._ended.popitem(last=False)
            for to, key in places:
                self._forget(to, key)

    def is_ended(self, session: str) -> bool:
        """Say whether a session of that name has ended (as far back as is remembered)."""
        return session in self._ended

    def _forget(self, to: str, key: _Key) -> None:
        self._owed.get(to, {}).pop(key, None)
        self._said.get(key[0], {}).pop((to, key), None)


def _limit(sender: str) -> int:
    return MAX_PER_SESSION if "-" in sender else MAX_PER_SENDER

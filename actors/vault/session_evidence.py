"""What the vault knows of running sessions: the user's acceptances, the peers, and what it has signed.

A session parses strangers' bytes, so it may have been taken over, and the vault never stores a device
because a session claims it. Each claim needs evidence that the session cannot influence: that the user
accepted, from the gateway, which showed the device; who the peer is, from the swarm, which saw the connection
prove its key; and what the vault has signed for the session itself (docs/architecture.md, "Vault"). Owns this
evidence, which is also the vault's checkpoint. Never decides whether a device is stored: admission.py
compares claims with evidence.
"""

from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta

from ...messages.base import Decoder
from ...messages.types import Bytes32, PeerId, Role, SessionId

MAX_SESSIONS = 1024
MAX_PEERS_PER_SESSION = 16
"""The latest are kept. A joiner asks 8 candidates at a time, so the one that proved itself is among them."""


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user's acceptance in one session: of the device with this key, shown for this transcript.

    The very key is named, not only the session. Otherwise a session could show one device to the user and
    have the vault store another.
    """

    public_key: Bytes32
    th3: Bytes32


class SignedTranscript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this device has signed in one session: in this role, for this transcript hash."""

    role: Role
    th: Bytes32


class EvidenceOfSession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one session. `peers` are those that carried its frames, the latest last."""

    acceptance: Acceptance | None = None
    signed: SignedTranscript | None = None
    """The last. A joiner signs once for each candidate that proves the code, and goes back to none."""
    signed_version: Annotated[str, Meta(max_length=32)] = ""
    """The app version, with this device's clock, that was signed first for it (protocol/pairing_clock.py)."""
    signed_after: Annotated[int, Meta(ge=0)] = 0
    """How many devices had been forgotten when this was signed (device_store.forgettings)."""
    peers: Annotated[tuple[PeerId, ...], Meta(max_length=MAX_PEERS_PER_SESSION)] = ()


_decode: Decoder[dict[SessionId, EvidenceOfSession]] = Decoder(dict[SessionId, EvidenceOfSession])


class SessionEvidence:
    """A table by session id, of at most MAX_SESSIONS; a new session replaces the least recently updated.

    What others have sent before they heard that a session has ended may come after that. It is not recorded.
    """

    def __init__(self, checkpoint: bytes | None = None) -> None:
        self._sessions: dict[str, EvidenceOfSession] = {} if checkpoint is None else _decode(checkpoint)
        self._ended: deque[str] = deque(maxlen=MAX_SESSIONS)

    def checkpoint(self) -> bytes:
        """Return the table encoded, at most about 915 KB."""
        return msgspec.msgpack.encode(self._sessions)

    def record_acceptance(self, session: str, public_key: bytes, th3: bytes) -> bool:
        """Record that the user accepted. The first acceptance is final. Returns whether anything changed."""
        known = self._of(session)
        if known.acceptance is not None:
            return False
        return self._update(session, msgspec.structs.replace(known, acceptance=Acceptance(public_key, th3)))

    def record_peer(self, session: str, peer: bytes) -> bool:
        """Record that the peer carried frames of this session. Returns whether anything changed."""
        known = self._of(session)
        if known.peers[-1:] == (peer,):
            return False
        others = tuple(other for other in known.peers if other != peer)
        peers = (*others, peer)[-MAX_PEERS_PER_SESSION:]
        return self._update(session, msgspec.structs.replace(known, peers=peers))

    def record_signed(self, session: str, role: Role, th: bytes) -> None:
        """Record what the vault is about to sign for the session."""
        self._update(session, msgspec.structs.replace(self._of(session), signed=SignedTranscript(role, th)))

    def signed(self, session: str) -> SignedTranscript | None:
        """Return what the vault has signed last for the session, None if nothing."""
        return self._of(session).signed

    def version_to_sign(self, session: str, version: str, forgettings: int) -> str:
        """Return the app version to sign for the session: the first one signed for it, else `version`.

        `forgettings` is what the store has counted by now; that at the first signature is kept.

        The clock may advance while a session runs. All its signatures must state the same clock all the same,
        because both sides compute the order of the pairing from what was signed.
        """
        known = self._of(session)
        if not known.signed_version:
            known = msgspec.structs.replace(known, signed_version=version, signed_after=forgettings)
            self._update(session, known)
        return known.signed_version

    def signed_version(self, session: str) -> str:
        """Return the app version that was signed for the session, "" if none was."""
        return self._of(session).signed_version

    def signed_after(self, session: str) -> int:
        """Return how many devices had been forgotten when something was first signed for the session."""
        return self._of(session).signed_after

    def sessions_that_signed(self) -> list[str]:
        """Return the running sessions for which something was signed."""
        return [session for session, known in self._sessions.items() if known.signed is not None]

    def any_running(self) -> bool:
        """Return whether anything is known of any session that has not ended."""
        return bool(self._sessions)

    def is_running(self, session: str) -> bool:
        """Return whether anything is known of the session, and it has not ended."""
        return session in self._sessions

    def drop(self, session: str) -> bool:
        """Forget a session that has ended. Returns whether anything changed."""
        self._ended.append(session)
        return self._sessions.pop(session, None) is not None

    def acceptance(self, session: str) -> Acceptance | None:
        """Return the user's acceptance in the session, if there was one."""
        return self._of(session).acceptance

    def has_peer(self, session: str, peer: bytes) -> bool:
        """Return whether the swarm reported that this peer carried frames of the session."""
        return peer in self._of(session).peers

    def _of(self, session: str) -> EvidenceOfSession:
        return self._sessions.get(session, EvidenceOfSession())

    def _update(self, session: str, known: EvidenceOfSession) -> bool:
        """Record what is known of a session; return False if it has ended."""
        if session in self._ended:
            return False
        self._sessions.pop(session, None)  # so that it becomes the last, which is the last to be replaced
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[session] = known
        return True

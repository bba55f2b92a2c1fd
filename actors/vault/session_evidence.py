"""What the vault has been told about running sessions: whom the user accepted, whom the swarm vouches for.

The vault's checkpoint. It reaches the vault from other actors than the session, so that a session which has
been taken over cannot make a device trusted (docs/architecture.md, "The vault").
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from ...messages.base import Decoder
from ...messages.types import Bytes32, PeerId, SessionId

MAX_SESSIONS = 1024
MAX_VOUCHES = 16
"""The latest peers of one session: a joiner asks 8 at a time, so the one that proved itself is among them."""


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user's decision for one session."""

    public_key: Bytes32
    th3: Bytes32


class Knowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one session."""

    accepted: Accepted | None = None
    stated: Annotated[str, Meta(max_length=32)] = ""
    """The version, with this device's clock, that was signed first for the session (pairing_clock.py)."""
    peers: Annotated[tuple[PeerId, ...], Meta(max_length=MAX_VOUCHES)] = ()


_decode: Decoder[dict[SessionId, Knowledge]] = Decoder(dict[SessionId, Knowledge])


class Trust:
    """A bounded table by session; the session that was heard of least recently gives way."""

    def __init__(self, checkpoint: bytes | None = None) -> None:
        self._sessions: dict[str, Knowledge] = {} if checkpoint is None else _decode(checkpoint)

    def checkpoint(self) -> bytes:
        """Return the whole table, encoded (at most about 800 KiB)."""
        return msgspec.msgpack.encode(self._sessions)

    def accept(self, session: str, public_key: bytes, th3: bytes) -> bool:
        """Note the user's Accept; the first is final. Returns whether anything changed."""
        known = self._sessions.get(session, Knowledge())
        if known.accepted is not None:
            return False
        self._put(session, msgspec.structs.replace(known, accepted=Accepted(public_key, th3)))
        return True

    def vouch(self, session: str, peer: bytes) -> bool:
        """Note that the peer carried frames of this session. Returns whether anything changed."""
        known = self._sessions.get(session, Knowledge())
        if known.peers[-1:] == (peer,):
            return False
        others = tuple(other for other in known.peers if other != peer)
        self._put(session, msgspec.structs.replace(known, peers=(*others, peer)[-MAX_VOUCHES:]))
        return True

    def state(self, session: str, version: str) -> str:
        """Return the version to sign for the session: the first that was, else this one, which is noted."""
        known = self._sessions.get(session, Knowledge())
        if not known.stated:
            known = msgspec.structs.replace(known, stated=version)
            self._put(session, known)
        return known.stated

    def stated(self, session: str) -> str:
        """Return the version that was signed for the session."""
        return self._sessions.get(session, Knowledge()).stated

    def is_live(self, session: str) -> bool:
        """Say whether the session has been heard of and has not ended."""
        return session in self._sessions

    def drop(self, session: str) -> bool:
        """Forget a session that has ended. Returns whether anything changed."""
        return self._sessions.pop(session, None) is not None

    def accepted(self, session: str) -> Accepted | None:
        """Return whom the user accepted."""
        return self._sessions.get(session, Knowledge()).accepted

    def vouched(self, session: str, peer: bytes) -> bool:
        """Tell whether the swarm vouches for this peer."""
        return peer in self._sessions.get(session, Knowledge()).peers

    def _put(self, session: str, known: Knowledge) -> None:
        self._sessions.pop(session, None)
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[session] = known

"""DCUtR of one relayed connection, without I/O: who says what when, and when both sides dial.

    initiator (it was dialled through the relay)        responder (it has dialled)

    begin ── CONNECT ──▶                                 waiting
    connecting          ◀── CONNECT ──                   connected
    half a round trip   ── SYNC ──▶
    dials                                                dials
    begin again, three times in all, on the same stream  waiting

Over TCP and QUIC the initiator is the server, and the responder the client, whoever's packet came first.
Messages that do not belong where they come, and answers that come late, end the exchange: the connection
stays relayed. Implements docs/protocol.md, "Direct upgrade" (libp2p specs, relay/DCUtR.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ....messages.errors import SpacedriveNodeError
from ....messages.types import Instant
from ..dial.addresses import Endpoint
from . import messages
from .messages import Connect, Message, Sync

MAX_ATTEMPTS: Final = 3
MAX_ROUND_TRIP_S: Final = 4.0
"""An answer that takes longer ends the exchange: the initiator waits two seconds at most before it dials."""


class ExchangeError(SpacedriveNodeError):
    """The other side does not keep to the protocol. The text is short and quotes no bytes of it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Send these bytes, and wait for SYNC. `theirs` may already begin to dial."""

    data: bytes
    theirs: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Dial:
    """Send these bytes, if any; dial when the time has come."""

    at: Instant
    theirs: tuple[Endpoint, ...]
    data: bytes = b""


class Initiator:
    """The side that was dialled through the relay."""

    def __init__(self) -> None:
        self._state: Literal["ready", "connecting"] = "ready"
        self._attempts = 0
        self._asked_at: Instant = 0.0

    @property
    def may_begin(self) -> bool:
        """Whether there may be another attempt."""
        return self._attempts < MAX_ATTEMPTS

    def begin(self, own: Sequence[Endpoint], now: Instant) -> bytes:
        """Begin an attempt; return what to send. Raises ExchangeError when there were enough."""
        if not self.may_begin or self._state != "ready":
            raise ExchangeError("no further attempt")
        self._attempts += 1
        self._state, self._asked_at = "connecting", now
        return messages.connect(own)

    def receive(self, message: Message, now: Instant) -> Dial:
        """Take the other side's CONNECT. Raises ExchangeError."""
        round_trip = now - self._asked_at
        if self._state != "connecting" or not isinstance(message, Connect):
            raise ExchangeError("not the answer")
        if round_trip > MAX_ROUND_TRIP_S:
            raise ExchangeError("the answer took too long")
        self._state = "ready"
        return Dial(now + round_trip / 2, message.endpoints, messages.sync())


class Responder:
    """The side that has dialled through the relay."""

    def __init__(self) -> None:
        self._state: Literal["waiting", "connected"] = "waiting"
        self._attempts = 0
        self._theirs: tuple[Endpoint, ...] = ()

    @property
    def may_go_on(self) -> bool:
        """Whether the other side may begin another attempt."""
        return self._attempts < MAX_ATTEMPTS

    def receive(self, message: Message, own: Sequence[Endpoint], now: Instant) -> Reply | Dial:
        """Take a message of the other side. Raises ExchangeError."""
        if isinstance(message, Connect) and self._state == "waiting" and self.may_go_on:
            self._attempts += 1
            self._state, self._theirs = "connected", message.endpoints
            return Reply(messages.connect(own), self._theirs)
        if isinstance(message, Sync) and self._state == "connected":
            self._state = "waiting"
            return Dial(now, self._theirs)
        raise ExchangeError("not what belongs here")

"""The messages of circuit relay v2 (libp2p specs, relay/circuit-v2): HOP to a relay, STOP from it. Pure.

Everything that comes in is checked here: its size before it is parsed, its type, its peer id, its numbers.
What goes out has its length in front. The protobuf classes are the library's; its relay is not used
(docs/decisions/0013-relay.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import varint
from google.protobuf.message import DecodeError
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, StopMessage
from multiaddr import Multiaddr

from ....messages.errors import SpacedriveNodeError
from ....protocol.multiaddrs import MAX_ADDRESS_CHARACTERS

HOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/stop"
MAX_MESSAGE_BYTES: Final = 4096
MAX_RELAY_ADDRESSES: Final = 16
"""Of a relay, in its answer to a reservation: what comes after these is not looked at."""
_MAX_PEER_BYTES: Final = 64


class Status(IntEnum):
    """What a relay, or the target of a circuit, answers. Other numbers are answers too, and refusals."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


class RelayMessageError(SpacedriveNodeError):
    """The bytes are no message of this protocol, or not the one that belongs here."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a relay lets through: seconds, and bytes in each direction. 0: as much as comes."""

    duration_s: int = 0
    data_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reserve:
    """A peer wants to be reached through the relay."""


@dataclass(frozen=True, slots=True)
class Connect:
    """HOP: a peer wants a circuit to `peer`. STOP: the relay has a circuit from `peer`."""

    peer: bytes
    limit: Limit = Limit()


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a relay grants: until when, in Unix seconds by its clock; where it says it is; its voucher."""

    expires_unix: int
    addresses: tuple[str, ...] = ()
    voucher: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status message."""

    status: int
    reservation: Reservation | None = None
    limit: Limit = Limit()

    @property
    def is_ok(self) -> bool:
        """Whether it grants what was asked for."""
        return self.status == Status.OK


def reserve_request() -> bytes:
    """Return the HOP message that asks for a reservation."""
    return _framed(HopMessage(type=HopMessage.RESERVE))


def connect_request(peer: bytes) -> bytes:
    """Return the HOP message that asks for a circuit to `peer`."""
    message = HopMessage(type=HopMessage.CONNECT)
    message.peer.id = peer
    return _framed(message)


def hop_status(
    status: Status, limit: Limit | None = None, reservation: Reservation | None = None, relay: str = ""
) -> bytes:
    """Return the answer to a HOP message; `relay` is the relay's peer id, which ends its addresses."""
    message: Any = HopMessage(type=HopMessage.STATUS)
    message.status = int(status)
    _put_limit(message, limit)
    if reservation is not None:
        message.reservation.expire = reservation.expires_unix
        message.reservation.voucher = reservation.voucher
        message.reservation.addrs.extend(
            Multiaddr(f"{text}/p2p/{relay}").to_bytes() for text in reservation.addresses
        )
    return _framed(message)


def stop_request(peer: bytes, limit: Limit | None = None) -> bytes:
    """Return the STOP message that announces a circuit from `peer`."""
    message = StopMessage(type=StopMessage.CONNECT)
    message.peer.id = peer
    _put_limit(message, limit)
    return _framed(message)


def stop_status(status: Status) -> bytes:
    """Return the answer to a STOP message."""
    message: Any = StopMessage(type=StopMessage.STATUS)
    message.status = int(status)
    return _framed(message)


def read_hop_request(data: bytes) -> Reserve | Connect:
    """Read what a client asks of a relay. Raises RelayMessageError.

    Whom a reservation is for is who the connection proved to be, never what the message says.
    """
    message = _parsed(HopMessage, data)
    if message.type == HopMessage.RESERVE:
        return Reserve()
    if message.type != HopMessage.CONNECT:
        raise RelayMessageError("no request")
    return Connect(_peer_of(message))


def read_hop_answer(data: bytes) -> Answer:
    """Read a relay's answer. Raises RelayMessageError."""
    message = _parsed(HopMessage, data)
    if message.type != HopMessage.STATUS:
        raise RelayMessageError("no status")
    reservation = None
    if message.HasField("reservation"):
        granted = message.reservation
        addresses = _texts(granted.addrs)
        reservation = Reservation(int(granted.expire), addresses, bytes(granted.voucher))
    return Answer(int(message.status), reservation, _limit_of(message))


def read_stop_request(data: bytes) -> Connect:
    """Read what a relay announces. Raises RelayMessageError."""
    message = _parsed(StopMessage, data)
    if message.type != StopMessage.CONNECT:
        raise RelayMessageError("no request")
    return Connect(_peer_of(message), _limit_of(message))


def read_stop_answer(data: bytes) -> Answer:
    """Read a target's answer. Raises RelayMessageError."""
    message = _parsed(StopMessage, data)
    if message.type != StopMessage.STATUS:
        raise RelayMessageError("no status")
    return Answer(int(message.status))


def _framed(message: Any) -> bytes:
    data = bytes(message.SerializeToString())
    return bytes(varint.encode(len(data))) + data


def _parsed(kind: type[Any], data: bytes) -> Any:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise RelayMessageError("not a message of circuit relay") from None
    return message


def _peer_of(message: Any) -> bytes:
    peer = bytes(message.peer.id)
    if not 0 < len(peer) <= _MAX_PEER_BYTES:
        raise RelayMessageError("no peer id")
    return peer


def _put_limit(message: Any, limit: Limit | None) -> None:
    if limit is not None:
        message.limit.duration = limit.duration_s
        message.limit.data = limit.data_bytes


def _limit_of(message: Any) -> Limit:
    return (
        Limit(int(message.limit.duration), int(message.limit.data)) if message.HasField("limit") else Limit()
    )


def _texts(entries: Sequence[bytes]) -> tuple[str, ...]:
    found = []
    for entry in entries[:MAX_RELAY_ADDRESSES]:
        try:
            text = str(Multiaddr(bytes(entry)))
        except Exception:  # noqa: S112 - the parser raises many unrelated types; the address is left out
            continue
        if len(text) <= MAX_ADDRESS_CHARACTERS:
            found.append(text)
    return tuple(found)

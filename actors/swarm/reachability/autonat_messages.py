"""The messages of AutoNAT v2, as protobuf: read with bounds, written by hand. Pure.

They are few and flat, and libp2p 0.8.1 has none of them (its AutoNAT is version 1). What is unknown is passed
over, as protobuf wants it; what is malformed raises. Implements the "RPC Messages" of the libp2p AutoNAT v2
specification (github.com/libp2p/specs, autonat).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import varint

from ....messages.errors import SpacedriveNodeError

DIAL_REQUEST_PROTOCOL: Final = "/libp2p/autonat/2/dial-request"
DIAL_BACK_PROTOCOL: Final = "/libp2p/autonat/2/dial-back"
MAX_MESSAGE_BYTES: Final = 8 * 1024
"""The largest is a part of the dial data: 4096 bytes and its frame."""
MAX_DATA_BYTES: Final = 4096
"""Of one DialDataResponse."""
MAX_ADDRESSES: Final = 16
MAX_ADDRESS_BYTES: Final = 256
MIN_DIAL_DATA_BYTES: Final = 30_000
MAX_DIAL_DATA_BYTES: Final = 100_000
"""What a server may ask for before it dials another IP address than that of the client."""
_MAX_VARINT_BYTES: Final = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class AutonatMessageError(SpacedriveNodeError, ValueError):
    """Not a message of AutoNAT v2."""


class ResponseStatus(IntEnum):
    """Whether a server has served a request."""

    INTERNAL_ERROR = 0
    REQUEST_REJECTED = 100
    DIAL_REFUSED = 101
    OK = 200


class DialStatus(IntEnum):
    """What became of the dial."""

    UNUSED = 0
    DIAL_ERROR = 100
    DIAL_BACK_ERROR = 101
    OK = 200


@dataclass(frozen=True, slots=True)
class DialRequest:
    """From a client: dial the first of these binary multiaddrs that you will, and say this nonce there."""

    addresses: tuple[bytes, ...]
    nonce: int


@dataclass(frozen=True, slots=True)
class DialResponse:
    """From a server: which address it has dialled, and what came of it."""

    status: ResponseStatus
    index: int = 0
    dial_status: DialStatus = DialStatus.UNUSED


@dataclass(frozen=True, slots=True)
class DialDataRequest:
    """From a server: send so many bytes first, for this address is not yours."""

    index: int
    size: int


@dataclass(frozen=True, slots=True)
class DialDataResponse:
    """From a client: a part of these bytes. Only their number matters."""

    size: int


Message = DialRequest | DialResponse | DialDataRequest | DialDataResponse


def encode(message: Message) -> bytes:
    """Return one message as it goes over a dial-request stream, without its length."""
    match message:
        case DialRequest(addresses=addresses, nonce=nonce):
            body = b"".join(_bytes_field(1, address) for address in addresses) + _fixed64_field(2, nonce)
            return _bytes_field(1, body)
        case DialResponse(status=status, index=index, dial_status=dial_status):
            return _bytes_field(
                2, _varint_field(1, status) + _varint_field(2, index) + _varint_field(3, dial_status)
            )
        case DialDataRequest(index=index, size=size):
            return _bytes_field(3, _varint_field(1, index) + _varint_field(2, size))
        case DialDataResponse(size=size):
            return _bytes_field(4, _bytes_field(1, bytes(size)))


def decode(data: bytes) -> Message:
    """Return the message of a dial-request stream. Raises AutonatMessageError."""
    found: Message | None = None
    for number, value in _fields(data):
        if not isinstance(value, bytes):
            continue
        match number:
            case 1:
                found = _dial_request(value)
            case 2:
                found = _dial_response(value)
            case 3:
                numbers = _numbers(value)
                found = DialDataRequest(numbers.get(1, 0), numbers.get(2, 0))
            case 4:
                sizes = [
                    len(part) for field, part in _fields(value) if field == 1 and isinstance(part, bytes)
                ]
                found = DialDataResponse(sizes[-1] if sizes else 0)
    if found is None:
        raise AutonatMessageError("none of the messages of AutoNAT")
    return found


def encode_dial_back(nonce: int) -> bytes:
    """Return the DialBack that a server sends over the connection that it has dialled."""
    return _fixed64_field(1, nonce)


def decode_dial_back(data: bytes) -> int:
    """Return the nonce of a DialBack. Raises AutonatMessageError."""
    return _numbers(data).get(1, 0)


DIAL_BACK_RESPONSE: Final = b""
"""The DialBackResponse with its only status, OK, which is the default of protobuf."""


def decode_dial_back_response(data: bytes) -> bool:
    """Return whether a DialBackResponse says OK. Raises AutonatMessageError."""
    return _numbers(data).get(1, 0) == 0


def _dial_request(data: bytes) -> DialRequest:
    addresses: list[bytes] = []
    nonce = 0
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            # One that is too long keeps its place, for the answer gives an index.
            addresses.append(value if len(value) <= MAX_ADDRESS_BYTES else b"")
        elif number == 2 and isinstance(value, int):
            nonce = value
    return DialRequest(tuple(addresses[:MAX_ADDRESSES]), nonce)


def _dial_response(data: bytes) -> DialResponse:
    numbers = _numbers(data)
    try:
        return DialResponse(
            ResponseStatus(numbers.get(1, 0)), numbers.get(2, 0), DialStatus(numbers.get(3, 0))
        )
    except ValueError:
        raise AutonatMessageError("an unknown status") from None


def _numbers(data: bytes) -> dict[int, int]:
    return {number: value for number, value in _fields(data) if isinstance(value, int)}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field. Raises AutonatMessageError."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise AutonatMessageError("an unknown type of field")
        if size > len(data) - at:
            raise AutonatMessageError("cut off")
        piece = data[at : at + size]
        at += size
        yield number, (piece if kind == _BYTES else int.from_bytes(piece, "little"))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise AutonatMessageError("no varint")


def _varint_field(number: int, value: int) -> bytes:
    return bytes([number << 3 | _VARINT]) + bytes(varint.encode(value))


def _fixed64_field(number: int, value: int) -> bytes:
    return bytes([number << 3 | _FIXED64]) + value.to_bytes(8, "little")


def _bytes_field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + bytes(varint.encode(len(value))) + value

"""The messages in which a stream's bytes travel over a data channel (libp2p specs, webrtc/README.md).

Each is a protobuf with a flag or bytes, after its length. They need not begin where an SCTP message begins.
Owns also the two messages by which a data channel is opened (RFC 8832). Pure.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

import varint

from .wire import MalformedError

FIN, STOP_SENDING, RESET, FIN_ACK = range(4)
CONTROL, BINARY = 50, 53
"""Kinds of SCTP messages: of the data channel itself, and what it carries."""
PAYLOAD_KINDS: Final = (51, BINARY)
_MAX_MESSAGE_BYTES: Final = 16384
MAX_PAYLOAD_BYTES: Final = 3390
"""Of a message that is sent: three parts of SCTP (sctp_sender.py). go-libp2p resets a stream on which a
message of SCTP has more than 4096 bytes."""
_MAX_LENGTH_BYTES: Final = 3
_MAX_NUMBER_BYTES: Final = 10
_NUMBER, _BYTES = 0, 2
"""Kinds of fields of a protobuf."""
_FLAG_TAG, _BYTES_TAG = 0x08, 0x12

_OPEN: Final = Struct("!BBHLHH")
OPEN_KIND, ACK_KIND = 3, 2
OPEN: Final = _OPEN.pack(OPEN_KIND, 0, 0, 0, 0, 0)
"""Opens a data channel that is reliable and in order, without a name."""
ACK: Final = bytes([ACK_KIND])


def encode(data: bytes = b"", flag: int | None = None) -> bytes:
    """Return one message."""
    body = b"" if flag is None else bytes((_FLAG_TAG, flag))
    if data:
        body += bytes([_BYTES_TAG]) + varint.encode(len(data)) + data
    return bytes(varint.encode(len(body))) + body


def decode(buffer: bytearray) -> Iterator[tuple[int, bytes, int | None]]:
    """Take the whole messages from the front of a buffer: (bytes taken, data, flag).

    Raises MalformedError.
    """
    while (head := _length(buffer)) is not None:
        size, start = head
        if size > _MAX_MESSAGE_BYTES:
            raise MalformedError("a message is too large")
        if len(buffer) < start + size:
            return
        body = bytes(buffer[start : start + size])
        del buffer[: start + size]
        yield start + size, *_read_body(body)


def _length(data: bytes | bytearray, at: int = 0, most: int = _MAX_LENGTH_BYTES) -> tuple[int, int] | None:
    """Return (a varint, where it ends); None if it is not whole yet. Raises MalformedError."""
    value = 0
    for place in range(most):
        if at + place >= len(data):
            return None
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise MalformedError("a length is too long")


def _read_body(body: bytes) -> tuple[bytes, int | None]:
    """Return (data, flag) of a protobuf, without what is unknown. Raises MalformedError."""
    data, flag = b"", None
    at = 0
    while at < len(body):
        tag = body[at]
        found = _length(body, at + 1, _MAX_NUMBER_BYTES)
        wire_type = tag & 7
        if tag & 0x80 or found is None or wire_type not in (_NUMBER, _BYTES):
            raise MalformedError("not a message of a stream")
        value, at = found
        if wire_type == _NUMBER:
            flag = value if tag == _FLAG_TAG else flag
            continue
        if at + value > len(body):
            raise MalformedError("not a message of a stream")
        data = body[at : at + value] if tag == _BYTES_TAG else data
        at += value
    return data, flag

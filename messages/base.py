"""The Message base class, and the one codec: MessagePack maps with the tag `t`, behind a u32 length.

A frame is a big-endian u32 length and then one map. Whoever decodes bytes that are not its own gets
:class:`MalformedMessageError` for everything that can be wrong with them and nothing else.
"""

from typing import Any, Generic, TypeVar, dataclass_transform

import msgspec

from .errors import SpacedriveNodeError
from .secret_struct import RedactedStruct

LENGTH_BYTES = 4
INTERNAL_LIMIT = 1 << 20
"""Largest frame between two of our own processes: the largest checkpoint (metrics) is far below it."""
CONTROL_LIMIT = 64 * 1024
WIRE_LIMIT = 16 * 1024


class MalformedMessageError(SpacedriveNodeError, ValueError):
    """Bytes that are not one message of the union that was expected. Its text never quotes them."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(RedactedStruct, frozen=True, tag=True, tag_field="t"):
    """Base of every message: immutable, tagged with its class name, closed against unknown fields."""


M = TypeVar("M")
_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """Encode one message as MessagePack, fields in the order of their definition, `t` first."""
    return _encoder.encode(message)


def frame(payload: bytes, limit: int) -> bytes:
    """Put the length before an encoded message. Raises ValueError when it exceeds `limit` bytes."""
    if len(payload) > limit:
        raise ValueError(f"message of {len(payload)} bytes exceeds the limit of {limit}")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class Decoder(Generic[M]):
    """Decodes one closed union (or one struct), with a single exception type for all that is malformed."""

    def __init__(self, union: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(union).decode

    def __call__(self, data: bytes | memoryview | msgspec.Raw) -> M:
        """Decode `data`, which must be exactly one message. Raises MalformedMessageError."""
        try:
            return self._decode(data)  # type: ignore[no-any-return]
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise MalformedMessageError(type(error).__name__) from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessageError(type(error).__name__) from None


class FrameReader:
    """Sans-IO splitter: bytes in, whole frames out. Holds at most `limit` bytes and one chunk."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append received bytes."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next whole payload, or None when more bytes are needed.

        Raises MalformedMessageError as soon as a length exceeds the limit; the stream is then useless.
        """
        buffer = self._buffer
        if len(buffer) < LENGTH_BYTES:
            return None
        size = int.from_bytes(buffer[:LENGTH_BYTES], "big")
        if size > self._limit:
            raise MalformedMessageError(f"frame of {size} bytes exceeds the limit of {self._limit}")
        end = LENGTH_BYTES + size
        if len(buffer) < end:
            return None
        payload = bytes(buffer[LENGTH_BYTES:end])
        del buffer[:end]
        return payload

    @property
    def pending(self) -> int:
        """Bytes held that are not yet a whole frame."""
        return len(self._buffer)

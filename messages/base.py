"""The Message class, and the one codec: MessagePack maps with the tag `t`, each behind its length.

A frame is a big-endian u32 length and then one map. Decoding foreign bytes raises
:class:`MalformedMessageError`, whatever is wrong with them, and nothing else. Owns the encoding and the three
limits of frames; knows no single message.
"""

from typing import Any, ClassVar, Generic, TypeVar, dataclass_transform

import msgspec

from .errors import SpacedriveNodeError
from .secret_struct import RedactedStruct

LENGTH_BYTES = 4
INTERNAL_LIMIT = 1 << 20
"""Bytes of a frame between two processes of a node. The largest checkpoint (of metrics) is far smaller."""
CONTROL_LIMIT = 64 * 1024
"""Bytes of a frame on the control socket."""
WIRE_LIMIT = 16 * 1024
"""Bytes of a frame between two devices (docs/protocol.md, "Limits")."""


class MalformedMessageError(SpacedriveNodeError, ValueError):
    """The bytes are not exactly one message of the expected union. The text never quotes them."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(RedactedStruct, frozen=True, tag=True, tag_field="t"):
    """Base of every message: immutable, tagged with its class name, refusing unknown fields."""

    _logged: ClassVar[tuple[str, ...]] = ()
    """Names of fields that the log shows at level debug: words of closed lists, and reasons; nothing secret,
    and nothing of a peer's. At most four."""


M = TypeVar("M")
_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """Return one message as MessagePack: a map with `t` first, then the fields in order of definition."""
    return _encoder.encode(message)


def frame(payload: bytes, limit: int) -> bytes:
    """Return an encoded message with its length in front. Raises ValueError if it exceeds `limit` bytes."""
    if len(payload) > limit:
        raise ValueError(f"message of {len(payload)} bytes exceeds the limit of {limit}")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class Decoder(Generic[M]):
    """Decodes one closed union, or one struct; MalformedMessageError is the only exception."""

    def __init__(self, union: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(union).decode

    def __call__(self, data: bytes | memoryview | msgspec.Raw) -> M:
        """Return the message in `data`, which must be exactly one. Raises MalformedMessageError."""
        try:
            return self._decode(data)  # type: ignore[no-any-return]
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise MalformedMessageError(type(error).__name__) from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessageError(type(error).__name__) from None


class FrameReader:
    """Splits a stream into frames, sans-IO. Holds at most one frame of `limit` bytes and one chunk."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append received bytes."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next complete payload without its length, or None when more bytes are needed.

        Raises MalformedMessageError as soon as a length exceeds the limit. The stream cannot be read any
        further then.
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
        """The number of bytes that are held and are not a complete frame yet."""
        return len(self._buffer)

"""One libp2p stream as this project uses it: opened on a given connection, exact reads, bounded frames.

Never dials: whoever calls has a live connection (the library's own new_stream would dial by its own rules,
docs/decisions/0004-libp2p-corrections.md). Every failure is one StreamError.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import varint
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from ....messages.base import LENGTH_BYTES, WIRE_LIMIT, frame
from ....messages.errors import SpacedriveNodeError
from . import multiplexer

_NEGOTIATION = 10
_FAREWELL = 1.0
_VARINT_BYTES = 5


class StreamError(SpacedriveNodeError):
    """The stream cannot be used any more. Its text is short and quotes no bytes of the peer."""

    clean = False
    """The peer closed it in good order, between two messages as far as the caller can tell."""


class StreamNotOpenedError(StreamError):
    """The connection takes no new stream: it is dead."""


class StreamProtocolError(StreamError):
    """The peer sent what the protocol forbids (an oversized frame, say)."""


async def read_exactly(stream: Any, size: int) -> bytes:
    """Read exactly `size` bytes, however small the pieces. Raises StreamError."""
    buffer = bytearray()
    while len(buffer) < size:
        try:
            piece = await stream.read(size - len(buffer))
        except Exception as error:  # the library raises a dozen unrelated types for "gone"
            raise _read_failure(error) from error
        if not piece:
            raise _read_failure(StreamEOF())
        buffer += piece
    return bytes(buffer)


def _read_failure(error: Exception) -> StreamError:
    if isinstance(error, StreamEOF):
        failure = StreamError("closed by the peer")
        failure.clean = True
        return failure
    return StreamError(f"read failed: {type(error).__name__}")


async def read_frame(stream: Any) -> bytes:
    """Read one frame of the pairing protocol, without its length. Raises StreamError, StreamProtocolError."""
    size = int.from_bytes(await read_exactly(stream, LENGTH_BYTES), "big")
    if not 0 < size <= WIRE_LIMIT:
        raise StreamProtocolError("frame length out of bounds")
    return await read_exactly(stream, size)


def as_frame(payload: bytes) -> bytes:
    """Return a frame of the pairing protocol, with its length."""
    return frame(payload, WIRE_LIMIT)


async def write_frame(stream: Any, payload: bytes) -> None:
    """Write one frame of the pairing protocol. Raises StreamError."""
    await write(stream, as_frame(payload))


async def read_varint_message(stream: Any, limit: int) -> bytes:
    """Read one message behind an unsigned varint length, as Kademlia frames them. Raises as read_frame."""
    size = 0
    for place in range(_VARINT_BYTES):
        byte = (await read_exactly(stream, 1))[0]
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    else:
        raise StreamProtocolError("length is no varint")
    if size > limit:
        raise StreamProtocolError("message too large")
    return await read_exactly(stream, size) if size else b""


async def write(stream: Any, data: bytes) -> None:
    """Write all of `data`. Raises StreamError."""
    try:
        await stream.write(data)
    except Exception as error:  # see read_exactly
        raise StreamError(f"write failed: {type(error).__name__}") from error


def shielded(seconds: float) -> trio.CancelScope:
    """Return a scope that lets clean-up go on for so long, whatever is cancelled outside."""
    return trio.CancelScope(deadline=trio.current_time() + seconds, shield=True)


async def close(stream: Any) -> None:
    """Close the stream; if the peer does not let it be closed, reset it. Never raises, bounded in time."""
    with shielded(_FAREWELL):
        try:
            await stream.close()
        except Exception:  # what cannot be closed is already gone
            await reset(stream)


async def reset(stream: Any) -> None:
    """Reset the stream. Never raises, bounded in time."""
    with shielded(_FAREWELL):
        try:
            await stream.reset()
        except Exception:  # what cannot be reset is already gone
            return


@asynccontextmanager
async def open_stream(connection: Any, protocol: str, request: bytes = b"") -> AsyncIterator[Any]:
    """Open a stream for `protocol` on this very connection; closed at the end, reset after an error.

    `request` is all that will be written: it goes out with the proposal, in one packet, and the own half is
    closed (multistream-select allows both sides to speak before they have heard the other). Raises
    StreamError when the connection is dead or the peer does not speak the protocol.
    """
    try:
        stream = await connection.new_stream()
    except Exception as error:  # see read_exactly
        raise StreamNotOpenedError(f"no stream: {type(error).__name__}") from error
    try:
        if request:
            await _propose_and_ask(stream, protocol, request)
        else:
            await _negotiate(stream, protocol)
        yield stream
    except BaseException:
        await reset(stream)
        raise
    else:
        await close(stream)


async def _negotiate(stream: Any, protocol: str) -> None:
    try:
        await MultiselectClient().select_one_of(
            [TProtocol(protocol)], MultiselectCommunicator(stream), _NEGOTIATION
        )
    except Exception as error:  # see read_exactly
        raise StreamError(f"negotiation failed: {type(error).__name__}") from error


async def _propose_and_ask(stream: Any, protocol: str, request: bytes) -> None:
    """Write everything at once, then read that the peer agrees. Raises StreamError."""
    proposals = [MULTISELECT_PROTOCOL_ID.encode() + b"\n", protocol.encode() + b"\n"]
    async with multiplexer.together(stream):
        await write(stream, b"".join(varint.encode(len(one)) + one for one in proposals) + request)
        try:
            await stream.close_write()
        except Exception as error:  # see read_exactly
            raise StreamError(f"write failed: {type(error).__name__}") from error
    with trio.move_on_after(_NEGOTIATION) as limit:
        for proposal in proposals:
            if await read_varint_message(stream, len(proposal)) != proposal:
                raise StreamError("negotiation failed: another protocol")
    if limit.cancelled_caught:
        raise StreamError("negotiation failed: time-out")

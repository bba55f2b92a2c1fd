"""One libp2p stream as this project uses it: opened on a given connection, exact reads, bounded frames.

The library raises a dozen unrelated exceptions for a stream that failed; here every failure is a StreamError.
Never dials: the caller has a live connection. (The library's own new_stream dials by its own rules,
docs/decisions/0004.)
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import varint
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY_ID
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from ....messages.base import LENGTH_BYTES, WIRE_LIMIT, frame
from ....messages.errors import SpacedriveNodeError
from . import multiplexer

_NEGOTIATION_TIMEOUT_S = 10
_CLOSE_TIMEOUT_S = 1.0
_MAX_VARINT_BYTES = 5
READ_AHEAD_BYTES = 512
"""The whole of most exchanges, and little if each stream of a connection holds as much."""


class StreamError(SpacedriveNodeError):
    """The stream can no longer be used. The text is short and quotes no bytes of the peer."""

    clean = False
    """Whether the peer closed the stream, rather than reset it or lost the connection."""


class StreamNotOpenedError(StreamError):
    """The connection accepts no new stream, or did not take its first packet: it is dead."""


class StreamProtocolError(StreamError):
    """The peer sent what the protocol forbids, an oversized frame for example."""


async def read_exactly(stream: Any, size: int) -> bytes:
    """Read exactly `size` bytes, however small the pieces. Raises StreamError.

    Defect (0.8.1, io/utils.py): the library's read_exactly gives up after 101 pieces.
    Test: tests/swarm/test_streams.py.
    """
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


def read_ahead(stream: Any) -> None:
    """From now on, take from the stream what has come, 512 bytes at most, and give it out in parts.

    Defect (0.8.1, network/stream/net_stream.py:195): a negotiation reads its lengths and lines in parts, and
    each part costs the same as all of them: locks, states, credit.
    Test: tests/swarm/test_streams.py.
    """
    read, ahead = stream.read, bytearray()

    async def read_part(n: int | None = None) -> bytes:
        if not ahead:
            if n is None or not 0 < n < READ_AHEAD_BYTES:
                return bytes(await read(n))
            ahead.extend(await read(READ_AHEAD_BYTES))
        data = bytes(ahead if n is None or n < 0 else ahead[:n])
        del ahead[: len(data)]
        return data

    stream.read = read_part


async def read_frame(stream: Any) -> bytes:
    """Read one frame of the pairing protocol, return it without its length. Raises as read_varint_message."""
    size = int.from_bytes(await read_exactly(stream, LENGTH_BYTES), "big")
    if not 0 < size <= WIRE_LIMIT:
        raise StreamProtocolError("frame length out of bounds")
    return await read_exactly(stream, size)


def as_frame(payload: bytes) -> bytes:
    """Return a frame of the pairing protocol: `payload` with its length in front."""
    return frame(payload, WIRE_LIMIT)


async def write_frame(stream: Any, payload: bytes) -> None:
    """Write one frame of the pairing protocol. Raises StreamError."""
    await write(stream, as_frame(payload))


async def read_varint_message(stream: Any, limit: int) -> bytes:
    """Read one message with an unsigned varint length in front, as Kademlia frames them.

    Raises StreamError, or StreamProtocolError when the length is malformed or above `limit` bytes.
    """
    size = await _read_size(stream)
    if size > limit:
        raise StreamProtocolError("message too large")
    return await read_exactly(stream, size) if size else b""


async def read_varint_start(stream: Any, limit: int) -> tuple[bytes, bool]:
    """Read one message as read_varint_message does, or the first `limit` bytes of one that is longer.

    Return it and whether it was cut off. The rest is not read.
    """
    size = await _read_size(stream)
    data = await read_exactly(stream, min(size, limit)) if size else b""
    return data, size > limit


async def _read_size(stream: Any) -> int:
    size = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = (await read_exactly(stream, 1))[0]
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size
    raise StreamProtocolError("length is no varint")


async def write(stream: Any, data: bytes) -> None:
    """Write all of `data`. Raises StreamError."""
    try:
        await stream.write(data)
    except Exception as error:  # see read_exactly
        raise StreamError(f"write failed: {type(error).__name__}") from error


def shielded(seconds: float) -> trio.CancelScope:
    """Return a scope in which clean-up may go on for `seconds`, whatever is cancelled outside."""
    return trio.CancelScope(deadline=trio.current_time() + seconds, shield=True)


async def close(stream: Any) -> None:
    """Close the stream, or reset it if that fails; nobody reads it then. Never raises, bounded in time."""
    with shielded(_CLOSE_TIMEOUT_S):
        try:
            await stream.close()
        except Exception:  # what cannot be closed is already gone
            await reset(stream)
    stop_reading = getattr(getattr(stream, "muxed_stream", None), "stop_reading", None)
    if stop_reading is not None:
        stop_reading()


async def reset(stream: Any) -> None:
    """Reset the stream. Never raises, bounded in time."""
    with shielded(_CLOSE_TIMEOUT_S):
        try:
            await stream.reset()
        except Exception:  # what cannot be reset is already gone
            return


@asynccontextmanager
async def open_stream(connection: Any, protocol: str, request: bytes = b"") -> AsyncIterator[Any]:
    """Open a stream for `protocol` on this connection; it is closed at the end, and reset after an error.

    With a `request`, that is all this side will write: it goes out in one packet with the proposal of the
    protocol, and this side's half of the stream is closed. multistream-select allows both sides to send
    before they have heard from the other. Raises StreamError when the connection is dead or the peer does not
    speak the protocol.
    """
    stream = await _new_stream(connection, protocol)
    try:
        if request:
            await _propose_and_request(stream, protocol, request, closes=True)
        else:
            await _negotiate(stream, protocol)
        yield stream
    except BaseException:
        await reset(stream)
        raise
    else:
        await close(stream)


async def wait_until_noticed(connection: Any) -> None:
    """Wait until the other side has the connection too; a dial is over before (negotiation.py)."""
    try:
        async with open_stream(connection, IDENTIFY_ID):
            return
    except StreamError:  # it has closed the connection, because it has noticed
        return


async def begin_stream(connection: Any, protocol: str, request: bytes) -> Any:
    """Return a new stream on which a first request has gone out, and both halves are open.

    The caller resets or closes it. Otherwise as `open_stream`.
    """
    stream = await _new_stream(connection, protocol)
    try:
        await _propose_and_request(stream, protocol, request, closes=False)
    except BaseException:
        await reset(stream)
        raise
    return stream


def used_at(connection: Any) -> dict[str, float]:
    """Return when a connection was last of use to this side, by protocol."""
    found: dict[str, float] = connection.__dict__.setdefault("used_at", {})
    return found


def note_use(connection: Any, protocol: str) -> None:
    """Note that a connection is of use to this side, which opens a stream on it or wants what comes."""
    used_at(connection)[protocol] = trio.current_time()


async def _new_stream(connection: Any, protocol: str) -> Any:
    note_use(connection, protocol)
    try:
        stream = await connection.new_stream()
    except Exception as error:  # see read_exactly
        raise StreamNotOpenedError(f"no stream: {type(error).__name__}") from error
    read_ahead(stream)
    return stream


async def _negotiate(stream: Any, protocol: str) -> None:
    try:
        await MultiselectClient().select_one_of(
            [TProtocol(protocol)], MultiselectCommunicator(stream), _NEGOTIATION_TIMEOUT_S
        )
    except Exception as error:  # see read_exactly
        raise StreamError(f"negotiation failed: {type(error).__name__}") from error


async def _propose_and_request(stream: Any, protocol: str, request: bytes, *, closes: bool) -> None:
    """Write proposal and request in one packet, then read that the peer agrees. Raises StreamError."""
    proposals = [MULTISELECT_PROTOCOL_ID.encode() + b"\n", protocol.encode() + b"\n"]
    try:
        # What is written is only collected here. It leaves at the end of the block, and can fail only there.
        async with multiplexer.one_packet(stream):
            await stream.write(b"".join(varint.encode(len(one)) + one for one in proposals) + request)
            if closes:
                await stream.close_write()
    except Exception as error:  # see read_exactly
        raise StreamNotOpenedError(f"write failed: {type(error).__name__}") from error
    with trio.move_on_after(_NEGOTIATION_TIMEOUT_S) as limit:
        for proposal in proposals:
            if await read_varint_message(stream, len(proposal)) != proposal:
                raise StreamError("negotiation failed: another protocol")
    if limit.cancelled_caught:
        raise StreamError("negotiation failed: time-out")

"""SCTP packets as bytes (RFC 9260, section 3; RFC 6525 for the reset of streams), both directions. Pure.

Only the fields that data channels use are read. A reader checks every length before it looks behind it; what
is not in order is a MalformedError, and what is unknown is skipped.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from google_crc32c import value as crc32c

from .wire import MalformedError

PORT: Final = 5000
"""Of both sides; a=sctp-port, which the specification leaves no choice for."""
DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = range(7)
SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK = range(7, 12)
SHUTDOWN_COMPLETE, RECONFIG = 14, 130

STATE_COOKIE, RESET_REQUEST, RESET_RESPONSE = 7, 13, 16
_SUPPORTED_EXTENSIONS: Final = 0x8008

HEADER_BYTES: Final = 12
DATA_HEADER_BYTES: Final = 16
_HEADER: Final = Struct("!HHLL")
_CHUNK: Final = Struct("!BBH")
_DATA: Final = Struct("!LHHL")
_INIT: Final = Struct("!LLHHL")
_SACK: Final = Struct("!LLHH")
_PAIR: Final = Struct("!HH")
_RESET_REQUEST: Final = Struct("!LLL")
_RESET_RESPONSE: Final = Struct("!LL")

_LAST, _FIRST = 1, 2


@dataclass(frozen=True, slots=True)
class Data:
    """A part of a message of a stream; the kind says whether it is payload."""

    tsn: int
    stream_id: int
    sequence: int
    kind: int
    data: bytes
    is_first: bool
    is_last: bool

    def __bytes__(self) -> bytes:
        flags = _LAST * self.is_last | _FIRST * self.is_first
        return chunk(DATA, _DATA.pack(self.tsn, self.stream_id, self.sequence, self.kind) + self.data, flags)


@dataclass(frozen=True, slots=True)
class Init:
    """What a side says of itself at the beginning; `cookie` is in an INIT ACK."""

    tag: int
    window: int
    outbound_streams: int
    inbound_streams: int
    first_tsn: int
    cookie: bytes = b""

    def body(self) -> bytes:
        """Return the body of an INIT, or of an INIT ACK if there is a cookie."""
        fixed = _INIT.pack(self.tag, self.window, self.outbound_streams, self.inbound_streams, self.first_tsn)
        cookie = parameter(STATE_COOKIE, self.cookie) if self.cookie else b""
        return fixed + cookie + parameter(_SUPPORTED_EXTENSIONS, bytes([RECONFIG]))


@dataclass(frozen=True, slots=True)
class Sack:
    """What has arrived: all up to `tsn`, and the ranges (first, last) after it."""

    tsn: int
    window: int
    ranges: Sequence[tuple[int, int]] = ()
    """Relative to `tsn`."""

    def __bytes__(self) -> bytes:
        fixed = _SACK.pack(self.tsn, self.window, len(self.ranges), 0)
        return chunk(SACK, fixed + b"".join(_PAIR.pack(*one) for one in self.ranges))


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """The sender will use these streams anew, after the data up to `last_tsn`."""

    number: int
    last_tsn: int
    streams: tuple[int, ...]

    def __bytes__(self) -> bytes:
        ids = b"".join(one.to_bytes(2, "big") for one in self.streams)
        return parameter(RESET_REQUEST, _RESET_REQUEST.pack(self.number, 0, self.last_tsn) + ids)


def chunk(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """Return a chunk."""
    return _CHUNK.pack(kind, flags, len(body) + 4) + body + bytes(-len(body) % 4)


def parameter(kind: int, value: bytes) -> bytes:
    """Return a parameter of a chunk."""
    return _PAIR.pack(kind, len(value) + 4) + value + bytes(-len(value) % 4)


def reset_response(number: int, result: int) -> bytes:
    """Return the parameter that answers a request to reset streams."""
    return parameter(RESET_RESPONSE, _RESET_RESPONSE.pack(number, result))


def packet(tag: int, chunks: bytes) -> bytes:
    """Return a packet with these chunks."""
    checksum = crc32c(_HEADER.pack(PORT, PORT, tag, 0) + chunks)
    return _HEADER.pack(PORT, PORT, tag, int.from_bytes(checksum.to_bytes(4, "little"), "big")) + chunks


def read_packet(data: bytes) -> tuple[int, list[tuple[int, int, bytes]]]:
    """Return (tag, chunks), each chunk (kind, flags, body). Raises MalformedError."""
    if len(data) < HEADER_BYTES + _CHUNK.size:
        raise MalformedError("SCTP: a short packet")
    _, _, tag, checksum = _HEADER.unpack_from(data)
    if crc32c(data[:8] + bytes(4) + data[12:]).to_bytes(4, "little") != checksum.to_bytes(4, "big"):
        raise MalformedError("SCTP: a wrong checksum")
    chunks = []
    at = HEADER_BYTES
    while at + _CHUNK.size <= len(data):
        kind, flags, size = _CHUNK.unpack_from(data, at)
        if size < _CHUNK.size or at + size > len(data):
            raise MalformedError("SCTP: a wrong length")
        chunks.append((kind, flags, data[at + _CHUNK.size : at + size]))
        at += size + -size % 4
    return tag, chunks


def read_data(flags: int, body: bytes) -> Data:
    """Return a DATA chunk. Raises MalformedError."""
    if len(body) <= _DATA.size:
        raise MalformedError("SCTP: DATA without data")
    tsn, stream_id, sequence, kind = _DATA.unpack_from(body)
    return Data(tsn, stream_id, sequence, kind, body[_DATA.size :], bool(flags & _FIRST), bool(flags & _LAST))


def read_init(body: bytes) -> Init:
    """Return an INIT or INIT ACK. Raises MalformedError."""
    if len(body) < _INIT.size:
        raise MalformedError("SCTP: a short INIT")
    tag, window, outbound, inbound, tsn = _INIT.unpack_from(body)
    if not (tag and outbound and inbound):
        raise MalformedError("SCTP: an INIT with zeros")
    cookie = next((value for kind, value in parameters(body[_INIT.size :]) if kind == STATE_COOKIE), b"")
    return Init(tag, window, outbound, inbound, tsn, cookie)


def read_sack(body: bytes) -> Sack:
    """Return a SACK; ranges that are not in ascending order end the list. Raises MalformedError."""
    if len(body) < _SACK.size:
        raise MalformedError("SCTP: a short SACK")
    tsn, window, count, _ = _SACK.unpack_from(body)
    ranges = []
    before = 0
    for first, last in _PAIR.iter_unpack(body[_SACK.size : _SACK.size + 4 * count][: len(body) // 4 * 4]):
        if not before < first <= last:
            break
        ranges.append((first, last))
        before = last
    return Sack(tsn, window, ranges)


def parameters(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the parameters (kind, value) of a chunk. Raises MalformedError."""
    at = 0
    while at + _PAIR.size <= len(body):
        kind, size = _PAIR.unpack_from(body, at)
        if size < _PAIR.size or at + size > len(body):
            raise MalformedError("SCTP: a wrong length of a parameter")
        yield kind, body[at + _PAIR.size : at + size]
        at += size + -size % 4


def read_reset_request(value: bytes) -> ResetRequest:
    """Return a request to reset streams; no streams: all of them. Raises MalformedError."""
    if len(value) < _RESET_REQUEST.size or len(value) % 2:
        raise MalformedError("SCTP: a short reset")
    number, _, last_tsn = _RESET_REQUEST.unpack_from(value)
    ids = value[_RESET_REQUEST.size :]
    streams = tuple(int.from_bytes(ids[at : at + 2], "big") for at in range(0, len(ids), 2))
    return ResetRequest(number, last_tsn, streams)


def read_reset_response(value: bytes) -> tuple[int, int]:
    """Return (number, result). Raises MalformedError."""
    if len(value) < _RESET_RESPONSE.size:
        raise MalformedError("SCTP: a short answer to a reset")
    number, result = _RESET_RESPONSE.unpack_from(value)
    return number, result


def is_after(one: int, other: int) -> bool:
    """Return whether a TSN comes after another one; they wrap around."""
    return 0 < (one - other) % (1 << 32) < 1 << 31


def ranges_of(tsns: Iterable[int], base: int, most: int) -> list[tuple[int, int]]:
    """Return the first ranges that sorted TSNs form, relative to `base`."""
    found: list[tuple[int, int]] = []
    for tsn in tsns:
        offset = (tsn - base) % (1 << 32)
        if found and found[-1][1] + 1 == offset:
            found[-1] = (found[-1][0], offset)
        elif len(found) == most:
            break
        else:
            found.append((offset, offset))
    return found

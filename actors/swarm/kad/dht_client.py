"""Single Kademlia requests for discovery: one message to one server, one answer, everything bounded.

Never does a lookup and keeps nothing of what it learns: that is discovery's. Implements the RPC messages of
the libp2p Kademlia specification (github.com/libp2p/specs, kad-dht) over the configured protocol id.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio
import varint
from google.protobuf.message import DecodeError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from multiaddr import Multiaddr

from ....messages.to_discovery import KadFailed, KadReply
from ....messages.to_swarm import KadRequest
from ....messages.types import PeerAddresses
from ..dial import addresses
from ..dial.addresses import Endpoint
from ..dial.dialer import Dialer, NothingToDialError, UnreachableError
from ..dial.hearsay import heard_all
from ..library import streams
from ..library.connections import host_of, is_alive
from ..peer_reports import SLOW_S, Behaviour

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_CLOSER_PEERS: Final = 20
MAX_PROVIDERS: Final = 64
_MAX_REQUESTS = 256

_NUMBER, _BYTES = 0, 2
"""Wire types of protobuf; Kademlia's messages have no others."""

_MESSAGE_TYPES = {
    "find_node": Message.MessageType.FIND_NODE,
    "get_providers": Message.MessageType.GET_PROVIDERS,
    "add_provider": Message.MessageType.ADD_PROVIDER,
}


@dataclass(slots=True)
class OwnEntries:
    """The addresses of this node itself that an answer names: as a closer peer, and as a provider."""

    closer: list[str] = field(default_factory=list)
    provider: list[str] = field(default_factory=list)


def encode_request(op: str, key: bytes, own_peer: bytes, own_addresses: Sequence[str]) -> bytes:
    """Return one request as protobuf. Only add_provider contains this node's peer id and addresses."""
    message = Message()
    message.type = _MESSAGE_TYPES[op]
    message.key = key
    if op == "add_provider":
        provider = message.providerPeers.add()
        provider.id = own_peer
        provider.addrs.extend(Multiaddr(text).to_bytes() for text in own_addresses)
    return bytes(message.SerializeToString())


def decode_answer(
    data: bytes, own_peer: bytes, own: OwnEntries | None = None
) -> tuple[tuple[PeerAddresses, ...], tuple[PeerAddresses, ...]]:
    """Return (closer peers, providers) of an answer.

    Malformed entries are dropped, and so is this node itself, whose addresses go into `own`. Raises
    ValueError if it is no Kademlia message.
    """
    message = Message()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise ValueError("not a Kademlia message") from None
    own = OwnEntries() if own is None else own
    closer = _peers(message.closerPeers, MAX_CLOSER_PEERS, own_peer, own.closer)
    return closer, _peers(message.providerPeers, MAX_PROVIDERS, own_peer, own.provider)


def whole_fields(data: bytes) -> bytes:
    """Return the start of a message without the field in which it was cut off.

    A server of the public network keeps any number of providers of a key and names all of them, in another
    order each time. If a longer answer counted for nothing, a crowd of decoys would hide the true device.
    """
    end = position = 0
    while position < len(data):
        tag, position = _varint_at(data, position)
        value, position = _varint_at(data, position)
        position += value if tag & 7 == _BYTES else 0
        if position > len(data) or tag & 7 not in (_BYTES, _NUMBER):
            break
        end = position
    return data[:end]


def _varint_at(data: bytes, position: int) -> tuple[int, int]:
    """Return a number and where it ends: behind the end of `data` if it was cut off."""
    value = 0
    for place, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, position + place + 1
    return 0, len(data) + 1


def _peers(entries: Any, limit: int, own_peer: bytes, own: list[str]) -> tuple[PeerAddresses, ...]:
    found: dict[bytes, PeerAddresses] = {}
    for entry in entries[: 2 * limit]:
        peer = bytes(entry.id)
        if peer == own_peer:
            own[:] = readable_addresses(entry.addrs)
        elif peer not in found and is_peer_id(peer):
            found[peer] = PeerAddresses(peer, readable_addresses(entry.addrs))
            if len(found) == limit:
                break
    return tuple(found.values())


def is_peer_id(peer: bytes) -> bool:
    """Return whether these bytes are a peer id: an identity or sha2-256 multihash of a fitting length."""
    if len(peer) == 34 and peer[:2] == b"\x12\x20":
        return True
    return 34 <= len(peer) <= 64 and peer[0] == 0 and peer[1] == len(peer) - 2


def readable_addresses(entries: Sequence[Any]) -> tuple[str, ...]:
    """Return the addresses that this node could dial, of the first 32, as text without /p2p."""
    return tuple(map(str, _endpoints(entries)))


def dialable_addresses(entries: Sequence[Any], limit: int = addresses.MAX_ADDRESSES) -> tuple[bytes, ...]:
    """Return the same as binary multiaddrs, the first `limit` of them."""
    return tuple(Multiaddr(str(endpoint)).to_bytes() for endpoint in _endpoints(entries, limit))


def _endpoints(entries: Sequence[Any], limit: int = addresses.MAX_ADDRESSES) -> list[Endpoint]:
    found: dict[Endpoint, None] = {}
    for entry in entries[: addresses.MAX_ADDRESSES]:
        try:
            text = str(Multiaddr(bytes(entry)) if isinstance(entry, bytes) else entry)
        except Exception:  # noqa: S112 - the parser raises many unrelated types; a malformed address is dropped
            continue
        # A zone names an interface of whoever says it.
        found.update((endpoint.with_zone(""), None) for endpoint in addresses.usable([text]))
        if len(found) >= limit:
            break
    return list(found)[:limit]


class DhtClient:
    """Runs discovery's Kademlia requests; `unreachable` is called with a server that does not answer.

    `behaved` hears what each server did.
    """

    def __init__(
        self,
        dialer: Dialer,
        protocol: str,
        own_peer: bytes,
        own_addresses: Callable[[], Sequence[str]],
        unreachable: Callable[[bytes], None],
        behaved: Callable[[bytes, Behaviour], None] = lambda _peer, _behaviour: None,
        own_peer_named: Callable[[KadRequest, str | None, OwnEntries], None] = lambda _request, _host, _own: (
            None
        ),
    ) -> None:
        self._dialer = dialer
        self._protocol = protocol
        self._own_peer = own_peer
        self._own_addresses = own_addresses
        self._unreachable = unreachable
        self._behaved = behaved
        self._own_peer_named = own_peer_named
        self._limiter = trio.CapacityLimiter(_MAX_REQUESTS)

    async def run(self, request: KadRequest) -> KadReply | KadFailed:
        """Do one request within its time-out, and return what discovery is told."""
        if request.op == "add_provider" and not self._own_addresses():
            return KadFailed(request.request, "there is no address to tell")
        began = trio.current_time()
        with trio.move_on_after(request.timeout):
            try:
                async with self._limiter:
                    reply = await self._request(request)
            except UnreachableError as error:
                self._unreachable(request.peer)
                if not isinstance(error, NothingToDialError):
                    self._behaved(request.peer, "dropped")
                return KadFailed(request.request, str(error)[:200])
            except streams.StreamError as error:
                if request.op != "add_provider":  # which a server may refuse, because it has enough
                    self._behaved(request.peer, "dropped")
                return KadFailed(request.request, str(error)[:200])
            except ValueError as error:
                self._behaved(request.peer, "lied")
                return KadFailed(request.request, str(error)[:200])
            is_slow = trio.current_time() - began > SLOW_S
            self._behaved(request.peer, "slow" if is_slow else "answered")
            return reply
        self._behaved(request.peer, "dropped")
        if self._dialer.existing(request.peer) is None:
            self._unreachable(request.peer)
        return KadFailed(request.request, "time-out")

    async def _request(self, request: KadRequest) -> KadReply:
        existed = self._dialer.existing(request.peer) is not None
        connection = await self._dialer.connect(request.peer, request.addresses, request.hearsay)
        try:
            data = await self._exchange(connection, request)
        except streams.StreamError as error:
            # A server may reset one stream, at its rate limit for example, while its other streams go on.
            is_usable = is_alive(connection) and not isinstance(error, streams.StreamNotOpenedError)
            if existed == is_usable:
                raise
            if existed:
                await self._dialer.drop(connection)
                connection = await self._dialer.connect(request.peer, request.addresses, request.hearsay)
            # Otherwise it is new: some lose a stream that comes with the negotiation (js-libp2p 3).
            data = await self._exchange(connection, request)
        own = OwnEntries()
        closer, providers = decode_answer(data, self._own_peer, own)
        source = host_of(connection)
        if own.closer or own.provider:
            self._own_peer_named(request, source, own)
        return KadReply(request.request, heard_all(closer, source), heard_all(providers, source))

    async def _exchange(self, connection: Any, request: KadRequest) -> bytes:
        data = encode_request(request.op, request.key, self._own_peer, self._own_addresses())
        framed = varint.encode(len(data)) + data
        async with streams.open_stream(connection, self._protocol, framed) as stream:
            try:
                data, is_cut = await streams.read_varint_start(stream, MAX_ANSWER_BYTES)
                return whole_fields(data) if is_cut else data
            except streams.StreamError as error:
                # ADD_PROVIDER need not be answered: a server that closes the stream has accepted it.
                if request.op == "add_provider" and error.clean:
                    return b""
                raise

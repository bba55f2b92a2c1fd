"""The Kademlia server of this node: answers FIND_NODE, GET_PROVIDERS, ADD_PROVIDER and PING of other peers.

Never looks anything up, never dials, and keeps no values: PUT_VALUE and GET_VALUE are not served. It is this
project's own: the library's KadDHT does all of that by itself (docs/decisions/0004). Implements the RPC
messages of the libp2p Kademlia specification (github.com/libp2p/specs, kad-dht), within docs/protocol.md,
"Limits". tests/swarm/test_dht_server.py shows the library's defects.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import trio
import varint
from google.protobuf.message import DecodeError
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID

from ....messages.types import PeerAddresses
from ...base import now
from ..dial.addresses import host_in, is_loopback_block
from ..dial.hearsay import heard
from ..library import multiplexer, streams
from ..library.connections import address_block_of
from ..pairing.exchange_slots import ExchangeSlots
from ..pairing.rate_limits import Pace
from .dht_client import dialable_addresses, readable_addresses
from .provider_records import ProviderRecords
from .routing_table import RoutingTable

MAX_REQUEST_BYTES = 64 * 1024
MAX_CLOSER_PEERS = 20
MAX_ADDRESSES_PER_PEER = 8
MAX_ADDRESS_BYTES_PER_PEER = 1024
"""With at most 41 peers in an answer it has less than 64 KiB, which is what dht_client.py accepts."""
REQUESTS_PER_S, BURST_REQUESTS = 300.0, 300.0
"""Of one address block, in the long run and at once. Hundreds of requests fit into one packet, and each costs
this side more than its sender. A node with a thousand codes asks each server some 40 times in a second."""
_MAX_KEY_BYTES = 128
_MAX_PROVIDER_KEY_BYTES = 80
MAX_STREAMS = 128
MAX_STREAMS_PER_ADDRESS_BLOCK = 64
MAX_STREAMS_PER_PEER = 32
_STREAM_TIMEOUT_S = 15.0

_TYPE = Message.MessageType
_CONNECTION = Message.ConnectionType


class RefusedRequestError(streams.StreamProtocolError):
    """The request is malformed, or is not served here: its stream is reset."""


class DhtServer:
    """Serves the streams of one host. `provides` tells whether this node itself provides a key.

    This node's own keys are not stored, so that they never expire, are gone as soon as a session ends, and
    come with the present addresses.
    """

    def __init__(
        self, host: Any, routing_table: RoutingTable, provides: Callable[[bytes], bool] = lambda _key: False
    ) -> None:
        self._host = host
        self._own_peer: bytes = host.get_id().to_bytes()
        self._routing_table = routing_table
        self._provides = provides
        self._slots = ExchangeSlots(MAX_STREAMS, MAX_STREAMS_PER_ADDRESS_BLOCK, MAX_STREAMS_PER_PEER)
        self._pace: Pace[bytes | str | None] = Pace(REQUESTS_PER_S, BURST_REQUESTS)
        self.records = ProviderRecords()

    def serve(self, protocol: str) -> None:
        """Offer the protocol to peers from now on."""
        self._host.set_stream_handler(TProtocol(protocol), self.handle_stream)

    async def handle_stream(self, stream: Any) -> None:
        """Serve one stream: requests, each with its answer, for 15 s at most.

        Where all streams are taken, one of the crowd that holds most of them makes room.
        """
        peer: bytes = stream.muxed_conn.peer_id.to_bytes()
        address_block = address_block_of(stream.muxed_conn)
        limit = trio.CancelScope()
        slot = self._slots.acquire(peer, address_block, limit.cancel)
        if slot is None:
            await streams.reset(stream)
            return
        limit.deadline = trio.current_time() + _STREAM_TIMEOUT_S
        is_done = False
        try:
            with limit, suppress(streams.StreamError):
                await self._serve_requests(stream, peer, address_block)
                is_done = True
        finally:
            self._slots.release(slot)
        await (streams.close if is_done else streams.reset)(stream)

    async def _serve_requests(self, stream: Any, peer: bytes, address_block: str | None) -> None:
        """Answer requests until the peer closes its side. Raises StreamError."""
        while True:
            try:
                data = await streams.read_varint_message(stream, MAX_REQUEST_BYTES)
            except streams.StreamError as error:
                if error.clean:
                    return
                raise
            # A stranger makes any number of peer ids, so the block counts; on loopback may be many nodes.
            paced = peer if is_loopback_block(address_block) else address_block
            pause = self._pace.wait_before(paced, now())
            if pause > 0:
                await trio.sleep(pause)
            answer = self.answer(peer, address_block, data)
            async with multiplexer.one_packet(stream):
                await streams.write(stream, varint.encode(len(answer)) + answer)

    def answer(self, peer: bytes, address_block: str | None, data: bytes) -> bytes:
        """Return the answer to one request. Raises RefusedRequestError."""
        request = Message()
        try:
            request.ParseFromString(data)
        except DecodeError:
            raise RefusedRequestError("not a Kademlia message") from None
        answer = Message()
        answer.type = request.type
        key = bytes(request.key)
        if request.type != _TYPE.PING and not 0 < len(key) <= _MAX_KEY_BYTES:
            raise RefusedRequestError("a key of this length is not served")
        if request.type == _TYPE.PING:
            pass
        elif request.type == _TYPE.FIND_NODE:
            self._name_target(answer, key, peer)
            self._name_closer_peers(answer, key, peer)
        elif request.type == _TYPE.GET_PROVIDERS:
            answer.key = key
            self._name_providers(answer, key)
            self._name_closer_peers(answer, key, peer)
        elif request.type == _TYPE.ADD_PROVIDER:
            answer.key = key
            self._add_provider(request, key, peer, address_block)
        else:
            raise RefusedRequestError("values are not kept here")
        return bytes(answer.SerializeToString())

    def providers(self, key: bytes) -> tuple[PeerAddresses, ...]:
        """Return who has announced itself to this node for a key, with what is believed of its addresses."""
        found = []
        for peer, record in self.records.providers(key, now()):
            if peer != self._own_peer:
                named = PeerAddresses(peer, readable_addresses(record.addresses))
                found.append(heard(named, host_in(record.address_block)))
        return tuple(found)

    def _add_provider(self, request: Any, key: bytes, peer: bytes, address_block: str | None) -> None:
        """Store that the sender provides `key`; what it says of others is passed over."""
        if len(key) > _MAX_PROVIDER_KEY_BYTES:
            raise RefusedRequestError("a key of this length is not stored")
        for entry in request.providerPeers[:MAX_CLOSER_PEERS]:
            if bytes(entry.id) == peer:
                addresses = _first(dialable_addresses(entry.addrs, MAX_ADDRESSES_PER_PEER))
                if addresses and not self.records.store(key, peer, addresses, address_block, now()):
                    raise RefusedRequestError("this key has enough providers")
                return

    def _name_providers(self, answer: Any, key: bytes) -> None:
        if self._provides(key):
            self._name(answer.providerPeers, self._own_peer, self._own_addresses())
        for peer, record in self.records.providers(key, now()):
            if peer != self._own_peer:
                self._name(answer.providerPeers, peer, record.addresses)

    def _name_closer_peers(self, answer: Any, key: bytes, asking: bytes) -> None:
        named = {asking, *(bytes(entry.id) for entry in answer.closerPeers)}
        for peer, addresses in self._routing_table.closest_peers(key, MAX_CLOSER_PEERS):
            if peer not in named:
                self._name(answer.closerPeers, peer, addresses)

    def _name_target(self, answer: Any, key: bytes, asking: bytes) -> None:
        """Name the peer that is looked for, server or not, if its addresses are known (FIND_NODE)."""
        if key == self._own_peer:
            self._name(answer.closerPeers, key, self._own_addresses())
            return
        try:
            known = self._host.get_peerstore().addrs(ID(key))
        except Exception:  # not in the store, or expired
            return
        if known and key != asking:
            self._name(answer.closerPeers, key, dialable_addresses(known, MAX_ADDRESSES_PER_PEER))

    def _name(self, entries: Any, peer: bytes, addresses: Iterable[bytes]) -> None:
        entry = entries.add()
        entry.id = peer
        entry.addrs.extend(_first(addresses))
        if self._host.get_network().get_connections(ID(peer)):
            entry.connection = _CONNECTION.CONNECTED
        elif entry.addrs:
            entry.connection = _CONNECTION.CAN_CONNECT

    def _own_addresses(self) -> tuple[bytes, ...]:
        return dialable_addresses(self._host.get_addrs())


def _first(addresses: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the first eight addresses, of 1 KiB together at most."""
    found: list[bytes] = []
    size = 0
    for address in addresses:
        size += len(address)
        if len(found) == MAX_ADDRESSES_PER_PEER or size > MAX_ADDRESS_BYTES_PER_PEER:
            break
        found.append(address)
    return tuple(found)

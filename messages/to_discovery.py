"""What discovery accepts: what to look for and announce, and what the swarm found."""

from typing import Annotated

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import ActorRestarted, SessionEnded
from .to_swarm import RoutingKey
from .types import Addresses, MdnsInstance, PeerAddresses, PeerId, PeerList, Reason, RequestId


class StartProviding(Message):
    """From a session (standing): let others find this node under `key`, until StopProviding.

    `key` is a DHT provider key, `instance` the name in mDNS.
    """

    key: RoutingKey
    instance: MdnsInstance


class StopProviding(Message):
    """From a session: withdraws StartProviding."""


class Find(Message):
    """From a session (standing): send it every CandidateFound for `key` until withdrawn, at most 128."""

    key: RoutingKey
    instance: MdnsInstance
    hints: Annotated[tuple[PeerAddresses, ...], Meta(max_length=4)] = ()


class StopFinding(Message):
    """From a session: withdraws Find."""


class SwarmUp(Message):
    """From the swarm (standing): it listens. This node's peer id and the addresses to announce.

    `local_addresses` can be reached from this host only. `listening` are those that the sockets have: with
    0.0.0.0 and :: where they take whatever this host has. `is_update`: since the last one of this swarm only
    the addresses or the role have changed. `serves_dht`: peers are told that this node is a DHT server.
    """

    peer: PeerId
    addresses: Addresses
    local_addresses: Addresses
    listening: Addresses = ()
    is_update: bool = False
    serves_dht: bool = False


class KadReply(Message):
    """From the swarm: the answer of a KadRequest's peer: at most 64 closer peers and 64 providers."""

    request: RequestId
    closer: PeerList = ()
    providers: PeerList = ()


class KadFailed(Message):
    """From the swarm: a KadRequest got no valid answer."""

    request: RequestId
    reason: Reason


class Servers(Message):
    """From the swarm: the answer to ClosestServers, the closest server first.

    `providers` are those of the key that have announced themselves to this node.
    """

    request: RequestId
    peers: PeerList
    providers: PeerList = ()


class ServerJoined(Message):
    """From the swarm: a DHT server is connected, perhaps again. Announce to it what is provided."""

    server: PeerAddresses


class ServerLost(Message):
    """From the swarm: the last connection with a DHT server has ended. It may forget what was announced.

    `gave_way`: the swarm has closed it, to make room for others; the server is there.
    """

    peer: PeerId
    gave_way: bool = False


class NetworkChanged(Message):
    """From the swarm: this host is in another network, or in the same one again."""


class RememberedServers(Message):
    """From the swarm (standing): DHT servers that were of use before, the best first."""

    servers: PeerList


class LanPeer(Message):
    """From lan: a device on the local network says that `named` shows the code of this instance.

    `source` is the IP address from which it was said, 4 or 16 bytes.
    """

    instance: MdnsInstance
    source: Annotated[bytes, Meta(min_length=4, max_length=16)]
    named: PeerAddresses


DiscoveryInbox = (
    StartProviding
    | StopProviding
    | Find
    | StopFinding
    | SwarmUp
    | KadReply
    | KadFailed
    | Servers
    | ServerJoined
    | ServerLost
    | NetworkChanged
    | RememberedServers
    | LanPeer
    | SessionEnded
    | ActorRestarted
)
decode: Decoder[DiscoveryInbox] = Decoder(DiscoveryInbox)

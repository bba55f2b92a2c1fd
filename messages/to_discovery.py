"""What discovery accepts."""

from typing import Annotated

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import ActorRestarted, SessionEnded
from .to_swarm import RoutingKey
from .types import Addresses, PeerAddresses, PeerId, PeerList, Reason, RequestId

MdnsInstance = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class StartProviding(Message):
    """From a session (standing): make this node findable under `key` until withdrawn."""

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
    """From the swarm (standing): the own peer id, what to announce, and what only this host reaches."""

    peer: PeerId
    addresses: Addresses
    local_addresses: Addresses


class KadReply(Message):
    """From the swarm: what a KadRequest's peer answered."""

    request: RequestId
    closer: PeerList = ()
    providers: PeerList = ()


class KadFailed(Message):
    """From the swarm: a KadRequest got no answer."""

    request: RequestId
    reason: Reason


class Servers(Message):
    """From the swarm: the answer to ClosestServers, closest first."""

    request: RequestId
    peers: PeerList


class ServerJoined(Message):
    """From the swarm: a DHT server is there, or there again: announce to it what is provided."""

    server: PeerAddresses


class ServerLost(Message):
    """From the swarm: the last connection with a DHT server has ended; it may have forgotten everything."""

    peer: PeerId


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
    | SessionEnded
    | ActorRestarted
)
decode: Decoder[DiscoveryInbox] = Decoder(DiscoveryInbox)

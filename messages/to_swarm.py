"""What the swarm accepts: frames to carry, peers to know, and Kademlia requests.

The swarm decides nothing about a pairing. It matches code ids and forwards frames.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import SessionEnded, Undeliverable
from .types import (
    Addresses,
    Bytes32,
    Instant,
    PeerId,
    PortNumber,
    PortProtocol,
    RememberedPeer,
    RequestId,
    Role,
    Seconds,
    WireFrame,
)

RoutingKey = Annotated[bytes, Meta(min_length=1, max_length=80)]
"""A Kademlia key as a request contains it: a peer id, or a provider key (34-byte multihash)."""


class SwarmIdentity(Message):
    """From the vault (standing): the Ed25519 seed of the transport key. The swarm starts when it has it."""

    seed: Bytes32


class Serve(Message):
    """From a session (standing): forward to it each request frame whose code_id matches `route_key`.

    `role` is the session's. `key` is set by an initiator: answer GET_PROVIDERS for it with this node. All of
    this holds until the session ends.
    """

    route_key: Bytes32
    role: Role
    key: RoutingKey | None = None


class Ask(Message):
    """From a session: send one request frame to a peer and wait for its answer at most `timeout` seconds.

    The swarm dials `addresses` if it is not connected; without addresses it uses existing connections only.
    Answer: PeerAnswer or PeerUnreachable.
    """

    request: RequestId
    peer: PeerId
    addresses: Addresses
    frame: WireFrame
    timeout: Seconds = 10.0
    hearsay: Addresses = ()
    """Those of `addresses` that only third parties have named."""


class PeerReply(Message):
    """From a session or the vault: the answer frame to a PeerRequest or SettleRequest of the swarm."""

    request: RequestId
    frame: WireFrame


class KnownPeer(Message):
    """From the vault (standing, `slot` is the peer): there are records of devices at this peer.

    PairingDecisions of `peer` that belong to no running session go to the vault, as SettleRequest. `settle`
    is a decision frame to send at every contact with the peer, until the message is withdrawn or replaced;
    the answer goes to the vault, as Settled.
    """

    peer: PeerId
    settle: WireFrame | None = None


class ForgetPeer(Message):
    """From the vault: withdraws KnownPeer. The swarm closes its connections with the peer."""

    peer: PeerId


class Bootstrap(Message):
    """From discovery: connect to this DHT server and offer it to the routing table. No answer.

    `remembered`: nobody has named it but this node's own memory, so that another peer there is no mistake.
    """

    peer: PeerId
    addresses: Addresses
    remembered: bool = False


class KadRequest(Message):
    """From discovery: send one Kademlia request to one peer, and wait at most `timeout` seconds.

    Answer: KadReply or KadFailed.
    """

    request: RequestId
    peer: PeerId
    addresses: Addresses
    op: Literal["find_node", "get_providers", "add_provider"]
    key: RoutingKey
    timeout: Seconds = 2.0
    hearsay: Addresses = ()
    """Those of `addresses` that only third parties have named."""


class ClosestServers(Message):
    """From discovery: which servers of the routing table are closest to `key`? At most 20.

    Answer: to_discovery.Servers.
    """

    request: RequestId
    key: RoutingKey


class Listening(Message):
    """From the swarm to itself (standing): where it listens, to take the same ports after a restart.

    `wanted` is what was configured, empty for the default; None: what is configured now.
    """

    addresses: Addresses
    wanted: Addresses | None = None


EndpointText = Annotated[str, Meta(max_length=256)]
BlockText = Annotated[str, Meta(max_length=64)]


class ReachedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an AutoNAT server in an address block has reached an address of this node, and when."""

    endpoint: EndpointText
    block: BlockText
    reached: bool
    at: Instant


class SeenFrom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From where a connection of this node came, as a peer in an address block has seen it, and when."""

    block: BlockText
    seen: EndpointText
    from_listening_port: bool
    at: Instant


class UnaskedConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a connection last came from where nothing had been sent, by transport and IP version."""

    transport: Annotated[str, Meta(max_length=16)]
    family: Annotated[str, Meta(max_length=8)]
    at: Instant


class MappedSince(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Since when the gateway says that it has opened a port."""

    endpoint: EndpointText
    at: Instant


class ReachabilityEvidence(Message):
    """From the swarm to itself (standing): what it knows of its reachability, to know it after a restart.

    `network` tells in which networks the host was: elsewhere nothing of this holds.
    """

    network: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)]
    answers: Annotated[tuple[ReachedAnswer, ...], Meta(max_length=64)] = ()
    seen: Annotated[tuple[SeenFrom, ...], Meta(max_length=32)] = ()
    unasked: Annotated[tuple[UnaskedConnection, ...], Meta(max_length=16)] = ()
    mapped: Annotated[tuple[MappedSince, ...], Meta(max_length=8)] = ()


class RecalledPeers(Message):
    """From the vault: the answer to RecallPeers, or a part of it; of each kind the most useful come first."""

    peers: Annotated[tuple[RememberedPeer, ...], Meta(max_length=128)] = ()


class PortMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gateway says that leads to a port of this node: an IPv4 address as text, and a port of it."""

    protocol: PortProtocol
    port: PortNumber
    external_host: Annotated[str, Meta(max_length=15)]
    external_port: PortNumber


class PortMappings(Message):
    """From lan (standing): what the gateway has opened for this node now. A claim of the gateway's."""

    mappings: Annotated[tuple[PortMapping, ...], Meta(max_length=8)]


SwarmInbox = (
    SwarmIdentity
    | Serve
    | Ask
    | PeerReply
    | KnownPeer
    | ForgetPeer
    | Bootstrap
    | KadRequest
    | ClosestServers
    | Listening
    | ReachabilityEvidence
    | RecalledPeers
    | PortMappings
    | SessionEnded
    | Undeliverable
)
decode: Decoder[SwarmInbox] = Decoder(SwarmInbox)

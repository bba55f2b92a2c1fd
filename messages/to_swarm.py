"""What the swarm accepts."""

from typing import Annotated, Literal

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import SessionEnded, Undeliverable
from .types import Addresses, Bytes32, PeerId, RequestId, Role, Seconds, WireFrame

RoutingKey = Annotated[bytes, Meta(min_length=1, max_length=80)]
"""A Kademlia key as it stands in a request: a peer id, or a provider key (34-byte multihash)."""


class SwarmIdentity(Message):
    """From the vault (standing): the transport key's Ed25519 seed. Without it the swarm does not start."""

    seed: Bytes32


class Serve(Message):
    """From a session (standing): hand it frames whose code_id fits `route_key`. `role` is the session's.

    `key`, of an initiator: answer GET_PROVIDERS for it with this node itself. All of it holds until the
    session ends.
    """

    route_key: Bytes32
    role: Role
    key: RoutingKey | None = None


class Ask(Message):
    """From a session: send one request frame to a peer, dialling when needed, and wait for the answer.

    With no addresses only connections that exist are used. Answer: PeerAnswer or PeerUnreachable,
    within `timeout` seconds.
    """

    request: RequestId
    peer: PeerId
    addresses: Addresses
    frame: WireFrame
    timeout: Seconds = 10.0


class PeerReply(Message):
    """From a session or the vault: the answer frame to a PeerRequest or SettleRequest."""

    request: RequestId
    frame: WireFrame


class KnownPeer(Message):
    """From the vault (standing, one for each peer): decisions of `peer` that fit no session go to the vault.

    `settle`: a decision frame to repeat whenever there is contact with the peer, until it is withdrawn
    or replaced; the answer goes to the vault as Settled.
    """

    peer: PeerId
    settle: WireFrame | None = None


class ForgetPeer(Message):
    """From the vault: withdraws KnownPeer, and closes connections with the peer."""

    peer: PeerId


class Bootstrap(Message):
    """From discovery: connect to this DHT server if not connected, and offer it to the routing table."""

    peer: PeerId
    addresses: Addresses


class KadRequest(Message):
    """From discovery: one Kademlia request to one peer. Answer: KadReply or KadFailed, within `timeout`."""

    request: RequestId
    peer: PeerId
    addresses: Addresses
    op: Literal["find_node", "get_providers", "add_provider"]
    key: RoutingKey
    timeout: Seconds = 2.0


class ClosestServers(Message):
    """From discovery: the servers of the routing table closest to `key`, at most 20. Answer: Servers."""

    request: RequestId
    key: RoutingKey


class Listening(Message):
    """From the swarm to itself (standing): where it listens, so that a restart takes the same ports."""

    addresses: Addresses


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
    | SessionEnded
    | Undeliverable
)
decode: Decoder[SwarmInbox] = Decoder(SwarmInbox)

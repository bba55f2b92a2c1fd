"""What a session accepts."""

from typing import Annotated, Literal

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import ActorRestarted
from .types import (
    Addresses,
    Bytes16,
    Bytes32,
    Bytes64,
    ConnectionKind,
    Finder,
    PeerAddresses,
    PeerId,
    Reason,
    RequestId,
    Seconds,
    SessionId,
    WireFrame,
)


class StartPairing(Message):
    """From the gateway; makes the session. It shows a new code that lives `lifetime` seconds.

    `own_peer` and `own_key` are the node's own (to_gateway.NodeIdentity): every transcript names them.
    """

    session: SessionId
    lifetime: Annotated[float, Meta(ge=1, le=3600)]
    own_peer: PeerId
    own_key: Bytes32


class JoinPairing(Message):
    """From the gateway; makes the session. It looks for whoever shows `code` (16 bytes: secret).

    `own_peer` and `own_key` as in StartPairing.
    """

    session: SessionId
    code: Bytes16
    own_peer: PeerId
    own_key: Bytes32
    hints: Annotated[tuple[PeerAddresses, ...], Meta(max_length=4)] = ()
    timeout: Seconds = 60.0


class Decide(Message):
    """From the gateway: the user's decision. The first is final; a contrary one is ignored."""

    accept: bool


class CancelPairing(Message):
    """From the gateway: the user gives up. From the supervisor: the node stops. Ignored after accepting."""


class PeerRequest(Message):
    """From the swarm: a peer sent a request frame whose code_id is this session's for that peer."""

    request: RequestId
    peer: PeerId
    frame: WireFrame
    path: ConnectionKind


class PeerAnswer(Message):
    """From the swarm: the answer to an Ask, by the peer that the Ask named."""

    request: RequestId
    frame: WireFrame
    path: ConnectionKind


class PeerUnreachable(Message):
    """From the swarm: an Ask got no answer (no address works, stream reset, time-out)."""

    request: RequestId
    reason: Reason


class CandidateFound(Message):
    """From discovery: a peer that may be showing the code. May repeat with more addresses or finders."""

    peer: PeerId
    addresses: Addresses
    finders: Annotated[tuple[Finder, ...], Meta(min_length=1, max_length=4)]


class Signed(Message):
    """From the vault: the answer to SignIdentity. `info` is the frame of a wire.DeviceInfo."""

    request: RequestId
    info: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    signature: Bytes64


class Stored(Message):
    """From the vault: the device is durable in `state`."""

    request: RequestId
    state: Literal["unconfirmed", "paired"]


class StoreRefused(Message):
    """From the vault: the device was not stored (not accepted, not vouched for, bad signature …)."""

    request: RequestId
    reason: Reason


SessionInbox = (
    StartPairing
    | JoinPairing
    | Decide
    | CancelPairing
    | PeerRequest
    | PeerAnswer
    | PeerUnreachable
    | CandidateFound
    | Signed
    | Stored
    | StoreRefused
    | ActorRestarted
)
decode: Decoder[SessionInbox] = Decoder(SessionInbox)

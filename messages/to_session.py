"""What a session accepts: the user's will, frames of peers, candidates, and the vault's answers."""

from typing import Annotated, Literal

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import ActorRestarted
from .types import (
    MAX_CODE_LIFETIME_SECONDS,
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
    Transport,
    WireFrame,
)


class StartPairing(Message):
    """From the gateway, as the first message: show a new code that lives `lifetime` seconds.

    It makes the session's process. `own_peer` and `own_key` are this node's (to_gateway.NodeIdentity), which
    every transcript names.
    """

    session: SessionId
    lifetime: Annotated[float, Meta(ge=1, le=MAX_CODE_LIFETIME_SECONDS)]
    own_peer: PeerId
    own_key: Bytes32


class JoinPairing(Message):
    """From the gateway, as the first message: look for the device that shows `code` (16 bytes, secret).

    It makes the session's process. The search ends after `timeout` seconds. `hints` (at most 4) come from a
    QR code and are not trusted. `own_peer` and `own_key` as in StartPairing.
    """

    session: SessionId
    code: Bytes16
    own_peer: PeerId
    own_key: Bytes32
    hints: Annotated[tuple[PeerAddresses, ...], Meta(max_length=4)] = ()
    timeout: Seconds = 60.0


class Decide(Message):
    """From the gateway: the user's decision. The first is final; a later, contrary one is ignored."""

    _logged = ("accept",)

    accept: bool


class CancelPairing(Message):
    """From the gateway: the user cancels. From the supervisor: the node stops. Ignored after accepting."""

    _logged = ("node_stops",)

    node_stops: bool = False


class PeerRequest(Message):
    """From the swarm: a request frame of `peer` that names this session's code. Answer: to_swarm.PeerReply.

    The session compares the code_id again: it does not trust the swarm. `path` and `transport` are those of
    the connection.
    """

    _logged = ("path", "transport")

    request: RequestId
    peer: PeerId
    frame: WireFrame
    path: ConnectionKind
    transport: Transport = "tcp"


class PeerAnswer(Message):
    """From the swarm: the frame with which the peer of an Ask answered."""

    _logged = ("path", "transport")

    request: RequestId
    frame: WireFrame
    path: ConnectionKind
    transport: Transport = "tcp"


class PeerUnreachable(Message):
    """From the swarm: an Ask got no answer: no address works, the stream was reset, or time ran out."""

    _logged = ("reason",)

    request: RequestId
    reason: Reason


class CandidateFound(Message):
    """From discovery: a peer that may be showing the code. May repeat with more addresses or finders."""

    _logged = ("finders",)

    peer: PeerId
    addresses: Addresses
    finders: Annotated[tuple[Finder, ...], Meta(min_length=1, max_length=4)]
    hearsay: Addresses = ()
    """Those of `addresses` that only third parties have named."""


class Signed(Message):
    """From the vault: the answer to SignIdentity. `info` is the frame of a peer_protocol.DeviceInfo."""

    request: RequestId
    info: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    signature: Bytes64


class Stored(Message):
    """From the vault: the device is stored durably, in this state. Answers StoreDevice and ConfirmDevice.

    `paired` answers a StoreDevice of a decision that was acknowledged before. `unconfirmed` answers a
    ConfirmDevice that could not be written: the record stays, and settles later.
    """

    _logged = ("state",)

    request: RequestId
    state: Literal["unconfirmed", "paired"]


class StoreRefused(Message):
    """From the vault: the device was not stored; `reason` says why, for the log."""

    _logged = ("reason",)

    request: RequestId
    reason: Reason


class DeviceForgotten(Message):
    """From the vault: the user has forgotten this device; a pairing with it that is under way ends."""

    device_id: Bytes16


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
    | DeviceForgotten
    | ActorRestarted
)
decode: Decoder[SessionInbox] = Decoder(SessionInbox)

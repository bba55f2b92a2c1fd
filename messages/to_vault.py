"""What the vault accepts."""

from typing import Annotated

from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import SessionEnded
from .types import Bytes32, Bytes64, DeviceName, PeerId, RequestId, Role, SessionId, WireFrame


class SignIdentity(Message):
    """From a session: describe and sign this device for the transcript hash `th` (docs/protocol.md).

    The vault puts the info and the signed string together itself. `nonce` is the joiner's, else None.
    Answer: to_session.Signed.
    """

    request: RequestId
    role: Role
    th: Bytes32
    nonce: Bytes32 | None = None


class StoreDevice(Message):
    """From a session: trust the other device, as `unconfirmed`. Answer: Stored or StoreRefused.

    The vault checks all of it: the user's Accept for exactly this session, key and th3; the swarm's
    PeerEvidence for this session and peer; the signature over `info` as `role` at transcript hash `th`.
    """

    request: RequestId
    role: Role
    """Role of the *other* device, whose signature this is."""
    th: Bytes32
    peer: PeerId
    info: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    signature: Bytes64
    th3: Bytes32
    secret: Bytes32
    """K("pairing secret", th3)."""
    decision: WireFrame
    """Own PairingDecision frame, repeated while unconfirmed."""
    expected_mac: Bytes32
    """The mac that the other's DecisionReceived for it must carry."""
    peer_decision: WireFrame
    """The other's PairingDecision frame, as received."""
    reply: WireFrame
    """Own DecisionReceived for it, repeated from the store."""


class ConfirmDevice(Message):
    """From a session: the own decision has been acknowledged; unconfirmed → paired. Answer: Stored."""

    request: RequestId
    th3: Bytes32


class PeerEvidence(Message):
    """From the swarm: frames of this session came over a connection on which `peer` proved its key."""

    session: SessionId
    peer: PeerId


class SettleRequest(Message):
    """From the swarm: a PairingDecision from a known peer that belongs to no live session.

    Answer: to_swarm.PeerReply with the kept reply, or Refused{closed}.
    """

    request: RequestId
    peer: PeerId
    frame: WireFrame


class Settled(Message):
    """From the swarm: what `peer` answered to the decision that to_swarm.KnownPeer asked to repeat."""

    peer: PeerId
    frame: WireFrame


class Accept(Message):
    """From the gateway: the user accepted the device with this key, shown for this transcript."""

    session: SessionId
    public_key: Bytes32
    th3: Bytes32


class ListDevices(Message):
    """From the gateway: up to 64 devices in order of device id, after `after`. Answer: to_gateway.Devices."""

    request: RequestId
    after: Annotated[bytes, Meta(max_length=16)] = b""


class RenameDevice(Message):
    """From the gateway. Answer: to_gateway.DeviceChanged or VaultError."""

    request: RequestId
    device_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    name: DeviceName


class ForgetDevice(Message):
    """From the gateway: remove the device and its secret. Answer: to_gateway.DeviceChanged or VaultError."""

    request: RequestId
    device_id: Annotated[bytes, Meta(min_length=16, max_length=16)]


VaultInbox = (
    SignIdentity
    | StoreDevice
    | ConfirmDevice
    | PeerEvidence
    | SettleRequest
    | Settled
    | Accept
    | ListDevices
    | RenameDevice
    | ForgetDevice
    | SessionEnded
)
decode: Decoder[VaultInbox] = Decoder(VaultInbox)

"""What the vault accepts (docs/architecture.md, "Vault").

A session's requests are claims. What they are checked with comes from others: Accept from the gateway, and
PeerEvidence from the swarm.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import SessionEnded
from .types import (
    Bytes32,
    Bytes64,
    DeviceName,
    FewAddresses,
    Instant,
    PeerId,
    ProtocolId,
    RememberedKind,
    RequestId,
    Role,
    SessionId,
    WireFrame,
)

Times = Annotated[int, Meta(ge=0, le=1000)]
"""How often something happened; what is more counts as 1000."""


class SignIdentity(Message):
    """From a session: describe this device and sign the description. Answer: to_session.Signed.

    `th` is the transcript hash to sign for (th1 as joiner, th2 as initiator), `nonce` the joiner's nonce,
    None for an initiator. The vault puts the description and the signed string together itself
    (docs/protocol.md, "Identity").
    """

    _logged = ("role",)

    request: RequestId
    role: Role
    th: Bytes32
    nonce: Bytes32 | None = None


class StoreDevice(Message):
    """From a session: store the other device as `unconfirmed`, or at once as `paired` if the peer has
    `acknowledged` this side's decision. Answer: Stored or StoreRefused.

    The vault checks all of it. The user's Accept must name exactly this session, key and th3. The swarm's
    PeerEvidence must name this session and peer. The signature over `info` must verify, as `role`, at
    transcript hash `th`. And the transcript must be the one for which this session last had the vault sign:
    `response` leads from th1 to th2, one of which is `th` and the other was signed, and `confirmation` from
    th2 to `th3`. From `deadline` on nothing is stored: the session may have ended by then, and told the peer
    so.
    """

    request: RequestId
    role: Role
    """The role of the *other* device, which signed."""
    th: Bytes32
    peer: PeerId
    info: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    signature: Bytes64
    response: WireFrame
    """The frame ChallengeResponse."""
    confirmation: WireFrame
    """The frame ChallengeConfirmation."""
    th3: Bytes32
    secret: Bytes32
    """K("pairing secret", th3)."""
    decision: WireFrame
    """This side's PairingDecision frame, repeated while `unconfirmed`."""
    expected_mac: Bytes32
    """The mac that the other side's DecisionReceived for it must carry."""
    peer_decision: WireFrame
    """The other side's PairingDecision frame, as received."""
    reply: WireFrame
    """This side's DecisionReceived for it, with which the store answers repeats."""
    deadline: Instant
    acknowledged: bool = False
    """As ConfirmDevice, which then does not follow."""


class ConfirmDevice(Message):
    """From a session: the peer has acknowledged this side's decision. Answer: Stored or StoreRefused.

    The record of this session and transcript changes from `unconfirmed` to `paired`.
    """

    request: RequestId
    th3: Bytes32


class PeerEvidence(Message):
    """From the swarm: `peer` has proved its key on a connection, and over it the code to this session.

    Sent once for each peer. The vault records the latest 16 peers of each session. It comes from the swarm,
    not from the session, because a session that has been taken over could name any peer.
    """

    _logged = ("session",)

    session: SessionId
    peer: PeerId


class SettleRequest(Message):
    """From the swarm: a PairingDecision of a known peer that belongs to no running session.

    Answer: to_swarm.PeerReply with the kept reply, or with Refused{closed}.
    """

    request: RequestId
    peer: PeerId
    frame: WireFrame


class Settled(Message):
    """From the swarm: the answer of `peer` to the decision that to_swarm.KnownPeer asked to repeat.

    An acknowledgement with the right mac makes the record `paired`; Refused{closed} deletes it. No answer.
    """

    peer: PeerId
    frame: WireFrame


class Accept(Message):
    """From the gateway: the user accepted the device with this key, shown for this transcript.

    The first of a session is final. It names the very key, so that no other device can be stored for it. No
    answer.
    """

    _logged = ("session",)

    session: SessionId
    public_key: Bytes32
    th3: Bytes32


class ListDevices(Message):
    """From the gateway: list up to 64 devices whose id is greater than `after`. Answer: to_gateway.Devices.

    They come in order of device id.
    """

    request: RequestId
    after: Annotated[bytes, Meta(max_length=16)] = b""


class RenameDevice(Message):
    """From the gateway: give the device a name that only this node uses.

    Answer: to_gateway.DeviceChanged or VaultError.
    """

    request: RequestId
    device_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    name: DeviceName


class ForgetDevice(Message):
    """From the gateway: delete the device with its secrets.

    Answer: to_gateway.DeviceChanged or VaultError.
    """

    request: RequestId
    device_id: Annotated[bytes, Meta(min_length=16, max_length=16)]


class PeerReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one peer did since the last report: how often it answered, in time or slowly, did not, or lied.

    `addresses` are those at which it was reached, the newest first.
    """

    kind: RememberedKind
    peer: PeerId
    addresses: FewAddresses = ()
    answered: Times = 0
    slow: Times = 0
    dropped: Times = 0
    lied: Times = 0


class PeersBehaved(Message):
    """From the swarm: what peers did lately, for the memory of peers that are of use. No answer.

    `dht_protocol` is the protocol id of the DHT to which the servers belong.
    """

    dht_protocol: ProtocolId
    reports: Annotated[tuple[PeerReport, ...], Meta(max_length=64)]


class RecallPeers(Message):
    """From the swarm, at its start: which peers were of use before? Answer: to_swarm.RecalledPeers.

    Of servers, those of the DHT with the protocol id `dht_protocol`.
    """

    dht_protocol: ProtocolId


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
    | PeersBehaved
    | RecallPeers
    | SessionEnded
)
decode: Decoder[VaultInbox] = Decoder(VaultInbox)

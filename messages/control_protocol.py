"""The messages of the control socket: requests of clients, and the gateway's replies and events.

Frames are a u32 length and one map, at most 64 KiB. Every request carries an `id`, chosen by the client and
unique on its connection, and its one reply repeats it. A request that changes something carries a `key` of 16
random bytes as well: a repeat with the same key, on any connection, gets the first answer. So a client that
lost its connection can safely repeat. See docs/interfaces.md, "Control socket".
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .base import Decoder, Message
from .from_supervisor import SandboxGaps
from .peer_id_text import peer_id_text
from .secret_struct import RedactedStruct
from .to_gateway import ActorInfo, Device, Fingerprint, ReloadReport
from .types import (
    MAX_CODE_LIFETIME_SECONDS,
    MIN_CODE_LIFETIME_SECONDS,
    Addresses,
    Bytes16,
    Bytes32,
    ConnectionKind,
    DeviceName,
    DhtMode,
    MdnsState,
    Outcome,
    PeerId,
    Reason,
    RequestId,
    Role,
    SessionId,
    ShortText,
    Stage,
    Transport,
)

ErrorCode = Literal[
    "bad_request", "bad_code", "no_such_session", "no_such_device", "invalid_name", "already_decided",
    "not_deciding", "busy", "not_ready", "stopping", "internal",
]  # fmt: skip


class StartPairing(Message):
    """From a client: show a code that lives `lifetime` seconds. Reply: SessionStarted.

    None: as long as the node is configured.
    """

    id: RequestId
    key: Bytes16
    lifetime: Annotated[float, Meta(ge=MIN_CODE_LIFETIME_SECONDS, le=MAX_CODE_LIFETIME_SECONDS)] | None = None


class JoinPairing(Message):
    """From a client: enter a code. Reply: SessionStarted, or Error bad_code.

    `code` is twelve words, or the text of a QR code. The search ends after `timeout` seconds.
    """

    _secret = frozenset({"code"})

    id: RequestId
    key: Bytes16
    code: Annotated[str, Meta(max_length=4096)]
    timeout: Annotated[float, Meta(ge=1, le=MAX_CODE_LIFETIME_SECONDS)] = 60.0


class Decide(Message):
    """From a client: accept or reject the device that the session shows. The first decision is final.

    `public_key` is the device that the user saw; Error not_deciding if the session shows another one. Reply:
    Done.
    """

    id: RequestId
    key: Bytes16
    session: SessionId
    accept: bool
    public_key: Bytes32 | None = None


class CancelPairing(Message):
    """From a client: cancel a pairing. Reply: Done, or Error already_decided after an acceptance."""

    id: RequestId
    key: Bytes16
    session: SessionId


class ListSessions(Message):
    """From a client: list the sessions, running and recently ended. Reply: Sessions.

    Without `after`: those that run, oldest first, then those that are over, newest first. With it: those
    whose id is greater, in order of id; "" begins. A complete list of more than one page is read so.
    """

    id: RequestId
    after: Annotated[str, Meta(pattern="^[0-9a-f]{0,16}$")] | UnsetType = UNSET


class ListDevices(Message):
    """From a client: list at most 64 devices whose id is greater than `after`. Reply: DeviceList."""

    id: RequestId
    after: Annotated[bytes, Meta(max_length=16)] = b""


class RenameDevice(Message):
    """From a client: give a device a name that only this node uses. Reply: Done, or Error."""

    id: RequestId
    key: Bytes16
    device_id: Bytes16
    name: DeviceName


class ForgetDevice(Message):
    """From a client: delete a device and its secrets. Reply: Done, or Error no_such_device."""

    id: RequestId
    key: Bytes16
    device_id: Bytes16


class Status(Message):
    """From a client: describe this node. Reply: NodeStatus."""

    id: RequestId


class ListActors(Message):
    """From a client: describe the node's processes. Reply: ActorList, or Error busy.

    With `after`: those that come after that actor in the list that was last made. `busy`: another list has
    been made since, and that actor is not in it; begin again.
    """

    id: RequestId
    after: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET


class Reload(Message):
    """From a client: read the settings again, and change what differs. Reply: Reloaded, within some seconds.

    With `check` nothing is changed. While the report says `running`, repeat it with the same key.
    """

    id: RequestId
    key: Bytes16
    check: bool = False


class Subscribe(Message):
    """From a client: report the states of a session, or of all. Reply: Done, then SessionEvents.

    The first events are the present states; then one follows for every change.
    """

    id: RequestId
    session: SessionId | None = None


class WatchDevices(Message):
    """From a client: say when the trusted devices may have changed. Reply: Done, then DevicesChanged.

    The first DevicesChanged follows Done at once. It has no end of its own and counts as a subscription.
    """

    id: RequestId


class Shutdown(Message):
    """From a client: end the sessions and stop the node. Reply: Done."""

    id: RequestId
    key: Bytes16


Request = (
    StartPairing
    | JoinPairing
    | Decide
    | CancelPairing
    | ListSessions
    | ListDevices
    | RenameDevice
    | ForgetDevice
    | Status
    | ListActors
    | Reload
    | Subscribe
    | WatchDevices
    | Shutdown
)
decode_request: Decoder[Request] = Decoder(Request)


class SessionStarted(Message):
    """Reply: the session exists. Subscribe to it to see what happens."""

    id: RequestId
    session: SessionId


class Done(Message):
    """Reply: the request took effect."""

    id: RequestId


class ShownDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device on the other side, as the user is shown it."""

    device_id: Bytes16
    name: DeviceName
    os: ShortText
    peer: PeerId
    public_key: Bytes32

    @property
    def peer_id(self) -> str:
        """The peer id as text, "12D3Koo…"; `peer` has its bytes."""
        return peer_id_text(self.peer)


class SessionState(RedactedStruct):
    """A session as a client sees it. Its stage never goes back.

    `expires_in` and `seconds` are durations in seconds: until the code expires, and that the pairing took.
    """

    _secret = frozenset({"words", "qr"})

    session: SessionId
    role: Role
    stage: Stage
    words: str | None = None
    qr: str | None = None
    expires_in: float | None = None
    device: ShownDevice | None = None
    check: str | None = None
    accepted: bool | None = None
    outcome: Outcome | None = None
    message: Reason = ""
    fingerprint: Fingerprint | None = None
    seconds: float | None = None
    path: ConnectionKind | None = None
    transport: Transport | None = None


class Sessions(Message):
    """Reply to ListSessions: at most 128. `more`, which is left out otherwise: there are others."""

    id: RequestId
    sessions: Annotated[tuple[SessionState, ...], Meta(max_length=128)]
    more: bool | UnsetType = UNSET


class SessionEvent(Message):
    """Event: the complete state of one session. `id` is that of the Subscribe."""

    id: RequestId
    state: SessionState


class DevicesChanged(Message):
    """Event: the trusted devices may have changed; list them. `id` is that of the WatchDevices.

    While one has not been sent yet, another is not queued behind it.
    """

    id: RequestId


class DeviceList(Message):
    """Reply to ListDevices. `more`: others follow the last."""

    id: RequestId
    devices: Annotated[tuple[Device, ...], Meta(max_length=64)]
    more: bool


class NodeStatus(Message):
    """Reply to Status. A field is empty until the part of the node that knows it has reported.

    `addresses` are announced; `listening` are those of the listeners. `mdns_interfaces`: on so many a code is
    announced or looked for. `sandbox_gaps`: which actors that run lack which step of their sandbox.
    """

    id: RequestId
    name: str
    peer: bytes
    version: str
    addresses: Addresses
    reachability: str
    dht_mode: DhtMode
    dht_peers: int
    sessions_active: int
    sessions_limit: int
    ready: bool
    missing: tuple[str, ...] = ()
    listening: Addresses = ()
    mdns: MdnsState = "off"
    mdns_interfaces: int = 0
    lan_only: bool = False
    offline: bool = False
    sandbox_gaps: SandboxGaps = ()

    @property
    def peer_id(self) -> str:
        """The peer id as text, "12D3Koo…"; `peer` has its bytes."""
        return peer_id_text(self.peer)


class ActorList(Message):
    """Reply to ListActors. `more`, which is left out otherwise: others follow the last."""

    id: RequestId
    actors: tuple[ActorInfo, ...]
    more: bool | UnsetType = UNSET


class Reloaded(Message):
    """Reply to Reload."""

    id: RequestId
    report: ReloadReport


class Error(Message):
    """Reply: the request was refused. `message` says why and what to do, and holds no secret."""

    id: RequestId
    code: ErrorCode
    message: Reason


Reply = (
    SessionStarted
    | Done
    | Sessions
    | SessionEvent
    | DevicesChanged
    | DeviceList
    | NodeStatus
    | ActorList
    | Reloaded
    | Error
)
decode_reply: Decoder[Reply] = Decoder(Reply)

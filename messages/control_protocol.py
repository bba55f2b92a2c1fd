"""The control socket (docs/interfaces.md): requests, replies and events of clients of the gateway.

Frames as on the wire: u32 length and one map, at most 64 KiB. Every request carries `id`, chosen by the
client and unique on its connection; the one reply repeats it. Requests that change something carry a
`key` of 16 random bytes as well: a repeat with the same key gets the first answer, on any connection.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .secret_struct import RedactedStruct
from .to_gateway import ActorInfo, Device, Fingerprint
from .types import (
    MAX_CODE_LIFETIME_SECONDS,
    MIN_CODE_LIFETIME_SECONDS,
    Addresses,
    Bytes16,
    Bytes32,
    ConnectionKind,
    DeviceName,
    DhtMode,
    Outcome,
    PeerId,
    Reason,
    RequestId,
    Role,
    SessionId,
    ShortText,
    Stage,
)

ErrorCode = Literal[
    "bad_request", "bad_code", "no_such_session", "no_such_device", "invalid_name", "already_decided",
    "not_deciding", "busy", "not_ready", "stopping", "internal",
]  # fmt: skip


class StartPairing(Message):
    """Show a code. Reply: SessionStarted."""

    id: RequestId
    key: Bytes16
    lifetime: Annotated[float, Meta(ge=MIN_CODE_LIFETIME_SECONDS, le=MAX_CODE_LIFETIME_SECONDS)] | None = None


class JoinPairing(Message):
    """Enter a code: twelve words, or the text of a QR code. Reply: SessionStarted, or Error bad_code."""

    _secret = frozenset({"code"})

    id: RequestId
    key: Bytes16
    code: Annotated[str, Meta(max_length=4096)]
    timeout: Annotated[float, Meta(ge=1, le=MAX_CODE_LIFETIME_SECONDS)] = 60.0


class Decide(Message):
    """Accept or reject the device that the session shows. Reply: Done; the first decision is final.

    `public_key`: the device that the user saw; Error not_deciding when the session shows another one.
    """

    id: RequestId
    key: Bytes16
    session: SessionId
    accept: bool
    public_key: Bytes32 | None = None


class CancelPairing(Message):
    """Give up a pairing. Reply: Done, or Error already_decided after an acceptance."""

    id: RequestId
    key: Bytes16
    session: SessionId


class ListSessions(Message):
    """Reply: Sessions."""

    id: RequestId


class ListDevices(Message):
    """Reply: DeviceList, at most 64 in order of device id after `after`."""

    id: RequestId
    after: Annotated[bytes, Meta(max_length=16)] = b""


class RenameDevice(Message):
    """Reply: Done."""

    id: RequestId
    key: Bytes16
    device_id: Bytes16
    name: DeviceName


class ForgetDevice(Message):
    """Reply: Done."""

    id: RequestId
    key: Bytes16
    device_id: Bytes16


class Status(Message):
    """Reply: NodeStatus."""

    id: RequestId


class ListActors(Message):
    """Reply: ActorList."""

    id: RequestId


class Subscribe(Message):
    """Reply: Done; then SessionEvents, first the present state of each session (or of the one named)."""

    id: RequestId
    session: SessionId | None = None


class Shutdown(Message):
    """Drain and stop the node. Reply: Done."""

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
    | Subscribe
    | Shutdown
)
decode_request: Decoder[Request] = Decoder(Request)


class SessionStarted(Message):
    """A session exists; subscribe to it for what happens."""

    id: RequestId
    session: SessionId


class Done(Message):
    """The request took effect."""

    id: RequestId


class ShownDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device on the other side."""

    device_id: Bytes16
    name: DeviceName
    os: ShortText
    peer: PeerId
    public_key: Bytes32


class SessionState(RedactedStruct):
    """A session as a client sees it; states of one session are monotonic. Times are seconds from now."""

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


class Sessions(Message):
    """Reply to ListSessions."""

    id: RequestId
    sessions: Annotated[tuple[SessionState, ...], Meta(max_length=128)]


class SessionEvent(Message):
    """The state of one session, whole. `id` is that of the Subscribe."""

    id: RequestId
    state: SessionState


class DeviceList(Message):
    """Reply to ListDevices; `more` says that others follow the last."""

    id: RequestId
    devices: Annotated[tuple[Device, ...], Meta(max_length=64)]
    more: bool


class NodeStatus(Message):
    """Reply to Status. What a part has not said yet is empty."""

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


class ActorList(Message):
    """Reply to ListActors."""

    id: RequestId
    actors: tuple[ActorInfo, ...]


class Error(Message):
    """The request was refused; `message` says what happened and what to do, and holds no secret."""

    id: RequestId
    code: ErrorCode
    message: Reason


Reply = SessionStarted | Done | Sessions | SessionEvent | DeviceList | NodeStatus | ActorList | Error
decode_reply: Decoder[Reply] = Decoder(Reply)

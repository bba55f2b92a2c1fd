"""What the gateway accepts."""

from typing import Annotated

import msgspec
from msgspec import Meta

from .base import Decoder, Message
from .from_supervisor import SessionEnded, Undeliverable
from .types import (
    Addresses,
    Bytes16,
    Bytes32,
    ConnectionKind,
    DeviceName,
    DeviceState,
    DhtMode,
    Instant,
    Outcome,
    PeerId,
    Reason,
    RequestId,
    Role,
    SessionId,
    ShortText,
    Stage,
)

Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class SeenDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device on the other side, as it has proved itself."""

    device_id: Bytes16
    name: DeviceName
    os: ShortText
    public_key: Bytes32
    peer: PeerId


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user decides about. `check` is six digits; `th3` names the transcript for the vault."""

    device: SeenDevice
    check: Annotated[str, Meta(pattern="^[0-9]{6}$")]
    th3: Bytes32


class SessionView(Message):
    """From a session (standing, kept a while after its end): all that a user may see of it.

    `code` (16 bytes, secret) is there for an initiator until the code is claimed or the session ends.
    `stage` never goes back. `outcome` is set once, with `message` for people; then also `fingerprint`,
    `seconds` and `path` when it is `paired`.
    """

    session: SessionId
    role: Role
    stage: Stage
    started: Instant
    code: Bytes16 | None = None
    expires: Instant | None = None
    confirmation: Confirmation | None = None
    accepted: bool | None = None
    outcome: Outcome | None = None
    message: Reason = ""
    fingerprint: Fingerprint | None = None
    seconds: float | None = None
    path: ConnectionKind | None = None


class NodeIdentity(Message):
    """From the vault (standing): who this device is."""

    device_id: Bytes16
    name: DeviceName
    public_key: Bytes32
    peer: PeerId


class SwarmStatus(Message):
    """From the swarm (standing): where the node can be reached, and the state of its DHT."""

    peer: PeerId
    addresses: Addresses
    reachability: Annotated[str, Meta(max_length=16)]
    dht_mode: DhtMode
    dht_peers: int


class Readiness(Message):
    """From vault, swarm and discovery (standing, one for each part): whether that part is ready."""

    part: Annotated[str, Meta(pattern="^(vault|swarm|dht)$")]
    ready: bool
    detail: Reason = ""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trusted device as the vault keeps it. `paired_at` is Unix time in seconds."""

    device_id: Bytes16
    name: DeviceName
    os: ShortText
    peer: PeerId
    public_key: Bytes32
    state: DeviceState
    paired_at: float
    fingerprint: Fingerprint


class Devices(Message):
    """From the vault: one page of devices; `more` says that others follow."""

    request: RequestId
    devices: Annotated[tuple[Device, ...], Meta(max_length=64)]
    more: bool


class DeviceChanged(Message):
    """From the vault: the rename or removal is durable."""

    request: RequestId


class VaultError(Message):
    """From the vault: the request was refused."""

    request: RequestId
    code: Annotated[str, Meta(pattern="^(no_such_device|invalid_name)$")]
    message: Reason


class ActorInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process of the tree."""

    actor: str
    pid: int
    state: str
    restarts: int
    uptime_seconds: float
    mailbox: int
    rss_bytes: int
    private_bytes: int


class Actors(Message):
    """From the supervisor: the live tree, in order of start."""

    request: RequestId
    actors: tuple[ActorInfo, ...]


class SessionLimit(Message):
    """From the supervisor (standing): how many sessions may run at once."""

    limit: int


GatewayInbox = (
    SessionView
    | NodeIdentity
    | SwarmStatus
    | Readiness
    | Devices
    | DeviceChanged
    | VaultError
    | Actors
    | SessionLimit
    | SessionEnded
    | Undeliverable
)
decode: Decoder[GatewayInbox] = Decoder(GatewayInbox)

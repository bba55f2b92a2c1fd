"""What the gateway accepts: the states of sessions and node that it shows, and answers to its requests."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import CONTROL_LIMIT, LENGTH_BYTES, Decoder, Message
from .from_supervisor import ActorDown, ActorRestarted, Alive, SessionEnded, Undeliverable
from .peer_id_text import peer_id_text
from .types import (
    Addresses,
    Bytes16,
    Bytes32,
    ConnectionKind,
    DeviceName,
    DeviceState,
    DhtMode,
    Outcome,
    PeerId,
    Reachability,
    Reason,
    RequestId,
    Role,
    Seconds,
    SessionId,
    ShortText,
    Stage,
    Transport,
)

MAX_LAN_INTERFACES = 16
"""On so many interfaces lan multicasts, at most."""
ReloadState = Literal["running", "unchanged", "possible", "applied", "refused", "undone"]
ChangedValue = Annotated[str, Meta(max_length=256)]
ReloadReason = Annotated[str, Meta(max_length=500)]
Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class SeenDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device on the other side as it has proved itself to the session."""

    device_id: Bytes16
    name: DeviceName
    os: ShortText
    public_key: Bytes32
    peer: PeerId


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user decides about: a device, and the check value, six digits that both may compare.

    `th3` names the transcript. The gateway repeats it to the vault, with the key that was shown
    (to_vault.Accept).
    """

    device: SeenDevice
    check: Annotated[str, Meta(pattern="^[0-9]{6}$")]
    th3: Bytes32


class SessionView(Message):
    """From a session (standing, kept for a while after its end): everything that a user may see of it.

    `started` and `expires` count from the boot. `code` (16 bytes, secret) is set for an initiator until the
    code is claimed or the session ends. `stage` never goes back. `outcome` is set once, with `message` for
    people; then also `fingerprint`, `seconds`, `path` and `transport` if it is `paired`.
    """

    _logged = ("stage", "accepted", "outcome")

    session: SessionId
    role: Role
    stage: Stage
    started: Seconds
    code: Bytes16 | None = None
    expires: Seconds | None = None
    confirmation: Confirmation | None = None
    accepted: bool | None = None
    outcome: Outcome | None = None
    message: Reason = ""
    fingerprint: Fingerprint | None = None
    seconds: Seconds | None = None
    path: ConnectionKind | None = None
    transport: Transport | None = None


class NodeIdentity(Message):
    """From the vault (standing): this device's id, name and keys. Sessions start when it is there."""

    device_id: Bytes16
    name: DeviceName
    public_key: Bytes32
    peer: PeerId


class SwarmStatus(Message):
    """From the swarm (standing): where this node can be reached, and the state of its DHT.

    `addresses` are announced; `listening` are those of the listeners, as configured but for the port.
    """

    peer: PeerId
    addresses: Addresses
    reachability: Reachability
    dht_mode: DhtMode
    dht_peers: int
    listening: Addresses = ()


class LanStatus(Message):
    """From lan (standing): whether a code is announced by mDNS or looked for, and on how many interfaces."""

    announcing: bool
    browsing: bool
    interfaces: Annotated[int, Meta(ge=0, le=MAX_LAN_INTERFACES)]


class Readiness(Message):
    """From vault, swarm and discovery (standing, `slot` is the part): whether that part is ready.

    Discovery's part is called `dht`. `detail` says what is missing. Metrics gets it too, for /readyz.
    """

    part: Annotated[str, Meta(pattern="^(vault|swarm|dht)$")]
    ready: bool
    detail: Reason = ""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stored device. `paired_at` is Unix time in seconds."""

    device_id: Bytes16
    name: DeviceName
    os: ShortText
    peer: PeerId
    public_key: Bytes32
    state: DeviceState
    paired_at: float
    fingerprint: Fingerprint

    @property
    def peer_id(self) -> str:
        """The peer id as text, "12D3Koo…"; `peer` has its bytes."""
        return peer_id_text(self.peer)


class Devices(Message):
    """From the vault: the answer to ListDevices, at most 64. `more`: others follow the last."""

    request: RequestId
    devices: Annotated[tuple[Device, ...], Meta(max_length=64)]
    more: bool


class DeviceChanged(Message):
    """From the vault: the device is renamed or deleted, durably. Answers RenameDevice and ForgetDevice."""

    request: RequestId


class StoredDevicesChanged(Message):
    """From the vault: the devices are others than before, and no client and no session has shown it so.

    A pairing that an ended session had left `unconfirmed` is settled, or what was stored too late is taken
    back.
    """


class VaultError(Message):
    """From the vault: a RenameDevice or ForgetDevice changed nothing; `message` is for the user."""

    request: RequestId
    code: Annotated[str, Meta(pattern="^(no_such_device|invalid_name|not_stored)$")]
    message: Reason


class ActorInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process. `mailbox` counts messages that wait for it; memory is 0 where it was not asked for."""

    actor: str
    pid: int
    state: str
    restarts: int
    uptime_seconds: float
    mailbox: int
    rss_bytes: int = 0
    private_bytes: int = 0


class Actors(Message):
    """From the supervisor: the answer to ListActors, all running actors in the order of their start."""

    request: RequestId
    actors: tuple[ActorInfo, ...]


class SessionLimit(Message):
    """From the supervisor (standing): how many sessions may run at once."""

    limit: int


class PageFrames(Message):
    """From web: one request of the control protocol, in its frame, on this connection of the page.

    A connection begins with its first frame, and ends with the first frame of the next one.
    """

    connection: RequestId
    frames: Annotated[bytes, Meta(max_length=CONTROL_LIMIT + LENGTH_BYTES)]


class FramesRead(Message):
    """From web: it has read the last GatewayFrames of that connection, and takes the next."""

    connection: RequestId


class SettingChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A setting whose value is another one than the node runs with, as texts; long ones are cut.

    `needs_restart`: it cannot change while the node runs.
    """

    key: ShortText
    former: ChangedValue
    new: ChangedValue
    needs_restart: bool = False


class ReloadReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reload has come to.

    `state`: `running`, ask again with the same key; `unchanged`, the settings are those that the node runs
    with; `possible`, they could be changed, and only that was asked; `applied`; `refused`, nothing was
    changed; `undone`, an actor did not get to work with the new settings, and all have the former ones again.
    `actors` have been started again, started or stopped, or would be; while it is running, the one whose turn
    it is. `reasons` say why, a line each.
    """

    state: ReloadState
    changes: Annotated[tuple[SettingChange, ...], Meta(max_length=32)] = ()
    actors: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    reasons: Annotated[tuple[ReloadReason, ...], Meta(max_length=32)] = ()


class Reloaded(Message):
    """From the supervisor: the answer to Reload, within a second; then its state may be `running`."""

    request: RequestId
    report: ReloadReport


GatewayInbox = (
    SessionView
    | NodeIdentity
    | SwarmStatus
    | LanStatus
    | Readiness
    | Devices
    | DeviceChanged
    | StoredDevicesChanged
    | VaultError
    | Actors
    | Reloaded
    | SessionLimit
    | SessionEnded
    | ActorDown
    | ActorRestarted
    | Alive
    | Undeliverable
    | PageFrames
    | FramesRead
)
decode: Decoder[GatewayInbox] = Decoder(GatewayInbox)

//! The messages of the control protocol (docs/control-protocol.md).
//!
//! Never does I/O. Fields that are not known here are ignored, and a new value of a closed list becomes
//! `Unknown`, as the document asks of clients. `tests/gateway/test_rust_client.py` holds this file and
//! closed_lists.rs to docs/control-protocol.schema.json, so each field stands on a line of its own.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::closed_lists::{DeviceState, ErrorCode, Outcome, ReloadState, Role, Stage};
use crate::ids::{DeviceId, Key, PeerId, PublicKey, SessionId};

/// What this client asks of a node. It has no `Debug`: one of them holds a code.
#[derive(Clone, Serialize)]
#[serde(tag = "t")]
pub(crate) enum Request {
    StartPairing {
        id: u64,
        key: Key,
        lifetime: Option<f64>,
    },
    JoinPairing {
        id: u64,
        key: Key,
        code: String,
        timeout: f64,
    },
    Decide {
        id: u64,
        key: Key,
        session: SessionId,
        accept: bool,
        public_key: Option<PublicKey>,
    },
    CancelPairing {
        id: u64,
        key: Key,
        session: SessionId,
    },
    ListSessions {
        id: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    ListDevices {
        id: u64,
        #[serde(with = "serde_bytes")]
        after: Vec<u8>,
    },
    RenameDevice {
        id: u64,
        key: Key,
        device_id: DeviceId,
        name: String,
    },
    ForgetDevice {
        id: u64,
        key: Key,
        device_id: DeviceId,
    },
    Status {
        id: u64,
    },
    ListActors {
        id: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    Reload {
        id: u64,
        key: Key,
        check: bool,
    },
    Subscribe {
        id: u64,
        session: Option<SessionId>,
    },
    WatchDevices {
        id: u64,
    },
    Shutdown {
        id: u64,
        key: Key,
    },
}

/// What a node answers. `Unknown` is one that this client has not asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "t")]
pub(crate) enum Reply {
    SessionStarted {
        id: u64,
        session: SessionId,
    },
    Done {
        id: u64,
    },
    Sessions {
        id: u64,
        sessions: Vec<SessionState>,
        #[serde(default)]
        more: bool,
    },
    SessionEvent {
        id: u64,
        state: Box<SessionState>,
    },
    DeviceList {
        id: u64,
        devices: Vec<Device>,
        more: bool,
    },
    DevicesChanged {
        id: u64,
    },
    NodeStatus(Box<NodeStatus>),
    ActorList {
        id: u64,
        actors: Vec<ActorInfo>,
        #[serde(default)]
        more: bool,
    },
    Reloaded {
        id: u64,
        report: Box<ReloadReport>,
    },
    Error {
        id: u64,
        code: ErrorCode,
        message: String,
    },
    #[serde(other)]
    Unknown,
}

impl Reply {
    /// The id of the request that this answers.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            Self::SessionStarted { id, .. }
            | Self::Done { id }
            | Self::Sessions { id, .. }
            | Self::SessionEvent { id, .. }
            | Self::DeviceList { id, .. }
            | Self::DevicesChanged { id }
            | Self::ActorList { id, .. }
            | Self::Reloaded { id, .. }
            | Self::Error { id, .. } => Some(*id),
            Self::NodeStatus(status) => Some(status.id),
            Self::Unknown => None,
        }
    }
}

/// What a node says about itself. A text is empty until the part of the node that knows it has reported.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct NodeStatus {
    pub(crate) id: u64,
    /// How other devices are shown this one.
    pub name: String,
    /// The peer id of this node.
    pub peer: PeerId,
    /// The version of the node's software.
    pub version: String,
    /// The multiaddrs that others are told, at most 32.
    pub addresses: Vec<String>,
    /// What those are: `public`, `relayed`, `private` or `this host`.
    pub reachability: String,
    /// `auto`, `client` or `server`.
    pub dht_mode: String,
    /// DHT servers in the routing table.
    pub dht_peers: i64,
    /// Sessions that run.
    pub sessions_active: i64,
    /// Sessions that may run at once.
    pub sessions_limit: i64,
    /// Whether the node can pair now.
    pub ready: bool,
    /// What it lacks for that, each by name.
    #[serde(default)]
    pub missing: Vec<String>,
    /// The multiaddrs of the listeners, at most 32.
    #[serde(default)]
    pub listening: Vec<String>,
    /// What it does on local networks: `announcing`, `both`, `browsing`, `idle` or `off`.
    #[serde(default = "off")]
    pub mdns: String,
    /// On so many interfaces a code is announced or looked for.
    #[serde(default)]
    pub mdns_interfaces: i64,
    /// Whether the node keeps to local networks.
    #[serde(default)]
    pub lan_only: bool,
    /// Whether the node keeps to this host.
    #[serde(default)]
    pub offline: bool,
    /// Which actors that run lack which step of their sandbox; at most 16.
    #[serde(default)]
    pub sandbox_gaps: Vec<SandboxGap>,
}

/// Actors whose processes run without a step of their sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SandboxGap {
    /// The step, such as `landlock` (docs/operations.md, "In a container").
    pub step: String,
    /// Why the system did not have it, for people.
    pub why: String,
    /// The kinds of the actors.
    pub actors: Vec<String>,
    /// Whether other steps forbid them the same.
    #[serde(default)]
    pub is_made_good: bool,
}

fn off() -> String {
    "off".to_owned()
}

/// A session as a client sees it, complete. Its stage never goes back.
#[derive(Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct SessionState {
    /// Names the session.
    pub session: SessionId,
    /// Which side of the pairing this node is.
    pub role: Role,
    /// How far it is.
    pub stage: Stage,
    /// The code as twelve words, while it may be used. Secret.
    #[serde(default)]
    pub words: Option<String>,
    /// The code as the text of a QR code, while it may be used; lists leave it out. Secret.
    #[serde(default)]
    pub qr: Option<String>,
    /// Seconds until the code expires.
    #[serde(default)]
    pub expires_in: Option<f64>,
    /// The other device, once it has proved that it knows the code.
    #[serde(default)]
    pub device: Option<ShownDevice>,
    /// Six digits that both sides show.
    #[serde(default)]
    pub check: Option<String>,
    /// What the user of this node has decided.
    #[serde(default)]
    pub accepted: Option<bool>,
    /// How it ended; None while it runs.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// More about the outcome, for people; at most 200 characters.
    #[serde(default)]
    pub message: String,
    /// 16 hex digits from the pairing secret, the same on both sides; with `Paired`.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Seconds that the pairing took; with `Paired`.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// `direct` or `relayed`; with `Paired`.
    #[serde(default)]
    pub path: Option<String>,
    /// `quic`, `tcp`, `webrtc`, `ws` or `wss`; with `Paired`.
    #[serde(default)]
    pub transport: Option<String>,
}

impl fmt::Debug for SessionState {
    /// Without the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionState")
            .field("session", &self.session)
            .field("role", &self.role)
            .field("stage", &self.stage)
            .field("accepted", &self.accepted)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl SessionState {
    /// What this state adds to the last one of its session; None for what a reconnection repeats.
    ///
    /// A part of the node that was started again may report a crashed session in its first stage: the stage
    /// stays the one that was reached.
    pub(crate) fn news_after(mut self, last: Option<&Self>) -> Option<Self> {
        if let Some(last) = last {
            self.stage = self.stage.max(last.stage);
            let mut repeated = last.clone();
            repeated.expires_in = self.expires_in;
            if repeated == self {
                return None;
            }
        }
        Some(self)
    }
}

/// The device on the other side, as the user is shown it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ShownDevice {
    /// Names it, also once it is stored.
    pub device_id: DeviceId,
    /// The name that it gives itself, 1 to 64 printable characters.
    pub name: String,
    /// The system that it says it has, at most 32 characters.
    pub os: String,
    /// Its peer id.
    pub peer: PeerId,
    /// The key that it has proved to hold.
    pub public_key: PublicKey,
}

/// A stored device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Names it.
    pub device_id: DeviceId,
    /// The name that it gave itself, or that `rename` gave it; 1 to 64 printable characters.
    pub name: String,
    /// The system that it said it has, at most 32 characters.
    pub os: String,
    /// Its peer id.
    pub peer: PeerId,
    /// Its key.
    pub public_key: PublicKey,
    /// Whether both sides are known to have stored each other.
    pub state: DeviceState,
    /// When it was paired, in Unix time in seconds.
    pub paired_at: f64,
    /// 16 hex digits, the same on both sides.
    pub fingerprint: String,
}

/// One process of a node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct ActorInfo {
    /// Its name, such as `vault` or `session-0123456789abcdef`.
    pub actor: String,
    /// Its process id.
    pub pid: i64,
    /// Such as `running`, for people.
    pub state: String,
    /// How often it was started again.
    pub restarts: i64,
    /// Seconds since its last start.
    pub uptime_seconds: f64,
    /// Messages that wait for it.
    pub mailbox: i64,
    /// Resident memory; 0 where it was not asked for.
    #[serde(default)]
    pub rss_bytes: i64,
    /// Memory of its own; 0 where it was not asked for.
    #[serde(default)]
    pub private_bytes: i64,
}

/// What a reload has come to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Whether the settings have changed.
    pub state: ReloadState,
    /// The settings whose values differ, at most 32.
    #[serde(default)]
    pub changes: Vec<SettingChange>,
    /// The actors that were started again, started or stopped, or would be; at most 16.
    #[serde(default)]
    pub actors: Vec<String>,
    /// Why it was refused or undone, a line each; at most 32.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// A setting with another value than the node runs with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SettingChange {
    /// Its name, as in a configuration file.
    pub key: String,
    /// What the node runs with, for people.
    pub former: String,
    /// What the settings say now, for people.
    pub new: String,
    /// It cannot change while the node runs.
    #[serde(default)]
    pub needs_restart: bool,
}

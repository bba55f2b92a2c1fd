//! The client of a running node: what the control socket offers, as methods.
//!
//! Never touches the socket itself (connection.rs does), and never decides about a device by itself.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch, Semaphore};
use tokio::time::timeout;

use crate::all_devices::{AllDevices, DeviceLists};
use crate::all_sessions::{AllSessions, Events};
use crate::connection::{connect, Call, Command, Connection, Subscription};
use crate::ids::Key;
use crate::messages::{ActorInfo, Device, NodeStatus, ReloadReport, Reply, Request, SessionState};
use crate::pairing::{Pairing, Seen};
use crate::{DeviceId, Error, ErrorCode, ReloadState, SessionId};

const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// Below the number of open requests that a node takes from one connection.
const MAX_OPEN_CALLS: usize = 32;
const MAX_NAME_CHARS: usize = 64;
const MAX_CODE_CHARS: usize = 4096;
/// Each time another client has the list made anew between two pages, it is asked for again.
const LIST_ATTEMPTS: usize = 5;

/// A connection with a running node. Clones share it; it ends with the last of them and of what they gave out.
///
/// Every method fails with [`Error::Refused`] when the node refuses, with [`Error::NodeGone`] when no node
/// answers for 30 s, with [`Error::NoReply`] when one does and has not replied for 60 s, and, if it is that of
/// a [`crate::Node`], with [`Error::NodeEnded`] from its end on. A lost connection is made again, and a change
/// takes effect once. Dropping the future of a change does not take it back.
#[derive(Clone)]
pub struct NodeClient {
    shared: Arc<Shared>,
}

struct Shared {
    commands: mpsc::Sender<Command>,
    last_id: AtomicU64,
    slots: Semaphore,
    sessions: Arc<AllSessions>,
    devices: Arc<AllDevices>,
    is_connected: watch::Receiver<bool>,
}

impl NodeClient {
    /// Connects with the node whose control socket is at `control`. Fails with [`Error::NoNodeRunning`].
    pub async fn connect(control: impl AsRef<Path>) -> Result<Self, Error> {
        let control = control.as_ref();
        let stream = connect(control).await?;
        let (commands, received) = mpsc::channel(MAX_OPEN_CALLS);
        let (connected, is_connected) = watch::channel(true);
        tokio::spawn(Connection::new(control.to_owned(), received, connected).run(stream));
        Ok(Self {
            shared: Arc::new(Shared {
                commands,
                last_id: AtomicU64::new(0),
                slots: Semaphore::new(MAX_OPEN_CALLS),
                sessions: Arc::new(AllSessions::new()),
                devices: Arc::new(AllDevices::new()),
                is_connected,
            }),
        })
    }

    /// Whether a node answers: false when the connection is lost, true when it is back.
    pub fn connection(&self) -> watch::Receiver<bool> {
        self.shared.is_connected.clone()
    }

    /// Shows a new code that lives so long (60 s to an hour; None: as the node is configured).
    pub async fn start_pairing(&self, lifetime: Option<Duration>) -> Result<Pairing, Error> {
        let lifetime = lifetime.map(|duration| duration.as_secs_f64());
        if lifetime.is_some_and(|seconds| !(60.0..=3600.0).contains(&seconds)) {
            return Err(Error::OutOfBounds("a code lives 60 to 3600 seconds"));
        }
        let key = Key::random()?;
        self.started(|id| Request::StartPairing { id, key, lifetime }).await
    }

    /// Enters a code, twelve words or the text of a QR code, and has the node search for so long (1 s to an
    /// hour). Refused with `BadCode` for what is none.
    pub async fn join_pairing(&self, code: &str, search: Duration) -> Result<Pairing, Error> {
        let timeout = search.as_secs_f64();
        if !(1.0..=3600.0).contains(&timeout) {
            return Err(Error::OutOfBounds("a search lasts 1 to 3600 seconds"));
        }
        if code.chars().count() > MAX_CODE_CHARS {
            return Err(Error::OutOfBounds("a code has at most 4096 characters"));
        }
        let key = Key::random()?;
        let code = code.to_owned();
        self.started(|id| Request::JoinPairing { id, key, code, timeout }).await
    }

    /// The session with this id, running or lately ended. Refused with `NoSuchSession`.
    pub async fn session(&self, session: &SessionId) -> Result<Pairing, Error> {
        // The node answers within 20 s, so what waits longer waits for a node that is away.
        timeout(REPLY_TIMEOUT, Pairing::open(self.clone(), session.clone()))
            .await
            .map_err(|_| Error::NoReply)?
    }

    /// The sessions that run, oldest first, and those lately ended, without the texts of their QR codes.
    /// Beyond 128 the rest follows in order of id.
    pub async fn sessions(&self) -> Result<Vec<SessionState>, Error> {
        let mut found: Vec<SessionState> = Vec::new();
        let mut places: HashMap<SessionId, usize> = HashMap::new();
        let mut after: Option<String> = None;
        loop {
            let asked = after.clone();
            let reply = self.call(|id| Request::ListSessions { id, after: asked }, false).await?;
            let Reply::Sessions { sessions, more, .. } = reply else {
                return Err(Error::UnexpectedReply);
            };
            let last = sessions.last().map(|state| state.session.to_string());
            for state in sessions {
                if let Some(place) = places.get(&state.session) {
                    found[*place] = state;
                } else {
                    places.insert(state.session.clone(), found.len());
                    found.push(state);
                }
            }
            if !more {
                return Ok(found);
            }
            after = Some(match (after, last) {
                // The first page has an order of its own: the complete list begins with the least id.
                (None, _) => String::new(),
                (Some(before), Some(last)) if last > before => last,
                _ => return Err(Error::UnexpectedReply),
            });
        }
    }

    /// Every stored device, in order of device id.
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        let mut found: Vec<Device> = Vec::new();
        loop {
            let last = found.last().map(|device| device.device_id);
            let after = last.map_or(Vec::new(), |id| id.0.to_vec());
            let reply = self.call(|id| Request::ListDevices { id, after }, false).await?;
            let Reply::DeviceList { devices, more, .. } = reply else {
                return Err(Error::UnexpectedReply);
            };
            let is_further = devices.last().map(|device| device.device_id) > last;
            found.extend(devices);
            match (more, is_further) {
                (false, _) => return Ok(found),
                (true, true) => {}
                (true, false) => return Err(Error::UnexpectedReply),
            }
        }
    }

    /// Gives a device a name of 1 to 64 characters that only this node uses. Refused with `NoSuchDevice` and,
    /// for characters that no name may have, `InvalidName`.
    pub async fn rename(&self, device_id: DeviceId, name: &str) -> Result<(), Error> {
        if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) {
            return Err(Error::OutOfBounds("a name has 1 to 64 characters"));
        }
        let (key, name) = (Key::random()?, name.to_owned());
        self.done(|id| Request::RenameDevice { id, key, device_id, name }).await?;
        self.shared.devices.on_change();
        Ok(())
    }

    /// Trusts a device no longer, and deletes it and its secrets. Refused with `NoSuchDevice`.
    pub async fn forget(&self, device_id: DeviceId) -> Result<(), Error> {
        let key = Key::random()?;
        self.done(|id| Request::ForgetDevice { id, key, device_id }).await?;
        self.shared.devices.on_change();
        Ok(())
    }

    /// Describes the node: addresses, reachability, sessions, readiness.
    pub async fn status(&self) -> Result<NodeStatus, Error> {
        match self.call(|id| Request::Status { id }, false).await? {
            Reply::NodeStatus(status) => Ok(*status),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// The processes of the node, in order of start.
    pub async fn actors(&self) -> Result<Vec<ActorInfo>, Error> {
        let mut attempt = 1;
        loop {
            match self.list_actors().await {
                Err(error) if error.code() == Some(ErrorCode::Busy) && attempt < LIST_ATTEMPTS => {
                    attempt += 1
                }
                result => return result,
            }
        }
    }

    async fn list_actors(&self) -> Result<Vec<ActorInfo>, Error> {
        let mut found: Vec<ActorInfo> = Vec::new();
        loop {
            let after = found.last().map(|last| last.actor.clone());
            let reply = self.call(|id| Request::ListActors { id, after }, false).await?;
            let Reply::ActorList { actors, more, .. } = reply else {
                return Err(Error::UnexpectedReply);
            };
            let is_last = !more || actors.is_empty();
            found.extend(actors);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Has the node read its settings again and change what differs, all of it or nothing; with `check` only say
    /// what would change. Returns when that is done. Fails with [`Error::ReloadFailed`].
    pub async fn reload(&self, check: bool) -> Result<ReloadReport, Error> {
        let key = Key::random()?;
        loop {
            // The node answers within a second, however long it takes.
            let reply = self.call(|id| Request::Reload { id, key, check }, false).await?;
            let Reply::Reloaded { report, .. } = reply else {
                return Err(Error::UnexpectedReply);
            };
            match report.state {
                ReloadState::Running => {}
                ReloadState::Refused | ReloadState::Undone => return Err(Error::ReloadFailed { report }),
                _ => return Ok(*report),
            }
        }
    }

    /// Follows all sessions, also those that other clients start.
    pub async fn events(&self) -> Result<Events, Error> {
        let commands = &self.shared.commands;
        let sessions = &self.shared.sessions;
        // The place in the queue first: whoever is cancelled while it waits must not have begun.
        let place = commands.reserve().await.map_err(|_| Error::Closed)?;
        if sessions.begin() {
            place.send(Command::Subscribe(self.next_id(), Subscription::All(sessions.clone())));
        }
        Ok(Events::new(sessions.clone(), commands.clone()))
    }

    /// Follows the devices, also what other clients and the other devices change. What this client has changed
    /// is in the lists that are waited for from then on.
    pub async fn all_devices(&self) -> Result<DeviceLists, Error> {
        let devices = &self.shared.devices;
        let place = self.shared.commands.reserve().await.map_err(|_| Error::Closed)?;
        if devices.begin() {
            place.send(Command::Subscribe(self.next_id(), Subscription::Devices(devices.clone())));
        }
        Ok(DeviceLists::new(devices.clone(), self.clone()))
    }

    /// Follows one session.
    pub(crate) async fn follow(&self, session: SessionId) -> Result<watch::Receiver<Seen>, Error> {
        let (feed, seen) = watch::channel(Seen::default());
        let subscription = Subscription::One(session, feed);
        let command = Command::Subscribe(self.next_id(), subscription);
        self.shared.commands.send(command).await.map_err(|_| Error::Closed)?;
        Ok(seen)
    }

    /// Ends the sessions and stops the node; returns when it has agreed, or is no longer there.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let key = Key::random()?;
        match self.call(|id| Request::Shutdown { id, key }, true).await? {
            Reply::Done { .. } => Ok(()),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Has everything fail with this error from now on.
    pub(crate) async fn end(&self, error: Error) {
        let _ = self.shared.commands.send(Command::End(error)).await;
    }

    async fn started(&self, make: impl FnOnce(u64) -> Request) -> Result<Pairing, Error> {
        match self.call(make, false).await? {
            Reply::SessionStarted { session, .. } => self.session(&session).await,
            _ => Err(Error::UnexpectedReply),
        }
    }

    pub(crate) async fn done(&self, make: impl FnOnce(u64) -> Request) -> Result<(), Error> {
        match self.call(make, false).await? {
            Reply::Done { .. } => Ok(()),
            _ => Err(Error::UnexpectedReply),
        }
    }

    async fn call(&self, make: impl FnOnce(u64) -> Request, is_done_if_gone: bool) -> Result<Reply, Error> {
        let _slot = self.shared.slots.acquire().await.map_err(|_| Error::Closed)?;
        let id = self.next_id();
        let (answer, answered) = oneshot::channel();
        let call = Call { id, request: make(id), is_done_if_gone, answer };
        let waiting = async {
            self.shared.commands.send(Command::Call(call)).await.map_err(|_| Error::Closed)?;
            answered.await.map_err(|_| Error::Closed)?
        };
        match timeout(REPLY_TIMEOUT, waiting).await.map_err(|_| Error::NoReply)?? {
            Reply::Error { code, message, .. } => Err(Error::Refused { code, message }),
            reply => Ok(reply),
        }
    }

    fn next_id(&self) -> u64 {
        self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

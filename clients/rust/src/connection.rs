//! One connection with a control socket that survives restarts: correlation, repetition, backoff.
//!
//! Owns the socket, the requests that have no reply and the subscriptions. When the connection is lost
//! another one is made, and everything that is open is sent again, in its first order and with its keys
//! (docs/control-protocol.md, "Connections that end"). Never interprets a session's state.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, Instant};

use crate::all_devices::AllDevices;
use crate::all_sessions::AllSessions;
use crate::codec::{decode, encode, next_frame, Malformed};
use crate::messages::{Reply, Request, SessionState};
use crate::pairing::Seen;
use crate::{Error, ErrorCode, SessionId};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that lasted so long was more than a refusal: the backoff begins anew.
const USEFUL_CONNECTION: Duration = Duration::from_secs(1);
/// What may wait for a node that reads nothing; of requests that nobody waits for any more.
const MAX_OUTGOING_BYTES: usize = 1024 * 1024;

pub(crate) enum Command {
    Call(Call),
    /// A subscription and its id.
    Subscribe(u64, Subscription),
    /// The node has ended and no other will come: all fails with this.
    End(Error),
}

pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) request: Request,
    /// That nothing listens fulfils the request.
    pub(crate) is_done_if_gone: bool,
    pub(crate) answer: oneshot::Sender<Result<Reply, Error>>,
}

/// Who is told the states: of one session, which ends with its outcome, or of all; or that devices change.
pub(crate) enum Subscription {
    One(SessionId, watch::Sender<Seen>),
    All(Arc<AllSessions>),
    Devices(Arc<AllDevices>),
}

impl Subscription {
    fn request(&self, id: u64) -> Request {
        match self {
            Self::One(session, _) => Request::Subscribe { id, session: Some(session.clone()) },
            Self::All(_) => Request::Subscribe { id, session: None },
            Self::Devices(_) => Request::WatchDevices { id },
        }
    }

    fn on_state(&self, state: SessionState) {
        match self {
            Self::One(_, seen) => {
                seen.send_if_modified(|seen| seen.add(state));
            }
            Self::All(sessions) => sessions.on_state(state),
            // No node says this of devices.
            Self::Devices(_) => {}
        }
    }

    fn fail(self, error: Error) {
        match self {
            Self::One(_, seen) => seen.send_modify(|seen| seen.fail(error)),
            Self::All(sessions) => sessions.fail(error),
            Self::Devices(devices) => devices.fail(error),
        }
    }

    fn is_abandoned(&self) -> bool {
        matches!(self, Self::One(_, seen) if seen.is_closed())
    }
}

pub(crate) struct Connection {
    path: PathBuf,
    commands: mpsc::Receiver<Command>,
    is_connected: watch::Sender<bool>,
    calls: BTreeMap<u64, Call>,
    subscriptions: BTreeMap<u64, Subscription>,
    outgoing: Vec<u8>,
    written: usize,
    /// What every new request gets at once: no node has answered for long, or none will.
    failure: Option<Error>,
    /// What a node that takes no more connections has said to the last one.
    refusal: Option<Error>,
}

/// The client has been dropped, or the node has ended for good.
struct Over;

/// What a connection was good for.
#[derive(Default)]
struct Use {
    /// It brought an answer, or lasted.
    is_useful: bool,
    /// The node said something that is not of the protocol; a repeat may bring it again.
    is_breach: bool,
}

impl Connection {
    pub(crate) fn new(
        path: PathBuf,
        commands: mpsc::Receiver<Command>,
        is_connected: watch::Sender<bool>,
    ) -> Self {
        Self {
            path,
            commands,
            is_connected,
            calls: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            outgoing: Vec::new(),
            written: 0,
            failure: None,
            refusal: None,
        }
    }

    /// Exchanges frames, and connects again for as long as it takes, until the client is dropped.
    pub(crate) async fn run(mut self, stream: UnixStream) {
        let Err(Over) = self.exchange_and_reconnect(stream).await;
        self.set_connected(false);
        self.fail_all(&Error::Closed);
        while let Some(command) = self.commands.recv().await {
            let _ = self.take(command);
        }
    }

    async fn exchange_and_reconnect(&mut self, first: UnixStream) -> Result<Infallible, Over> {
        let mut stream = Some(first);
        let mut down_since = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if stream.is_none() {
                match UnixStream::connect(&self.path).await {
                    Ok(made) => stream = Some(made),
                    Err(error) => {
                        self.refusal = None;
                        self.answer_if_gone(&error);
                    }
                }
            }
            if let Some(made) = stream.take() {
                self.failure = None;
                self.repeat_all();
                let used = self.exchange(made).await?;
                self.set_connected(false);
                if used.is_useful {
                    down_since = Instant::now();
                    if !used.is_breach {
                        // A part that is started again is back within moments: try at once.
                        pause = FIRST_PAUSE;
                        continue;
                    }
                }
            }
            if down_since.elapsed() > RECONNECT_TIMEOUT {
                let error = self.refusal.clone().unwrap_or(Error::NodeGone);
                self.fail_all(&error);
            }
            let end = Instant::now() + pause;
            pause = MAX_PAUSE.min(pause * 2);
            loop {
                tokio::select! {
                    () = sleep_until(end) => break,
                    command = self.commands.recv() => self.take(command.ok_or(Over)?)?,
                }
            }
        }
    }

    /// Writes and reads frames until the connection ends.
    async fn exchange(&mut self, stream: UnixStream) -> Result<Use, Over> {
        let begin = Instant::now();
        let mut used = Use::default();
        let mut read = Vec::new();
        let (mut reader, mut writer) = stream.into_split();
        loop {
            tokio::select! {
                command = self.commands.recv() => self.take(command.ok_or(Over)?)?,
                count = reader.read_buf(&mut read) => {
                    used.is_breach = self.dispatch_all(&mut read, &mut used.is_useful).is_err();
                    if used.is_breach || !matches!(count, Ok(1..)) {
                        break;
                    }
                }
                count = writer.write(&self.outgoing[self.written..]), if self.written < self.outgoing.len() => {
                    let Ok(count) = count else { break };
                    self.written += count;
                    if self.written == self.outgoing.len() {
                        self.outgoing.clear();
                        self.written = 0;
                    }
                }
            }
        }
        used.is_useful |= begin.elapsed() > USEFUL_CONNECTION;
        Ok(used)
    }

    fn dispatch_all(&mut self, read: &mut Vec<u8>, is_useful: &mut bool) -> Result<(), Malformed> {
        while let Some(payload) = next_frame(read)? {
            let reply = decode(&payload)?;
            // A refusal of the connection itself has no request's id.
            if reply.id() != Some(0) {
                *is_useful = true;
                self.refusal = None;
                self.set_connected(true);
            }
            self.dispatch(reply);
        }
        Ok(())
    }

    /// Hands a reply to the call or the subscription that has its id.
    fn dispatch(&mut self, reply: Reply) {
        let Some(id) = reply.id() else { return };
        if let Some(call) = self.calls.remove(&id) {
            let _ = call.answer.send(Ok(reply));
            return;
        }
        match reply {
            Reply::SessionEvent { state, .. } => {
                let is_last = state.outcome.is_some();
                if let Some(subscription) = self.subscriptions.get(&id) {
                    subscription.on_state(*state);
                    if is_last && matches!(subscription, Subscription::One(..)) {
                        self.subscriptions.remove(&id);
                    }
                }
            }
            Reply::DevicesChanged { .. } => {
                if let Some(Subscription::Devices(devices)) = self.subscriptions.get(&id) {
                    devices.on_change();
                }
            }
            Reply::Error { code, message, .. } => {
                let refused = Error::Refused { code, message };
                if let Some(subscription) = self.subscriptions.remove(&id) {
                    subscription.fail(refused);
                } else if code == ErrorCode::BadRequest {
                    // The node could not read even the id of what it refuses, and ends the connection. On
                    // another one the repeats would bring the same, so all calls end with it.
                    self.fail_calls(&refused);
                } else if id == 0 {
                    self.refusal = Some(refused);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, command: Command) -> Result<(), Over> {
        self.drop_abandoned();
        match command {
            Command::Call(call) => {
                if let Some(failure) = &self.failure {
                    resolve(call, failure);
                } else if self.outgoing.len() > MAX_OUTGOING_BYTES {
                    let _ = call.answer.send(Err(Error::NoReply));
                } else if self.enqueue(&call.request).is_err() {
                    let _ = call.answer.send(Err(Error::OutOfBounds("the request is too large")));
                } else {
                    self.calls.insert(call.id, call);
                }
            }
            Command::Subscribe(id, subscription) => {
                if let Some(failure) = &self.failure {
                    subscription.fail(failure.clone());
                } else if self.outgoing.len() > MAX_OUTGOING_BYTES {
                    subscription.fail(Error::NoReply);
                } else if self.enqueue(&subscription.request(id)).is_ok() {
                    self.subscriptions.insert(id, subscription);
                }
            }
            Command::End(error) => {
                self.fail_all(&error);
                return Err(Over);
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, request: &Request) -> Result<(), Malformed> {
        self.outgoing.extend(encode(request)?);
        Ok(())
    }

    /// Queues everything that is open once more, in the order of ids; what was queued is among it.
    fn repeat_all(&mut self) {
        self.drop_abandoned();
        self.outgoing.clear();
        self.written = 0;
        let mut requests: BTreeMap<u64, Request> =
            self.calls.iter().map(|(id, call)| (*id, call.request.clone())).collect();
        requests.extend(self.subscriptions.iter().map(|(id, one)| (*id, one.request(*id))));
        for request in requests.values() {
            // It was encoded before, so it can be.
            let _ = self.enqueue(request);
        }
    }

    /// Drops what nobody waits for any more.
    fn drop_abandoned(&mut self) {
        self.calls.retain(|_, call| !call.answer.is_closed());
        self.subscriptions.retain(|_, subscription| !subscription.is_abandoned());
    }

    /// Answers what is fulfilled by there being no node (a Shutdown), when that is sure.
    fn answer_if_gone(&mut self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
            let ids: Vec<u64> =
                self.calls.values().filter(|call| call.is_done_if_gone).map(|call| call.id).collect();
            for call in ids.iter().filter_map(|id| self.calls.remove(id)) {
                resolve(call, &Error::NodeGone);
            }
        }
    }

    /// Fails what waits, and what comes until there is a connection. The first failure for good stays.
    fn fail_all(&mut self, error: &Error) {
        if !matches!(self.failure, Some(Error::NodeEnded { .. })) {
            self.failure = Some(error.clone());
        }
        self.fail_calls(error);
        for subscription in std::mem::take(&mut self.subscriptions).into_values() {
            subscription.fail(error.clone());
        }
    }

    fn fail_calls(&mut self, error: &Error) {
        for call in std::mem::take(&mut self.calls).into_values() {
            resolve(call, error);
        }
    }

    fn set_connected(&self, value: bool) {
        self.is_connected.send_if_modified(|is_connected| std::mem::replace(is_connected, value) != value);
    }
}

/// Ends a call with a failure, which may be what it wanted.
fn resolve(call: Call, failure: &Error) {
    let is_gone = matches!(failure, Error::NodeGone | Error::NodeEnded { .. });
    let result =
        if call.is_done_if_gone && is_gone { Ok(Reply::Done { id: call.id }) } else { Err(failure.clone()) };
    let _ = call.answer.send(result);
}

/// Connects for the first time.
pub(crate) async fn connect(path: &Path) -> Result<UnixStream, Error> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            // Many connect at once: the queue of the listening socket is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                sleep(FIRST_PAUSE).await;
            }
            Err(error) => {
                return Err(Error::NoNodeRunning {
                    path: path.display().to_string(),
                    reason: error.to_string(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_with_too_many_clients_says_is_why_nothing_was_answered() {
        let (_commands, received) = mpsc::channel(1);
        let (connected, _) = watch::channel(true);
        let mut connection = Connection::new(PathBuf::new(), received, connected);
        let message = "the node serves 128 clients at once".to_owned();
        connection.dispatch(Reply::Error { id: 0, code: ErrorCode::Busy, message: message.clone() });
        assert_eq!(connection.refusal, Some(Error::Refused { code: ErrorCode::Busy, message }));
    }
}

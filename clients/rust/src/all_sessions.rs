//! The sessions of a node, followed by one subscription and read by any number of [`Events`].
//!
//! Owns the newest state of each session, numbered in order of arrival: a reader that is slow misses states
//! in between and never makes a queue grow.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::connection::Command;
use crate::messages::SessionState;
use crate::{Error, SessionId};

/// Kept to recognize what a reconnection repeats; a node repeats 128 at most.
const MAX_ENDED_SESSIONS: usize = 1024;
/// Four times what a node runs at once: of those that a restart of the node has lost nobody tells the end.
const MAX_SESSIONS: usize = 4096;

pub(crate) struct AllSessions {
    known: Mutex<Known>,
    last_number: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    states: HashMap<SessionId, (u64, SessionState)>,
    order: BTreeMap<u64, SessionId>,
    ended: VecDeque<SessionId>,
    last_number: u64,
    is_followed: bool,
    failure: Option<Error>,
}

impl AllSessions {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::default(), last_number: watch::Sender::new(0) }
    }

    /// Says whether the subscription has to be made: nobody follows yet, or it has failed.
    pub(crate) fn begin(&self) -> bool {
        let mut known = self.lock();
        known.failure = None;
        !std::mem::replace(&mut known.is_followed, true)
    }

    pub(crate) fn on_state(&self, state: SessionState) {
        let mut known = self.lock();
        if known.add(state) {
            self.last_number.send_replace(known.last_number);
        }
    }

    /// Ends the subscription; every reader is told.
    pub(crate) fn fail(&self, error: Error) {
        let mut known = self.lock();
        if std::mem::take(&mut known.is_followed) {
            known.failure = Some(error);
            self.last_number.send_replace(known.last_number);
        }
    }

    fn after(&self, number: u64) -> Option<Result<(u64, SessionState), Error>> {
        let known = self.lock();
        if let Some((number, session)) = known.order.range(number + 1..).next() {
            let state = known.states.get(session).map(|(_, state)| state.clone());
            return state.map(|state| Ok((*number, state)));
        }
        known.failure.clone().map(Err)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Says whether the state is news, and not what a reconnection repeats.
    fn add(&mut self, state: SessionState) -> bool {
        let id = state.session.clone();
        let last = self.states.get(&id);
        let had_ended = last.is_some_and(|(_, last)| last.outcome.is_some());
        let Some(state) = state.news_after(last.map(|(_, last)| last)) else { return false };
        if let Some((number, _)) = last {
            self.order.remove(number);
        }
        let ends = state.outcome.is_some() && !had_ended;
        self.last_number += 1;
        self.order.insert(self.last_number, id.clone());
        self.states.insert(id.clone(), (self.last_number, state));
        if ends {
            self.ended.push_back(id);
        }
        if self.ended.len() > MAX_ENDED_SESSIONS {
            let oldest = self.ended.pop_front();
            self.forget(oldest);
        }
        if self.states.len() > MAX_SESSIONS {
            let oldest = self.order.first_key_value().map(|(_, id)| id.clone());
            self.forget(oldest);
        }
        true
    }

    fn forget(&mut self, id: Option<SessionId>) {
        if let Some((number, _)) = id.and_then(|id| self.states.remove(&id)) {
            self.order.remove(&number);
        }
    }
}

/// The states of all sessions of a node: the present ones, then each change, without an end.
///
/// No state comes twice, also across reconnections. A reader that is slow misses states in between, never the
/// newest. A node that was started again knows nothing of its former sessions, and says nothing of them.
/// Devices are followed by [`crate::DeviceLists`].
pub struct Events {
    sessions: Arc<AllSessions>,
    number: u64,
    changes: watch::Receiver<u64>,
    /// Keeps the connection, also when the client has been dropped.
    _connection: mpsc::Sender<Command>,
}

impl Events {
    pub(crate) fn new(sessions: Arc<AllSessions>, connection: mpsc::Sender<Command>) -> Self {
        let changes = sessions.last_number.subscribe();
        Self { sessions, number: 0, changes, _connection: connection }
    }

    /// Waits for the next state. May be cancelled: no state is lost.
    ///
    /// Fails with [`Error::NodeGone`] when no node answers for 30 s; then [`crate::NodeClient::events`] begins
    /// anew. Fails with [`Error::NodeEnded`] when the node of this program has ended.
    pub async fn next(&mut self) -> Result<SessionState, Error> {
        loop {
            self.changes.borrow_and_update();
            match self.sessions.after(self.number) {
                Some(Ok((number, state))) => {
                    self.number = number;
                    return Ok(state);
                }
                Some(Err(error)) => return Err(error),
                None => self.changes.changed().await.map_err(|_| Error::Closed)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(number: usize, stage: &str, outcome: Option<&str>, expires_in: f64) -> SessionState {
        serde_json::from_value(json!({"session": format!("{number:016x}"), "role": "joiner", "stage": stage,
            "outcome": outcome, "expires_in": expires_in}))
        .unwrap()
    }

    #[test]
    fn a_repeat_is_no_news_and_no_stage_goes_back() {
        let mut known = Known::default();
        assert!(known.add(state(1, "proving", None, 9.0)));
        assert!(!known.add(state(1, "proving", None, 3.0)));
        assert!(known.add(state(1, "searching", Some("crashed"), 3.0)));
        let (number, last) = known.states.values().next().unwrap();
        assert_eq!((*number, last.stage), (2, crate::Stage::Proving));
        assert_eq!(known.order.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut known = Known::default();
        for number in 0..2 * MAX_SESSIONS {
            known.add(state(number, "proving", None, 1.0));
        }
        assert_eq!((known.states.len(), known.order.len()), (MAX_SESSIONS, MAX_SESSIONS));
        let mut known = Known::default();
        for number in 0..2 * MAX_ENDED_SESSIONS {
            known.add(state(number, "storing", Some("paired"), 1.0));
        }
        assert_eq!((known.states.len(), known.ended.len()), (MAX_ENDED_SESSIONS, MAX_ENDED_SESSIONS));
    }
}

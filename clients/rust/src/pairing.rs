//! One pairing as a program sees it: its states in order and none twice, its code, and what its user decides.
//!
//! Owns the newest of one session, also across restarts of the node's parts. Never touches the socket, and
//! never decides about a device by itself.

use std::fmt;

use tokio::sync::watch;

use crate::client::NodeClient;
use crate::ids::Key;
use crate::messages::{Request, SessionState, ShownDevice};
use crate::{Error, ErrorCode, Outcome, PublicKey, SessionId};

/// What is known of one session. The connection writes it, any number of readers look at it.
#[derive(Default)]
pub(crate) struct Seen {
    /// Counts the states.
    number: u64,
    state: Option<SessionState>,
    code: Option<Code>,
    /// The key of the device shown first: an acceptance is for this device and no other.
    shown: Option<PublicKey>,
    failure: Option<Error>,
}

impl Seen {
    /// Says whether the state is news, and not what a reconnection repeats.
    pub(crate) fn add(&mut self, state: SessionState) -> bool {
        let Some(news) = state.news_after(self.state.as_ref()) else { return false };
        if let Some(words) = &news.words {
            self.code = Some(Code { words: words.clone(), qr: news.qr.clone(), expires_in: news.expires_in });
        }
        self.shown = self.shown.or(news.device.as_ref().map(|device| device.public_key));
        self.number += 1;
        self.state = Some(news);
        true
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.failure = Some(error);
    }
}

/// What an initiator shows: twelve words, and the same as the text of a QR code. Secret, so not printed.
#[derive(Clone, PartialEq)]
pub struct Code {
    /// Twelve words with a space between each two.
    pub words: String,
    /// The text of a QR code, if there is one.
    pub qr: Option<String>,
    /// Seconds of life that were left when this came.
    pub expires_in: Option<f64>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(<secret>)")
    }
}

/// What the user decides about: the device on the other side, and six digits that both sides show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The device on the other side.
    pub device: ShownDevice,
    /// Six digits; they differ where somebody stands between the two devices and knows the words.
    pub check: String,
}

/// One pairing session of a node, from either side. Made by [`NodeClient`]; clones are the same pairing.
///
/// Dropped, it changes nothing: the pairing goes on, and ends at its time.
#[derive(Clone)]
pub struct Pairing {
    client: NodeClient,
    id: SessionId,
    seen: watch::Receiver<Seen>,
    // One key for each thing that can be done to the session, however often it is called.
    accept_key: Key,
    reject_key: Key,
    cancel_key: Key,
}

impl Pairing {
    /// Subscribes and waits for the first state.
    pub(crate) async fn open(client: NodeClient, id: SessionId) -> Result<Self, Error> {
        let (accept_key, reject_key, cancel_key) = (Key::random()?, Key::random()?, Key::random()?);
        let seen = client.follow(id.clone()).await?;
        let pairing = Self { client, id, seen, accept_key, reject_key, cancel_key };
        pairing.states().next().await?;
        Ok(pairing)
    }

    /// Names the session on its node.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The newest state that has arrived.
    pub fn state(&self) -> SessionState {
        let state = self.seen.borrow().state.clone();
        state.expect("a pairing is given out with its first state")
    }

    /// The code to show. None on the side that enters one, and when it was used before this began to look.
    pub fn code(&self) -> Option<Code> {
        self.seen.borrow().code.clone()
    }

    /// The present state, then each that follows, up to the one that has an outcome.
    pub fn states(&self) -> States {
        States { seen: self.seen.clone(), number: 0, is_over: false, _client: self.client.clone() }
    }

    /// Waits until the other device has proved that it knows the code, and returns what to ask the user.
    ///
    /// Fails with [`Error::PairingFailed`] when the pairing ends before, and as [`States::next`] does.
    pub async fn confirmation(&self) -> Result<Confirmation, Error> {
        let mut states = self.states();
        while let Some(state) = states.next().await? {
            if let (Some(device), Some(check)) = (state.device, state.check) {
                return Ok(Confirmation { device, check });
            }
            if let Some(outcome) = state.outcome {
                return Err(Error::PairingFailed { outcome, message: state.message });
            }
        }
        Err(Error::Closed)
    }

    /// Waits for the end and returns the last state; its device is trusted from now on.
    ///
    /// Decides nothing: somebody has to call [`Pairing::accept`]. Fails with [`Error::PairingFailed`] for
    /// another outcome, and as [`States::next`] does.
    pub async fn paired(&self) -> Result<SessionState, Error> {
        let mut states = self.states();
        while let Some(state) = states.next().await? {
            match state.outcome {
                Some(Outcome::Paired) => return Ok(state),
                Some(outcome) => return Err(Error::PairingFailed { outcome, message: state.message }),
                None => {}
            }
        }
        Err(Error::Closed)
    }

    /// Trusts the device that was shown first. The first decision is final, and the same one again is none.
    ///
    /// Refused with `NotDeciding` while no device is shown, or another one is, and with `AlreadyDecided`.
    pub async fn accept(&self) -> Result<(), Error> {
        let shown = self.seen.borrow().shown;
        if shown.is_none() {
            let message = "no device is shown yet".to_owned();
            return Err(Error::Refused { code: ErrorCode::NotDeciding, message });
        }
        self.decide(self.accept_key, true, shown).await
    }

    /// Refuses the device that is shown. The first decision is final.
    pub async fn reject(&self) -> Result<(), Error> {
        self.decide(self.reject_key, false, None).await
    }

    /// Gives the pairing up. Refused with `AlreadyDecided` after an acceptance.
    pub async fn cancel(&self) -> Result<(), Error> {
        let (key, session) = (self.cancel_key, self.id.clone());
        self.client.done(|id| Request::CancelPairing { id, key, session }).await
    }

    async fn decide(&self, key: Key, accept: bool, public_key: Option<PublicKey>) -> Result<(), Error> {
        let session = self.id.clone();
        self.client.done(|id| Request::Decide { id, key, session, accept, public_key }).await
    }
}

/// The states of one pairing. A reader that is slow misses states in between, never the newest.
pub struct States {
    seen: watch::Receiver<Seen>,
    number: u64,
    is_over: bool,
    /// Keeps the connection.
    _client: NodeClient,
}

impl States {
    /// Waits for the next state; None after the one with the outcome. May be cancelled: no state is lost.
    ///
    /// Fails with [`Error::Refused`], `NoSuchSession`, when the node was started again and knows the pairing
    /// no longer, with [`Error::NodeGone`] when no node answers for 30 s, and with [`Error::NodeEnded`].
    pub async fn next(&mut self) -> Result<Option<SessionState>, Error> {
        while !self.is_over {
            {
                let seen = self.seen.borrow_and_update();
                if let (Some(state), true) = (&seen.state, seen.number > self.number) {
                    self.number = seen.number;
                    self.is_over = state.outcome.is_some();
                    return Ok(Some(state.clone()));
                }
                if let Some(failure) = &seen.failure {
                    return Err(failure.clone());
                }
            }
            self.seen.changed().await.map_err(|_| Error::Closed)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(value: serde_json::Value) -> SessionState {
        let mut whole = json!({"session": "0123456789abcdef", "role": "initiator", "stage": "waiting"});
        whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn the_code_stays_and_the_device_shown_first_counts() {
        let mut seen = Seen::default();
        assert!(seen.add(state(json!({"words": "one two", "qr": "TEXT", "expires_in": 9}))));
        assert!(!seen.add(state(json!({"words": "one two", "qr": "TEXT", "expires_in": 8}))));
        assert!(seen.add(state(json!({"stage": "proving"}))));
        let code = seen.code.as_ref().unwrap();
        assert_eq!((code.words.as_str(), code.qr.as_deref()), ("one two", Some("TEXT")));
        assert!(!format!("{code:?}").contains("two"));
        for (number, expected) in [(1, 1), (2, 1)] {
            let (device_id, key) = (vec![0; 16], vec![number; 32]);
            let device =
                json!({"device_id": device_id, "name": "a", "os": "", "peer": [1], "public_key": key});
            assert!(seen.add(state(json!({"stage": "deciding", "device": device, "check": "123456"}))));
            assert_eq!(seen.shown, Some(PublicKey([expected; 32])));
        }
    }
}

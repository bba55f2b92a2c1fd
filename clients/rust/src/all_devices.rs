//! The devices of a node, followed by one subscription and listed once for any number of [`DeviceLists`].
//!
//! The node says only that devices may have changed. The newest list is kept and made anew when a reader wants
//! one and something was said since. So nothing is asked for that nobody reads, and no queue grows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::messages::Device;
use crate::{Error, ErrorCode, NodeClient};

/// Refusals of a list that mean "later": of a vault that waits for its disk, of a node that stops.
const PASSING: [ErrorCode; 3] = [ErrorCode::NotReady, ErrorCode::Busy, ErrorCode::Stopping];
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const OLD_NODE: &str = "this node is older than its client and does not say when devices change";

pub(crate) struct AllDevices {
    known: Mutex<Known>,
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Known {
    is_followed: bool,
    failure: Option<Error>,
    /// Counts what the node has said and this client has changed. A list is as new as the number that this had when its listing began.
    changes: u64,
    /// The first number of the present subscription: a list that is older may miss what nobody was told.
    first: u64,
    list: Arc<Vec<Device>>,
    /// How new the list is; 0 while there is none.
    listed: u64,
    is_listing: bool,
}

/// What one reader was given last.
type Given = Option<Arc<Vec<Device>>>;

enum Step {
    Give(Arc<Vec<Device>>),
    Fail(Error),
    /// Somebody has to list, and nobody does: the reader, whose listing is as new as this number.
    List(u64),
    Wait,
}

impl AllDevices {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::default(), news: watch::Sender::new(()) }
    }

    /// Says whether the subscription has to be made: nobody follows yet, or it has failed.
    pub(crate) fn begin(&self) -> bool {
        self.lock().begin()
    }

    /// Devices may have changed: the node says so, or this client has done it, and the node will say so.
    pub(crate) fn on_change(&self) {
        self.lock().changes += 1;
        self.news.send_replace(());
    }

    /// Ends the subscription; every reader is told.
    pub(crate) fn fail(&self, mut error: Error) {
        if let Error::Refused { code: ErrorCode::BadRequest, message } = &mut error {
            *message = OLD_NODE.to_owned();
        }
        let mut known = self.lock();
        if std::mem::take(&mut known.is_followed) {
            known.failure = Some(error);
            self.news.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn begin(&mut self) -> bool {
        self.failure = None;
        if self.is_followed {
            return false;
        }
        self.is_followed = true;
        self.first = self.changes + 1;
        true
    }

    /// What a reader does next that wants a list which is as new as this number.
    ///
    /// A list that was begun before may be older than what the reader knows. One begun later will do, although
    /// changes may have come since: devices that change all the time are followed too.
    fn step(&mut self, given: &mut Given, wanted: u64) -> Step {
        let is_known = given.as_ref().is_some_and(|last| Arc::ptr_eq(last, &self.list) || *last == self.list);
        if self.listed >= wanted.max(self.first) && !is_known {
            *given = Some(self.list.clone());
            return Step::Give(self.list.clone());
        }
        if let Some(failure) = &self.failure {
            return Step::Fail(failure.clone());
        }
        if self.is_listing || self.changes < self.first || self.changes == self.listed {
            return Step::Wait;
        }
        self.is_listing = true;
        Step::List(self.changes)
    }

    /// Takes in what a listing has come to; None if it is to be made again, should anybody want it.
    fn end_listing(&mut self, number: u64, result: Option<Result<Vec<Device>, Error>>) {
        self.is_listing = false;
        match result {
            Some(Ok(devices)) => {
                self.listed = number;
                if devices != *self.list {
                    self.list = Arc::new(devices);
                }
            }
            // That of a former subscription tells nothing about this one.
            Some(Err(error)) if number >= self.first => self.failure = Some(error),
            _ => {}
        }
    }
}

/// A listing that runs. Dropped before it has a result, it lets another reader begin one.
struct Listing {
    devices: Arc<AllDevices>,
    number: u64,
    result: Option<Result<Vec<Device>, Error>>,
}

impl Listing {
    /// Lists, while there are readers. Not in the future of a reader, which may be dropped again and again.
    async fn run(mut self, client: NodeClient) {
        let listing = async {
            let result = client.devices().await;
            if let Err(Error::Refused { code, .. }) = &result {
                if PASSING.contains(code) {
                    sleep(RETRY_PAUSE).await;
                    return None;
                }
            }
            Some(result)
        };
        tokio::select! {
            result = listing => self.result = result,
            () = self.devices.news.closed() => {}
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.devices.lock().end_listing(self.number, self.result.take());
        self.devices.news.send_replace(());
    }
}

/// The devices of a node: the present list, in order of device id, then the list after each change.
///
/// Made by [`NodeClient::all_devices`]. Lists are complete, and no list equals the one before it, also across
/// reconnections and restarts of the node. A reader that is slow misses lists in between, never the newest.
/// Any number of readers have one subscription and one list in common.
pub struct DeviceLists {
    devices: Arc<AllDevices>,
    given: Given,
    news: watch::Receiver<()>,
    /// Keeps the connection, also when the client has been dropped.
    client: NodeClient,
}

impl DeviceLists {
    pub(crate) fn new(devices: Arc<AllDevices>, client: NodeClient) -> Self {
        let news = devices.news.subscribe();
        Self { devices, given: None, news, client }
    }

    /// Waits for the next list. May be cancelled: no list is lost.
    ///
    /// Waits, too, while the node cannot list its devices. Fails with [`Error::NodeGone`] when no node answers
    /// for 30 s, with [`Error::NodeEnded`] when the node of this program has ended, with [`Error::NoReply`], and
    /// with [`Error::Refused`]: `Busy` for the limit of subscriptions, `BadRequest` if the node is older than
    /// this and says nothing of devices. Then [`NodeClient::all_devices`] begins anew.
    pub async fn next(&mut self) -> Result<Vec<Device>, Error> {
        let wanted = self.devices.lock().changes;
        loop {
            self.news.borrow_and_update();
            let step = self.devices.lock().step(&mut self.given, wanted);
            match step {
                Step::Give(list) => return Ok(list.to_vec()),
                Step::Fail(error) => return Err(error),
                Step::List(number) => {
                    let listing = Listing { devices: self.devices.clone(), number, result: None };
                    tokio::spawn(listing.run(self.client.clone()));
                }
                Step::Wait => {}
            }
            self.news.changed().await.map_err(|_| Error::Closed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn devices(names: &[&str]) -> Vec<Device> {
        let device = |(number, name): (u8, &&str)| {
            json!({"device_id": vec![number; 16], "name": name, "os": "", "peer": [1],
                "public_key": vec![0; 32], "state": "paired", "paired_at": 1.0, "fingerprint": ""})
        };
        let all: Vec<_> = (0..).zip(names).map(device).collect();
        serde_json::from_value(all.into()).unwrap()
    }

    /// What the reader is given; it lists when it has to, and finds these.
    fn next(known: &mut Known, given: &mut Given, names: &[&str]) -> Option<Vec<Device>> {
        let wanted = known.changes;
        loop {
            match known.step(given, wanted) {
                Step::Give(list) => return Some(list.to_vec()),
                Step::List(number) => known.end_listing(number, Some(Ok(devices(names)))),
                Step::Wait => return None,
                Step::Fail(error) => panic!("{error}"),
            }
        }
    }

    fn first_step(known: &mut Known, given: &mut Given) -> Step {
        let wanted = known.changes;
        known.step(given, wanted)
    }

    fn followed() -> (Known, Given) {
        let mut known = Known::default();
        assert!(known.begin());
        (known, None)
    }

    #[test]
    fn a_list_is_given_at_once_and_when_it_differs() {
        let (mut known, mut one) = followed();
        assert!(matches!(first_step(&mut known, &mut one), Step::Wait));
        known.changes += 1;
        assert_eq!(next(&mut known, &mut one, &["a"]), Some(devices(&["a"])));
        assert_eq!(next(&mut known, &mut one, &["not asked for"]), None);
        known.changes += 1;
        assert_eq!(next(&mut known, &mut one, &["a"]), None);
        known.changes += 1;
        assert_eq!(next(&mut known, &mut one, &["a", "b"]), Some(devices(&["a", "b"])));
        // Who comes later needs no listing, and the first has no list twice.
        let mut other = None;
        assert_eq!(next(&mut known, &mut other, &["not asked for"]), Some(devices(&["a", "b"])));
        assert_eq!(next(&mut known, &mut one, &["not asked for"]), None);
    }

    #[test]
    fn an_empty_list_is_a_list() {
        let (mut known, mut one) = followed();
        known.changes += 1;
        assert_eq!(next(&mut known, &mut one, &[]), Some(vec![]));
        assert_eq!(next(&mut known, &mut one, &["not asked for"]), None);
    }

    #[test]
    fn what_comes_back_to_a_slow_reader_is_no_news() {
        let (mut known, mut slow) = followed();
        let mut fast = None;
        known.changes += 1;
        assert_eq!(next(&mut known, &mut slow, &["a"]), Some(devices(&["a"])));
        for names in [["a"], ["b"], ["a"]] {
            known.changes += 1;
            next(&mut known, &mut fast, &names);
        }
        assert_eq!(next(&mut known, &mut slow, &["not asked for"]), None);
    }

    #[test]
    fn a_list_from_before_a_reader_waited_is_too_old_for_it() {
        let (mut known, mut one) = followed();
        known.changes += 1;
        assert!(next(&mut known, &mut one, &["a"]).is_some());
        known.changes += 1;
        let mut other = None;
        assert_eq!(next(&mut known, &mut other, &["b"]), Some(devices(&["b"])));
        // One that was begun is new enough for who waits already, though another change comes meanwhile.
        known.changes += 1;
        let Step::List(number) = first_step(&mut known, &mut one) else { panic!("nobody lists") };
        known.changes += 1;
        let mut other = None;
        assert!(matches!(first_step(&mut known, &mut other), Step::Wait));
        known.end_listing(number, Some(Ok(devices(&["c"]))));
        assert!(matches!(known.step(&mut one, number), Step::Give(list) if *list == devices(&["c"])));
        let mut other = None;
        assert!(matches!(first_step(&mut known, &mut other), Step::List(_)));
    }

    #[test]
    fn a_listing_that_fails_is_told_to_all_until_one_begins_anew() {
        let (mut known, mut one) = followed();
        let mut other = None;
        known.changes += 1;
        let Step::List(number) = first_step(&mut known, &mut one) else { panic!("nobody lists") };
        known.end_listing(number, None);
        let Step::List(number) = first_step(&mut known, &mut other) else { panic!("it is not made again") };
        assert!(matches!(first_step(&mut known, &mut one), Step::Wait));
        known.end_listing(number, Some(Err(Error::NoReply)));
        for _ in 0..2 {
            assert!(matches!(first_step(&mut known, &mut one), Step::Fail(Error::NoReply)));
        }
        assert!(matches!(first_step(&mut known, &mut other), Step::Fail(Error::NoReply)));
        assert!(!known.begin());
        assert_eq!(next(&mut known, &mut one, &["a"]), Some(devices(&["a"])));
        assert_eq!(next(&mut known, &mut other, &["not asked for"]), Some(devices(&["a"])));
    }

    #[test]
    fn a_new_subscription_gives_nothing_that_is_older() {
        let all = AllDevices::new();
        assert!(all.begin());
        assert!(!all.begin());
        all.on_change();
        let mut one = None;
        assert!(next(&mut all.lock(), &mut one, &["a"]).is_some());
        all.on_change();
        let Step::List(number) = first_step(&mut all.lock(), &mut one) else { panic!("nobody lists") };
        all.fail(Error::NodeGone);
        assert!(matches!(first_step(&mut all.lock(), &mut one), Step::Fail(Error::NodeGone)));
        assert!(all.begin());
        all.lock().end_listing(number, Some(Err(Error::NodeGone)));
        let mut other = None;
        for reader in [&mut one, &mut other] {
            assert!(matches!(first_step(&mut all.lock(), reader), Step::Wait));
        }
        all.on_change();
        assert_eq!(next(&mut all.lock(), &mut one, &["a"]), None);
        assert_eq!(next(&mut all.lock(), &mut other, &["not asked for"]), Some(devices(&["a"])));
    }
}

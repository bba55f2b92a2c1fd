//! The client against real nodes of this tree, on loopback. `make test-rust` runs it.
//!
//! Each test has a folder of its own for data directories and runtime directory.

mod nodes;

use std::time::Duration;

use nodes::{config, meet, send_signals, start, within_deadline, SEARCH};
use spacedrive_node_client::{
    Error, ErrorCode, Events, Node, NodeClient, Outcome, Pairing, ReloadState, Role, SessionState, Stage,
    States,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// Reads events up to the end of a session: no state twice, no stage back.
async fn end_of(events: &mut Events, pairing: &Pairing) -> Vec<SessionState> {
    let mut states: Vec<SessionState> = Vec::new();
    loop {
        let state = events.next().await.unwrap();
        if state.session != *pairing.id() {
            continue;
        }
        assert!(states.last().is_none_or(|last| last.stage <= state.stage && *last != state));
        states.push(state.clone());
        if state.outcome.is_some() {
            return states;
        }
    }
}

/// What a pairing's reader is told at last: how it ended, or why no more is heard of it.
async fn last_word(states: &mut States) -> Result<Outcome, Error> {
    loop {
        if let Some(outcome) = states.next().await?.expect("no outcome came before").outcome {
            return Ok(outcome);
        }
    }
}

fn code<T>(result: Result<T, Error>) -> ErrorCode {
    result.err().and_then(|error| error.code()).expect("a refusal")
}

/// All of a change or nothing, also when the gateway, to which the client is connected, is started again.
#[tokio::test]
async fn settings_are_read_again() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("node.toml");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("code-lifetime = 200\n");
        let mut config = config(folder.path(), "anna");
        config.flags.extend(["--config".to_owned(), file.display().to_string()]);
        let node = Node::start(&config).await.unwrap();
        assert_eq!(node.reload(false).await.unwrap().state, ReloadState::Unchanged);
        write("code-lifetime = 120\n");
        assert_eq!(node.reload(true).await.unwrap().state, ReloadState::Possible);
        let report = node.reload(false).await.unwrap();
        assert_eq!((report.state, report.changes.len()), (ReloadState::Applied, 1));
        assert_eq!(
            (report.changes[0].key.as_str(), &*report.actors),
            ("code-lifetime", &["gateway".to_owned()][..])
        );
        write("code-lifetime = \"long\"\n");
        let Err(Error::ReloadFailed { report }) = node.reload(false).await else {
            panic!("it must be refused");
        };
        assert_eq!(report.state, ReloadState::Refused);
        assert!(report.reasons[0].contains("code-lifetime"));
        assert!(node.status().await.unwrap().ready);
        node.stop().await;
    })
    .await;
}

#[tokio::test]
async fn two_nodes_pair_and_part() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let (anna, bruno) = tokio::join!(start(&folder, "anna"), start(&folder, "bruno"));
        let mut events = anna.events().await.unwrap();
        let (shown, entered) = meet(&anna, &bruno).await;
        assert_eq!((shown.state().role, entered.state().role), (Role::Initiator, Role::Joiner));
        assert!(shown.code().unwrap().qr.is_some_and(|text| !text.is_empty()));
        assert!(entered.code().is_none());

        let (at_anna, at_bruno) = tokio::join!(shown.confirmation(), entered.confirmation());
        let (at_anna, at_bruno) = (at_anna.unwrap(), at_bruno.unwrap());
        assert_eq!((at_anna.device.name.as_str(), at_bruno.device.name.as_str()), ("bruno", "anna"));
        assert_eq!(at_anna.check, at_bruno.check);
        assert_eq!(at_anna.device.peer.to_string(), bruno.peer_id);
        tokio::try_join!(shown.accept(), entered.accept()).unwrap();
        shown.accept().await.unwrap();
        let (one, other) = tokio::try_join!(shown.paired(), entered.paired()).unwrap();
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!((one.stage, one.path.as_deref()), (Stage::Storing, Some("direct")));
        assert_eq!(code(shown.reject().await), ErrorCode::AlreadyDecided);

        let states = end_of(&mut events, &shown).await;
        assert_eq!(states.last(), Some(&one));
        // Whoever comes later finds the same.
        assert_eq!(anna.session(shown.id()).await.unwrap().paired().await, Ok(one));
        assert_eq!(anna.sessions().await.unwrap().len(), 1);

        let devices = anna.devices().await.unwrap();
        assert_eq!(devices.len(), 1);
        let id = devices[0].device_id;
        assert_eq!((id, devices[0].name.as_str()), (at_anna.device.device_id, "bruno"));
        assert_eq!(id.to_string().parse(), Ok(id));
        anna.rename(id, "attic").await.unwrap();
        assert_eq!(anna.devices().await.unwrap()[0].name, "attic");
        assert_eq!(code(anna.rename(id, "\u{202e}").await), ErrorCode::InvalidName);
        assert!(matches!(anna.rename(id, "").await, Err(Error::OutOfBounds(_))));
        anna.forget(id).await.unwrap();
        assert_eq!(code(anna.forget(id).await), ErrorCode::NoSuchDevice);
        assert_eq!(anna.devices().await, Ok(vec![]));

        let status = anna.status().await.unwrap();
        assert_eq!((status.name.as_str(), status.ready, status.offline), ("anna", true, true));
        assert_eq!(status.addresses, anna.addresses);
        assert!(anna.metrics.as_ref().is_some_and(|address| address.starts_with("127.0.0.1:")));
        let end = anna.stop().await;
        assert!(matches!(end, Error::NodeEnded { exit_code: Some(0), .. }), "{end}");
    })
    .await;
}

#[tokio::test]
async fn one_user_refuses_another_cancels() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let (anna, bruno) = tokio::join!(start(&folder, "anna"), start(&folder, "bruno"));
        let (shown, entered) = meet(&anna, &bruno).await;
        assert_eq!(code(shown.accept().await), ErrorCode::NotDeciding);
        entered.confirmation().await.unwrap();
        entered.reject().await.unwrap();
        for end in [shown.paired().await, entered.paired().await] {
            assert!(matches!(end, Err(Error::PairingFailed { outcome: Outcome::Rejected, .. })), "{end:?}");
        }
        let shown = anna.start_pairing(Some(Duration::from_secs(60))).await.unwrap();
        assert!(shown.code().unwrap().expires_in.unwrap() <= 60.0);
        shown.cancel().await.unwrap();
        let end = shown.confirmation().await;
        assert!(matches!(end, Err(Error::PairingFailed { outcome: Outcome::Cancelled, .. })), "{end:?}");
        assert_eq!(anna.devices().await, Ok(vec![]));

        assert_eq!(code(anna.join_pairing("these are no words", SEARCH).await), ErrorCode::BadCode);
        let nobody = "0123456789abcdef".parse().unwrap();
        assert_eq!(code(anna.session(&nobody).await), ErrorCode::NoSuchSession);
        for wrong in [anna.start_pairing(Some(SEARCH)).await, anna.join_pairing("", Duration::ZERO).await] {
            assert!(matches!(wrong, Err(Error::OutOfBounds(_))));
        }
        // What was refused here has harmed nothing.
        assert!(anna.status().await.unwrap().ready);
    })
    .await;
}

#[tokio::test]
async fn a_pairing_goes_on_while_the_gateway_is_killed() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let (anna, bruno) = tokio::join!(start(&folder, "anna"), start(&folder, "bruno"));
        let mut connection = anna.connection();
        let mut events = anna.events().await.unwrap();
        let (shown, entered) = meet(&anna, &bruno).await;
        send_signals(&anna, &[("gateway", "-KILL")]).await;
        connection.wait_for(|is_connected| !is_connected).await.unwrap();
        tokio::try_join!(shown.confirmation(), entered.confirmation()).unwrap();
        connection.wait_for(|is_connected| *is_connected).await.unwrap();
        send_signals(&anna, &[("gateway", "-KILL")]).await;
        // Among what is open when the connection is lost, or is asked of the next gateway first.
        tokio::try_join!(shown.accept(), entered.accept()).unwrap();
        let (one, other) = tokio::try_join!(shown.paired(), entered.paired()).unwrap();
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!(end_of(&mut events, &shown).await.last(), Some(&one));
        assert_eq!(anna.devices().await.unwrap().len(), 1);
        let gateway = anna.actors().await.unwrap().into_iter().find(|one| one.actor == "gateway").unwrap();
        assert!(gateway.restarts >= 1, "{gateway:?}");
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_own_node_is_told_at_once() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let anna = start(&folder, "anna").await;
        let mut events = anna.events().await.unwrap();
        let shown = anna.start_pairing(None).await.unwrap();
        let mut states = shown.states();
        states.next().await.unwrap();
        events.next().await.unwrap();
        send_signals(&anna, &[("supervisor", "-KILL")]).await;
        let end = anna.ended().await;
        assert!(matches!(end, Error::NodeEnded { exit_code: None, .. }), "{end}");
        // A gateway that lives a moment longer says that the session is over.
        let last = last_word(&mut states).await;
        assert!(last == Ok(Outcome::LostContact) || last == Err(end.clone()), "{last:?}");
        assert_eq!(anna.devices().await, Err(end.clone()));
        // Who begins to look now is given what was known, and then told.
        for mut events in [events, anna.events().await.unwrap()] {
            let last = loop {
                match events.next().await {
                    Ok(state) => assert_eq!(state.session, *shown.id()),
                    Err(last) => break last,
                }
            };
            assert_eq!(last, end);
        }
        anna.shutdown().await.unwrap();
        assert!(!*anna.connection().borrow());
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_ends_stops_its_node_in_order() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let config = config(folder.path(), "anna");
        let (ready, is_ready) = oneshot::channel();
        let (end, is_over) = oneshot::channel::<()>();
        let program = spawn_blocking(move || {
            let runtime = Runtime::new().unwrap();
            let node = runtime.block_on(Node::start(&config)).unwrap();
            ready.send(node.control.clone()).unwrap();
            is_over.blocking_recv().unwrap();
            // As at the end of a program that has not called `stop`.
            runtime.shutdown_background();
        });
        let client = NodeClient::connect(is_ready.await.unwrap()).await.unwrap();
        let shown = client.start_pairing(None).await.unwrap();
        end.send(()).unwrap();
        program.await.unwrap();
        // A node that is killed has no time to say so.
        let end = shown.paired().await;
        assert!(matches!(end, Err(Error::PairingFailed { outcome: Outcome::LostContact, .. })), "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn another_programs_node_is_started_again() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let anna = start(&folder, "anna").await;
        let client = NodeClient::connect(&anna.control).await.unwrap();
        let shown = client.start_pairing(None).await.unwrap();
        let mut states = shown.states();
        states.next().await.unwrap();
        let (control, peer_id) = (anna.control.clone(), anna.peer_id.clone());
        send_signals(&client, &[("supervisor", "-KILL")]).await;
        anna.ended().await;
        let (status, again) = tokio::join!(client.status(), start(&folder, "anna"));
        assert_eq!((&again.control, &again.peer_id), (&control, &peer_id));
        assert_eq!(status.unwrap().peer.to_string(), peer_id);
        match last_word(&mut states).await {
            Ok(outcome) => assert_eq!(outcome, Outcome::LostContact),
            Err(end) => assert_eq!(end.code(), Some(ErrorCode::NoSuchSession)),
        }
        client.shutdown().await.unwrap();
        assert!(matches!(again.ended().await, Error::NodeEnded { exit_code: Some(0), .. }));
        let nobody = NodeClient::connect(&control).await.err();
        assert!(matches!(nobody, Some(Error::NoNodeRunning { .. })), "{nobody:?}");
        // Nobody is there to be stopped, which is what was wanted.
        client.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let mut wrong = config(folder.path(), "anna");
        wrong.flags.push("--public".to_owned());
        let Err(Error::NotStarted { exit_code: Some(2), message }) = Node::start(&wrong).await else {
            panic!("it started");
        };
        assert!(message.contains("--public"), "{message}");
        wrong.program = folder.path().join("nothing");
        let Err(Error::NotStarted { exit_code: None, message }) = Node::start(&wrong).await else {
            panic!("it started");
        };
        assert!(message.contains("nothing"), "{message}");

        let anna = start(&folder, "anna").await;
        let second = Node::start(&config(folder.path(), "anna")).await.err();
        assert!(matches!(second, Some(Error::NotStarted { exit_code: Some(6), .. })), "{second:?}");
        assert!(anna.status().await.unwrap().ready);
    })
    .await;
}

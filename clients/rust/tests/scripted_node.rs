//! The client against a socket that says what a test wants: what real nodes hardly ever do.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{json, Value};
use spacedrive_node_client::{Device, Error, ErrorCode, NodeClient};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);
/// The sum of the pauses before the sixth attempt: 20, 40, 80, 160 and 320 ms.
const FIVE_PAUSES: Duration = Duration::from_millis(620);

/// A socket in place of a node's, and the client that is connected with it.
async fn connected() -> (TempDir, UnixListener, NodeClient, UnixStream) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    let client = NodeClient::connect(&path).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (folder, listener, client, stream)
}

async fn read_frame(stream: &mut UnixStream) -> Vec<u8> {
    let frame = async {
        let length = stream.read_u32().await.unwrap();
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        payload
    };
    timeout(DEADLINE, frame).await.expect("the client asks for nothing")
}

async fn read(stream: &mut UnixStream) -> Value {
    rmp_serde::from_slice(&read_frame(stream).await).unwrap()
}

async fn write(stream: &mut UnixStream, reply: Value) {
    let payload = rmp_serde::to_vec(&reply).unwrap();
    stream.write_u32(payload.len() as u32).await.unwrap();
    stream.write_all(&payload).await.unwrap();
}

fn session(number: u64, stage: &str) -> Value {
    json!({"session": format!("{number:016x}"), "role": "initiator", "stage": stage})
}

#[tokio::test]
async fn a_list_of_several_pages_is_read_from_its_beginning() {
    let (_folder, _listener, client, mut node) = connected().await;
    let serve = async {
        let pages = [
            // The newest first, as in the page that has an order of its own: its last is no place to go on.
            (Value::Null, vec![session(9, "waiting"), session(1, "waiting")]),
            (json!(""), vec![session(1, "proving"), session(2, "waiting")]),
            (json!("0000000000000002"), vec![session(9, "waiting")]),
        ];
        for (number, (after, sessions)) in pages.into_iter().enumerate() {
            let asked = read(&mut node).await;
            assert_eq!((&asked["t"], &asked["after"]), (&json!("ListSessions"), &after));
            write(
                &mut node,
                json!({"t": "Sessions", "id": asked["id"], "sessions": sessions, "more": number < 2}),
            )
            .await;
        }
    };
    let (found, ()) = tokio::join!(client.sessions(), serve);
    let found = found.unwrap();
    let ids: Vec<String> = found.iter().map(|state| state.session.to_string()).collect();
    assert_eq!(ids, ["0000000000000009", "0000000000000001", "0000000000000002"]);
    assert_eq!(found[1].stage.as_str(), "proving");
}

#[tokio::test]
async fn a_first_page_that_is_empty_is_not_the_end() {
    let (_folder, _listener, client, mut node) = connected().await;
    let serve = async {
        for (sessions, more) in [(vec![], true), (vec![session(5, "waiting")], false)] {
            let asked = read(&mut node).await;
            write(&mut node, json!({"t": "Sessions", "id": asked["id"], "sessions": sessions, "more": more}))
                .await;
        }
    };
    let (found, ()) = tokio::join!(client.sessions(), serve);
    assert_eq!(found.unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let (_folder, _listener, client, mut node) = connected().await;
    let serve = async {
        for _ in 0..3 {
            let asked = read(&mut node).await;
            let page = json!({"t": "Sessions", "id": asked["id"], "sessions": [session(5, "waiting")], "more": true});
            write(&mut node, page).await;
        }
    };
    let (found, ()) = tokio::join!(client.sessions(), serve);
    assert_eq!(found, Err(Error::UnexpectedReply));
}

#[tokio::test]
async fn what_is_open_is_sent_again_in_order_with_its_keys() {
    let (_folder, listener, client, mut node) = connected().await;
    let serve = async {
        let mut first = Vec::new();
        for _ in 0..3 {
            first.push(read_frame(&mut node).await);
        }
        drop(node);
        let (mut node, _) = listener.accept().await.unwrap();
        for expected in &first {
            assert_eq!(read_frame(&mut node).await, *expected);
        }
        for id in 1..=3 {
            write(&mut node, json!({"t": "Done", "id": id})).await;
        }
        node
    };
    let device = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
    let changes = async {
        tokio::try_join!(client.rename(device, "attic"), client.forget(device), client.shutdown()).unwrap();
    };
    let _node = tokio::join!(changes, serve);
}

#[tokio::test]
async fn a_refused_connection_is_not_tried_again_at_once() {
    let (_folder, listener, client, mut node) = connected().await;
    let waiting = tokio::spawn(async move { client.sessions().await });
    let begin = Instant::now();
    for _ in 0..6 {
        write(&mut node, json!({"t": "Error", "id": 0, "code": "busy", "message": "later"})).await;
        drop(node);
        node = listener.accept().await.unwrap().0;
    }
    assert!(begin.elapsed() >= FIVE_PAUSES, "{:?}", begin.elapsed());
    let asked = read(&mut node).await;
    write(&mut node, json!({"t": "Sessions", "id": asked["id"], "sessions": []})).await;
    assert_eq!(waiting.await.unwrap(), Ok(vec![]));
}

#[tokio::test]
async fn after_a_breach_it_is_not_tried_again_at_once() {
    let (_folder, listener, client, mut node) = connected().await;
    let events = client.events().await.unwrap();
    let waiting = tokio::spawn(async move { client.status().await });
    let begin = Instant::now();
    for _ in 0..6 {
        // A good answer before it does not make the connection one to be had back at once.
        write(&mut node, json!({"t": "Done", "id": 1})).await;
        write(&mut node, json!({"t": "NodeStatus", "id": 2, "name": 5})).await;
        drop(node);
        node = listener.accept().await.unwrap().0;
    }
    assert!(begin.elapsed() >= FIVE_PAUSES, "{:?}", begin.elapsed());
    assert_eq!(read(&mut node).await["t"], "Subscribe");
    assert_eq!(read(&mut node).await["t"], "Status");
    write(&mut node, json!({"t": "Error", "id": 2, "code": "not_ready", "message": "later"})).await;
    assert_eq!(waiting.await.unwrap().err().and_then(|error| error.code()), Some(ErrorCode::NotReady));
    drop(events);
}

#[tokio::test]
async fn a_pairing_that_nobody_looks_at_is_not_followed_again() {
    let (_folder, listener, client, mut node) = connected().await;
    let id = "0000000000000001".parse().unwrap();
    let serve = async {
        let asked = read(&mut node).await;
        assert_eq!((&asked["t"], &asked["session"]), (&json!("Subscribe"), &json!("0000000000000001")));
        write(&mut node, json!({"t": "Done", "id": asked["id"]})).await;
        write(&mut node, json!({"t": "SessionEvent", "id": asked["id"], "state": session(1, "waiting")}))
            .await;
    };
    let (pairing, ()) = tokio::join!(client.session(&id), serve);
    drop(pairing.unwrap());
    drop(node);
    let (mut node, _) = listener.accept().await.unwrap();
    let (result, ()) = tokio::join!(client.sessions(), async {
        let asked = read(&mut node).await;
        assert_eq!(asked["t"], "ListSessions");
        write(&mut node, json!({"t": "Sessions", "id": asked["id"], "sessions": []})).await;
    });
    assert_eq!(result, Ok(vec![]));
}

#[tokio::test]
async fn a_node_that_was_started_again_knows_the_pairing_no_more() {
    let (_folder, listener, client, mut node) = connected().await;
    let id = "0000000000000001".parse().unwrap();
    let serve = async {
        let id = read(&mut node).await["id"].clone();
        write(&mut node, json!({"t": "SessionEvent", "id": id, "state": session(1, "waiting")})).await;
    };
    let (pairing, ()) = tokio::join!(client.session(&id), serve);
    let pairing = pairing.unwrap();
    let mut states = pairing.states();
    assert!(states.next().await.is_ok_and(|state| state.is_some()));
    drop(node);
    let (mut node, _) = listener.accept().await.unwrap();
    let asked = read(&mut node).await;
    assert_eq!((&asked["t"], &asked["session"]), (&json!("Subscribe"), &json!("0000000000000001")));
    let refusal = json!({"t": "Error", "id": asked["id"], "code": "no_such_session", "message": "gone"});
    write(&mut node, refusal).await;
    let refused = Error::Refused { code: ErrorCode::NoSuchSession, message: "gone".to_owned() };
    assert_eq!(states.next().await, Err(refused.clone()));
    assert_eq!(pairing.paired().await, Err(refused));
}

fn device(number: u8, name: &str) -> Value {
    json!({"device_id": vec![number; 16], "name": name, "os": "", "peer": [1], "public_key": vec![0; 32],
        "state": "paired", "paired_at": 1.0, "fingerprint": ""})
}

/// A request for devices; its bytes are no JSON.
#[derive(Deserialize)]
struct Asked {
    t: String,
    id: u64,
    #[serde(with = "serde_bytes")]
    after: Vec<u8>,
}

/// Reads a request for devices, those after one or all, and returns its id.
async fn asked_to_list(node: &mut UnixStream, after: Option<u8>) -> u64 {
    let asked: Asked = rmp_serde::from_slice(&read_frame(node).await).unwrap();
    assert_eq!((asked.t.as_str(), asked.after), ("ListDevices", after.map_or(vec![], |id| vec![id; 16])));
    asked.id
}

async fn list(node: &mut UnixStream, after: Option<u8>, devices: Vec<Value>, more: bool) {
    let id = asked_to_list(node, after).await;
    write(node, json!({"t": "DeviceList", "id": id, "devices": devices, "more": more})).await;
}

/// Takes a subscription to changes of devices, and returns its id.
async fn watched(node: &mut UnixStream) -> Value {
    let asked = read(node).await;
    assert_eq!(asked["t"], "WatchDevices");
    write(node, json!({"t": "Done", "id": asked["id"]})).await;
    write(node, json!({"t": "DevicesChanged", "id": asked["id"]})).await;
    asked["id"].clone()
}

fn names(devices: Result<Vec<Device>, Error>) -> Vec<String> {
    devices.unwrap().into_iter().map(|device| device.name).collect()
}

#[tokio::test]
async fn devices_are_followed_and_listed_once_for_all_readers() {
    let (_folder, _listener, client, mut node) = connected().await;
    let (mut one, mut other) = (client.all_devices().await.unwrap(), client.all_devices().await.unwrap());
    let id = watched(&mut node).await;
    let listing = tokio::select! {
        list = one.next() => panic!("{list:?}"),
        id = asked_to_list(&mut node, None) => id,
    };
    // That its reader waits no longer does not end the listing.
    let reply = json!({"t": "DeviceList", "id": listing, "devices": [device(1, "anna")], "more": false});
    let (found, ()) = tokio::join!(other.next(), write(&mut node, reply));
    assert_eq!(names(found), ["anna"]);
    assert_eq!(names(one.next().await), ["anna"]);
    // Nobody reads, so nothing is asked for.
    write(&mut node, json!({"t": "DevicesChanged", "id": id})).await;
    let serve = async {
        let asked = read(&mut node).await;
        assert_eq!(asked["t"], "ListSessions");
        write(&mut node, json!({"t": "Sessions", "id": asked["id"], "sessions": []})).await;
    };
    tokio::join!(client.sessions(), serve).0.unwrap();
    let serve = async {
        list(&mut node, None, vec![device(1, "anna")], false).await;
        write(&mut node, json!({"t": "DevicesChanged", "id": id})).await;
        list(&mut node, None, vec![device(1, "attic"), device(2, "bruno")], false).await;
    };
    let mut late = client.all_devices().await.unwrap();
    let (first, second, ()) = tokio::join!(one.next(), other.next(), serve);
    assert_eq!(
        (names(first), names(second)),
        (names(late.next().await), vec!["attic".into(), "bruno".into()])
    );
}

#[tokio::test]
async fn devices_are_followed_over_lost_connections() {
    let (_folder, listener, client, mut node) = connected().await;
    let mut lists = client.all_devices().await.unwrap();
    let serve = async {
        let first = watched(&mut node).await;
        list(&mut node, None, vec![device(1, "anna")], true).await;
        asked_to_list(&mut node, Some(1)).await;
        drop(node);
        let (mut node, _) = listener.accept().await.unwrap();
        assert_eq!(watched(&mut node).await, first);
        list(&mut node, Some(1), vec![device(2, "bruno")], false).await;
        node
    };
    let (found, mut node) = tokio::join!(lists.next(), serve);
    assert_eq!(names(found), ["anna", "bruno"]);
    let serve = async {
        // Whether devices changed while the connection was lost only a list can tell: they did not.
        list(&mut node, None, vec![device(1, "anna"), device(2, "bruno")], false).await;
        drop(node);
        let (mut node, _) = listener.accept().await.unwrap();
        watched(&mut node).await;
        list(&mut node, None, vec![device(2, "bruno")], false).await;
        node
    };
    let (found, _node) = tokio::join!(lists.next(), serve);
    assert_eq!(names(found), ["bruno"]);
}

#[tokio::test]
async fn what_this_client_changes_is_in_the_next_list() {
    let (_folder, _listener, client, mut node) = connected().await;
    let id = "01010101010101010101010101010101".parse().unwrap();
    let mut lists = client.all_devices().await.unwrap();
    watched(&mut node).await;
    let (found, ()) = tokio::join!(lists.next(), list(&mut node, None, vec![device(1, "anna")], false));
    assert_eq!(names(found), ["anna"]);
    // The node says later that devices have changed, and who is told that a change is made asks before.
    let serve = async {
        read_frame(&mut node).await;
        write(&mut node, json!({"t": "Done", "id": 3})).await;
    };
    tokio::join!(client.rename(id, "attic"), serve).0.unwrap();
    let mut late = client.all_devices().await.unwrap();
    let (found, ()) = tokio::join!(late.next(), list(&mut node, None, vec![device(1, "attic")], false));
    assert_eq!((names(found), names(lists.next().await)), (vec!["attic".into()], vec!["attic".into()]));
    let serve = async {
        read_frame(&mut node).await;
        write(&mut node, json!({"t": "Done", "id": 5})).await;
        list(&mut node, None, vec![], false).await;
    };
    let (forgotten, found, ()) = tokio::join!(client.forget(id), lists.next(), serve);
    assert_eq!((forgotten, names(found)), (Ok(()), vec![]));
}

#[tokio::test]
async fn what_a_node_cannot_list_now_is_asked_for_again() {
    let (_folder, _listener, client, mut node) = connected().await;
    let mut lists = client.all_devices().await.unwrap();
    let serve = async {
        watched(&mut node).await;
        let begin = Instant::now();
        for code in ["not_ready", "internal"] {
            let id = asked_to_list(&mut node, None).await;
            write(&mut node, json!({"t": "Error", "id": id, "code": code, "message": ""})).await;
        }
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    };
    let (refused, ()) = tokio::join!(lists.next(), serve);
    assert_eq!(refused.err().and_then(|error| error.code()), Some(ErrorCode::Internal));
    let mut lists = client.all_devices().await.unwrap();
    let (found, ()) = tokio::join!(lists.next(), list(&mut node, None, vec![device(1, "anna")], false));
    assert_eq!(names(found), ["anna"]);
}

#[tokio::test]
async fn a_node_that_cannot_follow_devices_says_so() {
    let (_folder, listener, client, mut node) = connected().await;
    for (code, expected) in [("busy", ErrorCode::Busy), ("bad_request", ErrorCode::BadRequest)] {
        let mut lists = client.all_devices().await.unwrap();
        let asked = read(&mut node).await;
        assert_eq!(asked["t"], "WatchDevices");
        write(&mut node, json!({"t": "Error", "id": asked["id"], "code": code, "message": ""})).await;
        for _ in 0..2 {
            assert_eq!(lists.next().await.err().and_then(|error| error.code()), Some(expected));
        }
        assert_eq!(lists.next().await.unwrap_err().to_string().contains("older"), code == "bad_request");
    }
    // One that is older than this client ends the connection with that; the next one has no such request.
    drop(node);
    let (mut node, _) = listener.accept().await.unwrap();
    let (found, ()) = tokio::join!(client.devices(), list(&mut node, None, vec![], false));
    assert_eq!(found, Ok(vec![]));
}

#[tokio::test]
async fn a_listing_that_nobody_waits_for_keeps_no_connection() {
    let (_folder, _listener, client, mut node) = connected().await;
    let mut lists = client.all_devices().await.unwrap();
    watched(&mut node).await;
    tokio::select! {
        list = lists.next() => panic!("{list:?}"),
        _ = asked_to_list(&mut node, None) => {}
    };
    drop((lists, client));
    assert_eq!(node.read(&mut [0]).await.unwrap(), 0);
}

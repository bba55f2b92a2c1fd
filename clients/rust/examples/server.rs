//! A server that embeds a node, shaped like Spacedrive's: axum, HTTP, and an event stream. Run it with
//!
//!     DATA_DIR=/srv/spacedrive PORT=8080 SD_AUTH=admin:secret SD_P2P=true cargo run --example server
//!
//! SD_AUTH is `user:password` or `disabled`. SD_P2P=false keeps the node to this host, PORT=0 takes a free
//! port. `sdnode` must be on the path. It listens on 127.0.0.1: put a proxy with TLS in front.
//!
//!     POST /pairings               show a code: {"session","words"}
//!     POST /pairings {"code": …}   enter one: {"session"}
//!     POST /pairings/ID/accept     or /reject: what the user says to the device and check value in the events
//!     DELETE /pairings/ID          give it up         GET /devices, DELETE /devices/ID   list, revoke
//!     GET /events                  server-sent events: the state of every pairing, now and at each change;
//!                                  and as events `devices` the list of devices, now and at each change
//!     GET /health                  200 if the node is ready, else 503
//!
//! The node is a child process that ends with the server. When it ends by itself it is started again, and
//! event streams go on with the next one; what cannot be mended by that ends the server. But for the events
//! `devices` the interface is that of examples/server_asyncio.py, and both are tested by
//! tests/node/test_server_example.py.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{header, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base64::prelude::{Engine, BASE64_STANDARD};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{json, Value};
use spacedrive_node_client::{
    Device, DeviceId, DeviceLists, Error, ErrorCode, Events, Node, NodeConfig, SessionId, SessionState,
};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const LIMIT_BYTES: usize = 16 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const RESTART_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const SEARCH: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The exit code of a node that is for people to mend: a setting, a passphrase.
const NOT_USABLE: i32 = 2;

/// The node that runs; None while there is none.
type Nodes = watch::Receiver<Option<Arc<Node>>>;

struct Settings {
    node: NodeConfig,
    port: u16,
    auth: String,
}

impl Settings {
    fn from_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let mut node = NodeConfig::new(variable("DATA_DIR")?);
        match variable("SD_P2P").as_deref() {
            Ok("true") | Err(_) => {}
            Ok("false") => node.flags.push("--offline".to_owned()),
            Ok(_) => return Err("SD_P2P is true or false".to_owned()),
        }
        let port = variable("PORT").unwrap_or_else(|_| "8080".to_owned());
        let port = port.parse().map_err(|_| "PORT is a number up to 65535".to_owned())?;
        let auth = variable("SD_AUTH")?;
        if auth != "disabled" && !auth.contains(':') {
            return Err("SD_AUTH is user:password or disabled".to_owned());
        }
        Ok(Self { node, port, auth })
    }
}

/// What a request is answered with that cannot be carried out.
struct Refusal(StatusCode, Value);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.code() {
            Some(ErrorCode::BadCode) => StatusCode::BAD_REQUEST,
            Some(ErrorCode::NoSuchSession | ErrorCode::NoSuchDevice) => StatusCode::NOT_FOUND,
            Some(ErrorCode::AlreadyDecided) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        match error {
            Error::Refused { code, message } => {
                Self(status, json!({"error": message, "code": code.as_str()}))
            }
            Error::OutOfBounds(what) => Self(StatusCode::BAD_REQUEST, json!({"error": what})),
            // Its text may hold what the node has logged.
            _ => Self(status, json!({"error": "the node does not answer; try again later"})),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn refusal(status: StatusCode, error: &str) -> Refusal {
    Refusal(status, json!({"error": error}))
}

/// The node, for which a request waits a little while it is started again.
async fn running(mut nodes: Nodes) -> Result<Arc<Node>, Refusal> {
    let found = timeout(RESTART_TIMEOUT, nodes.wait_for(Option::is_some)).await;
    found.ok().and_then(|node| node.ok()?.clone()).ok_or_else(|| Error::NodeGone.into())
}

#[derive(Default, Deserialize)]
struct Wanted {
    code: Option<String>,
}

async fn start_or_join(
    State(nodes): State<Nodes>,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Refusal> {
    let body = body.map_err(|rejected| refusal(rejected.status(), "this is too long, or was cut off"))?;
    let wanted = if body.is_empty() { Ok(Wanted::default()) } else { serde_json::from_slice(&body) };
    let wanted: Wanted = wanted.map_err(|_| refusal(StatusCode::BAD_REQUEST, "not a request"))?;
    let node = running(nodes).await?;
    let reply = match wanted.code.filter(|code| !code.is_empty()) {
        Some(code) => json!({"session": node.join_pairing(&code, SEARCH).await?.id().to_string()}),
        None => {
            let shown = node.start_pairing(None).await?;
            let words = shown.code().map(|code| code.words);
            json!({"session": shown.id().to_string(), "words": words})
        }
    };
    Ok((StatusCode::CREATED, Json(reply)))
}

async fn decide(
    State(nodes): State<Nodes>,
    Path((id, decision)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let is_accepted = match decision.as_str() {
        "accept" => true,
        "reject" => false,
        _ => return Err(no_such_resource().await),
    };
    let pairing = running(nodes).await?.session(&id.parse::<SessionId>()?).await?;
    if is_accepted {
        pairing.accept().await?;
    } else {
        pairing.reject().await?;
    }
    Ok(Json(json!({})))
}

async fn cancel(State(nodes): State<Nodes>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    running(nodes).await?.session(&id.parse::<SessionId>()?).await?.cancel().await?;
    Ok(Json(json!({})))
}

async fn list(State(nodes): State<Nodes>) -> Result<Json<Value>, Refusal> {
    Ok(Json(listed(&running(nodes).await?.devices().await?)))
}

async fn revoke(State(nodes): State<Nodes>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    running(nodes).await?.forget(id.parse::<DeviceId>()?).await?;
    Ok(Json(json!({})))
}

async fn health(State(nodes): State<Nodes>) -> Result<Json<Value>, Refusal> {
    let node = nodes.borrow().clone();
    match node {
        Some(node) if node.status().await?.ready => Ok(Json(json!({}))),
        _ => Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "the node is not ready")),
    }
}

async fn no_such_resource() -> Refusal {
    refusal(StatusCode::NOT_FOUND, "no such resource")
}

async fn events(State(nodes): State<Nodes>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let all = stream::unfold((nodes, None), |(mut nodes, mut readers)| async move {
        let event = next_event(&mut nodes, &mut readers).await?;
        Some((Ok(event), (nodes, readers)))
    });
    // So that a browser that has gone is noticed.
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("nothing new"))
}

/// Waits for the next event, over as many nodes as it takes; None when the server ends.
async fn next_event(nodes: &mut Nodes, readers: &mut Option<(Events, DeviceLists)>) -> Option<Event> {
    loop {
        let found = match readers {
            Some((events, lists)) => tokio::select! {
                state = events.next() => state.map(|state| Event::default().data(shown(&state).to_string())),
                list = lists.next() => {
                    list.map(|devices| Event::default().event("devices").data(listed(&devices).to_string()))
                }
            },
            None => {
                let node = nodes.wait_for(Option::is_some).await.ok()?.clone()?;
                match tokio::try_join!(node.events(), node.all_devices()) {
                    Ok(new) => {
                        *readers = Some(new);
                        continue;
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match found {
            Ok(event) => return Some(event),
            Err(Error::NodeEnded { .. }) => nodes.changed().await.ok()?,
            Err(_) => sleep(FIRST_PAUSE).await,
        }
        *readers = None;
    }
}

fn listed(devices: &[Device]) -> Value {
    let shown = devices.iter().map(|device| {
        json!({"id": device.device_id.to_string(), "name": device.name, "peer_id": device.peer.to_string()})
    });
    shown.collect()
}

/// What a page shows of a state: all but the code.
fn shown(state: &SessionState) -> Value {
    json!({
        "device": state.device.as_ref().map(|device| &device.name),
        "session": state.session.to_string(),
        "role": state.role.as_str(),
        "stage": state.stage.as_str(),
        "check": state.check,
        "accepted": state.accepted,
        "outcome": state.outcome.map(|outcome| outcome.as_str()),
        "fingerprint": state.fingerprint,
    })
}

/// Lets a request pass that has the login, and gives it so much time until its answer begins.
async fn guard(State(login): State<Arc<Option<String>>>, request: Request, next: Next) -> Response {
    if let Some(login) = login.as_ref() {
        let given = request.headers().get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        if !bool::from(given.ct_eq(login.as_bytes())) {
            return refusal(StatusCode::UNAUTHORIZED, "give the user and password of SD_AUTH")
                .into_response();
        }
    }
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "this took too long").into_response(),
    }
}

fn application(auth: &str, nodes: Nodes) -> Router {
    let login = (auth != "disabled").then(|| format!("Basic {}", BASE64_STANDARD.encode(auth)));
    Router::new()
        .route("/pairings", post(start_or_join))
        .route("/pairings/{id}", delete(cancel))
        .route("/pairings/{id}/{decision}", post(decide))
        .route("/devices", get(list))
        .route("/devices/{id}", delete(revoke))
        .route("/events", get(events))
        .route("/health", get(health))
        .fallback(no_such_resource)
        .method_not_allowed_fallback(no_such_resource)
        .layer(DefaultBodyLimit::max(LIMIT_BYTES))
        .layer(middleware::from_fn_with_state(Arc::new(login), guard))
        .with_state(nodes)
}

/// Starts the node again whenever it has ended; returns what cannot be mended so.
async fn keep_running(config: &NodeConfig, current: &watch::Sender<Option<Arc<Node>>>) -> Error {
    loop {
        let node = current.borrow().clone();
        if let Some(node) = node {
            let end = node.ended().await;
            eprintln!("{end}\nit is started again");
            current.send_replace(None);
        }
        let mut pause = FIRST_PAUSE;
        loop {
            sleep(pause).await;
            match Node::start(config).await {
                Ok(node) => {
                    current.send_replace(Some(Arc::new(node)));
                    break;
                }
                Err(error @ Error::NotStarted { exit_code: Some(NOT_USABLE), .. }) => return error,
                Err(error) => eprintln!("{error}"),
            }
            pause = MAX_PAUSE.min(pause * 2);
        }
    }
}

async fn serve(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let (current, nodes) = watch::channel(None);
    let served = async {
        current.send_replace(Some(Arc::new(Node::start(&settings.node).await?)));
        println!("{}", json!({"port": listener.local_addr()?.port()}));
        tokio::select! {
            end = axum::serve(listener, application(&settings.auth, nodes)) => Ok(end?),
            error = keep_running(&settings.node, &current) => Err(error.into()),
        }
    };
    let end = tokio::select! {
        end = served => end,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    let last = current.send_replace(None);
    if let Some(node) = last {
        node.stop().await;
    }
    end
}

#[tokio::main]
async fn main() -> ExitCode {
    let end = match Settings::from_environment() {
        Ok(settings) => serve(settings).await.map_err(|error| error.to_string()),
        Err(wrong) => Err(wrong),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

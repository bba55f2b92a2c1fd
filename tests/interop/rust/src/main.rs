//! A rust-libp2p peer for the interoperability tests. It speaks JSON lines on stdin and stdout, as ../README.md says.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::{dial_opts::DialOpts, ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{dcutr, identify, kad, noise, ping, relay, tcp, yamux};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm};
use libp2p_stream as stream;
use rand::Rng;
use serde_json::{json, Value};
use tokio::io::AsyncBufReadExt;
use tokio::sync::mpsc;

const ECHO: StreamProtocol = StreamProtocol::new("/spacedrive-interop/echo/1.0.0");
const MAX_ECHO: u64 = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(NetworkBehaviour)]
struct Behaviour {
    dcutr: dcutr::Behaviour,
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    ping: ping::Behaviour,
    relay: relay::Behaviour,
    relay_client: relay::client::Behaviour,
    stream: stream::Behaviour,
}

/// What waits for an event of the swarm, by the number of its command; and what is known of peers.
#[derive(Default)]
struct Waiting {
    dials: HashMap<ConnectionId, (Value, Instant)>,
    direct: HashMap<PeerId, HashMap<ConnectionId, Multiaddr>>,
    until_direct: HashMap<PeerId, Vec<Value>>,
    identified: HashMap<PeerId, Value>,
    identify: HashMap<PeerId, Vec<Value>>,
    pings: HashMap<PeerId, Vec<Value>>,
    reservations: HashMap<PeerId, Value>,
    queries: HashMap<kad::QueryId, (Value, Vec<String>)>,
}

/// The DHT's protocol id; another one makes a private copy of another network.
fn kad_protocol() -> StreamProtocol {
    match std::env::var("INTEROP_KAD") {
        Ok(name) => StreamProtocol::try_from_owned(name).expect("a protocol id begins with a slash"),
        Err(_) => StreamProtocol::new("/spacedrive/kad/1.0.0"),
    }
}

#[cfg(feature = "v0_53")]
fn kad_config() -> kad::Config {
    let mut config = kad::Config::default();
    config.set_protocol_names(vec![kad_protocol()]);
    config
}

#[cfg(not(feature = "v0_53"))]
fn kad_config() -> kad::Config {
    kad::Config::new(kad_protocol())
}

#[cfg(feature = "v0_53")]
fn tcp_config() -> tcp::Config {
    tcp::Config::default().nodelay(true).port_reuse(true)
}

/// Dials leave from the port that is listened on by themselves.
#[cfg(not(feature = "v0_53"))]
fn tcp_config() -> tcp::Config {
    tcp::Config::default().nodelay(true)
}

fn say(mut what: Value, id: &Value) {
    what["id"] = id.clone();
    println!("{what}");
}

async fn echo(mut stream: Stream) -> std::io::Result<()> {
    let mut data = Vec::new();
    (&mut stream).take(MAX_ECHO).read_to_end(&mut data).await?;
    stream.write_all(&data).await?;
    stream.close().await
}

async fn echo_to(mut control: stream::Control, peer: PeerId, size: usize) -> Result<Value, Box<dyn Error + Send + Sync>> {
    let opened = control.open_stream(peer, ECHO).await.map_err(|error| error.to_string())?; // 0.53 has no Error for it
    let (mut reader, mut writer) = opened.split();
    let mut sent = vec![0; size];
    rand::rng().fill_bytes(&mut sent);
    let mut got = Vec::new();
    let write = async {
        writer.write_all(&sent).await?;
        writer.close().await
    };
    let mut limited = (&mut reader).take(MAX_ECHO);
    futures::try_join!(write, limited.read_to_end(&mut got))?;
    if got != sent {
        return Err(format!("{} bytes came back, and not the same", got.len()).into());
    }
    Ok(json!({ "bytes": got.len() }))
}

fn handle_command(swarm: &mut Swarm<Behaviour>, waiting: &mut Waiting, line: &str) -> Result<(), Box<dyn Error>> {
    let command: Value = serde_json::from_str(line)?;
    let id = command["id"].clone();
    let text = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
    let fail = |error: String| say(json!({ "error": error }), &id);
    match command["op"].as_str().unwrap_or_default() {
        "connect" => {
            let options = DialOpts::from(text("address").parse::<Multiaddr>()?);
            waiting.dials.insert(options.connection_id(), (id.clone(), Instant::now()));
            if let Err(error) = swarm.dial(options) {
                fail(error.to_string());
            }
        }
        "relay" => say(json!({}), &id), // it is one all the time
        "reserve" => {
            let address = text("address");
            let relay: PeerId = address.rsplit('/').next().unwrap_or_default().parse()?;
            waiting.reservations.insert(relay, id.clone());
            swarm.listen_on(format!("{address}/p2p-circuit").parse()?)?;
        }
        "identify" => {
            let peer: PeerId = text("peer").parse()?;
            match waiting.identified.get(&peer) {
                Some(known) => say(known.clone(), &id),
                None => waiting.identify.entry(peer).or_default().push(id.clone()),
            }
        }
        "direct" => {
            let peer: PeerId = text("peer").parse()?;
            match waiting.direct.get(&peer).and_then(|known| known.values().next()) {
                Some(address) => say(json!({ "address": address.to_string() }), &id),
                None => waiting.until_direct.entry(peer).or_default().push(id.clone()),
            }
        }
        "ping" => waiting.pings.entry(text("peer").parse()?).or_default().push(id.clone()),
        "echo" => {
            let (peer, size) = (text("peer").parse()?, command["bytes"].as_u64().unwrap_or(0) as usize);
            let control = swarm.behaviour().stream.new_control();
            tokio::spawn(async move {
                let result = tokio::time::timeout(TIMEOUT, echo_to(control, peer, size)).await;
                match result {
                    Ok(Ok(answer)) => say(answer, &id),
                    Ok(Err(error)) => say(json!({ "error": error.to_string() }), &id),
                    Err(_) => say(json!({ "error": "time-out" }), &id),
                }
            });
        }
        "provide" => {
            let key = kad::RecordKey::from(hex::decode(text("key"))?);
            let query = swarm.behaviour_mut().kad.start_providing(key)?;
            waiting.queries.insert(query, (id.clone(), vec![]));
        }
        "find_providers" => {
            let key = kad::RecordKey::from(hex::decode(text("key"))?);
            let query = swarm.behaviour_mut().kad.get_providers(key);
            waiting.queries.insert(query, (id.clone(), vec![]));
        }
        "close" => {
            let _ = swarm.disconnect_peer_id(text("peer").parse()?);
            say(json!({}), &id);
        }
        _ => fail("no such command".into()),
    }
    Ok(())
}

fn handle_kad(waiting: &mut Waiting, event: kad::Event) {
    let kad::Event::OutboundQueryProgressed { id: query, result, step, .. } = event else {
        return;
    };
    let Some((_, found)) = waiting.queries.get_mut(&query) else {
        return;
    };
    let mut error = None;
    match result {
        kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
            found.extend(providers.iter().map(PeerId::to_string));
        }
        kad::QueryResult::GetProviders(Err(failure)) => error = Some(failure.to_string()),
        kad::QueryResult::StartProviding(Err(failure)) => error = Some(failure.to_string()),
        _ => {}
    }
    if step.last || error.is_some() {
        let (id, found) = waiting.queries.remove(&query).expect("was there a moment ago");
        match error {
            Some(text) => say(json!({ "error": text }), &id),
            None => say(json!({ "providers": found }), &id),
        }
    }
}

fn handle_event(swarm: &mut Swarm<Behaviour>, waiting: &mut Waiting, event: SwarmEvent<BehaviourEvent>) {
    match event {
        SwarmEvent::ConnectionEstablished { connection_id, peer_id, endpoint, .. } => {
            if !endpoint.is_relayed() {
                let address = endpoint.get_remote_address().clone();
                for id in waiting.until_direct.remove(&peer_id).unwrap_or_default() {
                    say(json!({ "address": address.to_string() }), &id);
                }
                waiting.direct.entry(peer_id).or_default().insert(connection_id, address);
            }
            if let Some((id, began)) = waiting.dials.remove(&connection_id) {
                say(json!({ "peer": peer_id.to_string(), "seconds": began.elapsed().as_secs_f64() }), &id);
            }
        }
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
            if let Some((id, _)) = waiting.dials.remove(&connection_id) {
                say(json!({ "error": error.to_string() }), &id);
            }
        }
        SwarmEvent::ConnectionClosed { connection_id, peer_id, num_established, .. } => {
            waiting.direct.entry(peer_id).or_default().remove(&connection_id);
            if num_established == 0 {
                waiting.direct.remove(&peer_id);
                waiting.identified.remove(&peer_id);
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
            let protocols: Vec<String> = info.protocols.iter().map(ToString::to_string).collect();
            if protocols.contains(&kad_protocol().to_string()) {
                for address in &info.listen_addrs {
                    swarm.behaviour_mut().kad.add_address(&peer_id, address.clone());
                }
            }
            let known = json!({ "protocols": protocols, "agent": info.agent_version });
            for id in waiting.identify.remove(&peer_id).unwrap_or_default() {
                say(known.clone(), &id);
            }
            waiting.identified.insert(peer_id, known);
        }
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, result, .. })) => {
            for id in waiting.pings.remove(&peer).unwrap_or_default() {
                match &result {
                    Ok(time) => say(json!({ "seconds": time.as_secs_f64() }), &id),
                    Err(error) => say(json!({ "error": error.to_string() }), &id),
                }
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::RelayClient(relay::client::Event::ReservationReqAccepted {
            relay_peer_id,
            ..
        })) => {
            if let Some(id) = waiting.reservations.remove(&relay_peer_id) {
                say(json!({}), &id);
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => handle_kad(waiting, event),
        _ => {}
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp_config(), noise::Config::new, yamux::Config::default)?
        .with_quic();
    #[cfg(not(feature = "v0_53"))]
    let builder = builder.with_other_transport(|keys| {
        use libp2p::core::{muxing::StreamMuxerBox, Transport as _};
        let _ = rustls::crypto::ring::default_provider().install_default(); // DTLS finds two, and takes neither
        let certificate = libp2p_webrtc::tokio::Certificate::generate(&mut rand::rng())?;
        let transport = libp2p_webrtc::tokio::Transport::new(keys.clone(), certificate);
        Ok(transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))))
    })?;
    let mut swarm = builder
        .with_dns()?
        .with_websocket(noise::Config::new, yamux::Config::default)
        .await?
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|keys, relay_client| {
            let peer = keys.public().to_peer_id();
            let mut kad = kad::Behaviour::with_config(peer, kad::store::MemoryStore::new(peer), kad_config());
            kad.set_mode(Some(kad::Mode::Server));
            Behaviour {
                dcutr: dcutr::Behaviour::new(peer),
                identify: identify::Behaviour::new(identify::Config::new("/interop/1".into(), keys.public())),
                kad,
                ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(200))),
                relay: relay::Behaviour::new(peer, relay::Config::default()),
                relay_client,
                stream: stream::Behaviour::new(),
            }
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();

    let mut incoming = swarm.behaviour().stream.new_control().accept(ECHO)?;
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            tokio::spawn(echo(stream));
        }
    });

    let wanted = std::env::args().skip(1).collect::<Vec<_>>();
    for address in &wanted {
        swarm.listen_on(address.parse()?)?;
    }
    let mut addresses = vec![];
    while addresses.len() < wanted.len() {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            swarm.add_external_address(address.clone());
            addresses.push(format!("{address}/p2p/{}", swarm.local_peer_id()));
        }
    }
    println!("{}", json!({ "event": "ready", "peer": swarm.local_peer_id().to_string(), "addresses": addresses }));

    let (lines, mut commands) = mpsc::channel::<String>(16);
    tokio::spawn(async move {
        let mut input = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = input.next_line().await {
            if lines.send(line).await.is_err() {
                return;
            }
        }
    });
    let mut waiting = Waiting::default();
    loop {
        tokio::select! {
            line = commands.recv() => match line {
                Some(line) => handle_command(&mut swarm, &mut waiting, &line)?,
                None => return Ok(()),
            },
            event = swarm.select_next_some() => handle_event(&mut swarm, &mut waiting, event),
        }
    }
}

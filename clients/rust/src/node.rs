//! A node inside a program: it runs as a child process, and ends with the program however that ends.
//!
//! Owns the process and its pipes; what the node does is NodeClient's. The child's standard input is a pipe
//! that only this program holds open, and its end stops the node, in order: it is killed only when it does not
//! stop in time.

use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Error, NodeClient};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// In which standard error must end after the process; a child of it may hold the pipe open.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_LINE_BYTES: u64 = 64 * 1024;
const MAX_LAST_WORDS_BYTES: usize = 4096;

/// How a node is started: `sdnode up` with these flags (docs/interfaces.md, "sdnode up").
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The command, `sdnode` on the path unless said otherwise.
    pub program: PathBuf,
    /// Where the node keeps its identity and its devices. It is made if it does not exist.
    pub data_dir: PathBuf,
    /// More flags, such as `--offline`. A passphrase is given with `--passphrase-file`.
    pub flags: Vec<String>,
    /// Variables of the node's environment, beside those of this program.
    pub variables: Vec<(String, String)>,
}

impl NodeConfig {
    /// A node with this data directory and no more flags.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { program: "sdnode".into(), data_dir: data_dir.into(), flags: Vec::new(), variables: Vec::new() }
    }
}

/// The line that `sdnode up --json` prints when the node is ready.
#[derive(Deserialize)]
struct ReadyLine {
    event: String,
    name: String,
    peer_id: String,
    addresses: Vec<String>,
    control: PathBuf,
    metrics: Option<String>,
}

/// A running node that this program has started. Its log goes to this program's standard error.
///
/// It is a [`NodeClient`] too. Dropped, it has the node stop without waiting for that. The node also ends when
/// this program does, however that ends.
pub struct Node {
    client: NodeClient,
    /// How other devices are shown this node.
    pub name: String,
    /// Its peer id, `12D3Koo…`.
    pub peer_id: String,
    /// The multiaddrs that others are told.
    pub addresses: Vec<String>,
    /// The control socket, for [`NodeClient::connect`] and for commands.
    pub control: PathBuf,
    /// `HOST:PORT` of the metrics; None when there are none.
    pub metrics: Option<String>,
    stop: watch::Sender<bool>,
    end: watch::Receiver<Option<Error>>,
}

impl Node {
    /// Starts a node and waits until it is ready, 30 s at most. Fails with [`Error::NotStarted`].
    ///
    /// Must be called within a tokio runtime with its I/O and time enabled. The node of a future that is
    /// dropped stops.
    pub async fn start(config: &NodeConfig) -> Result<Self, Error> {
        let mut child = spawn(config).map_err(|error| Error::NotStarted {
            exit_code: None,
            message: format!("{} cannot be run: {error}", config.program.display()),
        })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::NotStarted { exit_code: None, message: "it has no pipes".to_owned() });
        };
        let words = tokio::spawn(pass_on(stderr));
        let mut lines = BufReader::new(stdout);
        let ready = match timeout(START_TIMEOUT, ready_line(&mut lines)).await {
            Ok(Some(ready)) => ready,
            Ok(None) => {
                let exit_code = end_of(&mut child).await.ok().and_then(|status| status.code());
                return Err(Error::NotStarted { exit_code, message: last_words(words).await });
            }
            Err(_) => {
                drop(child.stdin.take());
                let _ = end_of(&mut child).await;
                let message = format!("it was not ready within 30 s\n{}", last_words(words).await);
                return Err(Error::NotStarted { exit_code: None, message });
            }
        };
        let client = NodeClient::connect(&ready.control).await?;
        let (stop, stopped) = watch::channel(false);
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move { tokio::io::copy(&mut lines, &mut tokio::io::sink()).await });
        tokio::spawn(watch_over(child, words, stopped, client.clone(), ended));
        Ok(Self {
            client,
            name: ready.name,
            peer_id: ready.peer_id,
            addresses: ready.addresses,
            control: ready.control,
            metrics: ready.metrics,
            stop,
            end,
        })
    }

    /// Waits until the node has ended, and returns how, an [`Error::NodeEnded`]. It may do so by itself.
    pub async fn ended(&self) -> Error {
        let mut end = self.end.clone();
        let found = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        found.unwrap_or(Error::Closed)
    }

    /// Drains and stops the node; after 5 s it is killed. Returns how it ended, an [`Error::NodeEnded`].
    pub async fn stop(&self) -> Error {
        self.stop.send_replace(true);
        self.ended().await
    }
}

impl Deref for Node {
    type Target = NodeClient;

    fn deref(&self) -> &NodeClient {
        &self.client
    }
}

fn spawn(config: &NodeConfig) -> io::Result<Child> {
    Command::new(&config.program)
        .arg("up")
        .arg("--data-dir")
        .arg(&config.data_dir)
        .args(&config.flags)
        .args(["--json", "--lifeline"])
        .envs(config.variables.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // The terminal's Ctrl-C is for this program, which then stops the node.
        .process_group(0)
        .spawn()
}

async fn ready_line(lines: &mut (impl AsyncBufReadExt + Unpin)) -> Option<ReadyLine> {
    loop {
        let mut line = Vec::new();
        let count = lines.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await.ok()?;
        if count == 0 {
            return None;
        }
        match serde_json::from_slice::<ReadyLine>(&line) {
            Ok(ready) if ready.event == "ready" => return Some(ready),
            _ => {}
        }
    }
}

/// Waits for the end of the process, or stops it, and then has everything that waits for the node fail.
async fn watch_over(
    mut child: Child,
    words: JoinHandle<Vec<u8>>,
    mut stopped: watch::Receiver<bool>,
    client: NodeClient,
    end: watch::Sender<Option<Error>>,
) {
    let stdin = child.stdin.take();
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        // It was asked for, or the `Node` was dropped.
        _ = stopped.wait_for(|is_wanted| *is_wanted) => None,
    };
    let status = match ended {
        Some(status) => status,
        None => {
            drop(stdin);
            end_of(&mut child).await
        }
    };
    let exit_code = status.ok().and_then(|status| status.code());
    let error = Error::NodeEnded { exit_code, last_lines: last_words(words).await };
    client.end(error.clone()).await;
    end.send_replace(Some(error));
}

/// Waits for the end of a process that has reason to end, and kills it after 5 s.
async fn end_of(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(status) = timeout(STOP_TIMEOUT, child.wait()).await {
        return status;
    }
    child.start_kill()?;
    child.wait().await
}

/// Copies the node's log to this program's standard error, and returns its last part.
async fn pass_on(mut log: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut last = Vec::new();
    let mut chunk = [0; 4096];
    let mut stderr = tokio::io::stderr();
    while let Ok(count @ 1..) = log.read(&mut chunk).await {
        // Without a reader of ours the node goes on.
        let _ = stderr.write_all(&chunk[..count]).await;
        last.extend(&chunk[..count]);
        last.drain(..last.len().saturating_sub(MAX_LAST_WORDS_BYTES));
    }
    last
}

async fn last_words(words: JoinHandle<Vec<u8>>) -> String {
    match timeout(LAST_WORDS_TIMEOUT, words).await {
        Ok(Ok(words)) => String::from_utf8_lossy(&words).trim_end().to_owned(),
        _ => String::new(),
    }
}

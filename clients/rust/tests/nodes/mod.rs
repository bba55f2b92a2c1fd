//! Nodes of this tree, and what tests do with them. `SDNODE` names the command, that of `.venv` unless it is set.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use spacedrive_node_client::{Node, NodeClient, NodeConfig, Pairing};
use tempfile::TempDir;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(120);
pub const SEARCH: Duration = Duration::from_secs(30);

pub fn config(folder: &Path, name: &str) -> NodeConfig {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut config = NodeConfig::new(folder.join(name));
    config.program = std::env::var_os("SDNODE").map_or_else(|| tree.join(".venv/bin/sdnode"), PathBuf::from);
    config.flags = ["--offline", "--name", name].map(str::to_owned).to_vec();
    config.variables = vec![("XDG_RUNTIME_DIR".to_owned(), folder.display().to_string())];
    config
}

pub async fn start(folder: &TempDir, name: &str) -> Node {
    Node::start(&config(folder.path(), name)).await.unwrap()
}

/// Has a test end, whatever it waits for.
pub async fn within_deadline<T>(test: impl Future<Output = T>) -> T {
    timeout(DEADLINE, test).await.expect("the test has waited too long")
}

/// Shows a code on one node and enters it on the other.
pub async fn meet(one: &NodeClient, other: &NodeClient) -> (Pairing, Pairing) {
    let shown = one.start_pairing(None).await.unwrap();
    let words = shown.code().unwrap().words;
    assert_eq!(words.split(' ').count(), 12);
    let entered = other.join_pairing(&words, SEARCH).await.unwrap();
    (shown, entered)
}

/// Sends signals to actors.
pub async fn send_signals(node: &NodeClient, signals: &[(&str, &str)]) {
    let running = node.actors().await.unwrap();
    for (actor, signal) in signals {
        let pid = running.iter().find(|one| one.actor == *actor).unwrap().pid.to_string();
        assert!(Command::new("kill").args([signal, pid.as_str()]).status().unwrap().success());
    }
}

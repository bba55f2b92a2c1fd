//! Talks to a running `spacedrive-node` through its control socket (docs/control-protocol.md), and runs one
//! as a child process.
//!
//! - [`NodeClient`] is the connection. It makes itself anew when the node's parts are started again, and what
//!   was under way is repeated without taking effect twice.
//! - [`Pairing`] is one session: its code, its states, what its user decides. [`Events`] are the states of
//!   all sessions, [`DeviceLists`] the devices after each change.
//! - [`Node`] is a node that this program starts and that ends with it.
//!
//! ```no_run
//! use spacedrive_node_client::{Error, Node, NodeConfig};
//!
//! # async fn show_a_code() -> Result<(), Error> {
//! let node = Node::start(&NodeConfig::new("/srv/spacedrive/node")).await?;
//! let pairing = node.start_pairing(None).await?;
//! println!("{}", pairing.code().map_or(String::new(), |code| code.words));
//! let asked = pairing.confirmation().await?;
//! println!("pair with {}? {}", asked.device.name, asked.check); // ask a person here
//! pairing.accept().await?;
//! println!("paired: {:?}", pairing.paired().await?.fingerprint);
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Linux, tokio. Every type is `Send`, and what waits may be cancelled by dropping it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod all_devices;
mod all_sessions;
mod client;
mod closed_lists;
mod codec;
mod connection;
mod error;
mod ids;
mod messages;
mod node;
mod pairing;

pub use all_devices::DeviceLists;
pub use all_sessions::Events;
pub use client::NodeClient;
pub use closed_lists::{DeviceState, ErrorCode, Outcome, ReloadState, Role, Stage};
pub use error::Error;
pub use ids::{DeviceId, PeerId, PublicKey, SessionId};
pub use messages::{
    ActorInfo, Device, NodeStatus, ReloadReport, SandboxGap, SessionState, SettingChange, ShownDevice,
};
pub use node::{Node, NodeConfig};
pub use pairing::{Code, Confirmation, Pairing, States};

/// The program in README.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

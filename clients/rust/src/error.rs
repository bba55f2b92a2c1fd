//! What can go wrong between a program and its node.

use crate::{ErrorCode, Outcome, ReloadReport};

/// Every error of this crate. None holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node refused.
    #[error("{message}")]
    Refused {
        /// Why, and whether another attempt is worth it.
        code: ErrorCode,
        /// The same for people, at most 200 characters.
        message: String,
    },
    /// The pairing ended in another way than was waited for.
    #[error("{}", if message.is_empty() { outcome.as_str() } else { message })]
    PairingFailed {
        /// How it ended.
        outcome: Outcome,
        /// More about that, for people; may be empty.
        message: String,
    },
    /// The node runs with its former settings: the new ones were refused, or undone.
    #[error("{}", report.reasons.join("\n"))]
    ReloadFailed {
        /// What was to change, and why it did not.
        report: Box<ReloadReport>,
    },
    /// A value that the node would refuse, and end the connection for. Nothing was sent.
    #[error("{0}")]
    OutOfBounds(&'static str),
    /// Nothing listens on the control socket.
    #[error("no node answers on {path} ({reason}); start one with: sdnode up")]
    NoNodeRunning {
        /// The control socket.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// No node has come back in time. Whether a change was made is not known.
    #[error("no node has answered for 30 s")]
    NodeGone,
    /// A node is there and has not replied in time. Whether a change was made is not known.
    #[error("the node has not answered for 60 s")]
    NoReply,
    /// The node that this program started has ended; no other comes in its place.
    #[error("the node has ended {}\n{last_lines}", how(*exit_code))]
    NodeEnded {
        /// The exit code of its process; None if a signal ended it.
        exit_code: Option<i32>,
        /// The last 4 KiB of what it logged.
        last_lines: String,
    },
    /// The node did not become ready.
    #[error("the node did not start: {message}")]
    NotStarted {
        /// The exit code of its process: 2 is for people to mend (a setting, a passphrase), after 6 a later
        /// start may succeed (docs/interfaces.md, "sdnode up"). None if it has none.
        exit_code: Option<i32>,
        /// What it wrote, or why it could not be run.
        message: String,
    },
    /// The answer is not of the kind that was asked for.
    #[error("the node's answer is not of the kind that was asked for")]
    UnexpectedReply,
    /// The client was dropped while this waited.
    #[error("this client is closed")]
    Closed,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

impl Error {
    /// The code of a refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

fn how(exit_code: Option<i32>) -> String {
    exit_code.map_or_else(|| "by a signal".to_owned(), |code| format!("with exit code {code}"))
}

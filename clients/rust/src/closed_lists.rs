//! The closed lists of the control protocol: their values with the names that they have there.
//!
//! A value that is added later is `Unknown`: something that this version does not understand, and no breach.

use serde::Deserialize;
use std::fmt;

macro_rules! closed_list {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$what])* #[serde(rename = $text)] $value,)+
            /// A value that this version of the client does not know.
            #[serde(other)]
            Unknown,
        }

        impl $name {
            /// The name that the protocol has for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                    Self::Unknown => "unknown",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

closed_list! {
    /// Which side of a pairing a node is.
    Role {
        /// It shows the code.
        Initiator = "initiator",
        /// Its user enters the code.
        Joiner = "joiner",
    }
}

closed_list! {
    /// How far a session is. Later stages are greater.
    Stage {
        /// The initiator's code may be used.
        Waiting = "waiting",
        /// The joiner looks for the device that shows the code.
        Searching = "searching",
        /// The joiner dials what it has found.
        Connecting = "connecting",
        /// Both prove that they know the code.
        Proving = "proving",
        /// The users are asked.
        Deciding = "deciding",
        /// Both have accepted; each device stores the other.
        Storing = "storing",
    }
}

closed_list! {
    /// How a session ended (docs/interfaces.md, "Stages and outcomes").
    Outcome {
        /// Both users accepted, and both devices stored each other.
        Paired = "paired",
        /// One of the users did not accept.
        Rejected = "rejected",
        /// Nobody used the code, or decided, in time.
        Expired = "expired",
        /// No device that shows these words was found.
        NotFound = "not_found",
        /// A device was reached by a hint and does not show this code.
        WrongCode = "wrong_code",
        /// The user cancelled.
        Cancelled = "cancelled",
        /// The other device was found and then lost, or the node was stopped.
        LostContact = "lost_contact",
        /// This node could not do its part.
        Crashed = "crashed",
        /// This node has as many sessions as it may have.
        Busy = "busy",
    }
}

closed_list! {
    /// Whether a stored device is in use.
    DeviceState {
        /// Both sides trust each other.
        Paired = "paired",
        /// Whether the other side has stored this one is settled at the next contact.
        Unconfirmed = "unconfirmed",
    }
}

closed_list! {
    /// What a reload has come to.
    ReloadState {
        /// It is still under way; no report that a program gets says so.
        Running = "running",
        /// The settings are those that the node runs with.
        Unchanged = "unchanged",
        /// They could be changed, and only that was asked.
        Possible = "possible",
        /// They are changed.
        Applied = "applied",
        /// They are wrong, or need a start of the node; nothing was changed.
        Refused = "refused",
        /// A part of the node did not work with them; the former ones are back.
        Undone = "undone",
    }
}

closed_list! {
    /// Why a node refuses a request (docs/control-protocol.md, "Errors").
    ErrorCode {
        /// Not a request of the protocol.
        BadRequest = "bad_request",
        /// These are not twelve words or a QR text, or this node itself shows them.
        BadCode = "bad_code",
        /// The node knows no such session, or no longer.
        NoSuchSession = "no_such_session",
        /// No device is stored under this id.
        NoSuchDevice = "no_such_device",
        /// A name with characters that no name may have.
        InvalidName = "invalid_name",
        /// The other decision was made before.
        AlreadyDecided = "already_decided",
        /// No device is shown yet, another one is, or the session has ended.
        NotDeciding = "not_deciding",
        /// Too much at once; again later.
        Busy = "busy",
        /// A part that is needed is missing; again later.
        NotReady = "not_ready",
        /// The node is stopping.
        Stopping = "stopping",
        /// A part did not answer in time; again once.
        Internal = "internal",
    }
}

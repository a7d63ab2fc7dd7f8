//! Engine.IO v4: one session over HTTP long-polling, over a WebSocket, or over the one and then the other.
//!
//! This layer is our own because the libraries there are hand over packets through a synchronous callback and take them
//! through a queue that drops what does not fit: neither way can wait. Here a session is a `Stream` and a `Sink`, so a
//! partner that does not read holds up exactly the one who writes to it, and nothing is lost, reordered or doubled, also
//! while the transport changes. The protocol: <https://socket.io/docs/v4/engine-io-protocol/>.

pub(crate) mod polling;
mod sessions;
mod socket;

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

pub(crate) use self::{sessions::Sessions, socket::EioSocket};
use crate::{
    limits::memory::{MemoryBudget, SMALL_MESSAGE},
    transport::message::Message,
};

/// What a client sent, the heartbeat's own packets included.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(ByteString),
    Binary(Bytes),
    Pong,
    Close,
    /// Nothing came, but the client has taken something after it had not.
    Progress,
    /// Nothing came, not even the answer to a ping.
    Silence,
    /// Something came after a silence.
    SignOfLife,
    /// Something for which there was no room.
    Refused,
}

/// What a client is sent. A text is a whole packet, its type included, so that it is written once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Text(ByteString),
    Binary(Bytes),
}

impl Incoming {
    /// Reads a text packet of a session that is open.
    fn read(packet: ByteString) -> Option<Self> {
        match packet.as_bytes().first()? {
            b'4' => Some(Self::Text(packet.slice_ref(&packet[1..]))),
            b'3' => Some(Self::Pong),
            b'1' => Some(Self::Close),
            _ => None,
        }
    }
}

impl Outgoing {
    /// The question whether somebody is there. Any client answers it in turn, between its other packets.
    pub(crate) const PING: Self = Self::Text(ByteString::from_static("2"));

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The same, charged for if it is large.
    pub(crate) fn held_in(self, budget: &MemoryBudget) -> Self {
        match self {
            Self::Text(text) if text.len() > SMALL_MESSAGE => {
                let kept = budget.hold(text.into_bytes().into());
                Self::Text(ByteString::try_from(kept).expect("a text stays a text"))
            }
            other => other,
        }
    }

    fn into_message(self) -> Message {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::Pong => f.write_str("Pong"),
            Self::Close => f.write_str("Close"),
            Self::Progress => f.write_str("Progress"),
            Self::Silence => f.write_str("Silence"),
            Self::SignOfLife => f.write_str("SignOfLife"),
            Self::Refused => f.write_str("Refused"),
        }
    }
}

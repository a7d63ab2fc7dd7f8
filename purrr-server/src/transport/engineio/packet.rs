//! Packets in both directions: [`Packet`] and [`Outgoing`].

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use bytestring::ByteString;

use crate::{limits::memory::MemoryBudget, transport::message::Message};

/// A packet that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Message(Message),
    Pong,
    /// Asks for nothing.
    Noop,
    Close,
    /// Stands for what was discarded: the memory budget is exhausted.
    Refused,
}

/// A packet for the client. Text is a whole packet with its type, so that it is written once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Text(ByteString),
    Binary(Bytes),
}

impl Packet {
    /// Parses a text packet of an open session.
    ///
    /// Base64 is decoded on a WebSocket too, where clients with `forceBase64` send it. It is refused
    /// if the budget has no room for the bytes.
    pub(super) fn parse(packet: ByteString, budget: &MemoryBudget) -> Option<Self> {
        match packet.as_bytes().first()? {
            b'b' => {
                let base64 = &packet[1..];
                let Some(room) = budget.reserve(base64.len() / 4 * 3) else {
                    return Some(Self::Refused);
                };
                let bytes = BASE64_STANDARD.decode(base64).ok()?;
                Some(Self::Message(Message::Binary(room.hold(bytes))))
            }
            b'4' => Some(Self::Message(Message::Text(packet.slice_ref(&packet[1..])))),
            b'3' => Some(Self::Pong),
            b'6' => Some(Self::Noop),
            b'1' => Some(Self::Close),
            _ => None,
        }
    }
}

impl Outgoing {
    /// The ping packet. A client answers it in order with its other packets.
    pub(crate) const PING: Self = Self::Text(ByteString::from_static("2"));

    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Returns the packet with a reservation in the memory budget if it is large.
    pub(crate) fn held_in(self, budget: &MemoryBudget) -> Self {
        match self {
            Self::Text(text) => Self::Text(budget.hold_text(text)),
            other => other,
        }
    }

    /// Returns the packet as a WebSocket message.
    pub(super) fn into_message(self) -> Message {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

//! What nodes tell each other: [`Message`], and its bytes.
//!
//! A message is a line of JSON and, behind it, at most one ticket or frame in the form that
//! [`portable`](purrr_core::codec::portable) promises between versions. A node skips fields that it
//! does not know, and leaves out a message that it cannot read.

use bytes::{BufMut, Bytes, BytesMut};
use purrr_core::{
    Pairing,
    matching::{Bucket, Choice},
    model::Ticket,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Names a node from when it joins until its lease ends. Drawn at random and never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct NodeId(pub(crate) u64);

/// Names a waiting place of one node. Never used again.
pub(crate) type PlaceId = u64;

/// Counts leaders. The leader of a greater epoch replaces those before.
pub(crate) type Epoch = u64;

/// The bits of a [`ChatId`](purrr_core::model::ChatId).
pub(crate) type Chat = u128;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) head: Head,
    /// A ticket or a frame.
    pub(crate) payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Head {
    /// To a leader: a place waits. The payload is its ticket.
    Enter { epoch: Epoch, place: PlaceId, waited: Duration, rule: Steps },
    /// To a leader: a place is left.
    Leave { epoch: Epoch, place: PlaceId },
    /// To a leader: what the rule of a place says of the partner that it was offered.
    Verdict { epoch: Epoch, proposal: u64, place: PlaceId, accepts: bool },
    /// Of the leader: a place is in the lobby, or was refused.
    Entered { epoch: Epoch, place: PlaceId, refused: Option<Refusal> },
    /// Of the leader: would these two fit? The payload is the partner's ticket.
    Offer { epoch: Epoch, proposal: u64, place: PlaceId },
    /// Of the leader: the match of a proposal is made.
    Made { epoch: Epoch, proposal: u64, place: PlaceId, chat: Chat, partner: Partner },
    /// To the partner's node: this side has opened the chat.
    Open { chat: Chat },
    /// To the partner's node: so had the other side. The chat has begun.
    Begun { chat: Chat },
    /// To the partner's node. The payload is a frame.
    Frame { chat: Chat },
    /// To the partner's node: the session has taken one more frame.
    Took { chat: Chat },
    /// To the partner's node: so many more messages were delivered.
    Receipts { chat: Chat, count: u64 },
    /// To the partner's node: the session's transport makes progress.
    Progress { chat: Chat },
    /// To the partner's node: this side has parted, or gave the match up. The last of a chat.
    Close { chat: Chat, reason: String },
    /// To the partner's node: its `Close` has arrived. The last of a chat.
    Closed { chat: Chat },
}

/// Where the partner of a match waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Partner {
    pub(crate) node: NodeId,
    pub(crate) place: PlaceId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Refusal {
    AlreadyHere,
    TooManyWaiting,
}

/// What a rule says of one ticket, once for each step of its wait.
///
/// A leader knows no rule of an embedder. So the buckets of the whole wait travel with the ticket,
/// and the node whose client waits has the last word on a partner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
    pub(crate) random: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) due: Duration,
    pub(crate) looks: Vec<u128>,
    pub(crate) stands: Option<Vec<u128>>,
}

/// The bytes are no message that this version knows.
#[derive(Debug, thiserror::Error)]
#[error("no message that this version knows")]
pub(crate) struct Unreadable;

impl Message {
    pub(crate) const fn new(head: Head, payload: Bytes) -> Self {
        Self { head, payload }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let head = serde_json::to_vec(&self.head).expect("a head has no map with other keys");
        let mut bytes = BytesMut::with_capacity(head.len() + 1 + self.payload.len());
        bytes.put_slice(&head);
        // JSON without white space has no line feed.
        bytes.put_u8(b'\n');
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Unreadable> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Unreadable)?;
        let head = serde_json::from_slice(&bytes[..end]).map_err(|_| Unreadable)?;
        Ok(Self { head, payload: bytes.slice(end + 1..) })
    }
}

impl Head {
    /// Returns the epoch of the leader that this is for. `None` if it is for a member.
    pub(crate) const fn to_leader(&self) -> Option<Epoch> {
        match self {
            Self::Enter { epoch, .. } | Self::Leave { epoch, .. } | Self::Verdict { epoch, .. } => {
                Some(*epoch)
            }
            _ => None,
        }
    }
}

impl From<Head> for Message {
    fn from(head: Head) -> Self {
        Self { head, payload: Bytes::new() }
    }
}

impl Steps {
    /// Asks a rule for each step of a ticket's wait.
    pub(crate) fn of(rule: &dyn Pairing, ticket: &Ticket) -> Self {
        let bits = |all: Vec<Bucket>| all.into_iter().map(Bucket::to_bits).collect();
        let step = |due: &Duration| Step {
            due: *due,
            looks: bits(rule.buckets(ticket, *due)),
            stands: rule.stands_in(ticket, *due).map(bits),
        };
        let steps = [Duration::ZERO].iter().chain(rule.widen_at()).map(step).collect();
        Self { steps, random: rule.choice() == Choice::Random }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

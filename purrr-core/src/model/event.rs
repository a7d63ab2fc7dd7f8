//! What a client is told: [`Event`].

use std::time::Duration;

use bytestring::ByteString;

use crate::model::{
    frame::Frame,
    ids::{ChatId, PeerId, ResumeToken},
    limits::Limits,
    problem::Problem,
    profile::Interest,
    reason::ChatEnd,
};

/// What the hub tells a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first event of a session.
    Welcome {
        /// Names this session in logs and reports. No secret, and never told to a partner.
        session: PeerId,
        /// By which this person is known again in a later session: a secret between the two of us.
        resume: ResumeToken,
        /// How many are here.
        online: u64,
        /// What is accepted.
        limits: Box<Limits>,
    },
    /// The search has begun.
    Waiting(QueueStatus),
    /// Neither waiting nor paired.
    Idle,
    /// Paired. Everything until [`Event::Left`] belongs to this chat.
    Matched {
        /// The chat.
        chat: ChatId,
        /// The partner's name.
        name: Option<ByteString>,
        /// The partner's key, as the partner sent it.
        public_key: Option<ByteString>,
        /// Interests in common.
        shared: Vec<Interest>,
    },
    /// Something from the partner.
    Received(Frame),
    /// The partner's connection has taken the message of this id.
    Delivered {
        /// The id that the sender of the message chose.
        id: u64,
    },
    /// The chat is over.
    Left {
        /// Why.
        reason: ChatEnd,
    },
    /// Something was refused. Nothing else changed.
    Error(Problem),
    /// The server is going away and makes no more pairs.
    Draining {
        /// When to come back, in milliseconds from now.
        retry_after_ms: u64,
    },
}

/// How things stand in the lobby, as a peer is told when its search begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// How many are here.
    pub online: u64,
    /// How many of them were waiting before.
    pub waiting: u64,
    /// How long a search has been taking lately: the median of the last ones, if there were enough to tell.
    pub estimate: Option<Duration>,
}

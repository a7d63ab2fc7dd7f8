//! The messages from the hub to a peer: [`Event`].

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

/// A message from the hub to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first event of a session.
    Welcome {
        /// The session's name in logs and reports. Not secret, and never sent to a partner.
        session: PeerId,
        /// The secret that identifies this person in a later session.
        resume: ResumeToken,
        /// The number of connected peers.
        online: u64,
        /// The limits of this session.
        limits: Box<Limits>,
    },
    /// The search has started.
    Waiting(QueueStatus),
    /// The peer neither waits nor chats.
    Idle,
    /// The peer was matched. All events until [`Event::Left`] belong to this chat.
    Matched {
        /// The chat.
        chat: ChatId,
        /// The partner's name.
        name: Option<ByteString>,
        /// The partner's public key, unchanged.
        public_key: Option<ByteString>,
        /// The interests that both share.
        shared: Vec<Interest>,
    },
    /// A frame from the partner.
    Received(Frame),
    /// The message of this id was delivered to the partner's connection.
    Delivered {
        /// The id that the sender of the message chose.
        id: u64,
    },
    /// The session was resumed in this chat. The frames that the client lacks follow.
    ///
    /// Boxed, since every message is moved as an event and few are this one.
    Resumed(Box<Resumed>),
    /// The partner's connection has dropped. It may come back.
    Away,
    /// The partner is there again, or introduces itself anew.
    Back {
        /// The partner's name.
        name: Option<ByteString>,
        /// The partner's public key, unchanged.
        public_key: Option<ByteString>,
    },
    /// The chat has ended.
    Left {
        /// The reason.
        reason: ChatEnd,
    },
    /// A request was refused. Nothing else changed.
    Error(Problem),
    /// The server is shutting down and makes no more matches.
    Draining {
        /// The delay before reconnecting, in milliseconds.
        retry_after_ms: u64,
    },
}

/// What a client is told of the session that it has resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// The name of the session that was resumed.
    pub session: PeerId,
    /// The chat.
    pub chat: ChatId,
    /// The partner's name.
    pub name: Option<ByteString>,
    /// The partner's public key, unchanged.
    pub public_key: Option<ByteString>,
    /// The number of frames of this client that the session has taken in this chat.
    pub received: u64,
    /// The number of frames before those that follow which are gone.
    pub missing: u64,
    /// The id of the newest own message that was delivered.
    pub delivered: Option<u64>,
}

impl Resumed {
    /// Creates the answer for a chat in which nothing was sent, with a partner without a name.
    #[must_use]
    pub const fn new(session: PeerId, chat: ChatId) -> Self {
        let (name, public_key, delivered) = (None, None, None);
        Self { session, chat, name, public_key, received: 0, missing: 0, delivered }
    }
}

/// The state of the lobby when a search starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The number of connected peers.
    pub online: u64,
    /// The number of peers that were waiting before.
    pub waiting: u64,
    /// The median duration of recent searches, if there were enough.
    pub estimate: Option<Duration>,
}

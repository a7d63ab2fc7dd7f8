//! The requests of a peer to the hub: [`Command`].

use bytestring::ByteString;

use crate::model::{
    frame::Frame,
    ids::{ChatId, ResumeToken},
    profile::{Hello, Search},
};

/// A request of a peer to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Introduces the peer. May be repeated; a current partner keeps the earlier introduction.
    Hello {
        /// The introduction for the partner.
        hello: Hello,
        /// The token of an earlier session of the same person.
        resume: Option<ResumeToken>,
    },
    /// Starts a search. Idempotent while waiting.
    Find(Search),
    /// Stops the search.
    Cancel,
    /// Sends a frame to the partner.
    Send {
        /// The chat that the frame is for, if the sender named it. Dropped if that is not the
        /// current chat.
        chat: Option<ChatId>,
        /// The frame.
        frame: Frame,
    },
    /// Leaves the partner and repeats the last search, as one step.
    Next,
    /// Leaves the partner, or stops the search.
    Leave,
    /// Leaves the partner and blocks that person.
    ///
    /// The partner only learns that it was left. After a chat, until the next search, the last
    /// partner is blocked.
    Block,
    /// Announces that the client counts and acknowledges what it receives, and claims the session
    /// that it has lost. Before the first search of a connection.
    ///
    /// Boxed, since a connection sends it once.
    Recover(Box<Recover>),
    /// Acknowledges the first frames of the current or the last chat, by their number. Its end
    /// counts as one more.
    Ack {
        /// The chat. `None` is the current one.
        chat: Option<ChatId>,
        /// The number of frames that the client has.
        received: u64,
    },
    /// Says that the client goes to the background, so that a loss of its connection is held
    /// longer. In force until the next command other than [`Ack`](Self::Ack).
    Background,
    /// Asks for a feature that this version lacks.
    Unsupported {
        /// The feature's name on the wire.
        what: &'static str,
    },
}

/// What a client that can resume says when it has connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recover {
    /// The introduction. A partner is told if it has changed. `None` stands for what the connection
    /// was introduced as before, or otherwise for what the session was.
    pub hello: Option<Hello>,
    /// The token of the session to resume. `None` for a client that has none.
    pub token: Option<ResumeToken>,
    /// The chat that the client believes to be in.
    pub chat: Option<ChatId>,
    /// The number of frames of that chat that the client has.
    pub received: u64,
    /// Whether the flush acknowledges, since the client does not.
    ///
    /// What was written to a connection that is then lost is not written again. A session that
    /// is claimed keeps to what was announced in it.
    pub flush_acknowledges: bool,
}

impl Recover {
    /// Creates the announcement of a client that has no session to resume.
    #[must_use]
    pub fn announcing(hello: impl Into<Option<Hello>>) -> Self {
        Self { hello: hello.into(), ..Self::default() }
    }

    /// Lets the flush acknowledge, since the client does not.
    #[must_use]
    pub const fn acknowledged_by_flush(mut self) -> Self {
        self.flush_acknowledges = true;
        self
    }

    /// Returns true if the client itself has announced nothing and claims nothing.
    pub(crate) const fn is_announced_by_dialect(&self) -> bool {
        self.flush_acknowledges && self.token.is_none()
    }

    /// Sets the session to resume.
    #[must_use]
    pub const fn claiming(mut self, token: ResumeToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets the chat that the client believes to be in, and how many frames of it the client has.
    #[must_use]
    pub const fn in_chat(mut self, chat: ChatId, received: u64) -> Self {
        (self.chat, self.received) = (Some(chat), received);
        self
    }
}

impl Command {
    /// Creates a command that sends a text message.
    ///
    /// ```
    /// use purrr_core::{Command, Frame};
    /// assert_eq!(Command::say("hi"), Command::Send { chat: None, frame: Frame::text("hi") });
    /// ```
    pub fn say(text: impl Into<ByteString>) -> Self {
        Self::Send { chat: None, frame: Frame::text(text) }
    }
}

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
    /// Asks for a feature that this version lacks.
    Unsupported {
        /// The feature's name on the wire.
        what: &'static str,
    },
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

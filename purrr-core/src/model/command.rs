//! What a client asks for: [`Command`].

use bytestring::ByteString;

use crate::model::{
    frame::Frame,
    ids::{ChatId, ResumeToken},
    profile::{Hello, Search},
};

/// What a peer asks of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Says who one is. May be repeated; a partner already there keeps what it was told.
    Hello {
        /// As the partner will be told.
        hello: Hello,
        /// The token of an earlier session of the same person.
        resume: Option<ResumeToken>,
    },
    /// Asks to be paired. Idempotent while waiting.
    Find(Search),
    /// Stops waiting.
    Cancel,
    /// Sends something to the partner.
    Send {
        /// The chat this was meant for, if the sender said so. Meant for another one, it is dropped.
        chat: Option<ChatId>,
        /// What to send.
        frame: Frame,
    },
    /// Leaves the partner and searches again with the tags of the last search, as one step.
    Next,
    /// Leaves the partner, or stops waiting.
    Leave,
    /// Leaves the partner, and is never paired with that person again. The partner sees that it was left. After a chat, and
    /// until the next search, it is the last partner that is blocked.
    Block,
    /// Asks for something that this version does not do.
    Unsupported {
        /// Its name on the wire.
        what: &'static str,
    },
}

impl Command {
    /// A text message to the partner.
    ///
    /// ```
    /// use purrr_core::{Command, Frame};
    /// assert_eq!(Command::say("hi"), Command::Send { chat: None, frame: Frame::text("hi") });
    /// ```
    pub fn say(text: impl Into<ByteString>) -> Self {
        Self::Send { chat: None, frame: Frame::text(text) }
    }
}

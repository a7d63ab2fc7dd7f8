//! Why a chat and why a session ended: [`ChatEnd`] and [`CloseReason`].

use std::str::FromStr;

/// Why a chat ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChatEnd {
    /// The partner left.
    Left,
    /// The partner went on to the next chat.
    Next,
    /// The partner's connection was lost.
    Lost,
    /// The partner was a slow consumer. On the wire this is `lost`, after an error that says why.
    Slow,
    /// The server ended the chat.
    Ended,
}

/// Why a session ended.
///
/// A [`Session`](crate::session::Session) closes for each of these but [`Replaced`](Self::Replaced),
/// which only the hub can see. It closes as [`Lost`](Self::Lost) if it can be resumed and its
/// transport stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The transport ended or failed.
    Lost,
    /// Another connection has claimed the session.
    Replaced,
    /// The transport made no write progress for [`Limits::stall`](crate::Limits::stall).
    Slow,
    /// The hub was drained.
    Drained,
    /// The peer kept exceeding its [`Rates`](crate::Rates).
    Flooded,
    /// The peer kept sending unreadable messages. Not enforced without [`Rates`](crate::Rates).
    Garbled,
}

/// How a client's connection ended, as far as its transport can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closing {
    /// Without a word: it was cut, or missed a heartbeat.
    #[default]
    Lost,
    /// With a close that does not say whether the client returns: a reload or a closed page.
    GoingAway,
    /// With a close by which the client leaves.
    Deliberate,
}

impl ChatEnd {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Left, Self::Next, Self::Lost, Self::Slow, Self::Ended];

    /// Returns the name of the reason, for backends: [`FromStr`] reads it back.
    ///
    /// Clients are told [`as_str`](Self::as_str), which is the same for two of the reasons.
    ///
    /// ```
    /// use purrr_core::model::ChatEnd;
    /// for reason in ChatEnd::ALL {
    ///     assert_eq!(reason.name().parse(), Ok(reason));
    /// }
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            _ => self.as_str(),
        }
    }

    /// Returns the reason as clients are told it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Next => "next",
            Self::Lost | Self::Slow => "lost",
            Self::Ended => "ended",
        }
    }
}

impl FromStr for ChatEnd {
    type Err = ParseChatEndError;

    fn from_str(name: &str) -> Result<Self, ParseChatEndError> {
        Self::ALL.into_iter().find(|reason| reason.name() == name).ok_or(ParseChatEndError)
    }
}

/// An error for a text that is the [name](ChatEnd::name) of no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown reason for the end of a chat")]
#[non_exhaustive]
pub struct ParseChatEndError;

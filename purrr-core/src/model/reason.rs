//! Why a chat and why a session ended: [`ChatEnd`] and [`CloseReason`].

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
/// A [`Session`](crate::session::Session) closes for each of these but [`Lost`](Self::Lost), which
/// only the hub can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The transport ended or failed.
    Lost,
    /// The transport made no write progress for [`Limits::stall`](crate::Limits::stall).
    Slow,
    /// The hub was drained.
    Drained,
    /// The peer kept exceeding its [`Rates`](crate::Rates).
    Flooded,
    /// The peer kept sending unreadable messages. Not enforced without [`Rates`](crate::Rates).
    Garbled,
}

impl ChatEnd {
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

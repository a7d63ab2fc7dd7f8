//! Why a chat ended: [`Reason`].

/// Why a chat ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The partner left.
    Left,
    /// The partner went on to the next.
    Next,
    /// The partner vanished.
    Lost,
    /// The partner took nothing for too long. On the wire the partner is lost, and an error says why.
    Slow,
    /// The server ended it.
    Ended,
}

impl Reason {
    /// The reason as it stands on the wire.
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

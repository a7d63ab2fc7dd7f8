//! The reason for a refusal: [`Problem`] and its [`Code`].

use std::borrow::Cow;

/// A refused request, described for the peer that sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Problem {
    /// The kind of problem. Stable.
    pub code: Code,
    /// The failure, the limit and the remedy, for people. Never contains input.
    pub message: Cow<'static, str>,
    /// The id of the refused message, if it had one.
    pub id: Option<u64>,
    /// The milliseconds after which a retry can succeed, if known.
    pub retry_after_ms: Option<u64>,
    /// True if the input was not a JSON object.
    pub(crate) unreadable: bool,
}

/// The kind of a [`Problem`]. Kebab-case on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Not a JSON object, or a field is missing or has a wrong type.
    BadMessage,
    /// An unknown message `type`.
    UnknownType,
    /// The peer has no partner.
    NotPaired,
    /// The peer has a partner already.
    AlreadyPaired,
    /// A text, name or tag exceeds its limit.
    TooLong,
    /// A picture exceeds its limit.
    TooLarge,
    /// A number of items exceeds its limit.
    TooMany,
    /// The server does not support the request.
    NotSupported,
    /// The partner's client does not support the message.
    UnsupportedByPartner,
    /// The media type of a picture is not supported.
    UnsupportedType,
    /// The server is shutting down.
    Draining,
    /// The lobby is unreachable.
    Unavailable,
    /// The partner's connection was too slow.
    PartnerSlow,
    /// The partner has no connection, and its queue is full.
    PartnerAway,
    /// A rate limit is exceeded.
    RateLimited,
    /// The resume token is invalid, expired or already used.
    UnknownSession,
    /// The server's memory budget is exhausted.
    Overloaded,
}

impl Problem {
    /// Creates a problem that is not about a message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { code, message, id: None, retry_after_ms: None, unreadable: false }
    }

    /// Creates a problem that a retry after so many milliseconds can solve.
    pub fn retry(code: Code, message: impl Into<Cow<'static, str>>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(code, message) }
    }

    /// Sets the id of the message that the problem is about.
    #[must_use]
    pub fn about(self, id: Option<u64>) -> Self {
        Self { id, ..self }
    }
}

impl Code {
    /// All codes, in the order of their discriminants.
    pub const ALL: [Self; 17] = [
        Self::BadMessage,
        Self::UnknownType,
        Self::NotPaired,
        Self::AlreadyPaired,
        Self::TooLong,
        Self::TooLarge,
        Self::TooMany,
        Self::NotSupported,
        Self::UnsupportedByPartner,
        Self::UnsupportedType,
        Self::Draining,
        Self::Unavailable,
        Self::PartnerSlow,
        Self::PartnerAway,
        Self::RateLimited,
        Self::UnknownSession,
        Self::Overloaded,
    ];

    /// Returns the code as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad-message",
            Self::UnknownType => "unknown-type",
            Self::NotPaired => "not-paired",
            Self::AlreadyPaired => "already-paired",
            Self::TooLong => "too-long",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::NotSupported => "not-supported",
            Self::UnsupportedByPartner => "unsupported-by-partner",
            Self::UnsupportedType => "unsupported-type",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
            Self::PartnerSlow => "partner-slow",
            Self::PartnerAway => "partner-away",
            Self::RateLimited => "rate-limited",
            Self::UnknownSession => "unknown-session",
            Self::Overloaded => "overloaded",
        }
    }
}

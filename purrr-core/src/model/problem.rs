//! What was refused and why: [`Problem`] and its [`Code`].

use std::borrow::Cow;

use serde::Serialize;

/// Something a peer asked for that could not be done, in words meant for that peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Problem {
    /// Which kind of thing went wrong. Stable.
    pub code: Code,
    /// What went wrong and what to do, for people. Never holds any of the input.
    pub message: Cow<'static, str>,
    /// The id of the message it is about, if it had one.
    pub id: Option<u64>,
    /// The milliseconds after which the same would be done, if that is known.
    pub retry_after_ms: Option<u64>,
    /// What came was no JSON object at all.
    pub(crate) unreadable: bool,
}

/// The kinds of [`Problem`], kebab-case on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Code {
    /// Not JSON, not an object, or a field that is missing or of a wrong type.
    BadMessage,
    /// A `type` nobody knows.
    UnknownType,
    /// There is no partner to send it to.
    NotPaired,
    /// There is a partner already.
    AlreadyPaired,
    /// A text, a name or a tag above its limit.
    TooLong,
    /// A picture above its limit.
    TooLarge,
    /// More of something than its limit.
    TooMany,
    /// Something this server does not do.
    NotSupported,
    /// Something the partner's client cannot take.
    UnsupportedByPartner,
    /// A picture of a kind that is not carried.
    UnsupportedType,
    /// The server is going away.
    Draining,
    /// The lobby could not be reached.
    Unavailable,
    /// The partner has not been reading.
    PartnerSlow,
    /// Too much at once.
    RateLimited,
    /// A resume token that is nobody's, or not any more.
    UnknownSession,
    /// The server holds as much as it may for everybody together.
    Overloaded,
}

impl Problem {
    /// A problem that is about no message in particular.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { code, message, id: None, retry_after_ms: None, unreadable: false }
    }

    /// A problem that is over after so many milliseconds.
    pub fn retry(code: Code, message: impl Into<Cow<'static, str>>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(code, message) }
    }

    /// The same problem, about the message of this id.
    #[must_use]
    pub fn about(self, id: Option<u64>) -> Self {
        Self { id, ..self }
    }
}

impl Code {
    /// Every code, in the order of their discriminants.
    pub const ALL: [Self; 16] = [
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
        Self::RateLimited,
        Self::UnknownSession,
        Self::Overloaded,
    ];

    /// The code as it stands on the wire.
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
            Self::RateLimited => "rate-limited",
            Self::UnknownSession => "unknown-session",
            Self::Overloaded => "overloaded",
        }
    }
}

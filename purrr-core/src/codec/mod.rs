//! The vocabulary between a peer and the hub, and its JSON form: [`Command`] in, [`Event`] out.
//!
//! These are the only types of this crate that know a wire. [`parse`] reads one JSON object of the native dialect
//! in a single pass; [`Event`] serialises to one. Whatever is wrong with an input is a [`Problem`] that can be told
//! to its sender.

mod draft;
#[doc(hidden)]
pub mod json;
mod parse;
mod write;

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

pub use self::parse::parse;
use crate::{
    backend::{
        lobby::{ChatId, Interest, PeerId},
        pipe::Reason,
    },
    model::{
        frame::{Body, Frame, Image, Message, SignalKind},
        limits::Limits,
    },
    people::ResumeToken,
};

/// The largest id a message may have: 2^53 − 1, the last whole number that JavaScript holds exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

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

/// Who a peer is, as far as its partner is told.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// A name to show.
    pub name: Option<ByteString>,
    /// A public key, given to the partner as it came.
    pub public_key: Option<ByteString>,
    /// Whether `public_key` is one that a partner can use. Set by whoever knows the scheme; `false` by default.
    pub encrypts: bool,
}

/// Whom a peer would like to meet.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// What one would like to talk about.
    pub interests: Vec<Interest>,
    /// The languages one speaks, as BCP 47 tags.
    pub languages: Vec<Interest>,
}

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
    Waiting(Numbers),
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
        reason: Reason,
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
pub struct Numbers {
    /// How many are here.
    pub online: u64,
    /// How many of them were waiting before.
    pub waiting: u64,
    /// How long a search has been taking lately: the median of the last ones, if there were enough to tell.
    pub estimate: Option<Duration>,
}

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

/// What one text frame of the native dialect holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command, complete.
    Command(Command),
    /// The head of a picture. Its bytes come apart from it.
    Image(ImageHead),
}

/// All of a picture but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageHead {
    /// The chat this was meant for.
    pub chat: Option<ChatId>,
    /// The message's id.
    pub id: u64,
    /// The media type.
    pub mime: ByteString,
    /// How many bytes are to come.
    pub size: u64,
    /// The id of the message this one answers.
    pub reply: Option<u64>,
    /// Whether the bytes are a ciphertext.
    pub encrypted: bool,
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

impl Hello {
    /// Introduces somebody by name, without a key.
    pub fn named(name: impl Into<ByteString>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }
}

impl Search {
    /// A search for somebody to talk to about one of these.
    ///
    /// ```
    /// let search = purrr_core::Search::for_interests(["cats", "rust"]);
    /// assert_eq!(search.interests.len(), 2);
    /// ```
    pub fn for_interests<T: Into<Interest>>(interests: impl IntoIterator<Item = T>) -> Self {
        Self { interests: interests.into_iter().map(Into::into).collect(), languages: Vec::new() }
    }

    /// The same search, for somebody who speaks one of these languages.
    #[must_use]
    pub fn in_languages<T: Into<Interest>>(
        mut self,
        languages: impl IntoIterator<Item = T>,
    ) -> Self {
        self.languages = languages.into_iter().map(Into::into).collect();
        self
    }
}

impl ImageHead {
    /// Puts the head and the bytes together.
    ///
    /// # Errors
    ///
    /// `bad-message` if there are more or fewer bytes than announced.
    pub fn complete(self, bytes: Bytes) -> Result<Command, Problem> {
        if bytes.len() as u64 != self.size {
            let message = format!(
                "`size` announced {} bytes and the binary frame after it had {}",
                self.size,
                bytes.len()
            );
            return Err(Problem { id: Some(self.id), ..Problem::new(Code::BadMessage, message) });
        }
        let image = Image { mime: self.mime, encrypted: self.encrypted, bytes };
        let message =
            Message { id: Some(self.id), text: None, image: Some(image.into()), reply: self.reply };
        Ok(Command::Send { chat: self.chat, frame: Frame::new(Body::Message(message)) })
    }
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

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("named", &self.name.is_some())
            .field("keyed", &self.public_key.is_some())
            .field("encrypts", &self.encrypts)
            .finish()
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("interests", &self.interests.len())
            .field("languages", &self.languages.len())
            .finish()
    }
}

impl SignalKind {
    /// The kind as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "candidate",
            Self::Refuse => "refuse",
            Self::Hangup => "hangup",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Offer, Self::Answer, Self::Candidate, Self::Refuse, Self::Hangup]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

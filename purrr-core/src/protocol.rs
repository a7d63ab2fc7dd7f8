//! The vocabulary between a peer and the hub, and its JSON form: [`Command`] in, [`Event`] out.
//!
//! These are the only types of this crate that know a wire. [`parse`] reads one JSON object of the native dialect
//! in a single pass; [`Event`] serialises to one. Whatever is wrong with an input is a [`Problem`] that can be told
//! to its sender.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use crate::{
    frame::{Body, Frame, Image, Message, Signal, SignalKind},
    hub::ResumeToken,
    json::Glance,
    limits::Limits,
    lobby::{ChatId, Interest, PeerId},
    relay::Reason,
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

/// Reads one JSON object of the native dialect.
///
/// Texts without escapes are slices of `source`, so a message is not copied.
///
/// # Errors
///
/// A [`Problem`] of code `bad-message` or `unknown-type`, with the id of the message if it could be read.
///
/// # Examples
///
/// ```
/// use purrr_core::protocol::{self, Command, Parsed};
///
/// let parsed = protocol::parse(&r#"{"type":"next"}"#.into())?;
/// assert_eq!(parsed, Parsed::Command(Command::Next));
///
/// let problem = protocol::parse(&r#"{"type":"message","id":4}"#.into()).unwrap_err();
/// assert_eq!(problem.to_string(), "`message` needs the field `text`");
/// assert_eq!(problem.id, Some(4));
/// # Ok::<(), protocol::Problem>(())
/// ```
pub fn parse(source: &ByteString) -> Result<Parsed, Problem> {
    message_at_a_glance(source).map_or_else(|| read(source), Ok)
}

/// Reads a text message as clients send it in earnest: the type first, flat, without escapes. `None` if it is not like
/// that, or anything else.
fn message_at_a_glance(source: &ByteString) -> Option<Parsed> {
    let mut json = Glance::new(source);
    if !json.word(r#"{"type":"message""#) {
        return None;
    }
    let (mut id, mut text, mut reply, mut chat) = (None, None, None, None);
    while json.eat(b',') {
        let name = json.string()?.plain()?;
        if !json.eat(b':') {
            return None;
        }
        let first = match name {
            "text" => text.replace(json.string()?.plain()?).is_none(),
            "id" => id.replace(json.number().filter(|id| *id <= MAX_ID)?).is_none(),
            "reply" => reply.replace(json.number().filter(|id| *id <= MAX_ID)?).is_none(),
            "chat" => chat.replace(json.string()?.plain()?).is_none(),
            _ => return None,
        };
        if !first {
            return None;
        }
    }
    if !json.eat(b'}') || !json.is_over() {
        return None;
    }
    let message = Message { id, text: Some(source.slice_ref(text?)), image: None, reply };
    let chat = chat.map(|chat| chat.parse().unwrap_or(ChatId::NONE));
    Some(Parsed::Command(Command::Send { chat, frame: Frame::new(Body::Message(message)) }))
}

/// Reads whatever else there is.
fn read(source: &ByteString) -> Result<Parsed, Problem> {
    let mut draft = Draft::default();
    if draft.fill_at_a_glance(source).is_none() {
        draft = Draft::default();
        let mut json = serde_json::Deserializer::from_str(source);
        let filled = draft.fill(&mut json).and_then(|()| json.end());
        filled.map_err(|error| Problem::not_json(&error))?;
    }
    draft.finish(Some(source)).map_err(|problem| Problem { id: draft.id_if_any(), ..problem })
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

    /// Says where the JSON went wrong without repeating any of it.
    fn not_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = match error.classify() {
            serde_json::error::Category::Eof => {
                format!("the JSON ends too early, at line {line} column {column}")
            }
            serde_json::error::Category::Data => {
                format!("{} (line {line} column {column})", DataFault::of(error))
            }
            _ => format!("not JSON at line {line} column {column}"),
        };
        let twice = matches!(DataFault::of(error), DataFault::TwiceTheSameField);
        Self { unreadable: !twice, ..Self::new(Code::BadMessage, message) }
    }
}

/// The two complaints of our own visitor that `serde_json` can only hand back as text.
enum DataFault {
    NotAnObject,
    TwiceTheSameField,
}

impl DataFault {
    const TWICE: &str = "the same field twice";

    fn of(error: &serde_json::Error) -> Self {
        if error.to_string().starts_with(Self::TWICE) {
            Self::TwiceTheSameField
        } else {
            Self::NotAnObject
        }
    }
}

impl fmt::Display for DataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "a message is one JSON object",
            Self::TwiceTheSameField => Self::TWICE,
        })
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

// ---- Reading ----------------------------------------------------------------------------------------------------

/// The fields of every message of the dialect together, each seen at most once.
#[derive(Default)]
struct Draft<'a>([Option<Value<'a>>; Field::COUNT]);

/// A field's value before anybody knows which type is wanted.
#[derive(Debug)]
enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    /// Something no field takes: an object, a fraction, a list of anything but strings.
    Other,
}

#[derive(Clone, Copy)]
enum Field {
    Chat,
    Data,
    Encrypted,
    Id,
    Interests,
    Kind,
    Languages,
    Mime,
    Name,
    On,
    PublicKey,
    Reply,
    Resume,
    Size,
    Text,
    Type,
}

impl Field {
    const COUNT: usize = Self::Type as usize + 1;

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "chat" => Self::Chat,
            "data" => Self::Data,
            "encrypted" => Self::Encrypted,
            "id" => Self::Id,
            "interests" => Self::Interests,
            "kind" => Self::Kind,
            "languages" => Self::Languages,
            "mime" => Self::Mime,
            "name" => Self::Name,
            "on" => Self::On,
            "publicKey" => Self::PublicKey,
            "reply" => Self::Reply,
            "resume" => Self::Resume,
            "size" => Self::Size,
            "text" => Self::Text,
            "type" => Self::Type,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Data => "data",
            Self::Encrypted => "encrypted",
            Self::Id => "id",
            Self::Interests => "interests",
            Self::Kind => "kind",
            Self::Languages => "languages",
            Self::Mime => "mime",
            Self::Name => "name",
            Self::On => "on",
            Self::PublicKey => "publicKey",
            Self::Reply => "reply",
            Self::Resume => "resume",
            Self::Size => "size",
            Self::Text => "text",
            Self::Type => "type",
        }
    }
}

impl Draft<'_> {
    fn finish(&self, source: Option<&ByteString>) -> Result<Parsed, Problem> {
        let kind = match self.value(Field::Type) {
            Some(Value::Text(kind)) => kind.as_ref(),
            Some(_) => return Err(wrong(Field::Type, "a string")),
            None => return Err(Problem::new(Code::BadMessage, "a message needs the field `type`")),
        };
        let command = match kind {
            "hello" => Command::Hello {
                hello: Hello {
                    // Kept for long, so they must not keep all that was read with them.
                    name: self.text(Field::Name, None)?,
                    public_key: self.text(Field::PublicKey, None)?,
                    encrypts: false,
                },
                resume: self.resume()?,
            },
            "find" => Command::Find(Search {
                interests: self.tags(Field::Interests)?,
                languages: self.tags(Field::Languages)?,
            }),
            "cancel" => Command::Cancel,
            "next" => Command::Next,
            "leave" => Command::Leave,
            "message" => self.send(Body::Message(Message {
                id: self.id(Field::Id)?,
                text: Some(self.required(
                    "message",
                    Field::Text,
                    self.text(Field::Text, source)?,
                )?),
                image: None,
                reply: self.id(Field::Reply)?,
            }))?,
            "typing" => self.send(Body::Typing(self.required(
                "typing",
                Field::On,
                self.flag(Field::On)?,
            )?))?,
            "read" => self
                .send(Body::Read { id: self.required("read", Field::Id, self.id(Field::Id)?)? })?,
            "signal" => self.send(Body::Signal(Signal {
                kind: self.required("signal", Field::Kind, self.signal_kind()?)?,
                data: self.text(Field::Data, source)?,
            }))?,
            "image" => {
                return Ok(Parsed::Image(ImageHead {
                    chat: self.chat()?,
                    id: self.required("image", Field::Id, self.id(Field::Id)?)?,
                    mime: self.required("image", Field::Mime, self.text(Field::Mime, source)?)?,
                    size: self.required("image", Field::Size, self.id(Field::Size)?)?,
                    reply: self.id(Field::Reply)?,
                    encrypted: self.flag(Field::Encrypted)?.unwrap_or(false),
                }));
            }
            "block" => Command::Block,
            "report" => Command::Unsupported { what: "report" },
            _ => {
                return Err(Problem::new(
                    Code::UnknownType,
                    "this `type` is none that a client sends; see the list of messages",
                ));
            }
        };
        Ok(Parsed::Command(command))
    }

    fn send(&self, body: Body) -> Result<Command, Problem> {
        Ok(Command::Send { chat: self.chat()?, frame: Frame::new(body) })
    }

    fn value(&self, field: Field) -> Option<&Value<'_>> {
        match &self.0[field as usize] {
            None | Some(Value::Null) => None,
            Some(value) => Some(value),
        }
    }

    fn required<T>(&self, kind: &str, field: Field, value: Option<T>) -> Result<T, Problem> {
        value.ok_or_else(|| {
            Problem::new(Code::BadMessage, format!("`{kind}` needs the field `{}`", field.name()))
        })
    }

    fn text(
        &self,
        field: Field,
        source: Option<&ByteString>,
    ) -> Result<Option<ByteString>, Problem> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(slice_or_copy(text, source))),
            Some(_) => Err(wrong(field, "a string")),
        }
    }

    fn flag(&self, field: Field) -> Result<Option<bool>, Problem> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(field, "true or false")),
        }
    }

    fn id(&self, field: Field) -> Result<Option<u64>, Problem> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Unsigned(id)) if *id <= MAX_ID => Ok(Some(*id)),
            Some(_) => Err(wrong(field, "a whole number from 0 to 2^53 - 1")),
        }
    }

    fn tags(&self, field: Field) -> Result<Vec<Interest>, Problem> {
        match self.value(field) {
            None => Ok(Vec::new()),
            Some(Value::Texts(tags)) => {
                Ok(tags.iter().map(|tag| Interest::from(tag.as_ref())).collect())
            }
            Some(_) => Err(wrong(field, "a list of strings")),
        }
    }

    fn signal_kind(&self) -> Result<Option<SignalKind>, Problem> {
        let kind = match self.value(Field::Kind) {
            None => return Ok(None),
            Some(Value::Text(kind)) => SignalKind::named(kind),
            Some(_) => None,
        };
        kind.map(Some)
            .ok_or_else(|| wrong(Field::Kind, "one of offer, answer, candidate, refuse and hangup"))
    }

    /// A chat that is not spelled like one of ours is not the current one, which is all that matters.
    fn chat(&self) -> Result<Option<ChatId>, Problem> {
        match self.value(Field::Chat) {
            None => Ok(None),
            Some(Value::Text(chat)) => Ok(Some(chat.parse().unwrap_or(ChatId::NONE))),
            Some(_) => Err(wrong(Field::Chat, "a string")),
        }
    }

    /// What is not spelled like a token of ours is nobody's, and gets the same answer.
    fn resume(&self) -> Result<Option<ResumeToken>, Problem> {
        match self.value(Field::Resume) {
            None => Ok(None),
            Some(Value::Text(token)) => Ok(Some(token.parse().unwrap_or(ResumeToken::NOBODYS))),
            Some(_) => Err(wrong(Field::Resume, "a string")),
        }
    }

    fn id_if_any(&self) -> Option<u64> {
        self.id(Field::Id).ok().flatten()
    }
}

fn wrong(field: Field, wanted: &str) -> Problem {
    Problem::new(Code::BadMessage, format!("`{}` must be {wanted}", field.name()))
}

/// `source` is what was parsed, where it is at hand: a text without escapes is a slice of it.
#[expect(clippy::ptr_arg, reason = "whether the text is borrowed from the source is the question")]
fn slice_or_copy(text: &Cow<'_, str>, source: Option<&ByteString>) -> ByteString {
    match (text, source) {
        (Cow::Borrowed(text), Some(source)) => source.slice_ref(text),
        (text, _) => text.as_ref().into(),
    }
}

impl<'de> Draft<'de> {
    /// Reads one object. A draft is half a kilobyte, so it is filled where it is and not handed from layer to layer.
    fn fill<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Filling(self))
    }

    /// Reads one object as clients send them in earnest: flat and without escapes. `None` if it is not like that, or wrong.
    fn fill_at_a_glance(&mut self, source: &'de str) -> Option<()> {
        let mut json = Glance::new(source);
        if !json.eat(b'{') {
            return None;
        }
        let mut goes_on = !json.eat(b'}');
        while goes_on {
            let name = json.string()?.plain()?;
            let value = match (json.eat(b':'), json.peek()?) {
                (false, _) => return None,
                (true, b'"') => Value::Text(Cow::Borrowed(json.string()?.plain()?)),
                (true, b'n') if json.word("null") => Value::Null,
                (true, b't') if json.word("true") => Value::Bool(true),
                (true, b'f') if json.word("false") => Value::Bool(false),
                (true, _) => Value::Unsigned(json.number()?),
            };
            if let Some(field) = Field::named(name)
                && self.0[field as usize].replace(value).is_some()
            {
                return None;
            }
            goes_on = json.eat(b',');
            if !goes_on && !json.eat(b'}') {
                return None;
            }
        }
        json.is_over().then_some(())
    }
}

struct Filling<'f, 'de>(&'f mut Draft<'de>);

impl<'de> Visitor<'de> for Filling<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(Draft(fields)) = self;
        while let Some(Key(field)) = map.next_key()? {
            let value = map.next_value()?;
            if let Some(field) = field
                && fields[field as usize].replace(value).is_some()
            {
                return Err(de::Error::custom(DataFault::TWICE));
            }
        }
        Ok(())
    }
}

struct Key(Option<Field>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key(Field::named(name)))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Lists longer than this are read to their end but kept only so far: more than any limit allows, so that the limit
/// is what refuses them.
const KEPT_TAGS: usize = 1_024;

/// Recurses through `deserialize_any` even where the value is thrown away, since that is what `serde_json` guards
/// with its limit of 128 levels.
impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Value::Unsigned(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                let mut only_texts = true;
                while let Some(value) = seq.next_element::<Value<'_>>()? {
                    match value {
                        Value::Text(_) if texts.len() >= KEPT_TAGS => {}
                        Value::Text(text) => texts.push(text),
                        _ => only_texts = false,
                    }
                }
                Ok(if only_texts { Value::Texts(texts) } else { Value::Other })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<Key, Value<'_>>()?.is_some() {}
                Ok(Value::Other)
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Command {
    /// Reads a command that is complete in itself: everything but `image`, whose bytes come apart.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut draft = Draft::default();
        draft.fill(deserializer)?;
        match draft.finish(None).map_err(de::Error::custom)? {
            Parsed::Command(command) => Ok(command),
            Parsed::Image(_) => {
                Err(de::Error::custom("the bytes of an `image` come apart from it"))
            }
        }
    }
}

// ---- Writing ----------------------------------------------------------------------------------------------------

impl Serialize for Event {
    /// Writes one object. Of a message with a text and a picture that is the picture's head: an object holds one of
    /// the two, so whoever relays both writes the text as an event of its own before.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Welcome { session, resume, online, limits } => {
                map.serialize_entry("type", "welcome")?;
                map.serialize_entry("protocol", &1)?;
                map.serialize_entry("session", &session.to_string())?;
                map.serialize_entry("resume", &resume.to_string())?;
                map.serialize_entry("online", online)?;
                map.serialize_entry("limits", &AnnouncedLimits(limits))?;
            }
            Self::Waiting(Numbers { online, waiting, estimate }) => {
                map.serialize_entry("type", "waiting")?;
                map.serialize_entry("online", online)?;
                map.serialize_entry("waiting", waiting)?;
                let estimate = estimate.map(|wait| wait.as_millis() as u64);
                serialize_some("estimateMs", estimate, &mut map)?;
            }
            Self::Idle => map.serialize_entry("type", "idle")?,
            Self::Matched { chat, name, public_key, shared } => {
                map.serialize_entry("type", "matched")?;
                map.serialize_entry("chat", &chat.to_string())?;
                map.serialize_entry("partner", &Partner { name, public_key })?;
                let shared: Vec<&str> = shared.iter().map(AsRef::as_ref).collect();
                map.serialize_entry("shared", &shared)?;
            }
            Self::Received(frame) => serialize_body(&frame.body, &mut map)?,
            Self::Delivered { id } => {
                map.serialize_entry("type", "delivered")?;
                map.serialize_entry("id", id)?;
            }
            Self::Left { reason } => {
                map.serialize_entry("type", "left")?;
                map.serialize_entry("reason", reason.as_str())?;
            }
            Self::Error(problem) => {
                map.serialize_entry("type", "error")?;
                map.serialize_entry("code", problem.code.as_str())?;
                map.serialize_entry("message", &problem.message)?;
                serialize_some("id", problem.id, &mut map)?;
                serialize_some("retryAfterMs", problem.retry_after_ms, &mut map)?;
            }
            Self::Draining { retry_after_ms } => {
                map.serialize_entry("type", "draining")?;
                map.serialize_entry("retryAfterMs", retry_after_ms)?;
            }
        }
        map.end()
    }
}

fn serialize_body<M: SerializeMap>(body: &Body, map: &mut M) -> Result<(), M::Error> {
    match body {
        Body::Message(Message { id, image: Some(image), reply, .. }) => {
            map.serialize_entry("type", "image")?;
            serialize_some("id", *id, map)?;
            map.serialize_entry("mime", AsRef::<str>::as_ref(&image.mime))?;
            map.serialize_entry("size", &image.bytes.len())?;
            serialize_some("reply", *reply, map)?;
            if image.encrypted {
                map.serialize_entry("encrypted", &true)?;
            }
        }
        Body::Message(Message { id, text, image: None, reply }) => {
            map.serialize_entry("type", "message")?;
            serialize_some("id", *id, map)?;
            map.serialize_entry("text", text.as_deref().unwrap_or_default())?;
            serialize_some("reply", *reply, map)?;
        }
        Body::Typing(on) => {
            map.serialize_entry("type", "typing")?;
            map.serialize_entry("on", on)?;
        }
        Body::Read { id } => {
            map.serialize_entry("type", "read")?;
            map.serialize_entry("id", id)?;
        }
        Body::Signal(signal) => {
            map.serialize_entry("type", "signal")?;
            map.serialize_entry("kind", signal.kind.as_str())?;
            serialize_some("data", signal.data.as_deref(), map)?;
        }
    }
    Ok(())
}

fn serialize_some<M: SerializeMap, T: Serialize>(
    name: &'static str,
    value: Option<T>,
    map: &mut M,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

struct Partner<'a> {
    name: &'a Option<ByteString>,
    public_key: &'a Option<ByteString>,
}

impl Serialize for Partner<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        serialize_some("name", self.name.as_deref(), &mut map)?;
        serialize_some("publicKey", self.public_key.as_deref(), &mut map)?;
        map.end()
    }
}

struct AnnouncedLimits<'a>(&'a Limits);

impl Serialize for AnnouncedLimits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("messageBytes", &self.0.message_bytes)?;
        map.serialize_entry("imageBytes", &self.0.image_bytes)?;
        map.serialize_entry("signalBytes", &self.0.signal_bytes)?;
        map.serialize_entry("nameChars", &self.0.name_chars)?;
        map.serialize_entry("interests", &self.0.interests)?;
        map.serialize_entry("interestChars", &self.0.interest_chars)?;
        map.serialize_entry("languages", &self.0.languages)?;
        map.serialize_entry("languageChars", &self.0.language_chars)?;
        map.end()
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

    fn named(name: &str) -> Option<Self> {
        [Self::Offer, Self::Answer, Self::Candidate, Self::Refuse, Self::Hangup]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(source: &str) -> Command {
        match parse(&source.into()).unwrap() {
            Parsed::Command(command) => command,
            Parsed::Image(head) => panic!("{head:?}"),
        }
    }

    fn problem(source: &str) -> (Code, String, Option<u64>) {
        let problem = parse(&source.into()).unwrap_err();
        (problem.code, problem.message.into_owned(), problem.id)
    }

    #[test]
    fn every_command_is_read() {
        assert_eq!(command(r#"{"type":"cancel"}"#), Command::Cancel);
        assert_eq!(command(r#"{"type":"leave","later":[1,{"x":null}]}"#), Command::Leave);
        assert_eq!(
            command(r#"{"name":"Ann","publicKey":"BK==","type":"hello"}"#),
            Command::Hello {
                hello: Hello {
                    name: Some("Ann".into()),
                    public_key: Some("BK==".into()),
                    encrypts: false
                },
                resume: None
            }
        );
        assert_eq!(
            command(r#"{"type":"find","interests":["cats","Katzen \u00fc"],"languages":null}"#),
            Command::Find(Search::for_interests(["cats", "Katzen ü"]))
        );
        assert_eq!(
            command(r#"{"type":"message","id":9007199254740991,"text":"a\nb","reply":0}"#),
            Command::Send {
                chat: None,
                frame: Frame::new(Body::Message(Message {
                    id: Some(MAX_ID),
                    text: Some("a\nb".into()),
                    image: None,
                    reply: Some(0)
                }))
            }
        );
        assert_eq!(
            command(r#"{"type":"typing","on":true,"chat":"not one of ours"}"#),
            Command::Send { chat: Some(ChatId::NONE), frame: Frame::new(Body::Typing(true)) }
        );
        assert_eq!(
            command(r#"{"type":"signal","kind":"candidate","data":"x"}"#),
            Command::Send {
                chat: None,
                frame: Frame::new(Body::Signal(Signal {
                    kind: SignalKind::Candidate,
                    data: Some("x".into())
                }))
            }
        );
        assert_eq!(command(r#"{"type":"block"}"#), Command::Block);
        assert_eq!(command(r#"{"type":"report"}"#), Command::Unsupported { what: "report" });
        for resume in ["", "nope", "00000000000000000000000000000000"] {
            let source = format!(r#"{{"type":"hello","resume":"{resume}"}}"#);
            let hello = Hello::default();
            assert_eq!(
                command(&source),
                Command::Hello { hello, resume: Some(ResumeToken::NOBODYS) }
            );
        }
    }

    #[test]
    fn at_a_glance_is_seen_what_a_reading_finds() {
        for (seen, source) in [
            (true, r#"{"type":"message","text":"hi"}"#),
            (true, r#"{"type":"message" , "reply" : 0, "id":9007199254740991,"text":"é" } "#),
            (true, r#"{"type":"message","chat":"00000000000000000000000000000007","text":""}"#),
            (true, r#"{"type":"message","chat":"not one of ours","text":"hi"}"#),
            (false, r#"{"text":"hi","type":"message"}"#),
            (false, r#"{"type":"message","text":"a\nb"}"#),
            (false, r#"{"type":"message","text":"hi","reply":null}"#),
            (false, r#"{"type":"message","text":"hi","later":1}"#),
            (false, r#"{"type":"message","text":"hi","id":9007199254740992}"#),
            (false, r#"{"type":"message","text":"hi","text":"hi"}"#),
            (false, r#"{"type":"message","text":"hi",}"#),
            (false, r#"{"type":"message","text":"hi"}}"#),
            (false, r#"{"type":"message""text":"hi"}"#),
            (false, r#"{"type":"message","text":"hi""#),
            (false, r#"{"type":"message"}"#),
            (false, r#"{"type":"next"}"#),
        ] {
            let source = source.into();
            let glance = message_at_a_glance(&source);
            assert_eq!(glance.is_some(), seen, "{source}");
            if seen {
                assert_eq!(glance, read(&source).ok(), "{source}");
            }
        }
    }

    #[test]
    fn texts_without_escapes_are_slices_of_the_source() {
        let source = ByteString::from(r#"{"type":"message","text":"shared"}"#);
        let Parsed::Command(Command::Send { frame, .. }) = parse(&source).unwrap() else {
            panic!()
        };
        let text = frame.as_text().unwrap();
        let held = source.as_bytes().as_ptr_range();
        assert!(held.contains(&text.as_ptr()));
    }

    #[test]
    fn who_somebody_is_does_not_keep_what_was_read_with_it() {
        let source = ByteString::from(r#"{"type":"hello","name":"Ann","publicKey":"k"}"#);
        let Parsed::Command(Command::Hello { hello, .. }) = parse(&source).unwrap() else {
            panic!("not a hello");
        };
        let held = source.as_bytes().as_ptr_range();
        for text in [hello.name, hello.public_key] {
            assert!(!held.contains(&text.unwrap().as_bytes().as_ptr()));
        }
    }

    #[test]
    fn an_image_is_its_head_and_exactly_its_bytes() {
        let head = r#"{"type":"image","id":3,"mime":"image/png","size":2,"encrypted":true}"#;
        let Parsed::Image(head) = parse(&head.into()).unwrap() else { panic!() };
        let problem = head.clone().complete(Bytes::from_static(b"abc")).unwrap_err();
        assert_eq!(
            (problem.code, problem.id, problem.message.as_ref()),
            (
                Code::BadMessage,
                Some(3),
                "`size` announced 2 bytes and the binary frame after it had 3"
            )
        );
        let Command::Send { frame, .. } = head.complete(Bytes::from_static(b"ab")).unwrap() else {
            panic!()
        };
        assert_eq!(
            serde_json::to_string(&Event::Received(frame)).unwrap(),
            r#"{"type":"image","id":3,"mime":"image/png","size":2,"encrypted":true}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_none_of_it_repeated() {
        let deep = "[".repeat(100_000);
        let nested = format!(r#"{{"type":"next","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for (source, code, message, id) in [
            ("", Code::BadMessage, "the JSON ends too early, at line 1 column 0", None),
            ("nope", Code::BadMessage, "not JSON at line 1 column 2", None),
            ("[]", Code::BadMessage, "a message is one JSON object (line 1 column 0)", None),
            ("42", Code::BadMessage, "a message is one JSON object (line 1 column 2)", None),
            (&deep, Code::BadMessage, "a message is one JSON object (line 1 column 0)", None),
            (&nested, Code::BadMessage, "not JSON at line 1 column 146", None),
            ("{}", Code::BadMessage, "a message needs the field `type`", None),
            (r#"{"type":1}"#, Code::BadMessage, "`type` must be a string", None),
            (
                r#"{"type":"__proto__"}"#,
                Code::UnknownType,
                "this `type` is none that a client sends; see the list of messages",
                None,
            ),
            (
                r#"{"type":"read","id":18446744073709551617}"#,
                Code::BadMessage,
                "`id` must be a whole number from 0 to 2^53 - 1",
                None,
            ),
            (
                r#"{"type":"message","id":5,"text":["x"]}"#,
                Code::BadMessage,
                "`text` must be a string",
                Some(5),
            ),
            (
                r#"{"type":"read","id":1,"id":2}"#,
                Code::BadMessage,
                "the same field twice (line 1 column 27)",
                None,
            ),
            (
                r#"{"type":"message","text":"\ud800"}"#,
                Code::BadMessage,
                "not JSON at line 1 column 32",
                None,
            ),
            (
                r#"{"type":"read","id":1e999}"#,
                Code::BadMessage,
                "not JSON at line 1 column 26",
                None,
            ),
            (
                r#"{"type":"find","interests":["a",2]}"#,
                Code::BadMessage,
                "`interests` must be a list of strings",
                None,
            ),
            (
                r#"{"type":"signal","kind":"shout"}"#,
                Code::BadMessage,
                "`kind` must be one of offer, answer, candidate, refuse and hangup",
                None,
            ),
            (r#"{"type":"typing"}"#, Code::BadMessage, "`typing` needs the field `on`", None),
        ] {
            let shown: String = source.chars().take(80).collect();
            let found = problem(source);
            assert_eq!(found.0, code, "{shown}");
            // Columns are serde_json's; what matters is that the words are ours.
            let words = |text: &str| text.split(" (line").next().unwrap_or("").to_owned();
            let prefix = |text: &str| words(text).split(" at line").next().unwrap_or("").to_owned();
            assert_eq!(prefix(&found.1), prefix(message), "{shown}");
            assert_eq!(found.2, id, "{shown}");
        }
    }

    #[test]
    fn every_event_is_written() {
        let chat = ChatId::from_bits(1);
        for (event, json) in [
            (
                Event::Waiting(Numbers { online: 3, waiting: 1, estimate: None }),
                r#"{"type":"waiting","online":3,"waiting":1}"#.to_owned(),
            ),
            (
                Event::Waiting(Numbers {
                    online: 3,
                    waiting: 1,
                    estimate: Some(Duration::from_millis(1_500)),
                }),
                r#"{"type":"waiting","online":3,"waiting":1,"estimateMs":1500}"#.to_owned(),
            ),
            (Event::Idle, r#"{"type":"idle"}"#.to_owned()),
            (
                Event::Matched {
                    chat,
                    name: Some("Bo".into()),
                    public_key: None,
                    shared: vec!["cats".into()],
                },
                format!(
                    r#"{{"type":"matched","chat":"{chat}","partner":{{"name":"Bo"}},"shared":["cats"]}}"#
                ),
            ),
            (Event::Delivered { id: 2 }, r#"{"type":"delivered","id":2}"#.to_owned()),
            (Event::Left { reason: Reason::Next }, r#"{"type":"left","reason":"next"}"#.to_owned()),
            (
                Event::Error(Problem::new(Code::TooLong, "long").about(Some(4))),
                r#"{"type":"error","code":"too-long","message":"long","id":4}"#.to_owned(),
            ),
            (
                Event::Draining { retry_after_ms: 5 },
                r#"{"type":"draining","retryAfterMs":5}"#.to_owned(),
            ),
            (
                Event::Received(Frame::text("\u{0}é")),
                r#"{"type":"message","text":"\u0000é"}"#.to_owned(),
            ),
            (
                Event::Received(Frame::new(Body::Typing(true))),
                r#"{"type":"typing","on":true}"#.to_owned(),
            ),
            (
                Event::Received(Frame::new(Body::Read { id: 8 })),
                r#"{"type":"read","id":8}"#.to_owned(),
            ),
        ] {
            assert_eq!(serde_json::to_string(&event).unwrap(), json);
        }
    }
}

//! Reading: [`parse`], and [`Command`] out of any format of serde.

use std::borrow::Cow;

use bytestring::ByteString;
use serde::{
    Deserialize,
    de::{self, Deserializer},
};

use super::draft::{DataFault, Draft, Field, Value};
use crate::{
    codec::json::{self, Glance},
    model::{
        frame::{Body, Frame, Message, Signal, SignalKind},
        ids::{ChatId, ResumeToken},
        profile::Interest,
    },
};
use crate::{
    codec::parsed::{ImageHead, Parsed},
    model::{
        command::Command,
        frame::MAX_ID,
        problem::{Code, Problem},
        profile::{Hello, Search},
    },
};

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
/// use purrr_core::{Command, codec::{Parsed, self}};
///
/// let parsed = codec::parse(&r#"{"type":"next"}"#.into())?;
/// assert_eq!(parsed, Parsed::Command(Command::Next));
///
/// let problem = codec::parse(&r#"{"type":"message","id":4}"#.into()).unwrap_err();
/// assert_eq!(problem.to_string(), "`message` needs the field `text`");
/// assert_eq!(problem.id, Some(4));
/// # Ok::<(), purrr_core::Problem>(())
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
    let message = Message { id, text: Some(part_of(source, text?)), image: None, reply };
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
            Some(Value::Text(token)) => Ok(Some(token.parse().unwrap_or(ResumeToken::NONE))),
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

/// `source` is what was parsed, where it is at hand: a text without escapes is a part of it.
#[expect(clippy::ptr_arg, reason = "whether the text is borrowed from the source is the question")]
fn slice_or_copy(text: &Cow<'_, str>, source: Option<&ByteString>) -> ByteString {
    match (text, source) {
        (Cow::Borrowed(text), Some(source)) => part_of(source, text),
        (text, _) => text.as_ref().into(),
    }
}

/// A slice of the source, or a copy where that would keep much else.
fn part_of(source: &ByteString, text: &str) -> ByteString {
    json::slice(source, text).unwrap_or_else(|| text.into())
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

impl Problem {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::event::Event;

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
            assert_eq!(command(&source), Command::Hello { hello, resume: Some(ResumeToken::NONE) });
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
    fn texts_that_are_little_of_the_source_do_not_keep_it() {
        let much = "x".repeat(10_000);
        for source in [
            format!(r#"{{"type":"message","text":"little"}}{}"#, " ".repeat(10_000)),
            format!(r#"{{"type":"message","text":"little","later":"{much}"}}"#),
            format!(r#"{{"type":"signal","kind":"answer","data":"little","later":"{much}"}}"#),
        ] {
            let source = ByteString::from(source);
            let Parsed::Command(Command::Send { frame, .. }) = parse(&source).unwrap() else {
                panic!("nothing to send")
            };
            let text = match &frame.body {
                Body::Signal(signal) => signal.data.as_deref(),
                _ => frame.as_text(),
            };
            assert_eq!(text, Some("little"));
            assert!(!source.as_bytes().as_ptr_range().contains(&text.unwrap().as_ptr()));
        }
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
}

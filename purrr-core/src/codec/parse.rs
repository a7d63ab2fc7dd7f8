//! Reads a [`Command`]: [`parse`] from JSON, `Deserialize` from any format of serde.

use std::borrow::Cow;

use bytestring::ByteString;
use serde::{
    Deserialize,
    de::{self, Deserializer},
};

use super::raw_fields::{DataFault, Field, RawFields, Value};
use crate::{
    codec::json::{self, FastReader},
    model::{
        frame::{Body, Frame, Message, Signal, SignalKind},
        ids::{ChatId, ResumeToken},
        profile::Interest,
    },
};
use crate::{
    codec::parsed::{ImageHead, Parsed},
    model::{
        command::{Command, Recover},
        frame::MAX_ID,
        problem::{Code, Problem},
        profile::{Hello, Search},
    },
};

/// Reads one JSON object of the native dialect.
///
/// Texts without escapes are slices of `source`, so that a message is not copied.
///
/// # Errors
///
/// A [`Problem`] with code `bad-message` or `unknown-type`, and with the id of the message if it
/// was readable.
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
    read_message_fast(source).map_or_else(|| read(source), Ok)
}

/// Reads a text message with its type first, flat and without escapes. Returns `None` at anything
/// else.
fn read_message_fast(source: &ByteString) -> Option<Parsed> {
    let mut json = FastReader::new(source);
    if !json.word(r#"{"type":"message""#) {
        return None;
    }
    let (mut id, mut text, mut reply, mut chat) = (None, None, None, None);
    json.rest_of_object(|json, name| {
        let first = match name {
            "text" => text.replace(json.string()?.plain()?).is_none(),
            "id" => id.replace(json.number().filter(|id| *id <= MAX_ID)?).is_none(),
            "reply" => reply.replace(json.number().filter(|id| *id <= MAX_ID)?).is_none(),
            "chat" => chat.replace(json.string()?.plain()?).is_none(),
            _ => false,
        };
        first.then_some(())
    })?;
    if !json.is_over() {
        return None;
    }
    let message = Message { id, text: Some(part_of(source, text?)), image: None, reply };
    let chat = chat.map(|chat| chat.parse().unwrap_or(ChatId::NONE));
    Some(Parsed::Command(Command::Send { chat, frame: Frame::new(Body::Message(message)) }))
}

/// Reads any message.
fn read(source: &ByteString) -> Result<Parsed, Problem> {
    let mut fields = RawFields::default();
    if fields.fill_fast(source).is_none() {
        fields = RawFields::default();
        let mut json = serde_json::Deserializer::from_str(source);
        let filled = fields.fill(&mut json).and_then(|()| json.end());
        filled.map_err(|error| Problem::not_json(&error))?;
    }
    fields.finish(Some(source)).map_err(|problem| Problem { id: fields.id_if_any(), ..problem })
}

impl RawFields<'_> {
    fn finish(&self, source: Option<&ByteString>) -> Result<Parsed, Problem> {
        let kind = match self.value(Field::Type) {
            Some(Value::Text(kind)) => kind.as_ref(),
            Some(_) => return Err(wrong(Field::Type, "a string")),
            None => return Err(Problem::new(Code::BadMessage, "a message needs the field `type`")),
        };
        let command = match kind {
            "hello" => self.hello()?,
            "ack" => {
                let received = self.id(Field::Received)?;
                let chat = self.chat()?;
                Command::Ack { chat, received: self.required("ack", Field::Received, received)? }
            }
            "background" => Command::Background,
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
                return Err(Problem::new(Code::UnknownType, "unknown message `type`"));
            }
        };
        Ok(Parsed::Command(command))
    }

    /// Reads a `hello`. With `received` the client acknowledges, and may claim a session.
    fn hello(&self) -> Result<Command, Problem> {
        let hello = Hello {
            // Must be copies: they outlive the message and would keep its buffer alive.
            name: self.text(Field::Name, None)?,
            public_key: self.text(Field::PublicKey, None)?,
            encrypts: false,
        };
        let resume = self.resume()?;
        let Some(received) = self.id(Field::Received)? else {
            return Ok(Command::Hello { hello, resume });
        };
        let chat = self.chat()?;
        Ok(Command::Recover(Box::new(Recover {
            hello: (hello != Hello::default()).then_some(hello),
            token: resume,
            chat,
            received,
            flush_acknowledges: false,
        })))
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

    /// Reads the chat's id. An invalid id is read as [`ChatId::NONE`], which is no current chat.
    fn chat(&self) -> Result<Option<ChatId>, Problem> {
        match self.value(Field::Chat) {
            None => Ok(None),
            Some(Value::Text(chat)) => Ok(Some(chat.parse().unwrap_or(ChatId::NONE))),
            Some(_) => Err(wrong(Field::Chat, "a string")),
        }
    }

    /// Reads the resume token. An invalid one is read as [`ResumeToken::NONE`], which gets the
    /// answer of an unknown one.
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

/// Returns a text as a slice of the source if it is borrowed from it, else as a copy.
#[expect(clippy::ptr_arg, reason = "whether the text is borrowed from the source is the question")]
fn slice_or_copy(text: &Cow<'_, str>, source: Option<&ByteString>) -> ByteString {
    match (text, source) {
        (Cow::Borrowed(text), Some(source)) => part_of(source, text),
        (text, _) => text.as_ref().into(),
    }
}

/// Returns a slice of the source, or a copy if the slice would waste too much of the buffer.
fn part_of(source: &ByteString, text: &str) -> ByteString {
    json::slice(source, text).unwrap_or_else(|| text.into())
}

impl<'de> Deserialize<'de> for Command {
    /// Reads a command other than `image`, whose bytes follow in another frame.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = RawFields::default();
        fields.fill(deserializer)?;
        match fields.finish(None).map_err(de::Error::custom)? {
            Parsed::Command(command) => Ok(command),
            Parsed::Image(_) => {
                Err(de::Error::custom("the bytes of an `image` follow in a frame of their own"))
            }
        }
    }
}

impl Problem {
    /// Creates a problem that locates the JSON error and repeats no input.
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
        let duplicate = matches!(DataFault::of(error), DataFault::DuplicateField);
        Self { unreadable: !duplicate, ..Self::new(Code::BadMessage, message) }
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
    fn fast_path_agrees_with_serde_json() {
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
            let fast = read_message_fast(&source);
            assert_eq!(fast.is_some(), seen, "{source}");
            if seen {
                assert_eq!(fast, read(&source).ok(), "{source}");
            }
        }
    }

    #[test]
    fn plain_text_is_a_slice_of_the_source() {
        let source = ByteString::from(r#"{"type":"message","text":"shared"}"#);
        let Parsed::Command(Command::Send { frame, .. }) = parse(&source).unwrap() else {
            panic!()
        };
        let text = frame.as_text().unwrap();
        let held = source.as_bytes().as_ptr_range();
        assert!(held.contains(&text.as_ptr()));
    }

    #[test]
    fn small_text_is_copied_from_a_large_source() {
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
    fn hello_fields_are_copies() {
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
    fn image_size_must_match_its_bytes() {
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
    fn problems_name_the_error_and_repeat_no_input() {
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
            (r#"{"type":"__proto__"}"#, Code::UnknownType, "unknown message `type`", None),
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
            // Lines and columns are those of serde_json, so only the words are compared.
            let words = |text: &str| text.split(" (line").next().unwrap_or("").to_owned();
            let prefix = |text: &str| words(text).split(" at line").next().unwrap_or("").to_owned();
            assert_eq!(prefix(&found.1), prefix(message), "{shown}");
            assert_eq!(found.2, id, "{shown}");
        }
    }
}

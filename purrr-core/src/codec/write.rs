//! Writes an [`Event`] as one JSON object.

use std::fmt::Write;

use bytestring::ByteString;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    codec::json::write_string,
    model::{
        event::{Event, QueueStatus, Resumed},
        frame::{Body, Message},
        ids::ChatId,
        limits::Limits,
        profile::Interest,
    },
};

/// Returns an event as JSON, byte for byte as its `Serialize` does.
///
/// The two events of every search are written directly. `serde_json` takes three times as many
/// instructions for them, 12 % of what a match costs a native server.
#[must_use]
pub fn to_json(event: &Event) -> String {
    match event {
        Event::Waiting(status) => waiting_json(status),
        Event::Matched { chat, name, public_key, shared } => {
            matched_json(*chat, &Partner { name, public_key }, shared)
        }
        _ => serde_json::to_string(event).expect("all keys of an event are strings"),
    }
}

fn waiting_json(QueueStatus { online, waiting, estimate }: &QueueStatus) -> String {
    let mut json = String::with_capacity(96);
    // Writing to a string cannot fail.
    let _ = write!(json, r#"{{"type":"waiting","online":{online},"waiting":{waiting}"#);
    if let Some(estimate) = estimate {
        let _ = write!(json, r#","estimateMs":{}"#, estimate.as_millis() as u64);
    }
    json.push('}');
    json
}

fn matched_json(chat: ChatId, partner: &Partner<'_>, shared: &[Interest]) -> String {
    let text = |text: &Option<ByteString>| text.as_ref().map_or(0, |text| text.len());
    let contents = text(partner.name) + text(partner.public_key);
    let mut json = String::with_capacity(144 + contents + 24 * shared.len());
    json.push_str(r#"{"type":"matched","chat":""#);
    chat.write_hex(&mut json);
    json.push_str(r#"","partner":{"#);
    for (name, value) in [(r#""name":"#, partner.name), (r#""publicKey":"#, partner.public_key)] {
        if let Some(value) = value {
            json.push_str(if json.ends_with('{') { "" } else { "," });
            json.push_str(name);
            write_string(value, &mut json);
        }
    }
    json.push_str(r#"},"shared":["#);
    for (index, interest) in shared.iter().enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        write_string(interest.as_ref(), &mut json);
    }
    json.push_str("]}");
    json
}

impl Serialize for Event {
    /// Writes one object. A message with a text and a picture is written as the picture's head.
    ///
    /// An object holds only one of the two, so the caller must write the text as an event of its
    /// own before.
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
            Self::Waiting(QueueStatus { online, waiting, estimate }) => {
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
            Self::Resumed(resumed) => {
                let Resumed { chat, name, public_key, received, missing, delivered, .. } =
                    &**resumed;
                map.serialize_entry("type", "resumed")?;
                map.serialize_entry("chat", &chat.to_string())?;
                map.serialize_entry("partner", &Partner { name, public_key })?;
                map.serialize_entry("received", received)?;
                serialize_some("missing", Some(*missing).filter(|gone| *gone > 0), &mut map)?;
                serialize_some("delivered", *delivered, &mut map)?;
            }
            Self::Away => map.serialize_entry("type", "away")?,
            Self::Back { name, public_key } => {
                map.serialize_entry("type", "back")?;
                map.serialize_entry("partner", &Partner { name, public_key })?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        frame::Frame,
        ids::ChatId,
        problem::{Code, Problem},
        reason::ChatEnd,
    };

    proptest! {
        #[test]
        fn direct_json_equals_serde_json(
            numbers in any::<(u64, u64, Option<u32>, u128)>(),
            texts in any::<(Option<String>, Option<String>)>(),
            shared in prop::collection::vec("[a-z\"\\\\é]{1,9}", 0..3),
        ) {
            let (online, waiting, estimate, chat) = numbers;
            let estimate = estimate.map(|wait| Duration::from_micros(wait.into()));
            let (name, public_key) = (texts.0.map(Into::into), texts.1.map(Into::into));
            let shared = shared.iter().map(|tag| Interest::from(&**tag)).collect();
            for event in [
                Event::Waiting(QueueStatus { online, waiting, estimate }),
                Event::Matched { chat: ChatId::from_bits(chat), name, public_key, shared },
            ] {
                prop_assert_eq!(to_json(&event), serde_json::to_string(&event).unwrap());
            }
        }
    }

    #[test]
    fn every_event_serializes() {
        let chat = ChatId::from_bits(1);
        for (event, json) in [
            (
                Event::Waiting(QueueStatus { online: 3, waiting: 1, estimate: None }),
                r#"{"type":"waiting","online":3,"waiting":1}"#.to_owned(),
            ),
            (
                Event::Waiting(QueueStatus {
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
            (
                Event::Left { reason: ChatEnd::Next },
                r#"{"type":"left","reason":"next"}"#.to_owned(),
            ),
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

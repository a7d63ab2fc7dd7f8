//! Parsing of event arrays: [`open`], [`parse`], and a fast path for [`SendMessage`].

use std::{borrow::Cow, fmt, marker::PhantomData};

use bytestring::ByteString;
use purrr_core::{
    Code, Problem,
    codec::__private::{self as json, FastReader, Scalar},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::limits::memory::MemoryBudget;

/// Returns the name that an event's array begins with, without parsing the rest.
///
/// Returns `None` also if the name has escapes.
pub(super) fn name_of(array: &str) -> Option<&str> {
    let mut json = FastReader::new(array);
    if json.eat(b'[') { json.string()?.plain() } else { None }
}

/// Splits an event's array into its name and its first argument, if it has one.
pub(super) fn open(array: &str) -> Result<(Cow<'_, str>, Option<&str>), ()> {
    struct Opened<'a>(Cow<'a, str>, Option<&'a str>);

    impl<'de> Deserialize<'de> for Opened<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct OpenedVisitor;

            impl<'de> de::Visitor<'de> for OpenedVisitor {
                type Value = Opened<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an event's name and its argument")
                }

                fn visit_seq<A: de::SeqAccess<'de>>(
                    self,
                    mut seq: A,
                ) -> Result<Self::Value, A::Error> {
                    let Text(name) =
                        seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                    let payload = seq.next_element::<&RawValue>()?.map(RawValue::get);
                    while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                    Ok(Opened(name, payload))
                }
            }

            deserializer.deserialize_seq(OpenedVisitor)
        }
    }

    let Opened(name, payload) = serde_json::from_str(array).map_err(|_| ())?;
    Ok((name, payload))
}

/// Parses an event's argument.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    name: &str,
    payload: Option<&'a str>,
) -> Result<T, Problem> {
    let bad = |what: &str| Problem::new(Code::BadMessage, format!("`{name}` {what}"));
    let payload = payload.ok_or_else(|| bad("needs an argument"))?;
    serde_json::from_str(payload)
        .map_err(|_| bad("has an argument with a field that is missing or of a wrong type"))
}

/// Parses the argument of an event that has one argument, without fields that it does not need.
pub(super) fn parse_alone<'a, T: Deserialize<'a>>(
    name: &str,
    array: &'a str,
) -> Result<T, Problem> {
    match serde_json::from_str::<(Text<'a>, T)>(array) {
        Ok((_, argument)) => Ok(argument),
        Err(_) => {
            let message = format!("`{name}` of this size takes one argument and no other fields");
            Err(Problem::new(Code::BadMessage, message))
        }
    }
}

/// The argument of `send_message`.
#[derive(Deserialize)]
pub(super) struct SendMessage<'a> {
    #[serde(borrow, default)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) image: Option<Text<'a>>,
    #[serde(default)]
    pub(super) reply: Index,
}

/// The argument of a `send_message` without other fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageAlone<'a> {
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
    #[serde(default)]
    reply: Index,
}

/// The argument of `image upload`, if it is an object.
#[derive(Deserialize)]
pub(super) struct Upload<'a> {
    #[serde(borrow)]
    pub(super) image: Text<'a>,
}

/// The argument of an `image upload` without other fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadAlone<'a> {
    #[serde(borrow)]
    pub(super) image: Text<'a>,
}

/// A string or an object. Parsed without a buffer, unlike an untagged enum.
pub(super) enum TextOr<'a, T> {
    Text(Text<'a>),
    Object(T),
}

impl<'a, T> TextOr<'a, T> {
    /// Returns the string, or what the object has.
    pub(super) fn text_or(self, text: impl FnOnce(T) -> Text<'a>) -> Text<'a> {
        match self {
            Self::Text(text) => text,
            Self::Object(object) => text(object),
        }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor<'a, T>(PhantomData<TextOr<'a, T>>);

        impl<'de: 'a, 'a, T: Deserialize<'de>> de::Visitor<'de> for TextOrVisitor<'a, T> {
            type Value = TextOr<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(TextOr::Object)
            }
        }

        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

impl<'a> From<MessageAlone<'a>> for SendMessage<'a> {
    fn from(MessageAlone { message, image, reply }: MessageAlone<'a>) -> Self {
        Self { message, image, reply }
    }
}

impl<'a> SendMessage<'a> {
    /// Returns the bytes of the text and the image.
    pub(super) fn content_bytes(&self) -> usize {
        let bytes = |text: &Option<Text<'_>>| text.as_ref().map_or(0, |text| text.0.len());
        bytes(&self.message) + bytes(&self.image)
    }

    /// Parses a whole `send_message` in the usual form. The fast path for the most frequent event.
    ///
    /// Returns `None` for any other or unusual event, which [`open`] and [`parse`] then handle.
    pub(super) fn parse_fast(array: &'a str) -> Option<Self> {
        let text = |value| match value {
            None | Some(Scalar::Null) => Some(None),
            Some(Scalar::Text(text)) => Some(Some(Text(text.unescape()?))),
            Some(Scalar::Bool(_) | Scalar::Unsigned(_)) => None,
        };
        let mut json = FastReader::new(array);
        if !json.eat(b'[') || json.string()?.plain()? != "send_message" || !json.eat(b',') {
            return None;
        }
        let [mut message, mut image, mut reply] = [None; 3];
        json.object(|json, name| {
            let field = match name {
                "message" => &mut message,
                "image" => &mut image,
                "reply" => &mut reply,
                _ => return None,
            };
            field.replace(json.scalar()?).is_none().then_some(())
        })?;
        let ends = json.eat(b']') && json.is_over();
        let empty = message.is_none() && image.is_none() && reply.is_none();
        let reply = match reply {
            None | Some(Scalar::Null) => Index(None),
            Some(Scalar::Unsigned(index)) => Index(Some(index)),
            Some(Scalar::Text(_) | Scalar::Bool(_)) => return None,
        };
        let (message, image) = (text(message)?, text(image)?);
        (ends && !empty).then_some(Self { message, image, reply })
    }
}

/// A string, borrowed from the packet if it has no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    /// Returns the string as a slice of its packet.
    ///
    /// A string that had escapes, or would keep much of the packet besides, is a copy with a
    /// reservation of its own.
    pub(super) fn in_source(self, source: &ByteString, budget: &MemoryBudget) -> ByteString {
        let slice = match &self.0 {
            Cow::Borrowed(text) => json::slice(source, text),
            Cow::Owned(_) => None,
        };
        slice.unwrap_or_else(|| budget.hold_decoded(self.0.into_owned()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> de::Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// An index among the messages of the chat. A number that cannot be one counts as none.
#[derive(Default)]
pub(super) struct Index(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<serde_json::Number>::deserialize(deserializer)?;
        Ok(Self(number.and_then(|number| number.as_u64())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said = Option<(Option<String>, Option<String>, Option<u64>)>;

    fn said(read: Option<SendMessage<'_>>) -> Said {
        let SendMessage { message, image, reply } = read?;
        Some((message.map(|it| it.0.into_owned()), image.map(|it| it.0.into_owned()), reply.0))
    }

    #[test]
    fn escaped_string_has_own_reservation() {
        let budget = MemoryBudget::unlimited();
        let sealed = format!(r#""{{\"ciphertext\":\"{}\"}}""#, "A".repeat(100_000));
        let packet = ByteString::from(sealed);
        let text: Text<'_> = serde_json::from_str(&packet).unwrap();
        let text = text.in_source(&packet, &budget);
        // All but the quotes around it.
        assert_eq!(budget.held(), packet.len() - 2);
        drop(packet);
        drop(text);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn short_string_does_not_keep_packet() {
        let budget = MemoryBudget::unlimited();
        let junk = "x".repeat(100_000);
        let packet =
            budget.hold_text(format!(r#"["send_message",{{"message":"hi","junk":"{junk}"}}]"#));
        let (name, payload) = open(&packet).unwrap();
        let said: SendMessage<'_> = parse(&name, payload).unwrap();
        let text = said.message.unwrap().in_source(&packet, &budget);
        drop(packet);
        assert_eq!((&*text, budget.held()), ("hi", 0));
    }

    #[test]
    fn fast_path_agrees_with_parser() {
        for (seen, array) in [
            (true, r#"["send_message",{"message":"hi","image":null,"reply":null}]"#),
            (true, r#" [ "send_message" , { "reply" : 12 , "message" : "a\nb \"c\"" } ] "#),
            (true, r#"["send_message",{"image":"{\"iv\":\"x\"}","message":null,"reply":0}]"#),
            (false, r#"["send_message",{"message":"\u00e9"}]"#),
            (false, r#"["send_message",{"message":"hi","reply":-1}]"#),
            (false, r#"["send_message",{"message":"hi","later":{}}]"#),
            (false, r#"["send_message",{"message":"hi"},"more"]"#),
            (false, r#"["send_message",{}]"#),
            (false, r#"["send_message",{"message":"hi","message":"hi"}]"#),
            (false, r#"["send_message",{"message":1}]"#),
            (false, r#"["send_message",{"message":"hi",}]"#),
            (false, r#"["send_message",{"message":"hi"]"#),
            (false, r#"["send_message","hi"]"#),
            (false, r#"["send_message"]"#),
            (false, r#"["chat message",{"message":"hi"}]"#),
        ] {
            let fast = said(SendMessage::parse_fast(array));
            assert_eq!(fast.is_some(), seen, "{array}");
            if seen {
                let source = ByteString::from(array);
                let (name, payload) = open(&source).unwrap();
                assert_eq!(fast, said(parse(&name, payload).ok()), "{array}");
            }
        }
    }
}

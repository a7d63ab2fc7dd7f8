//! An event's array, taken apart: [`open`] and [`parse`], and the fields that need more than serde.

use std::{borrow::Cow, fmt};

use bytestring::ByteString;
use purrr_core::{Code, Problem};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// Takes an event's array apart: its name, and its first argument if it has one.
pub(super) fn open(array: &ByteString) -> Result<(Cow<'_, str>, Option<&str>), ()> {
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

/// Reads an event's argument.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    name: &str,
    payload: Option<&'a str>,
) -> Result<T, Problem> {
    let bad = |what: &str| Problem::new(Code::BadMessage, format!("`{name}` {what}"));
    let payload = payload.ok_or_else(|| bad("needs an argument"))?;
    serde_json::from_str(payload)
        .map_err(|_| bad("has an argument with a field that is missing or of a wrong type"))
}

/// A string, borrowed from the packet where it has no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn in_source(&self, source: &ByteString) -> ByteString {
        match &self.0 {
            Cow::Borrowed(text) => source.slice_ref(text),
            Cow::Owned(text) => text.as_str().into(),
        }
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

/// An index among the messages of the chat. Any number that cannot be one is none.
#[derive(Default)]
pub(super) struct Index(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<serde_json::Number>::deserialize(deserializer)?;
        Ok(Self(number.and_then(|number| number.as_u64())))
    }
}

//! The fields of a message before its type is known: [`RawFields`].

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, SeqAccess, Visitor},
};

use crate::codec::json::{FastReader, Scalar};

/// The values of all fields that messages of the dialect have, each at most once.
#[derive(Default)]
pub(super) struct RawFields<'a>([Option<Value<'a>>; Field::COUNT]);

/// A field's value before its expected type is known.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    /// A value that no field accepts: an object, a fraction, a list with anything but strings.
    Other,
}

#[derive(Clone, Copy)]
pub(super) enum Field {
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
    Received,
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
            "received" => Self::Received,
            "reply" => Self::Reply,
            "resume" => Self::Resume,
            "size" => Self::Size,
            "text" => Self::Text,
            "type" => Self::Type,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
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
            Self::Received => "received",
            Self::Reply => "reply",
            Self::Resume => "resume",
            Self::Size => "size",
            Self::Text => "text",
            Self::Type => "type",
        }
    }
}

impl<'de> RawFields<'de> {
    /// Reads one object. Fills in place, because moving half a kilobyte from layer to layer costs
    /// more than reading.
    pub(super) fn fill<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Filling(self))
    }

    /// Reads one flat object without escapes. Returns `None` at anything else, and then holds a
    /// part of the fields.
    pub(super) fn fill_fast(&mut self, source: &'de str) -> Option<()> {
        let mut json = FastReader::new(source);
        json.object(|json, name| {
            let value = match json.scalar()? {
                Scalar::Null => Value::Null,
                Scalar::Bool(flag) => Value::Bool(flag),
                Scalar::Unsigned(number) => Value::Unsigned(number),
                Scalar::Text(text) => Value::Text(Cow::Borrowed(text.plain()?)),
            };
            match Field::named(name) {
                Some(field) => self.0[field as usize].replace(value).is_none().then_some(()),
                None => Some(()),
            }
        })?;
        json.is_over().then_some(())
    }

    /// Returns a field's value. `null` counts as absent.
    pub(super) fn value(&self, field: Field) -> Option<&Value<'de>> {
        match &self.0[field as usize] {
            None | Some(Value::Null) => None,
            Some(value) => Some(value),
        }
    }
}

struct Filling<'f, 'de>(&'f mut RawFields<'de>);

impl<'de> Visitor<'de> for Filling<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(RawFields(fields)) = self;
        while let Some(Key(field)) = map.next_key()? {
            let value = map.next_value()?;
            if let Some(field) = field
                && fields[field as usize].replace(value).is_some()
            {
                return Err(de::Error::custom(DataFault::DUPLICATE));
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

/// Elements of a list that are kept. Longer lists are read to their end.
///
/// Must exceed every limit on lists, so that the limit refuses a list that is too long.
const KEPT_TAGS: usize = 1_024;

/// Recurses through `deserialize_any` even for values that are discarded, because `serde_json`
/// applies its limit of 128 levels there.
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

/// The errors of this module's visitors. `serde_json` returns them as text only.
pub(super) enum DataFault {
    NotAnObject,
    DuplicateField,
}

impl DataFault {
    const DUPLICATE: &str = "the same field twice";

    pub(super) fn of(error: &serde_json::Error) -> Self {
        if error.to_string().starts_with(Self::DUPLICATE) {
            Self::DuplicateField
        } else {
            Self::NotAnObject
        }
    }
}

impl fmt::Display for DataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "a message is one JSON object",
            Self::DuplicateField => Self::DUPLICATE,
        })
    }
}

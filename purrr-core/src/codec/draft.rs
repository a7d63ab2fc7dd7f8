//! The fields of a message before anybody knows what it means.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, SeqAccess, Visitor},
};

use crate::codec::json::Glance;

/// The fields of every message of the dialect together, each seen at most once.
#[derive(Default)]
pub(super) struct Draft<'a>([Option<Value<'a>>; Field::COUNT]);

/// A field's value before anybody knows which type is wanted.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    /// Something no field takes: an object, a fraction, a list of anything but strings.
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
            Self::Reply => "reply",
            Self::Resume => "resume",
            Self::Size => "size",
            Self::Text => "text",
            Self::Type => "type",
        }
    }
}

impl<'de> Draft<'de> {
    /// Reads one object. A draft is half a kilobyte, so it is filled where it is and not handed from layer to layer.
    pub(super) fn fill<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Filling(self))
    }

    /// Reads one object as clients send them in earnest: flat and without escapes. `None` if it is not like that, or wrong.
    pub(super) fn fill_at_a_glance(&mut self, source: &'de str) -> Option<()> {
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

    /// What a field holds; `null` is the same as nothing.
    pub(super) fn value(&self, field: Field) -> Option<&Value<'de>> {
        match &self.0[field as usize] {
            None | Some(Value::Null) => None,
            Some(value) => Some(value),
        }
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

/// The two complaints of our own visitor that `serde_json` can only hand back as text.
pub(super) enum DataFault {
    NotAnObject,
    TwiceTheSameField,
}

impl DataFault {
    const TWICE: &str = "the same field twice";

    pub(super) fn of(error: &serde_json::Error) -> Self {
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

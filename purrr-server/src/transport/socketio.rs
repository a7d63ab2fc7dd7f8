//! Packets of Socket.IO v5, which are text messages of Engine.IO: [`Packet`].
//!
//! ```
//! use purrr_server::transport::socketio::{Kind, Packet};
//!
//! let packet = Packet::parse(r#"2/custom,17["hello",1]"#).expect("it is an event");
//! assert_eq!((packet.kind, packet.namespace, packet.id), (Kind::Event, "/custom", Some(17)));
//! let answer = Packet { kind: Kind::Ack, data: "[2]", ..packet };
//! assert_eq!(answer.to_string(), "3/custom,17[2]");
//! ```

use std::fmt;

/// A packet. Attachments follow it as binary messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What the packet is.
    pub kind: Kind,
    /// The number of attachments. 0 for kinds without any.
    pub attachments: u32,
    /// The namespace, `/` for the main one.
    pub namespace: &'a str,
    /// The id of the requested acknowledgement.
    pub id: Option<u64>,
    /// The JSON of the packet, or nothing. Only its first character is checked.
    pub data: &'a str,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connects to a namespace, with an object or nothing.
    Connect,
    /// Leaves a namespace.
    Disconnect,
    /// An event: an array of its name and its arguments.
    Event,
    /// An acknowledgement: an array.
    Ack,
    /// The refusal of a namespace.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An acknowledgement with attachments.
    BinaryAck,
}

/// Digits of the longest id. It is a whole number in JavaScript.
const ID_DIGITS: usize = 15;

/// Digits of the largest number of attachments.
const ATTACHMENT_DIGITS: usize = 4;

impl<'a> Packet<'a> {
    /// Parses a packet. Returns `None` if it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let kind = Kind::parse(*text.as_bytes().first()?)?;
        let mut rest = &text[1..];
        let mut attachments = 0;
        if let Kind::BinaryEvent | Kind::BinaryAck = kind {
            let (digits, after) = rest.split_once('-')?;
            let plain = !digits.starts_with('0') && digits.len() <= ATTACHMENT_DIGITS;
            attachments = digits.parse().ok().filter(|_| plain && is_digits(digits))?;
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let mut id = None;
        if kind.takes_id() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits > ID_DIGITS {
                return None;
            }
            id = rest[..digits].parse().ok();
            rest = &rest[digits..];
        }
        let fits = match kind {
            Kind::Connect => rest.is_empty() || rest.starts_with('{'),
            Kind::Disconnect => rest.is_empty(),
            Kind::Event | Kind::BinaryEvent | Kind::Ack | Kind::BinaryAck => rest.starts_with('['),
            Kind::ConnectError => true,
        };
        fits.then_some(Self { kind, attachments, namespace, id, data: rest })
    }
}

impl Kind {
    const fn parse(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }

    const fn takes_id(self) -> bool {
        matches!(self, Self::Event | Self::Ack | Self::BinaryEvent | Self::BinaryAck)
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes the packet as it is sent.
impl fmt::Display for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind as u8)?;
        if let Kind::BinaryEvent | Kind::BinaryAck = self.kind {
            write!(f, "{}-", self.attachments)?;
        }
        if self.namespace != "/" {
            write!(f, "{},", self.namespace)?;
        }
        if let Some(id) = self.id {
            write!(f, "{id}")?;
        }
        f.write_str(self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: Kind, data: &str) -> Packet<'_> {
        Packet { kind, attachments: 0, namespace: "/", id: None, data }
    }

    #[test]
    fn packets_are_parsed_and_written() {
        let custom = "/custom";
        let (event, ack) = (packet(Kind::Event, r#"["a"]"#), packet(Kind::Ack, "[]"));
        let binary = Packet { kind: Kind::BinaryEvent, attachments: 2, ..event };
        for (text, expected) in [
            ("0", packet(Kind::Connect, "")),
            (r#"0{"token":1}"#, packet(Kind::Connect, r#"{"token":1}"#)),
            ("0/custom,{}", Packet { namespace: custom, ..packet(Kind::Connect, "{}") }),
            ("1", packet(Kind::Disconnect, "")),
            ("1/custom,", Packet { namespace: custom, ..packet(Kind::Disconnect, "") }),
            (r#"2["a"]"#, event),
            (r#"217["a"]"#, Packet { id: Some(17), ..event }),
            (r#"2/custom,17["a"]"#, Packet { namespace: custom, id: Some(17), ..event }),
            ("30[]", Packet { id: Some(0), ..ack }),
            (r#"52-["a"]"#, binary),
            (r#"52-/custom,7["a"]"#, Packet { namespace: custom, id: Some(7), ..binary }),
            ("61-7[]", Packet { kind: Kind::BinaryAck, attachments: 1, id: Some(7), ..ack }),
        ] {
            assert_eq!(Packet::parse(text), Some(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn main_namespace_may_be_spelled_out() {
        for (spelled, plain) in [
            ("0/,", "0"),
            ("0/", "0"),
            ("0/,{}", "0{}"),
            ("1/,", "1"),
            (r#"2/,["a"]"#, r#"2["a"]"#),
            (r#"2/,3["a"]"#, r#"23["a"]"#),
            (r#"51-/,["a"]"#, r#"51-["a"]"#),
        ] {
            assert_eq!(Packet::parse(spelled), Packet::parse(plain), "{spelled}");
            assert!(Packet::parse(spelled).is_some(), "{spelled}");
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for text in [
            "",
            "é",
            "7",
            "abc",
            "0[]",
            "1[]",
            "2",
            "2{}",
            r#"2-1["a"]"#,
            r#"2abc["a"]"#,
            r#"21234567890123456["a"]"#,
            "3",
            r#"5["a"]"#,
            r#"50-["a"]"#,
            r#"5-1-["a"]"#,
            r#"501-["a"]"#,
            r#"599999-["a"]"#,
            r#"518446744073709551616-["a"]"#,
        ] {
            assert_eq!(Packet::parse(text), None, "{text}");
        }
    }
}

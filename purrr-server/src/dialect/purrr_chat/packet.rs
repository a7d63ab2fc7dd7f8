//! Packets of Socket.IO v5: [`Packet`] in, and the ones that the server sends.

use bytes::Bytes;
use bytestring::ByteString;
use purrr_core::model::ResumeToken;
use serde::Deserialize;
use serde_json::json;

use crate::transport::engineio::Outgoing;

/// A packet that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// Connects to the main namespace, with an auth payload.
    Connect(&'a str),
    /// Connects to another namespace.
    ConnectElsewhere(&'a str),
    Disconnect,
    /// An event: a JSON array.
    Event(&'a str),
    /// An event that one binary attachment follows.
    BinaryEvent(&'a str),
    /// An acknowledgement, though none was requested.
    Ack,
}

impl<'a> Packet<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let kind = *text.as_bytes().first()?;
        let mut rest = text.get(1..)?;
        if kind == b'5' {
            // No event of this dialect has more than one attachment.
            rest = rest.strip_prefix("1-")?;
        }
        if rest.starts_with('/') {
            let (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            return match kind {
                b'0' if namespace == "/" => Some(Self::Connect(rest)),
                b'0' => Some(Self::ConnectElsewhere(namespace)),
                _ => None,
            };
        }
        let event = || {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            // The id of a requested acknowledgement. None is sent, since no event has a result.
            (digits <= 15 && rest[digits..].starts_with('[')).then(|| &rest[digits..])
        };
        match kind {
            b'0' => Some(Self::Connect(rest)),
            b'1' => Some(Self::Disconnect),
            b'2' => event().map(Self::Event),
            b'3' => Some(Self::Ack),
            b'5' => event().map(Self::BinaryEvent),
            _ => None,
        }
    }
}

/// The place of an attachment in an event: `{"_placeholder":true,"num":0}`.
#[derive(Deserialize)]
pub(super) struct Placeholder {
    #[serde(rename = "_placeholder")]
    placeholder: bool,
    num: u64,
}

impl Placeholder {
    /// Returns true if it stands for the first attachment.
    pub(super) fn is_first(&self) -> bool {
        self.placeholder && self.num == 0
    }
}

/// Returns an event for the client.
pub(super) fn event(array: &str) -> Outgoing {
    Outgoing::Text(format!("42{array}").into())
}

/// Returns an event with an attachment for the client.
pub(super) fn binary_event(array: &str, attachment: Bytes) -> [Outgoing; 2] {
    [Outgoing::Text(format!("451-{array}").into()), Outgoing::Binary(attachment)]
}

/// Returns the packet that refuses a namespace.
pub(super) fn invalid_namespace(namespace: &str) -> ByteString {
    /// Characters of the name that are echoed.
    const ECHOED: usize = 256;
    let namespace: String = namespace.chars().take(ECHOED).collect();
    format!("44{namespace},{}", json!({"message": "Invalid namespace"})).into()
}

/// Returns the packet that connects a client to the main namespace, with its resume token.
pub(super) fn greeting(resume: ResumeToken) -> Outgoing {
    let sid = format!("{:032x}", rand::random::<u128>());
    Outgoing::Text(format!(r#"40{{"sid":"{sid}","pid":"{resume}"}}"#).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_parsed() {
        for (text, packet) in [
            ("0", Some(Packet::Connect(""))),
            (r#"0{"autoPair":true}"#, Some(Packet::Connect(r#"{"autoPair":true}"#))),
            ("0/,{}", Some(Packet::Connect("{}"))),
            ("0/nope,", Some(Packet::ConnectElsewhere("/nope"))),
            ("1", Some(Packet::Disconnect)),
            (r#"2["a"]"#, Some(Packet::Event(r#"["a"]"#))),
            (r#"217["a"]"#, Some(Packet::Event(r#"["a"]"#))),
            (r#"212345678901234567890["a"]"#, None),
            (r#"2-1["a"]"#, None),
            ("2{}", None),
            (r#"2/nope,["a"]"#, None),
            ("317[]", Some(Packet::Ack)),
            (r#"51-["a"]"#, Some(Packet::BinaryEvent(r#"["a"]"#))),
            (r#"599999999-["a"]"#, None),
            (r#"50-["a"]"#, None),
            ("7", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(Packet::parse(text), packet, "{text}");
        }
    }

    #[test]
    fn echoed_namespace_is_truncated() {
        let long = "/".repeat(65_536);
        assert!(invalid_namespace(&long).len() < 320);
        assert_eq!(&*invalid_namespace("/nope"), r#"44/nope,{"message":"Invalid namespace"}"#);
    }
}

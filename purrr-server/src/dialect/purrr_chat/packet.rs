//! What this dialect reads and sends as packets of Socket.IO: [`Packet`].

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use bytes::Bytes;
use bytestring::ByteString;
use purrr_core::model::ResumeToken;
use serde::Deserialize;
use serde_json::json;

use crate::transport::{
    engineio::Outgoing,
    socketio::{self, Kind},
};

/// A packet that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// Connects to the main namespace, with an auth payload.
    Connect(&'a str),
    /// Connects to another namespace.
    ConnectElsewhere(&'a str),
    Disconnect,
    /// An event: a JSON array.
    Event(&'a str, AckId),
    /// An event that one binary attachment follows.
    BinaryEvent(&'a str, AckId),
    /// An acknowledgement, though none was requested.
    Ack,
}

/// The id of the acknowledgement that an event requests, if it requests one.
pub(super) type AckId = Option<u64>;

impl<'a> Packet<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let socketio::Packet { kind, attachments, namespace, id, data } =
            socketio::Packet::parse(text)?;
        match kind {
            Kind::Connect if namespace != "/" => Some(Self::ConnectElsewhere(namespace)),
            _ if namespace != "/" => None,
            Kind::Connect => Some(Self::Connect(data)),
            Kind::Disconnect => Some(Self::Disconnect),
            Kind::Event => Some(Self::Event(data, id)),
            // No event of this dialect has more than one attachment.
            Kind::BinaryEvent if attachments == 1 => Some(Self::BinaryEvent(data, id)),
            Kind::Ack => Some(Self::Ack),
            Kind::BinaryEvent | Kind::BinaryAck | Kind::ConnectError => None,
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

/// Returns the packet that acknowledges an event.
pub(super) fn ack(id: u64) -> Outgoing {
    Outgoing::Text(format!("43{id}[]").into())
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
    let sid = sid(resume);
    Outgoing::Text(format!(r#"40{{"sid":"{sid}","pid":"{resume}"}}"#).into())
}

/// Returns the public id of a session, the same whenever it is recovered.
///
/// The keyed hash does not reveal the token. Otherwise each session would have to keep its id.
fn sid(token: ResumeToken) -> String {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    let [high, low] = KEYS.each_ref().map(|key| key.hash_one(token));
    format!("{high:016x}{low:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_parsed() {
        let array = r#"["a"]"#;
        for (text, packet) in [
            ("0", Some(Packet::Connect(""))),
            (r#"0{"autoPair":true}"#, Some(Packet::Connect(r#"{"autoPair":true}"#))),
            ("0/,{}", Some(Packet::Connect("{}"))),
            ("0/nope,", Some(Packet::ConnectElsewhere("/nope"))),
            ("0/nope", Some(Packet::ConnectElsewhere("/nope"))),
            ("1", Some(Packet::Disconnect)),
            (r#"2["a"]"#, Some(Packet::Event(array, None))),
            (r#"2/,["a"]"#, Some(Packet::Event(array, None))),
            (r#"217["a"]"#, Some(Packet::Event(array, Some(17)))),
            (r#"2/nope,["a"]"#, None),
            ("1/nope,", None),
            ("317[]", Some(Packet::Ack)),
            (r#"51-["a"]"#, Some(Packet::BinaryEvent(array, None))),
            (r#"51-3["a"]"#, Some(Packet::BinaryEvent(array, Some(3)))),
            (r#"52-["a"]"#, None),
            ("61-3[]", None),
            ("4{}", None),
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

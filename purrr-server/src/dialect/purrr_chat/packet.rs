//! Socket.IO v5 over Engine.IO: one namespace, events, and one binary attachment.
//!
//! The protocol: <https://socket.io/docs/v4/socket-io-protocol/>.

use std::{pin::Pin, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use bytestring::ByteString;
use futures::{SinkExt, StreamExt};
use purrr_core::{Hub, Profile, hub::Gate, model::ResumeToken, rate::Allowance};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::session::PurrrChat;
use crate::{
    config::Config,
    dialect::{close_code, image::Largest},
    limits::{
        connections::ConnectionLimiter,
        open::{Dialect, OpenConnection, OpenConnections},
    },
    liveness::Incoming,
    transport::{
        engineio::{EioSocket, Outgoing, Sessions},
        message::Message,
        websocket::CloseCode,
    },
};

/// What the routes of `/socket.io/` share.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    hub: Hub,
    config: Arc<Config>,
    connections: OpenConnections,
    sessions: Sessions,
}

impl Front {
    pub(crate) fn new(
        hub: Hub,
        config: Arc<Config>,
        connections: OpenConnections,
        limiter: Arc<ConnectionLimiter>,
    ) -> Self {
        let sessions = Sessions::new(Arc::clone(&config), limiter);
        Self { hub, sessions, config, connections }
    }
}

/// Answers a request to `/socket.io/`.
pub(crate) async fn handle(State(front): State<Front>, request: Request) -> Response {
    let Front { hub, config, connections, sessions } = front;
    let session = move |socket| run(hub, config, connections.open(Dialect::PurrrChat), socket);
    sessions.handle(request, session).await
}

/// Runs one visitor's session.
async fn run(hub: Hub, config: Arc<Config>, _counted: OpenConnection, mut socket: EioSocket) {
    let connected = timeout(config.connect_timeout, connect(&mut socket)).await;
    let Ok(Some(Auth { auto_pair, pid })) = connected else {
        return goodbye(socket, CloseCode::Policy, "no namespace was asked for").await;
    };
    let mut chat = PurrrChat::new(socket, hub.limits(), Largest::of(&config), auto_pair);
    let known = (chat.allowance(), chat.gate());
    // Made where it is taken, or the future would have room for it to the end.
    let ended = hub.serve(&mut chat, profile(pid, known)).await;
    let garbled = "not Socket.IO";
    // Engine.IO also loses a connection when what came was no packet, which the client is told.
    let (code, reason) = close_code(ended, garbled).unwrap_or((CloseCode::Policy, garbled));
    goodbye(chat.into_socket(), code, reason).await;
}

/// Ends a session from within a box, for that needs more room than all the rest, which every session would have from its
/// beginning.
fn goodbye(
    socket: EioSocket,
    code: CloseCode,
    reason: &'static str,
) -> Pin<Box<impl Future<Output = ()>>> {
    Box::pin(socket.into_transport().close(code, reason))
}

/// What is known of a visitor when it comes.
fn profile(pid: Option<String>, (allowance, gate): (Option<Arc<Allowance>>, Gate)) -> Profile {
    let mut profile = Profile::default();
    (profile.capabilities.candidates, profile.capabilities.receipts) = (false, false);
    (profile.allowance, profile.gate) = (allowance, Some(gate));
    // A client that is new here and one whose past is forgotten are greeted alike.
    profile.resume = pid.and_then(|token| token.parse().ok());
    profile
}

/// What a client says of itself when it connects.
#[derive(Default, Deserialize)]
struct Auth {
    #[serde(rename = "autoPair", default)]
    auto_pair: bool,
    /// What it was greeted with the last time. Clients of version 4.6 and later bring it along when they reconnect.
    #[serde(default)]
    pid: Option<String>,
}

/// Waits for the one namespace to be asked for, which the greeting answers. `None` if anything else is said first.
async fn connect(socket: &mut EioSocket) -> Option<Auth> {
    loop {
        let packet = match socket.next().await? {
            Incoming::Message(Message::Text(packet)) => packet,
            Incoming::WriteProgress | Incoming::Unresponsive | Incoming::Responsive => continue,
            _ => return None,
        };
        match Packet::read(&packet)? {
            Packet::Connect(auth) => {
                return match auth {
                    "" => Some(Auth::default()),
                    // An object: a list would do for its fields in their order.
                    json if json.starts_with('{') => serde_json::from_str(json).ok(),
                    _ => None,
                };
            }
            Packet::ConnectElsewhere(namespace) => refuse(socket, namespace).await?,
            _ => return None,
        }
    }
}

async fn refuse(socket: &mut EioSocket, namespace: &str) -> Option<()> {
    socket.send(Outgoing::Text(invalid_namespace(namespace))).await.ok()
}

pub(super) fn invalid_namespace(namespace: &str) -> ByteString {
    /// A name is echoed, but not a book.
    const ECHOED: usize = 256;
    let namespace: String = namespace.chars().take(ECHOED).collect();
    format!("44{namespace},{}", json!({"message": "Invalid namespace"})).into()
}

/// The answer to a client that asked for the main namespace: who it is here, and by what it is known again.
pub(super) fn greeting(resume: ResumeToken) -> Outgoing {
    let sid = format!("{:032x}", rand::random::<u128>());
    Outgoing::Text(format!(r#"40{{"sid":"{sid}","pid":"{resume}"}}"#).into())
}

/// A packet of the protocol, as a client sends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// Asks for the main namespace, with its auth payload.
    Connect(&'a str),
    /// Asks for another one.
    ConnectElsewhere(&'a str),
    Disconnect,
    /// An event: a JSON array.
    Event(&'a str),
    /// An event that one binary attachment follows.
    BinaryEvent(&'a str),
    /// An answer to a question that nobody asked.
    Ack,
}

impl<'a> Packet<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let kind = *text.as_bytes().first()?;
        let mut rest = text.get(1..)?;
        if kind == b'5' {
            // One attachment is all that any event here has.
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
            // The id of an acknowledgement that is asked for. None is given: no event here has an answer.
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

/// Where the attachment goes in an event: `{"_placeholder":true,"num":0}`.
#[derive(Deserialize)]
pub(super) struct Placeholder {
    #[serde(rename = "_placeholder")]
    placeholder: bool,
    num: u64,
}

impl Placeholder {
    pub(super) fn is_first(&self) -> bool {
        self.placeholder && self.num == 0
    }
}

/// An event on its way out.
pub(super) fn event(array: &str) -> Outgoing {
    Outgoing::Text(format!("42{array}").into())
}

pub(super) fn binary_event(array: &str, attachment: Bytes) -> [Outgoing; 2] {
    [Outgoing::Text(format!("451-{array}").into()), Outgoing::Binary(attachment)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart() {
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
            assert_eq!(Packet::read(text), packet, "{text}");
        }
    }

    #[test]
    fn a_namespace_is_echoed_but_not_a_book() {
        let long = "/".repeat(65_536);
        assert!(invalid_namespace(&long).len() < 320);
        assert_eq!(&*invalid_namespace("/nope"), r#"44/nope,{"message":"Invalid namespace"}"#);
    }
}

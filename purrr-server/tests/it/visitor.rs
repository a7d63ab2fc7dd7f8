//! A person on the Purrr.chat dialect, who sees every packet, on either transport.

use std::{collections::VecDeque, net::SocketAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Bytes, Message},
};

use crate::support::{Answer, KEY, Server, raw, soon};

/// What a visitor's session runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Polling,
    WebSocket,
    /// Polling until the namespace has been connected, then WebSocket, as the frontend does it.
    Upgraded,
}

pub(crate) struct Visitor {
    /// Leads every complaint.
    name: &'static str,
    pub(crate) line: Line,
    /// Who it is here.
    pub(crate) sid: String,
    /// By what it is known again.
    pub(crate) token: String,
}

/// An Engine.IO session from the client's side.
pub(crate) enum Line {
    Polling { address: SocketAddr, session: String, polled: VecDeque<Packet> },
    WebSocket { socket: Box<WebSocketStream<TcpStream>>, polled: VecDeque<Packet> },
}

/// A packet of Engine.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Text(String),
    Binary(Bytes),
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Polling, Self::WebSocket, Self::Upgraded];
}

impl Visitor {
    /// Begins a session and connects the namespace.
    pub(crate) async fn connect(server: &Server, name: &'static str, transport: Transport) -> Self {
        Self::connect_with(server, name, transport, "40").await
    }

    /// The same with this packet, which asks for the namespace.
    pub(crate) async fn connect_with(
        server: &Server,
        name: &'static str,
        transport: Transport,
        asking: &str,
    ) -> Self {
        let line = match transport {
            Transport::WebSocket => Line::websocket(server).await,
            Transport::Polling | Transport::Upgraded => Line::polling(server).await,
        };
        let mut visitor = Self { name, line, sid: String::new(), token: String::new() };
        visitor.line.send(asking).await;
        let connected = visitor.text().await;
        // Who it is here, and by what it is known again.
        let [session, token] = [10, 51].map(|at| connected.get(at..at + 32).unwrap_or_default());
        let expected = format!(r#"40{{"sid":"{session}","pid":"{token}"}}"#);
        assert_eq!(connected, expected, "{name}");
        (visitor.sid, visitor.token) = (session.to_owned(), token.to_owned());
        if transport == Transport::Upgraded {
            visitor.line.upgrade().await;
        }
        visitor
    }

    /// Two people with keys who have just been paired.
    pub(crate) async fn pair(server: &Server, transports: [Transport; 2]) -> (Self, Self) {
        let (mut ann, mut bob) = Self::pair_as(server, transports, KEY).await;
        ann.gets_matched("Bob").await;
        bob.gets_matched("Ann").await;
        (ann, bob)
    }

    /// Connects and matches two clients without a key.
    pub(crate) async fn pair_without_keys(
        server: &Server,
        transports: [Transport; 2],
    ) -> (Self, Self) {
        let (mut ann, mut bob) = Self::pair_as(server, transports, "").await;
        ann.gets(r#"["matched",{"partnerName":"Bob","partnerPk":""}]"#).await;
        bob.gets(r#"["matched",{"partnerName":"Ann","partnerPk":""}]"#).await;
        (ann, bob)
    }

    async fn pair_as(server: &Server, transports: [Transport; 2], key: &str) -> (Self, Self) {
        let mut ann = Self::connect(server, "Ann", transports[0]).await;
        let mut bob = Self::connect(server, "Bob", transports[1]).await;
        for visitor in [&mut ann, &mut bob] {
            let name = visitor.name;
            let hello = format!(r#"["init_user",{{"name":"{name}","publicKey":"{key}"}}]"#);
            visitor.emit(&hello).await;
            visitor.emit(r#"["find_partner"]"#).await;
            visitor.gets(r#"["waiting"]"#).await;
        }
        (ann, bob)
    }

    pub(crate) async fn introduces_itself(&mut self) {
        let name = self.name;
        self.emit(&format!(r#"["init_user",{{"name":"{name}","publicKey":"{KEY}"}}]"#)).await;
    }

    /// Emits an event: an array of its name and its argument.
    pub(crate) async fn emit(&mut self, array: &str) {
        self.line.send(&format!("42{array}")).await;
    }

    pub(crate) async fn emit_binary(&mut self, array: &str, attachment: &[u8]) {
        let packets = [
            Packet::Text(format!("451-{array}")),
            Packet::Binary(Bytes::copy_from_slice(attachment)),
        ];
        self.line.send_all(&packets).await;
    }

    /// The next packet that is none of the transport's own.
    pub(crate) async fn next(&mut self) -> Packet {
        let next = soon(self.name, self.line.next()).await;
        next.unwrap_or_else(|| panic!("{}: the session ended", self.name))
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Packet::Text(text) => text,
            other => panic!("{}: a text was due, not {other:?}", self.name),
        }
    }

    /// The next event is this one, to the byte.
    pub(crate) async fn gets(&mut self, array: &str) {
        assert_eq!(self.text().await, format!("42{array}"), "{}", self.name);
    }

    pub(crate) async fn gets_binary(&mut self, array: &str, attachment: &[u8]) {
        assert_eq!(self.text().await, format!("451-{array}"), "{}", self.name);
        assert_eq!(self.next().await, Packet::Binary(Bytes::copy_from_slice(attachment)));
    }

    /// The next event says that a pair was made with a partner of this name and the key that all
    /// have here.
    pub(crate) async fn gets_matched(&mut self, name: &str) {
        self.gets(&format!(r#"["matched",{{"partnerName":"{name}","partnerPk":"{KEY}"}}]"#)).await;
    }

    /// The next event is an error; returns its words.
    pub(crate) async fn gets_error(&mut self) -> String {
        let text = self.text().await;
        let array = text.strip_prefix("42").unwrap_or_default();
        let event: serde_json::Value = serde_json::from_str(array).unwrap_or_default();
        let message = event[1]["message"].as_str().unwrap_or_default().to_owned();
        let quoted = serde_json::Value::from(message.clone());
        assert_eq!(array, format!(r#"["error",{{"message":{quoted}}}]"#), "{}", self.name);
        assert!(message.len() > 10, "{}: an error says what was wrong: {text}", self.name);
        message
    }

    /// The next two events tell that the chat is over.
    pub(crate) async fn gets_parted(&mut self) {
        self.gets(r#"["hide_typing"]"#).await;
        self.gets(r#"["partner_disconnected"]"#).await;
    }

    /// Nothing else has come before the answer to a question asked now.
    pub(crate) async fn has_nothing_new(&mut self) {
        self.emit(r#"["is there anything?"]"#).await;
        assert_eq!(self.gets_error().await, "unknown event");
    }

    /// The server has ended the session.
    pub(crate) async fn is_cut_off(&mut self) {
        assert_eq!(soon(self.name, self.line.next()).await, None, "{}", self.name);
    }
}

impl Line {
    pub(crate) async fn polling(server: &Server) -> Self {
        let session = server.polling_session().await;
        Self::Polling { address: server.address, session, polled: VecDeque::new() }
    }

    pub(crate) async fn websocket(server: &Server) -> Self {
        let mut socket = open(server.address, "").await;
        let greeting = soon("a handshake", socket.next()).await;
        let Some(Ok(Message::Text(greeting))) = greeting else {
            panic!("a handshake was due, not {greeting:?}");
        };
        assert!(greeting.starts_with("0{"), "{greeting}");
        Self::WebSocket { socket: Box::new(socket), polled: VecDeque::new() }
    }

    pub(crate) async fn send(&mut self, packet: &str) {
        self.send_all(&[Packet::Text(packet.to_owned())]).await;
    }

    /// Sends these packets in one request, or one after the other.
    pub(crate) async fn send_all(&mut self, packets: &[Packet]) {
        match self {
            Self::Polling { address, session, .. } => {
                let answer = post(*address, session, &join(packets)).await;
                assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
            }
            Self::WebSocket { socket, .. } => {
                for packet in packets {
                    let message = match packet {
                        Packet::Text(text) => Message::text(text),
                        Packet::Binary(bytes) => Message::binary(bytes.clone()),
                    };
                    socket.feed(message).await.expect("the session goes on");
                }
                socket.flush().await.expect("the session goes on");
            }
        }
    }

    /// The next packet that is none of the transport's own. `None` if the session is over.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            let packet = match self {
                Self::Polling { polled, .. } | Self::WebSocket { polled, .. }
                    if !polled.is_empty() =>
                {
                    polled.pop_front()?
                }
                Self::Polling { address, session, polled } => {
                    polled.extend(poll(*address, session).await?);
                    continue;
                }
                Self::WebSocket { socket, .. } => match socket.next().await? {
                    Ok(Message::Text(text)) => Packet::Text(text.as_str().to_owned()),
                    Ok(Message::Binary(bytes)) => Packet::Binary(bytes),
                    Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                    _ => return None,
                },
            };
            match &packet {
                Packet::Text(text) if text == "2" => self.send("3").await,
                Packet::Text(text) if text == "6" => {}
                Packet::Text(text) if text == "1" => return None,
                _ => return Some(packet),
            }
        }
    }

    /// Changes from polling to a WebSocket, with a poll under way as the client library has it.
    pub(crate) async fn upgrade(&mut self) {
        let Self::Polling { address, session, polled } = self else {
            panic!("only who polls changes over");
        };
        let mut polled = std::mem::take(polled);
        let polling = tokio::spawn({
            let (address, session) = (*address, session.clone());
            async move { poll(address, &session).await }
        });
        let socket = probe(*address, session).await;
        // The server lets go of the poll, with whatever there is.
        let last = soon("the last poll", polling).await.expect("polling does not panic");
        polled.extend(last.expect("the session goes on"));
        *self = take_over(socket, polled).await;
    }
}

/// Opens a WebSocket beside a polling session and exchanges probes on it.
pub(crate) async fn probe(address: SocketAddr, session: &str) -> WebSocketStream<TcpStream> {
    let mut socket = open(address, &format!("&sid={session}")).await;
    socket.send(Message::text("2probe")).await.expect("the connection is there");
    let answer = soon("a probe's answer", socket.next()).await;
    assert!(matches!(&answer, Some(Ok(Message::Text(text))) if *text == "3probe"), "{answer:?}");
    socket
}

/// Changes over to a WebSocket that has probed; what was polled last comes first.
pub(crate) async fn take_over(
    mut socket: WebSocketStream<TcpStream>,
    polled: impl Into<VecDeque<Packet>>,
) -> Line {
    socket.send(Message::text("5")).await.expect("the session goes on");
    Line::WebSocket { socket: Box::new(socket), polled: polled.into() }
}

/// Asks for what there is. `None` if the session is over.
pub(crate) async fn poll(address: SocketAddr, session: &str) -> Option<Vec<Packet>> {
    let request = format!(
        "GET /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: {address}\r\n\
         Connection: close\r\n\r\n"
    );
    let answer = raw(address, request).await;
    (answer.status == 200).then(|| answer.body.split('\u{1e}').map(Packet::polled).collect())
}

pub(crate) async fn post(address: SocketAddr, session: &str, body: &str) -> Answer {
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: {address}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(address, request).await
}

async fn open(address: SocketAddr, more: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("the server accepts connections");
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{more}");
    let opened = soon("an upgrade", client_async(url, stream)).await;
    opened.expect("the server speaks WebSocket").0
}

fn join(packets: &[Packet]) -> String {
    let packets: Vec<_> = packets.iter().map(Packet::to_polled).collect();
    packets.join("\u{1e}")
}

impl Packet {
    fn polled(text: &str) -> Self {
        match text.strip_prefix('b') {
            Some(base64) => {
                Self::Binary(BASE64_STANDARD.decode(base64).expect("it is base64").into())
            }
            None => Self::Text(text.to_owned()),
        }
    }

    fn to_polled(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Binary(bytes) => format!("b{}", BASE64_STANDARD.encode(bytes)),
        }
    }
}

//! Connections that are cut after each byte of an exchange, and resumed: the frames of both
//! directions arrive once, in order.

use std::{fmt, net::SocketAddr, sync::Arc};

use futures::{FutureExt, SinkExt, StreamExt, future::join_all};
use purrr_server::ServerConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::support::{Peer, Server, soon};

/// Frames of each direction. The last one is sent when all others have arrived, so that a frame
/// that came twice would come before it.
const FRAMES: u64 = 4;

/// The number of the frame that is an image, which is two messages.
const IMAGE: u64 = 1;

/// Cuts that are tried at once.
const AT_ONCE: usize = 64;

/// The connection that is cut.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// On which the client connects, searches and talks.
    First,
    /// On which the client resumes, after it lost the first one in the chat.
    Second,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    line: Line,
    direction: Direction,
    /// How many bytes arrive.
    after: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_cut_after_each_byte_of_an_exchange() {
    let mut config = ServerConfig::default();
    config.routes.rate_limits = false;
    let server = Server::with(config).await;
    for line in [Line::First, Line::Second] {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut bytes = 0;
            // Until so many bytes are let through that the exchange ends before.
            loop {
                let cuts = (bytes..bytes + AT_ONCE).map(|after| Cut { line, direction, after });
                let cases = cuts.map(|cut| tokio::spawn(is_cut(server.address, cut)));
                let ends = join_all(cases).await;
                let cut = ends.into_iter().filter(|end| *end.as_ref().expect("a case passes"));
                let count = cut.count();
                bytes += count;
                if count < AT_ONCE {
                    break;
                }
            }
            assert!(bytes > 500, "{line:?} {direction:?}: {bytes} bytes are no exchange");
        }
    }
}

/// Has two clients talk while the connection of one is cut. Returns true if it was.
async fn is_cut(server: SocketAddr, cut: Cut) -> bool {
    let what = format!("{cut:?}");
    let mut ann = Client::new("Ann", "Bob", &what);
    let mut bob = Client::new("Bob", "Ann", &what);
    let (mut ann_done, mut bob_done) = (ann.done.subscribe(), bob.done.subscribe());
    let was_cut = Arc::new(Notify::new());
    let both = async {
        // Until both are done at once: one that loses its connection then has to come back.
        while !(*ann_done.borrow() && *bob_done.borrow()) {
            for done in [&mut ann_done, &mut bob_done] {
                done.wait_for(|done| *done).await.expect("a client lives on");
            }
        }
    };
    let talking = async {
        tokio::select! {
            () = both => {}
            () = ann.lives(server, Some((cut, Arc::clone(&was_cut)))) => unreachable!(),
            () = bob.lives(server, None) => unreachable!(),
        }
    };
    soon(&what, talking).await;
    for client in [ann, bob] {
        let mut socket = client.socket.expect("it is connected");
        socket.close(None).await.ok();
        soon(&what, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    }
    is_notified(&was_cut)
}

/// Takes the permit that is stored once a line was cut.
fn is_notified(was_cut: &Notify) -> bool {
    was_cut.notified().now_or_never().is_some()
}

/// What is sent to a Purrr.chat client with connection state recovery. What such a client sends into
/// a connection that is cut is lost.
#[tokio::test]
async fn recovered_connection_cut_after_each_byte_that_is_sent() {
    let server = Server::start().await;
    let mut after = 0;
    while is_recovered(server.address, after).await {
        after += 1;
    }
    assert!(after > 100, "{after} bytes are not three messages");
}

/// Has a native client talk to one whose connection is cut so many bytes behind `matched`. Returns
/// true if it was.
async fn is_recovered(server: SocketAddr, after: usize) -> bool {
    let cut = Cut { line: Line::First, direction: Direction::ToClient, after };
    let (was_cut, counts) = (Arc::new(Notify::new()), watch::Sender::new(false));
    let line = cut_line(server, cut, Arc::clone(&was_cut), counts.subscribe()).await;
    let mut ann = Recovering::connect(server, line, None).await;
    ann.sends(r#"42["init_user",{"name":"Ann","publicKey":null}]"#).await;
    ann.sends(r#"42["find_partner"]"#).await;
    let (mut bob, _) = Peer::connect_remembered(server, "Bob").await;
    bob.send(r#"{"type":"find"}"#).await;
    ann.until("matched").await.expect("it is not cut yet");
    until(&mut bob, "matched").await;
    counts.send_replace(true);
    for number in 0..FRAMES - 1 {
        bob.send(json!({"type": "message", "text": said("Bob", number)}).to_string()).await;
    }
    for number in 0..FRAMES {
        if number == FRAMES - 1 {
            bob.send(json!({"type": "message", "text": said("Bob", number)}).to_string()).await;
        }
        let heard = loop {
            match ann.until("receive_message").await {
                Some(heard) => break heard,
                None => ann = Recovering::connect(server, server, Some(ann)).await,
            }
        };
        assert_eq!(heard["body"], said("Bob", number), "cut after {after} bytes");
    }
    ann.sends("41").await;
    until(&mut bob, "left").await;
    is_notified(&was_cut)
}

async fn until(peer: &mut Peer, kind: &str) {
    while serde_json::from_str::<Value>(&peer.text().await).expect("JSON")["type"] != kind {}
}

/// A Purrr.chat client, and what `socket.io-client` keeps of a session.
struct Recovering {
    socket: Socket,
    sid: Value,
    pid: Value,
    offset: Option<Value>,
}

impl Recovering {
    /// Connects through `line`, as the one that was lost before if there is one.
    async fn connect(server: SocketAddr, line: SocketAddr, before: Option<Self>) -> Self {
        let stream = TcpStream::connect(line).await.expect("the line takes connections");
        stream.set_nodelay(true).expect("a connected socket");
        let address = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = client_async(address, stream).await.expect("the server takes it");
        let mut auth = json!({"recovery": true});
        if let Some(Self { pid, offset, .. }) = &before {
            auth["pid"] = pid.clone();
            auth["offset"] = offset.clone().expect("a match brings one");
        }
        let offset = before.as_ref().and_then(|before| before.offset.clone());
        let mut client = Self { socket, sid: Value::Null, pid: Value::Null, offset };
        client.sends(&format!("40{auth}")).await;
        let greeting = soon("a greeting", async {
            loop {
                let packet = client.packet().await.expect("it is not cut yet");
                if let Some(greeting) = packet.strip_prefix("40") {
                    break serde_json::from_str::<Value>(greeting).expect("JSON");
                }
            }
        })
        .await;
        (client.sid, client.pid) = (greeting["sid"].clone(), greeting["pid"].clone());
        if let Some(before) = before {
            assert_eq!((&client.sid, &client.pid), (&before.sid, &before.pid), "recovered");
        }
        client
    }

    async fn sends(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.ok();
    }

    async fn packet(&mut self) -> Option<String> {
        while let Some(Ok(message)) = self.socket.next().await {
            if let Message::Text(text) = message {
                return Some(text.as_str().to_owned());
            }
        }
        None
    }

    /// Returns the argument of the next event of this name, or `None` if the connection is lost.
    async fn until(&mut self, name: &str) -> Option<Value> {
        soon(name, async {
            loop {
                let packet = self.packet().await?;
                let Some(event) = packet.strip_prefix("42") else { continue };
                let event: Vec<Value> = serde_json::from_str(event).expect("JSON");
                self.offset = Some(event.last().cloned().expect("an offset"));
                if event[0] == name {
                    return Some(event[1].clone());
                }
            }
        })
        .await
    }
}

// ---- A client that resumes ----------------------------------------------------------------------

type Socket = WebSocketStream<TcpStream>;

struct Client {
    name: &'static str,
    partner: &'static str,
    /// Finds the partner of this case.
    interest: String,
    socket: Option<Socket>,
    /// Tokens of which one is good, the oldest first.
    tokens: Vec<String>,
    /// Those that were not tried over this connection.
    untried: Vec<String>,
    chat: Option<String>,
    /// An answer to a claim is due.
    is_claiming: bool,
    /// How many frames were written to this connection, or have arrived over others.
    written: u64,
    received: u64,
    delivered: u64,
    /// Set while it is connected and all frames of both directions have arrived.
    done: watch::Sender<bool>,
}

impl Client {
    fn new(name: &'static str, partner: &'static str, interest: &str) -> Self {
        Self {
            name,
            partner,
            interest: interest.to_owned(),
            socket: None,
            tokens: Vec::new(),
            untried: Vec::new(),
            chat: None,
            is_claiming: false,
            written: 0,
            received: 0,
            delivered: 0,
            done: watch::Sender::new(false),
        }
    }

    /// Connects again and again. Never ends.
    async fn lives(&mut self, server: SocketAddr, cut: Option<(Cut, Arc<Notify>)>) {
        let mut lines = 0;
        loop {
            let address = match &cut {
                Some((cut, was_cut)) if lines == cut.line as usize => {
                    let counts = watch::Sender::new(true).subscribe();
                    cut_line(server, *cut, Arc::clone(was_cut), counts).await
                }
                _ => server,
            };
            let drops = lines == 0 && matches!(&cut, Some((Cut { line: Line::Second, .. }, _)));
            lines += 1;
            let stream = TcpStream::connect(address).await.expect("the line takes connections");
            stream.set_nodelay(true).expect("a connected socket");
            let Ok((socket, _)) = client_async(format!("ws://{server}/ws"), stream).await else {
                continue;
            };
            self.socket = Some(socket);
            self.talks(drops).await;
            self.done.send_replace(false);
            self.socket = None;
        }
    }

    /// Reads until the connection is lost, or, if it `drops`, until the first frame has come.
    async fn talks(&mut self, drops: bool) {
        while let Some(Ok(message)) = self.line().next().await {
            match message {
                Message::Text(text) => {
                    let told = serde_json::from_str(&text).expect("the server sends JSON");
                    self.handle(&told).await;
                }
                Message::Binary(bytes) => {
                    let words = std::str::from_utf8(&bytes).expect("the partner's words");
                    self.hears(words).await;
                }
                _ => {}
            }
            self.done.send_replace((self.received, self.delivered) == (FRAMES, FRAMES));
            if drops && self.received > 0 {
                return;
            }
        }
    }

    async fn handle(&mut self, told: &Value) {
        let field = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        match told["type"].as_str().unwrap_or_default() {
            "welcome" => {
                self.untried = std::mem::take(&mut self.tokens);
                self.tokens = self.untried.clone();
                self.tokens.push(field("resume"));
                self.claims().await;
            }
            "error" if told["code"] == "unknown-session" => self.claims().await,
            "idle" => self.searches().await,
            "waiting" => self.is_answered(),
            "matched" => {
                let chat = field("chat");
                assert!(self.chat.is_none() && self.received == 0, "{self:?} had a chat");
                self.chat = Some(chat);
                self.is_answered();
                self.writes().await;
            }
            "resumed" => {
                assert_eq!(Some(field("chat")), self.chat, "{self:?}");
                assert_eq!(told["missing"], Value::Null, "{self:?}");
                let arrived = told["received"].as_u64().expect("a number");
                assert!(arrived <= self.said(), "{self:?} never said {arrived} frames");
                self.written = arrived;
                self.delivered = told["delivered"].as_u64().unwrap_or(self.delivered);
                self.is_answered();
                self.writes().await;
            }
            "message" => self.hears(&field("text")).await,
            // Its bytes follow.
            "image" => {}
            "delivered" => {
                assert_eq!(told["id"], self.delivered + 1, "{self:?}");
                self.delivered += 1;
            }
            "away" | "back" => {}
            other => panic!("{self:?} was told {other}: {told}"),
        }
    }

    /// Claims by the oldest token that was not tried, or begins anew.
    async fn claims(&mut self) {
        if self.untried.is_empty() {
            assert_eq!(self.chat, None, "{self:?}: one of the tokens is good");
            self.sends(&json!({"type": "hello", "name": self.name, "received": 0})).await;
            return self.searches().await;
        }
        let token = self.untried.remove(0);
        let mut hello = json!({
            "type": "hello", "name": self.name, "resume": token, "received": self.received,
        });
        if let Some(chat) = &self.chat {
            hello["chat"] = chat.as_str().into();
        }
        self.is_claiming = true;
        self.sends(&hello).await;
    }

    async fn searches(&mut self) {
        self.is_answered();
        self.sends(&json!({"type": "find", "interests": [self.interest]})).await;
    }

    /// By no other token than that of this connection it can resume next.
    fn is_answered(&mut self) {
        if std::mem::take(&mut self.is_claiming) {
            self.tokens.drain(..self.tokens.len() - 1);
        }
    }

    async fn hears(&mut self, words: &str) {
        assert_eq!(words, said(self.partner, self.received), "{self:?}");
        self.received += 1;
        let ack = json!({"type": "ack", "chat": self.chat, "received": self.received});
        self.sends(&ack).await;
        self.writes().await;
    }

    /// How many frames it wants to have sent by now.
    const fn said(&self) -> u64 {
        if self.received < FRAMES - 1 { FRAMES - 1 } else { FRAMES }
    }

    /// Writes the frames that were not written yet.
    async fn writes(&mut self) {
        while self.written < self.said() {
            let (number, words) = (self.written, said(self.name, self.written));
            self.written += 1;
            let mut frame = json!({"id": number + 1, "chat": self.chat});
            if number == IMAGE {
                frame["type"] = "image".into();
                (frame["mime"], frame["size"]) = ("image/gif".into(), words.len().into());
                self.sends(&frame).await;
                self.line().send(Message::binary(words)).await.ok();
            } else {
                (frame["type"], frame["text"]) = ("message".into(), words.into());
                self.sends(&frame).await;
            }
        }
    }

    /// What is lost with the connection is noticed where it is read.
    async fn sends(&mut self, message: &Value) {
        let message = Message::text(message.to_string());
        self.line().send(message).await.ok();
    }

    fn line(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("it is connected")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.name)
            .field("cut", &self.interest)
            .field("chat", &self.chat)
            .field("received", &self.received)
            .field("written", &self.written)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

/// What one of them says, which passes for an image too.
fn said(name: &str, number: u64) -> String {
    format!("GIF89a{name} {number}")
}

// ---- A line that is cut -------------------------------------------------------------------------

/// Returns the address of a line to the server that takes one connection, and is cut after so many
/// bytes since it `counts`.
async fn cut_line(
    server: SocketAddr,
    cut: Cut,
    was_cut: Arc<Notify>,
    counts: watch::Receiver<bool>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(server).await.expect("the server accepts connections");
        let [client, server] = [client, server].map(|stream| {
            stream.set_nodelay(true).expect("a connected socket");
            stream.into_split()
        });
        let (to_server, to_client) = match cut.direction {
            Direction::ToServer => (cut.after, usize::MAX),
            Direction::ToClient => (usize::MAX, cut.after),
        };
        // The one that ends first drops both connections.
        let is_cut = tokio::select! {
            is_cut = carry(client.0, server.1, to_server, counts.clone()) => is_cut,
            is_cut = carry(server.0, client.1, to_client, counts) => is_cut,
        };
        if is_cut {
            was_cut.notify_one();
        }
    });
    address
}

/// Carries so many bytes since it `counts`. Returns false if the connection ended before.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut left: usize,
    mut counts: watch::Receiver<bool>,
) -> bool {
    let mut bytes = [0; 4_096];
    loop {
        let is_counting = *counts.borrow_and_update();
        let most = if is_counting { left.min(bytes.len()) } else { bytes.len() };
        if most == 0 {
            return true;
        }
        let count = tokio::select! {
            count = from.read(&mut bytes[..most]) => count,
            Ok(()) = counts.changed() => continue,
        };
        match count {
            Ok(count @ 1..) if to.write_all(&bytes[..count]).await.is_ok() => {
                left -= if is_counting { count } else { 0 };
            }
            _ => return false,
        }
    }
}

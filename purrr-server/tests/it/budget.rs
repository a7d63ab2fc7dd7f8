//! What large messages may take for everybody together, and what happens above it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{net::Ipv4Addr, time::Duration};

use purrr_server::ServerConfig;
use serde_json::json;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    support::{
        Answer, Peer, Server, png_of, soon,
        wire::{BINARY, CONTINUATION, FIN, TEXT, Wire, frame, head},
    },
    visitor::{Line, Transport, Visitor},
};

const NATIVE: &str = "/ws";
const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";

/// A picture, of which there is room for one.
const PICTURE: usize = 700_000;

async fn server() -> Server {
    let mut config = ServerConfig::default();
    config.routes.buffered_bytes = 1_000_000;
    Server::with(config).await
}

/// Returns how many bytes the server says it holds.
async fn held(server: &Server) -> usize {
    let metrics = server.get("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("purrr_buffered_bytes "));
    line.unwrap().parse().unwrap()
}

/// How many bytes the server says it holds, once that is as it should be.
async fn holds(server: &Server, fits: impl Fn(usize) -> bool) {
    holds_for("what is held", server, fits).await;
}

async fn holds_for(what: &str, server: &Server, fits: impl Fn(usize) -> bool) {
    soon(what, async { while !fits(held(server).await) {} }).await;
}

async fn pair(server: &Server) -> (Wire, Peer) {
    pair_from(Ipv4Addr::LOCALHOST, server).await
}

/// One who comes from this address, and a partner.
async fn pair_from(address: Ipv4Addr, server: &Server) -> (Wire, Peer) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut ann = Wire::shake_hands(server, stream).await;
    ann.say(r#"{"type":"find"}"#).await;
    assert!(ann.next().await.unwrap().payload.starts_with(br#"{"type":"waiting""#));
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.finds().await;
    bob.gets_matched("{}", "[]").await;
    assert!(ann.next().await.unwrap().payload.starts_with(br#"{"type":"matched""#));
    (ann, bob)
}

fn announced(id: u32) -> String {
    format!(r#"{{"type":"image","id":{id},"mime":"image/png","size":{PICTURE}}}"#)
}

/// A client that has sent most of a picture, and the picture and the partner.
async fn halfway(server: &Server) -> (Wire, Vec<u8>, Peer) {
    let (mut ann, bob) = pair(server).await;
    let picture = png_of(PICTURE);
    ann.say(&announced(1)).await;
    ann.send(&head(FIN | BINARY, PICTURE as u64)).await;
    ann.send(&picture[..600_000]).await;
    holds(server, |held| held >= 600_000).await;
    (ann, picture, bob)
}

async fn finishes((mut ann, picture, mut bob): (Wire, Vec<u8>, Peer)) {
    ann.send(&picture[600_000..]).await;
    bob.gets(announced(1)).await;
    assert_eq!(bob.bytes().await, picture);
}

#[tokio::test]
async fn memory_budget_refuses_large_messages_only() {
    let server = server().await;
    let holding = halfway(&server).await;

    let (mut cat, mut dan) = pair(&server).await;
    let picture = png_of(PICTURE);
    let fragments = |picture: &[u8]| {
        let mut pieces = picture.chunks(10_000);
        let first = frame(BINARY, pieces.next().unwrap());
        let rest = pieces.flat_map(|piece| frame(CONTINUATION, piece));
        first.into_iter().chain(rest).chain(frame(FIN | CONTINUATION, b"")).collect::<Vec<u8>>()
    };
    for (id, bytes) in [(7, frame(FIN | BINARY, &picture)), (8, fragments(&picture))] {
        cat.say(&announced(id)).await;
        cat.send(&bytes).await;
        let refused = String::from_utf8(cat.next().await.unwrap().payload).unwrap();
        let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
        assert_eq!((&refused["code"], &refused["id"]), (&json!("overloaded"), &json!(id)));
        assert_eq!(refused["retryAfterMs"], 1_000);
        // Up to its end the picture was read and thrown away, and what follows is understood.
        cat.say(r#"{"type":"message","text":"small"}"#).await;
        dan.gets(r#"{"type":"message","text":"small"}"#).await;
    }

    finishes(holding).await;
    holds(&server, |held| held == 0).await;
    for (id, bytes) in [(9, frame(FIN | BINARY, &picture)), (10, fragments(&picture))] {
        cat.say(&announced(id)).await;
        cat.send(&bytes).await;
        dan.gets(announced(id)).await;
        assert_eq!(dan.bytes().await, picture);
        while !cat.next().await.unwrap().payload.starts_with(br#"{"type":"delivered""#) {}
        holds(&server, |held| held == 0).await;
    }
}

#[tokio::test]
async fn memory_budget_of_one_address() {
    let mut config = ServerConfig::default();
    config.routes.buffered_bytes_per_address = 1_000_000;
    let server = Server::with(config).await;
    let _holding = halfway(&server).await;

    let (mut cat, mut dan) = pair(&server).await;
    let (mut eve, mut fay) = pair_from(Ipv4Addr::new(127, 0, 0, 2), &server).await;
    let picture = png_of(PICTURE);
    for sender in [&mut cat, &mut eve] {
        sender.say(&announced(1)).await;
        sender.send(&frame(FIN | BINARY, &picture)).await;
    }
    let refused = String::from_utf8(cat.next().await.unwrap().payload).unwrap();
    assert!(refused.contains("overloaded"), "{refused}");
    fay.gets(announced(1)).await;
    assert_eq!(fay.bytes().await, picture);
    cat.say(r#"{"type":"message","text":"small"}"#).await;
    dan.gets(r#"{"type":"message","text":"small"}"#).await;
}

#[tokio::test]
async fn memory_budget_on_every_socketio_transport() {
    for transport in Transport::ALL {
        let server = server().await;
        let holding = halfway(&server).await;
        let (mut ann, mut bob) = Visitor::pair(&server, [transport; 2]).await;
        // As the page seals pictures: a string that holds JSON.
        let sealed = format!(r#"{{\"ciphertext\":\"{}\",\"iv\":\"x\"}}"#, "A".repeat(PICTURE));
        ann.emit(&format!(r#"["send_message",{{"image":"{sealed}"}}]"#)).await;
        assert!(ann_is_told(&mut ann).await);
        let hear = |body: &str, image: &str, reply: &str| {
            format!(
                r#"["receive_message",{{"from":"Ann","body":{body},"image":{image},"reply":{reply}}}]"#
            )
        };
        ann.emit(r#"["send_message",{"message":"small"}]"#).await;
        bob.gets(&hear(r#""small""#, "null", "null")).await;
        // What was refused is the first that Ann's page shows, so `small` is her second.
        ann.emit(r#"["send_message",{"message":"x","reply":1}]"#).await;
        bob.gets(&hear(r#""x""#, "null", "0")).await;

        finishes(holding).await;
        holds(&server, |held| held == 0).await;
        ann.emit(&format!(r#"["send_message",{{"image":"{sealed}"}}]"#)).await;
        bob.gets(&hear("null", &format!("\"{sealed}\""), "null")).await;
        holds(&server, |held| held == 0).await;
    }
}

async fn ann_is_told(ann: &mut Visitor) -> bool {
    let text = ann.text().await;
    let event: serde_json::Value = serde_json::from_str(&text[2..]).unwrap();
    event[0] == "error" && event[1]["retryAfterMs"] == 1_000
}

#[tokio::test]
async fn partial_message_returns_memory_on_close() {
    let server = server().await;
    let (ann, _, mut bob) = halfway(&server).await;
    drop(ann);
    bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
    holds(&server, |held| held == 0).await;
}

/// Begins a poll on a connection with small buffers, and reads nothing of the answer.
async fn begin_poll(server: &Server, session: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\n\r\n"
    );
    let mut stream = stream;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    stream
}

/// Returns true if an answer has begun within a moment.
async fn is_answered(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(timeout(Duration::from_millis(500), stream.peek(&mut byte)).await, Ok(Ok(1)))
}

#[tokio::test]
async fn untaken_answers_to_polls_stay_in_budget() {
    const BUDGET: usize = 2_000_000;
    const TEXT: usize = 15_000;
    const COUNT: usize = 600;
    let mut config = ServerConfig::default();
    config.routes.buffered_bytes = BUDGET;
    config.routes.rate_limits = false;
    config.limits.stall = Duration::from_secs(60);
    let server = Server::with(config).await;
    let (mut ann, mut bob) =
        Visitor::pair(&server, [Transport::WebSocket, Transport::Polling]).await;
    let Line::Polling { session, .. } = &bob.line else { panic!("he polls") };
    let session = session.clone();
    let sending = tokio::spawn(async move {
        for n in 0..COUNT {
            let text = format!("{n:03}{}", "x".repeat(TEXT));
            ann.emit(&format!(r#"["chat message","{text}"]"#)).await;
        }
        ann
    });

    let (mut answers, mut most) = (Vec::new(), 0);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = begin_poll(&server, &session).await;
        let answered = is_answered(&answer).await;
        answers.push(answer);
        most = most.max(held(&server).await);
        if !answered {
            break;
        }
    }
    assert!(most <= BUDGET, "{most} bytes are held of {BUDGET}");
    assert_eq!(answers.len(), 2, "the second poll waits for the first answer to be taken");

    // The client takes all that it was owed, in order.
    let mut next = 0;
    let mut expect = |packet: &str| {
        assert!(packet.starts_with(&format!(r#"42["chat message","{next:03}"#)), "{next}");
        next += 1;
        next
    };
    for answer in answers {
        let answer = soon("an answer", Answer::read(answer)).await;
        assert_eq!(answer.status, 200);
        answer.body.split('\u{1e}').filter(|packet| *packet != "2").for_each(|packet| {
            expect(packet);
        });
    }
    while expect(&bob.text().await) < COUNT {}
    holds(&server, |held| held == 0).await;
    drop(sending.await.unwrap());
}

/// A client that takes nothing of what it is sent.
enum Idle {
    Polling(Visitor),
    Native(Wire),
}

impl Idle {
    /// Searches without a name or a key.
    async fn search(server: &Server, polls: bool) -> Self {
        if polls {
            let mut visitor = Visitor::connect(server, "Bob", Transport::Polling).await;
            visitor.emit(r#"["find_partner"]"#).await;
            visitor.gets(r#"["waiting"]"#).await;
            return Self::Polling(visitor);
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        let mut wire = Wire::shake_hands(server, stream).await;
        wire.say(r#"{"type":"find"}"#).await;
        assert!(wire.message().await.0.starts_with(br#"{"type":"waiting""#));
        Self::Native(wire)
    }

    async fn is_matched(&mut self) {
        match self {
            Self::Polling(visitor) => assert!(visitor.text().await.starts_with(r#"42["matched""#)),
            Self::Native(wire) => {
                assert!(wire.message().await.0.starts_with(br#"{"type":"matched""#));
            }
        }
    }
}

/// A row is a message, and how many of its size are held when it was sent three times.
///
/// A partner that polls is owed it in the form of its dialect. A native one has one that goes out,
/// and two wait as they came. There a text that had escapes is held twice.
#[tokio::test]
async fn every_form_of_a_large_message_is_in_budget() {
    const BYTES: usize = 250_000;
    const COUNT: usize = 3;
    let words = "x".repeat(BYTES);
    // What takes six times less when it is decoded.
    let escapes = r"\u0001".repeat(BYTES / 6);
    let native = |message: &str| {
        let message = message.replace('?', &words).replace('!', &escapes);
        frame(FIN | TEXT, message.as_bytes())
    };
    let event = |array: &str| native(&format!("42{array}"));
    for (front, message, native_holds) in [
        (NATIVE, native(r#"{"type":"message","text":"?"}"#), 3),
        (NATIVE, native(r#"{"type":"message","text":"\n?"}"#), 5),
        (NATIVE, native(r#"{"type":"signal","kind":"offer","data":"?"}"#), 3),
        (NATIVE, native(r#"{"type":"signal","kind":"offer","data":"\n?"}"#), 5),
        (SOCKET_IO, event(r#"["chat message","?"]"#), 3),
        (SOCKET_IO, event(r#"["send_message",{"message":"\n?"}]"#), 3),
        (SOCKET_IO, event(r#"["send_message",{"message":"!"}]"#), 3),
        (SOCKET_IO, event(r#"["start_video_call",{"offer":"!"}]"#), 3),
        (SOCKET_IO, event(r#"["start_video_call",{"offer":"?"}]"#), 3),
        (SOCKET_IO, event(r#"["start_video_call",{"offer":"\n?"}]"#), 3),
    ] {
        for polls in [true, false] {
            let mut config = ServerConfig::default();
            config.routes.rate_limits = false;
            config.limits.stall = Duration::from_secs(60);
            let server = Server::with(config).await;
            let mut bob = Idle::search(&server, polls).await;
            let stream = TcpStream::connect(server.address).await.unwrap();
            let mut ann = Wire::upgrade(server.address, stream, front).await;
            let begin: &[&str] = match front {
                NATIVE => &[r#"{"type":"find"}"#],
                _ => &["40", r#"42["find_partner"]"#],
            };
            for said in begin {
                ann.say(said).await;
            }
            bob.is_matched().await;
            ann.send(&message.repeat(COUNT)).await;
            let least = BYTES / 6 * 6 * if polls { COUNT } else { native_holds };
            let row = String::from_utf8_lossy(&message[8..60]);
            holds_for(&format!("{row} polls: {polls}"), &server, |held| held >= least).await;
        }
    }
}

//! WebSocket frames that break RFC 6455, one connection each: the close code, and that the partner is told.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use std::time::{Duration, Instant};

use purrr_server::Config;
use support::{Peer, Server, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const CONTINUATION: u8 = 0x0;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A connection on which the test writes every byte itself.
struct Wire {
    stream: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

impl Wire {
    /// Connects, shakes hands and reads the welcome.
    async fn connect(server: &Server) -> Self {
        Self::shake_hands(server, server.connect().await).await
    }

    /// The same over a connection that is already there.
    async fn shake_hands(server: &Server, mut stream: TcpStream) -> Self {
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("the handshake", stream.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        let mut wire = Self { stream };
        let welcome = wire.next().await.unwrap();
        assert!(welcome.payload.starts_with(br#"{"type":"welcome""#));
        wire
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already: what it said is still to be read.
        self.stream.write_all(bytes).await.ok();
    }

    async fn say(&mut self, text: &str) {
        self.send(&frame(FIN | TEXT, text.as_bytes())).await;
    }

    /// The next frame, or `None` at the clean end of the stream. A reset fails the test.
    async fn next(&mut self) -> Option<Frame> {
        soon("a frame", async {
            let opcode = match self.stream.read_u8().await {
                Ok(first) => first & 0x0F,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
                Err(error) => panic!("the connection was not closed but cut: {error}"),
            };
            let length = match self.stream.read_u8().await.unwrap() {
                126 => u64::from(self.stream.read_u16().await.unwrap()),
                127 => self.stream.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.unwrap();
            Some(Frame { opcode, payload })
        })
        .await
    }

    /// Reads up to the close and the end of the stream; returns the close code, if there was a close.
    async fn close_code(mut self) -> Option<u16> {
        let close = loop {
            if let Frame { opcode: CLOSE, payload } = self.next().await? {
                break payload;
            }
        };
        self.stream.shutdown().await.ok();
        assert_eq!(self.next().await, None, "nothing follows a close");
        Some(u16::from_be_bytes([close[0], close[1]]))
    }
}

/// A frame as a client sends it, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_closed_with_the_right_code() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    for (what, bytes, codes) in [
        ("unmasked", vec![FIN | TEXT, 2, b'h', b'i'], &[1002][..]),
        ("RSV1 set", frame(FIN | 0x40 | TEXT, b"hi"), &[1002]),
        ("opcode 3", frame(FIN | 3, b""), &[1002]),
        ("opcode 11", frame(FIN | 11, b""), &[1002]),
        ("a ping of 126 bytes", frame(FIN | PING, &[0; 126]), &[1002]),
        ("a fragmented ping", frame(PING, b""), &[1002]),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"x"), &[1002]),
        ("a text within a text", [frame(TEXT, b"x"), frame(FIN | TEXT, b"y")].concat(), &[1002]),
        ("bad UTF-8", frame(FIN | TEXT, b"\xff"), &[1007]),
        ("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80"), &[1007]),
        (
            "a surrogate in two fragments",
            [frame(TEXT, b"\xed"), frame(FIN | CONTINUATION, b"\xa0\x80")].concat(),
            &[1007],
        ),
        ("a close of one byte", frame(FIN | CLOSE, &[3]), &[1002]),
        ("close code 999", close(999, b""), &[1002]),
        ("close code 1005", close(1005, b""), &[1002]),
        ("close code 5000", close(5000, b""), &[1002]),
        ("a close reason that is not UTF-8", close(1000, b"\xff"), &[1002, 1007]),
        ("2^40 bytes announced", head(FIN | TEXT, 1 << 40), &[1009]),
        ("2^62 bytes announced", head(FIN | TEXT, 1 << 62), &[1009]),
        ("2^63 bytes announced", head(FIN | TEXT, 1 << 63), &[1002, 1009]),
        ("one byte too many", frame(FIN | TEXT, &vec![b'x'; 12_000_001]), &[1009]),
        ("a proper close", close(1000, b"bye"), &[1000]),
        ("data after a close", [close(1000, b""), frame(FIN | TEXT, b"{}")].concat(), &[1000]),
    ] {
        let mut wire = Wire::connect(&server).await;
        wire.send(&bytes).await;
        let code = wire.close_code().await;
        if !code.is_some_and(|code| codes.contains(&code)) {
            wrong.push(format!("{what}: {code:?} instead of {codes:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn fragments_make_one_message_and_pings_between_them_are_answered() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let text = br#"{"type":"cancel"}"#;
    wire.send(&frame(TEXT, &text[..1])).await;
    wire.send(&frame(FIN | PING, b"still there?")).await;
    for byte in &text[1..] {
        wire.send(&frame(CONTINUATION, &[*byte])).await;
    }
    wire.send(&frame(FIN | CONTINUATION, b"")).await;
    assert_eq!(wire.next().await, Some(Frame { opcode: PONG, payload: b"still there?".to_vec() }));
    let idle = br#"{"type":"idle"}"#.to_vec();
    assert_eq!(wire.next().await, Some(Frame { opcode: TEXT, payload: idle }));
}

#[tokio::test]
async fn the_partner_of_whoever_breaks_the_protocol_is_told_at_once() {
    let server = Server::start().await;
    for (what, bytes) in [
        ("a broken frame", frame(FIN | 3, b"")),
        ("half a message and a reset", head(FIN | TEXT, 1_000)),
    ] {
        let mut bob = Peer::connect(server.address, "Bob").await;
        bob.send(r#"{"type":"find"}"#).await;
        bob.gets_type("waiting").await;
        let mut wire = Wire::connect(&server).await;
        wire.say(r#"{"type":"find"}"#).await;
        bob.gets_matched("{}", "[]").await;
        wire.send(&bytes).await;
        let began = Instant::now();
        if what.ends_with("reset") {
            wire.stream.set_zero_linger().unwrap();
            drop(wire);
        }
        bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{what}: after {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn half_a_message_is_not_waited_for() {
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(300);
    config.ping_timeout = Duration::from_millis(300);
    let server = Server::with(config).await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&head(FIN | TEXT, 1_000_000)).await;
    wire.send(b"ten bytes!").await;
    let began = Instant::now();
    while let Some(frame) = wire.next().await {
        assert!(matches!(frame.opcode, PING | CLOSE), "{frame:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "open for {:?}", began.elapsed());
}

#[tokio::test]
async fn a_picture_that_comes_slowly_is_waited_for() {
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(150);
    config.ping_timeout = Duration::from_millis(150);
    let server = Server::with(config).await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets_type("waiting").await;
    let mut wire = Wire::connect(&server).await;
    wire.say(r#"{"type":"find"}"#).await;
    bob.gets_matched("{}", "[]").await;
    let announced = r#"{"type":"image","id":1,"mime":"image/png","size":40}"#;
    wire.say(announced).await;
    wire.send(&head(FIN | 2, 40)).await;
    let sending = async {
        // A browser sends a picture as one frame and cannot answer a ping in the midst of it.
        let mut pace = tokio::time::interval(Duration::from_millis(30));
        for byte in 0..40 {
            pace.tick().await;
            wire.send(&[byte]).await;
        }
    };
    let receiving = async {
        bob.gets(announced).await;
        bob.bytes().await
    };
    let ((), bytes) = tokio::join!(sending, receiving);
    assert_eq!(bytes, (0..40).collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_picture_that_is_taken_slowly_arrives() {
    let mut config = Config::default();
    config.limits.stall = Duration::from_secs(1);
    let server = Server::with(config).await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(r#"{"type":"find"}"#).await;
    ann.gets_type("waiting").await;
    // The less the system holds, the more of the picture waits in the server.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut wire = Wire::shake_hands(&server, stream).await;
    wire.say(r#"{"type":"find"}"#).await;
    ann.gets_matched("{}", "[]").await;

    let size = 9_500_000;
    ann.send(format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{size}}}"#)).await;
    ann.send_bytes(vec![7; size]).await;
    let receiving = async {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        let (mut part, mut taken) = (vec![0; 64 * 1024], 0);
        while taken < size {
            pace.tick().await;
            match wire.stream.read(&mut part).await.unwrap() {
                0 => break,
                count => taken += count,
            }
        }
        taken
    };
    let taken = soon("the picture", receiving).await;
    assert!(taken >= size, "the connection was closed after {taken} bytes of {size}");
    ann.gets(r#"{"type":"delivered","id":1}"#).await;
}

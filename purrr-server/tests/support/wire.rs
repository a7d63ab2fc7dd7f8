//! A client that writes every byte of its WebSocket itself.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{UPGRADE, soon};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// A connection on which the test writes every byte itself.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The first byte: [`FIN`] or not, and the opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    /// Connects, shakes hands and reads the welcome.
    pub(crate) async fn connect(server: impl Into<SocketAddr>) -> Self {
        let server = server.into();
        let stream = TcpStream::connect(server).await.expect("the server accepts connections");
        Self::shake_hands(server, stream).await
    }

    /// The same over a connection that is already there.
    pub(crate) async fn shake_hands(server: impl Into<SocketAddr>, stream: TcpStream) -> Self {
        let mut wire = Self::upgrade(server, stream, "/ws").await;
        let welcome = wire.next().await.unwrap();
        assert!(welcome.payload.starts_with(br#"{"type":"welcome""#));
        wire
    }

    /// Only the upgrade, at any path.
    pub(crate) async fn upgrade(
        server: impl Into<SocketAddr>,
        stream: TcpStream,
        path: &str,
    ) -> Self {
        Self::upgrade_with(server, stream, path, &[]).await.0
    }

    /// The same with these lines in the head; returns the head of the answer, too.
    pub(crate) async fn upgrade_with(
        server: impl Into<SocketAddr>,
        mut stream: TcpStream,
        path: &str,
        lines: &[&str],
    ) -> (Self, String) {
        let lines = [&UPGRADE, lines].concat().join("\r\n");
        let host = server.into();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("the handshake", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (Self { stream }, head)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already: what it said is still to be read.
        self.stream.write_all(bytes).await.ok();
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(&frame(FIN | TEXT, text.as_bytes())).await;
    }

    /// The next frame, or `None` at the clean end of the stream. A reset fails the test.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon("a frame", async {
            let first = match self.stream.read_u8().await {
                Ok(first) => first,
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
            Some(Frame { first, payload })
        })
        .await
    }

    /// The next message and the frames that it came in. Control frames are left out.
    pub(crate) async fn message(&mut self) -> (Vec<u8>, Vec<Frame>) {
        let (mut message, mut frames) = (Vec::new(), Vec::new());
        loop {
            let frame = self.next().await.expect("a message is due");
            if frame.opcode() >= CLOSE {
                continue;
            }
            let last = frame.first & FIN != 0;
            message.extend_from_slice(&frame.payload);
            frames.push(frame);
            if last {
                return (message, frames);
            }
        }
    }
}

impl Frame {
    pub(crate) const fn opcode(&self) -> u8 {
        self.first & 0x0F
    }
}

/// A frame as a client sends it, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn head(first: u8, length: u64) -> Vec<u8> {
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

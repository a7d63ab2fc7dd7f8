//! Two clients of the whole server over pipes in memory, and what they say in each dialect.
//!
//! What one of them writes is taken out of its frame, read, relayed, written and framed again for
//! the other. So nothing of it needs to be reached from outside.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use purrr_core::Hub;
use purrr_server::{Config, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Bytes that fit into a pipe, more than anything said here.
const PIPE: usize = 256 * 1024;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Any mask will do.
const MASK: [u8; 4] = *b"mask";

/// What a client says to find a partner, and what it says to one.
#[derive(Debug)]
pub struct Dialect {
    pub name: &'static str,
    path: &'static str,
    opening: &'static [&'static str],
    pub message: fn(&str) -> Vec<u8>,
    pub picture: fn(&str) -> Vec<u8>,
}

pub const DIALECTS: [Dialect; 2] = [
    Dialect {
        name: "native",
        path: "/ws",
        opening: &[r#"{"type":"find"}"#],
        message: |text| frame(1, format!(r#"{{"type":"message","text":"{text}"}}"#).as_bytes()),
        picture: |sealed| {
            // A JPEG that ends at once: nothing behind that is looked at.
            let image = [&b"\xff\xd8\xff\xd9"[..], sealed.as_bytes()].concat();
            let size = image.len();
            let head = format!(r#"{{"type":"image","id":1,"mime":"image/jpeg","size":{size}}}"#);
            [frame(1, head.as_bytes()), frame(2, &image)].concat()
        },
    },
    Dialect {
        name: "Purrr.chat",
        path: "/socket.io/?EIO=4&transport=websocket",
        opening: &[
            "40",
            r#"42["init_user",{"name":"Ann","publicKey":"BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU="}]"#,
            r#"42["find_partner"]"#,
        ],
        message: |text| {
            let event =
                format!(r#"42["send_message",{{"message":"{text}","image":null,"reply":null}}]"#);
            frame(1, event.as_bytes())
        },
        picture: |sealed| {
            let event = format!(
                r#"42["send_message",{{"message":null,"image":"{{\"ciphertext\":\"{sealed}\",\"iv\":\"AAAAAAAAAAAAAAAA\"}}","reply":null}}]"#
            );
            frame(1, event.as_bytes())
        },
    },
];

/// A client's end of a WebSocket.
#[derive(Debug)]
pub struct Client {
    pub pipe: DuplexStream,
    payload: Vec<u8>,
}

impl Client {
    /// Two that have been paired.
    pub async fn pair(dialect: &Dialect) -> io::Result<[Self; 2]> {
        let hub = Hub::memory();
        let mut pair = [Self::connect(&hub, dialect).await?, Self::connect(&hub, dialect).await?];
        for client in &mut pair {
            client.hear("matched").await?;
        }
        Ok(pair)
    }

    async fn connect(hub: &Hub, dialect: &Dialect) -> io::Result<Self> {
        let mut config = Config::default();
        config.rate_limits = false;
        // This client answers no ping.
        config.ping_interval = DAY;
        config.chat_ping_interval = DAY;
        let service = TowerToHyperService::new(router::<()>(hub.clone(), config).with_state(()));
        let (pipe, served) = duplex(PIPE);
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(served), service).with_upgrades(),
        );
        let mut client = Self { pipe, payload: Vec::new() };
        let handshake = format!(
            "GET {} HTTP/1.1\r\nHost: purrr\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cHVycnIgbG9hZCB0ZXN0cw==\r\n\r\n",
            dialect.path
        );
        client.pipe.write_all(handshake.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(client.pipe.read_u8().await?);
        }
        for said in dialect.opening {
            client.pipe.write_all(&frame(1, said.as_bytes())).await?;
        }
        Ok(client)
    }

    /// Reads until something holds `what`, and returns how many bytes of payload that has.
    pub async fn hear(&mut self, what: &str) -> io::Result<usize> {
        loop {
            self.read().await?;
            if self.payload.windows(what.len()).any(|window| window == what.as_bytes()) {
                return Ok(self.payload.len());
            }
        }
    }

    /// Reads so many bytes of payload, in whatever frames they come.
    pub async fn read_payload(&mut self, mut bytes: usize) -> io::Result<()> {
        while bytes > 0 {
            self.read().await?;
            bytes = bytes.checked_sub(self.payload.len()).ok_or(ErrorKind::InvalidData)?;
        }
        Ok(())
    }

    /// Reads one frame.
    pub async fn read(&mut self) -> io::Result<()> {
        let _opcode = self.pipe.read_u8().await?;
        let length = match self.pipe.read_u8().await? {
            126 => self.pipe.read_u16().await?.into(),
            127 => self.pipe.read_u64().await?,
            short => short.into(),
        };
        self.payload.resize(length as usize, 0);
        self.pipe.read_exact(&mut self.payload).await?;
        Ok(())
    }
}

/// A frame as a client sends it.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ ..=125 => frame.push(0x80 | length as u8),
        length @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

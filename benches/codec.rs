//! What a message costs from the bytes that come in to the bytes that go out, in each dialect.
//!
//! Two clients talk through the whole server, over pipes in memory instead of sockets: what one of them writes is
//! taken out of its frame, read, relayed, written and framed again for the other. So nothing of it needs to be
//! reached from outside. `message` has 64 bytes of text, `picture` is one of 48 KiB as the page of the dialect sends
//! it, with the receipt that the native dialect owes for it.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use purrr_core::Hub;
use purrr_server::{Config, router};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Builder,
};

/// Bytes that fit into a pipe, more than anything said here.
const PIPE: usize = 256 * 1024;

/// Little enough to go out in one frame.
const PICTURE: usize = 48 * 1024;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Any mask will do.
const MASK: [u8; 4] = *b"mask";

/// What a client says to find a partner, and what it says to one.
struct Dialect {
    name: &'static str,
    path: &'static str,
    opening: &'static [&'static str],
    message: fn(&str) -> Vec<u8>,
    picture: fn(&str) -> Vec<u8>,
}

const DIALECTS: [Dialect; 2] = [
    Dialect {
        name: "native",
        path: "/ws",
        opening: &[r#"{"type":"find"}"#],
        message: |text| frame(1, format!(r#"{{"type":"message","text":"{text}"}}"#).as_bytes()),
        picture: |sealed| {
            let size = sealed.len();
            let head = format!(
                r#"{{"type":"image","id":1,"mime":"application/octet-stream","size":{size},"encrypted":true}}"#
            );
            [frame(1, head.as_bytes()), frame(2, sealed.as_bytes())].concat()
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
struct Client {
    pipe: DuplexStream,
    payload: Vec<u8>,
}

impl Client {
    async fn connect(hub: &Hub, dialect: &Dialect) -> io::Result<Self> {
        let mut config = Config::default();
        config.rate_limits = false;
        // Nobody here answers a ping.
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
    async fn hear(&mut self, what: &str) -> io::Result<usize> {
        loop {
            self.read().await?;
            if self.payload.windows(what.len()).any(|window| window == what.as_bytes()) {
                return Ok(self.payload.len());
            }
        }
    }

    /// Reads so many bytes of payload, in whatever frames they come.
    async fn read_payload(&mut self, mut bytes: usize) -> io::Result<()> {
        while bytes > 0 {
            self.read().await?;
            bytes = bytes.checked_sub(self.payload.len()).ok_or(ErrorKind::InvalidData)?;
        }
        Ok(())
    }

    /// Reads one frame.
    async fn read(&mut self) -> io::Result<()> {
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

fn codec(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime without sockets needs nothing that could be missing");
    let mut group = criterion.benchmark_group("codec");
    for dialect in &DIALECTS {
        let text = "a message of about sixty-four bytes, as people write them......";
        let sealed = "c2VhbGVk".repeat(PICTURE / 8);
        for (what, said, heard, bytes) in [
            ("message", (dialect.message)(text), text, text.len()),
            ("picture", (dialect.picture)(&sealed), "c2VhbGVkc2Vh", PICTURE),
        ] {
            let confirmed = dialect.name == "native" && what == "picture";
            let paired = async {
                let hub = Hub::memory();
                let mut ann = Client::connect(&hub, dialect).await?;
                let mut bob = Client::connect(&hub, dialect).await?;
                ann.hear("matched").await?;
                bob.hear("matched").await?;
                // The first time shows how much there is to read in all.
                ann.pipe.write_all(&said).await?;
                let mut length = if confirmed { bob.hear("image").await? } else { 0 };
                length += bob.hear(heard).await?;
                if confirmed {
                    ann.hear("delivered").await?;
                }
                io::Result::Ok((ann, bob, length))
            };
            let (mut ann, mut bob, length) =
                runtime.block_on(paired).expect("two people are paired in memory");
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::new(dialect.name, what), |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        ann.pipe.write_all(&said).await.expect("the server reads");
                        bob.read_payload(length).await.expect("what was said arrives");
                        if confirmed {
                            ann.read().await.expect("its sender is told");
                        }
                    });
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);

//! What a connection keeps of an image that has passed through it, and what a server holds under
//! attack. The memory measured is this process's.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use purrr_server::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    ALONE,
    faults::{is_full, size},
    metrics,
    process::Process,
    support::{
        Server, png_of, raw,
        wire::{BINARY, FIN, TEXT, Wire, frame},
    },
};

const PICTURE: usize = 5_000_000;

const PAIRS: usize = 20;

#[tokio::test]
async fn connection_keeps_no_image_memory() {
    let _alone = ALONE.lock().await;
    let server = Server::start().await;
    let picture = frame(FIN | BINARY, &png_of(PICTURE));
    let head = format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{PICTURE}}}"#);
    let mut pairs = Vec::new();
    let mut before = 0;
    for pair in 0..PAIRS {
        let (mut ann, mut bob) = (Wire::connect(&server).await, Wire::connect(&server).await);
        for wire in [&mut ann, &mut bob] {
            wire.say(r#"{"type":"find"}"#).await;
        }
        for wire in [&mut ann, &mut bob] {
            while !wire.message().await.0.starts_with(br#"{"type":"matched""#) {}
        }
        let sending = async {
            ann.say(&head).await;
            ann.send(&picture).await;
            assert!(ann.message().await.0.starts_with(br#"{"type":"delivered""#));
        };
        let receiving = async {
            assert_eq!(bob.message().await.0, head.as_bytes());
            assert_eq!(bob.message().await.0.len(), PICTURE);
        };
        tokio::join!(sending, receiving);
        // A picture without partner is discarded at once.
        ann.say(r#"{"type":"leave"}"#).await;
        assert!(ann.message().await.0.starts_with(br#"{"type":"idle""#));
        ann.say(&head).await;
        ann.send(&picture).await;
        assert!(ann.message().await.0.starts_with(br#"{"type":"error""#));
        pairs.push((ann, bob));
        // What the first picture made the allocator fetch is there for those that follow.
        if pair == 0 {
            before = Process::own().resident();
        }
    }
    let kept = Process::own().resident().saturating_sub(before) / (PAIRS - 1);
    assert!(kept < PICTURE / 5, "{kept} bytes are kept for each pair");
}

/// What a connection may hold beside the memory budget, in bytes: see `docs/sizing.md`.
///
/// 15 KB of its own, a send buffer of 16 KiB, and five messages of 16 KiB, each with half as much
/// that was read with it: the one that arrives, the one that is held, the one behind it, the one
/// in the partner's queue and the one that goes out.
const PER_CONNECTION: usize = 15_000 + 16 * 1024 + 5 * 24 * 1024;

/// The memory of messages with so many connections, by the settings: see `docs/sizing.md`.
fn worst_case(config: &ServerConfig, connections: usize) -> usize {
    connections * PER_CONNECTION + config.routes.buffered_bytes * 3 / 2
}

#[tokio::test]
async fn memory_under_attack_stays_below_worst_case() {
    let _alone = ALONE.lock().await;
    let pairs = size(60, 490);
    let mut config = ServerConfig::default();
    let routes = &mut config.routes;
    // What one address has by default. Without rates, so that one address can do all of it at once.
    (routes.rate_limits, routes.max_connections_per_address) = (false, 0);
    routes.buffered_bytes =
        if is_full() { routes.buffered_bytes_per_address } else { 24 * 1024 * 1024 };
    // No client is given up before all is measured.
    let long = Duration::from_secs(600);
    (config.limits.stall, routes.body_timeout) = (long, long);
    (routes.ping_interval, routes.chat_ping_interval) = (long, long);
    let slow_readers = 20;
    let worst = worst_case(&config, 2 * (pairs + slow_readers));
    let limit = config.routes.buffered_bytes;
    let server = Server::with(config).await;
    let address = server.address;
    let before = Process::own().resident();

    // Polling clients that say as much as is taken, and take no answer.
    let mut attack = Vec::new();
    let text = "x".repeat(TEXT_BYTES);
    let said: Arc<str> = format!(r#"42["send_message",{{"message":"{text}"}}]"#).into();
    for _ in 0..pairs {
        let pair = [Polling::connect(address).await, Polling::connect(address).await];
        for client in &pair {
            client.post(r#"42["find_partner"]"#).await;
        }
        for client in pair {
            attack.push(tokio::spawn(client.says_and_takes_nothing(Arc::clone(&said))));
        }
    }
    // Native clients whose partners read nothing and send half a message.
    for _ in 0..slow_readers {
        let (mut ann, mut bob) = (Wire::connect(&server).await, Wire::connect(&server).await);
        for wire in [&mut ann, &mut bob] {
            wire.say(r#"{"type":"find"}"#).await;
        }
        let message = format!(r#"{{"type":"message","text":"{text}"}}"#);
        let message = frame(FIN | TEXT, message.as_bytes());
        attack.push(tokio::spawn(async move {
            bob.send(&message[..TEXT_BYTES / 2]).await;
            while ann.stream.write_all(&message).await.is_ok() {}
        }));
    }

    let (mut peak, mut steady) = (0, 0);
    while steady < 30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let resident = Process::own().resident().saturating_sub(before);
        steady = if resident > peak + peak / 100 { 0 } else { steady + 1 };
        peak = peak.max(resident);
    }
    let metrics = metrics(address).await;
    let held = metrics.lines().find_map(|line| line.strip_prefix("purrr_buffered_bytes "));
    let held: f64 = held.expect("the metric is there").parse().expect("it is a number");
    eprintln!("{peak} bytes of at most {worst}, {held} of them in a budget of {limit}");
    assert!(peak < worst, "{peak} bytes are held, and {worst} are documented");
    assert!(held <= limit as f64, "{held} bytes are reserved in a budget of {limit}");
    attack.iter().for_each(JoinHandle::abort);
}

/// Bytes of a text that is small enough not to be reserved by itself.
const TEXT_BYTES: usize = 16_000;

/// A client of the Purrr.chat dialect that polls when it is told to.
struct Polling {
    address: SocketAddr,
    session: String,
}

impl Polling {
    async fn connect(address: SocketAddr) -> Self {
        let session = Server::polling_session_at(address).await;
        let client = Self { address, session };
        assert!(client.post("40").await);
        client
    }

    /// Returns true if the session goes on.
    async fn post(&self, body: &str) -> bool {
        raw(self.address, self.head("POST", body.len()) + body).await.status == 200
    }

    /// Says the same until nothing is taken any more, and asks twice for what it does not read.
    async fn says_and_takes_nothing(self, text: Arc<str>) {
        let polls = async {
            let mut polls = Vec::new();
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let mut stream = TcpStream::connect(self.address).await.ok()?;
                stream.write_all(self.head("GET", 0).as_bytes()).await.ok()?;
                polls.push(stream);
            }
            std::future::pending::<()>().await;
            Some(polls)
        };
        let posts = async {
            while !text.is_empty() {
                let mut stream = TcpStream::connect(self.address).await.ok()?;
                let head = self.head("POST", text.len());
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(text.as_bytes()).await.ok()?;
                // Answered once the server has taken the text.
                stream.read_u8().await.ok()?;
            }
            Some(())
        };
        tokio::join!(polls, posts);
    }

    fn head(&self, method: &str, length: usize) -> String {
        let Self { address, session } = self;
        format!(
            "{method} /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\n\
             Host: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    }
}

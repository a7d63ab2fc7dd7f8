//! Which gaps in a line a chat survives, by the heartbeat of the server: the table of
//! `docs/configuration.md#gaps-in-a-line`.
//!
//! One side of each chat is behind a line that stops to carry bytes in both directions, closes
//! nothing, and goes on after the gap. Clients answer every ping and have no timeouts of their own.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    ALONE,
    chaos::wire::{Raw, Wire},
    support::{program::Running, soon},
};

/// Interval and timeout of `--chat-ping-*` in seconds, one row each.
const HEARTBEATS: [(u64, u64); 7] = [(5, 4), (3, 6), (5, 6), (5, 8), (5, 9), (5, 12), (10, 10)];

/// Lengths of the gaps in seconds.
const GAPS: [u64; 5] = [3, 5, 6, 8, 12];

/// A gap that is none: the client is gone.
const FOREVER: u64 = 86_400;

/// Chats for each gap and dialect.
const CHATS: u32 = 20;

#[tokio::test]
#[ignore = "makes a table in seven minutes; decides nothing"]
async fn chats_that_survive_gaps_in_a_line() {
    let _alone = ALONE.lock().await;
    for (interval, timeout) in HEARTBEATS {
        let [interval, timeout] = [interval, timeout].map(Duration::from_secs);
        let server = Running::start(&[
            "--chat-ping-interval",
            &format!("{interval:?}"),
            "--chat-ping-timeout",
            &format!("{timeout:?}"),
            "--rate-limits",
            "off",
            "--max-connections-per-address",
            "0",
        ])
        .await;
        // Each runs as soon as it has begun, or its clients would answer no ping. Each gap begins in
        // another part of the interval.
        let mut chats = Vec::new();
        for gap in GAPS.into_iter().chain([FOREVER]) {
            for dialect in Dialect::ALL {
                // The partners of others are told that they are gone after the resume window.
                if gap == FOREVER && dialect != Dialect::Native {
                    continue;
                }
                for place in 0..CHATS {
                    let chat = Chat::begin(server.address, dialect).await;
                    let after = interval * place / CHATS;
                    let end = tokio::spawn(chat.with_gap(after, Duration::from_secs(gap)));
                    chats.push(async move { (gap, dialect, end.await.unwrap()) });
                }
            }
        }
        let ends = join_all(chats).await;
        let survived = |gap, dialect| {
            let of_these =
                |end: &&_| matches!(end, (at, of, End::Survived) if (*at, *of) == (gap, dialect));
            ends.iter().filter(of_these).count()
        };
        let cells = GAPS
            .map(|gap| Dialect::ALL.map(|dialect| survived(gap, dialect).to_string()).join(", "));
        let mut told: Vec<Duration> = ends
            .iter()
            .filter_map(
                |end| if let (FOREVER, _, End::Lost(after)) = end { Some(*after) } else { None },
            )
            .collect();
        told.sort_unstable();
        eprintln!(
            "| {interval:?} | {timeout:?} | {} | {:.1} s, {:.1} s |",
            cells.join(" | "),
            told[told.len() / 2].as_secs_f64(),
            told[told.len() - 1].as_secs_f64(),
        );
    }
}

/// Lengths of the gaps after which a Purrr.chat client comes back, in seconds.
const RETURNS: [u64; 5] = [3, 5, 8, 12, 25];

#[tokio::test]
#[ignore = "takes half a minute"]
async fn purrr_chat_clients_return_to_their_chats() {
    let _alone = ALONE.lock().await;
    let server =
        Running::start(&["--rate-limits", "off", "--max-connections-per-address", "0"]).await;
    let mut chats = Vec::new();
    for gap in RETURNS {
        for place in 0..CHATS {
            let chat = Chat::begin(server.address, Dialect::PurrrChat).await;
            let after = Duration::from_secs(5) * place / CHATS;
            let address = server.address;
            let end = tokio::spawn(chat.with_return(address, after, Duration::from_secs(gap)));
            chats.push(async move { (gap, end.await.unwrap()) });
        }
    }
    let ends = join_all(chats).await;
    for gap in RETURNS {
        let survived =
            ends.iter().filter(|(of, end)| *of == gap && matches!(end, End::Survived)).count();
        eprintln!("| {gap} s | {survived} of {CHATS} |");
        assert_eq!(survived, CHATS as usize, "gaps of {gap} s");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Native,
    PurrrChat,
    /// Native, and comes back over another connection.
    Resuming,
}

impl Dialect {
    const ALL: [Self; 3] = [Self::Native, Self::PurrrChat, Self::Resuming];
}

/// Two matched clients.
struct Chat {
    server: SocketAddr,
    ann: Client,
    bob: Client,
    /// Set while Ann's line carries nothing.
    held: watch::Sender<bool>,
}

enum End {
    Survived,
    /// Bob was told that Ann is gone, so long after the gap began.
    Lost(Duration),
}

const WORDS: &str = "still here";

impl Chat {
    async fn begin(server: SocketAddr, dialect: Dialect) -> Self {
        let (held, is_held) = watch::channel(false);
        let line = line(server, is_held).await;
        let mut ann = Client::searching(line, dialect).await;
        let mut bob = Client::searching(server, dialect).await;
        for client in [&mut ann, &mut bob] {
            client.gets("matched").await;
        }
        Self { server, ann, bob, held }
    }

    /// Holds Ann's line after this time, for so long.
    async fn with_gap(mut self, after: Duration, gap: Duration) -> End {
        let began = Instant::now() + after;
        let ann = async {
            timeout(after, self.ann.reads()).await.ok();
            self.held.send_replace(true);
            timeout(gap, self.ann.reads()).await.ok();
            self.held.send_replace(false);
            self.ann.says(WORDS);
            if self.ann.dialect == Dialect::Resuming {
                while self.ann.next().await.is_some() {}
                self.ann.resumes(self.server).await;
                self.ann.says(WORDS);
            }
            self.ann.reads().await
        };
        tokio::select! {
            end = self.bob.hears_an_end(began) => end,
            never = ann => match never {},
        }
    }

    /// The same, and Ann asks for a partner over a new connection if the old one has ended.
    async fn with_return(mut self, server: SocketAddr, after: Duration, gap: Duration) -> End {
        let began = Instant::now() + after;
        let ann = async {
            timeout(after, self.ann.reads()).await.ok();
            self.held.send_replace(true);
            sleep(gap).await;
            self.held.send_replace(false);
            self.ann.says(WORDS);
            while self.ann.next().await.is_some() {}
            let mut again = Client::returning(server, &self.ann.token).await;
            again.gets("matched").await;
            again.says(WORDS);
            again.reads().await
        };
        tokio::select! {
            end = self.bob.hears_an_end(began) => end,
            never = ann => match never {},
        }
    }
}

/// A client that answers pings while it is read.
struct Client {
    dialect: Dialect,
    wire: Wire,
    /// The `pid` of a Purrr.chat client, or the token of one that resumes.
    token: String,
    chat: String,
}

impl Client {
    async fn searching(address: SocketAddr, dialect: Dialect) -> Self {
        let (path, first) = match dialect {
            Dialect::Native => ("/ws", &[r#"{"type":"find"}"#][..]),
            Dialect::Resuming => {
                ("/ws", &[r#"{"type":"hello","received":0}"#, r#"{"type":"find"}"#][..])
            }
            Dialect::PurrrChat => {
                ("/socket.io/?EIO=4&transport=websocket", &["40", r#"42["find_partner"]"#][..])
            }
        };
        let wire = Wire::websocket(address, path).await;
        let mut client = Self { dialect, wire, token: String::new(), chat: String::new() };
        for packet in first {
            client.wire.queue(Raw::Text((*packet).to_owned()));
        }
        client.gets("waiting").await;
        client
    }

    /// A Purrr.chat client that asks for a partner after it was disconnected.
    async fn returning(address: SocketAddr, token: &str) -> Self {
        let path = "/socket.io/?EIO=4&transport=websocket";
        let wire = Wire::websocket(address, path).await;
        let dialect = Dialect::PurrrChat;
        let mut client = Self { dialect, wire, token: String::new(), chat: String::new() };
        client.wire.queue(Raw::Text(format!(r#"40{{"pid":"{token}"}}"#)));
        client.wire.queue(Raw::Text(r#"42["find_partner"]"#.to_owned()));
        client
    }

    /// Reads until the partner speaks, or the chat has ended.
    async fn hears_an_end(&mut self, began: Instant) -> End {
        loop {
            match self.next().await {
                Some(text) if text.contains(WORDS) => return End::Survived,
                Some(text) if self.is_the_end(&text) => return End::Lost(began.elapsed()),
                Some(_) => {}
                None => panic!("Bob, whose line is well, was disconnected"),
            }
        }
    }

    fn says(&mut self, words: &str) {
        let packet = match self.dialect {
            Dialect::Native | Dialect::Resuming => {
                format!(r#"{{"type":"message","text":"{words}"}}"#)
            }
            Dialect::PurrrChat => format!(r#"42["chat message","{words}"]"#),
        };
        self.wire.queue(Raw::Text(packet));
    }

    fn is_the_end(&self, text: &str) -> bool {
        text.contains(match self.dialect {
            Dialect::Native | Dialect::Resuming => r#""left""#,
            Dialect::PurrrChat => "partner_disconnected",
        })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            match self.wire.next().await? {
                Raw::Text(ping) if ping == "2" => self.wire.queue(Raw::Text("3".to_owned())),
                Raw::Text(text) => {
                    if let Some((_, pid)) = text.split_once(r#""pid":""#) {
                        self.token = pid.get(..32).unwrap_or_default().to_owned();
                    }
                    self.notes(&text);
                    return Some(text);
                }
                Raw::Binary(_) => {}
            }
        }
    }

    fn notes(&mut self, text: &str) {
        if self.dialect == Dialect::Resuming {
            let told: serde_json::Value = serde_json::from_str(text).unwrap();
            let field = |name: &str| told[name].as_str().unwrap().to_owned();
            match told["type"].as_str() {
                Some("welcome") => self.token = field("resume"),
                Some("matched") => self.chat = field("chat"),
                _ => {}
            }
        }
    }

    async fn resumes(&mut self, server: SocketAddr) {
        let Self { token, chat, .. } = self;
        let hello =
            format!(r#"{{"type":"hello","resume":"{token}","chat":"{chat}","received":0}}"#);
        self.wire = Wire::websocket(server, "/ws").await;
        self.wire.queue(Raw::Text(hello));
        self.gets("resumed").await;
    }

    async fn gets(&mut self, words: &str) {
        soon(words, async { while !self.next().await.unwrap().contains(words) {} }).await;
    }

    /// Reads, and answers, whatever comes. Never ends.
    async fn reads(&mut self) -> Infallible {
        while self.next().await.is_some() {}
        pending().await
    }
}

/// Returns the address of a line to the server that takes one connection.
async fn line(server: SocketAddr, is_held: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(server).await.unwrap();
        let [(from_client, to_client), (from_server, to_server)] =
            [client, server].map(TcpStream::into_split);
        tokio::join!(
            carry(from_client, to_server, is_held.clone()),
            carry(from_server, to_client, is_held),
        );
    });
    address
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut is_held: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // Its end is the end of the chat.
        if is_held.wait_for(|is_held| !is_held).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

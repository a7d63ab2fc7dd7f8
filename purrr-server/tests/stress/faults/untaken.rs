//! Clients of one address that make the server hold what they do not take.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use crate::{
    faults::{MAX_PAYLOAD, Story, THREADS, check, size, within},
    metrics,
    support::{
        Answer, png_of,
        wire::{BINARY, FIN, Wire, frame},
    },
};

/// The memory budget of an address in the small story, and how soon its sessions end afterwards.
const SMALL_LIMITS: [&str; 4] =
    ["--buffered-bytes-per-address", "12000000", "--resume-window", "0s"];

/// What a connection may hold beside the budget: see `docs/sizing.md`.
const PER_CONNECTION: usize = 150_000;

/// Bytes of a text, and of a signal.
const TEXT_BYTES: usize = 60_000;
const SIGNAL_BYTES: usize = 200_000;

#[tokio::test]
async fn answers_that_are_not_taken() {
    let (pairs, budget) = (size(100, 490), size(12_000_000, 268_435_456));
    let lasts = Duration::from_secs(size(4, 30) as u64);
    let story = Story::new(format!(
        "{pairs} chats of one address: texts and signals in both directions, polls whose answers \
         are not taken, {lasts:?}"
    ));
    let story = story.behind_proxy().hurried(&SMALL_LIMITS);
    check(story.large().searched(), async |target| {
        let address = target.address;
        let before = target.process.resident();
        let text = "x".repeat(TEXT_BYTES);
        let text: Arc<str> = format!(r#"42["send_message",{{"message":"{text}"}}]"#).into();
        let signal = "x".repeat(SIGNAL_BYTES);
        let signal: Arc<str> = format!(r#"42["start_video_call",{{"offer":"{signal}"}}]"#).into();
        let mut clients = Vec::new();
        for at in 0..2 * pairs {
            let client = Client::connect(address).await;
            assert!(client.says(r#"42["find_partner"]"#).await);
            let said = if at / 2 % 2 == 0 { &text } else { &signal };
            clients.push((client, Arc::clone(said)));
        }
        let mut attack = JoinSet::new();
        for (client, said) in clients.clone() {
            attack.spawn(client.says_and_takes_nothing(said));
        }
        let (began, mut held, mut resident) = (Instant::now(), 0, 0);
        while began.elapsed() < lasts {
            held = held.max(buffered(address).await);
            resident = resident.max(target.process.resident().saturating_sub(before));
            sleep(Duration::from_millis(200)).await;
        }
        let most = budget * 3 / 2 + 2 * pairs * PER_CONNECTION + THREADS * MAX_PAYLOAD;
        assert!(resident <= most, "{resident} bytes are held instead of {most}");
        image_arrives(address).await;
        attack.shutdown().await;
        // Otherwise the server bears with them for as long as what they are owed may take.
        join_all(clients.iter().map(|(client, _)| client.says("1"))).await;
        format!(
            "{:.0} MB more in memory, {:.0} MB of them in the budget; an image of another address \
             arrives",
            resident as f64 / 1e6,
            held as f64 / 1e6
        )
    })
    .await;
}

/// The bytes that the server says it holds.
async fn buffered(address: SocketAddr) -> usize {
    let metrics = within("the metrics", metrics(address)).await;
    let held = metrics.lines().find_map(|line| line.strip_prefix("purrr_buffered_bytes "));
    held.expect("the metric is there").parse().expect("it is a number")
}

/// Two of another address meet, and one sends an image.
async fn image_arrives(address: SocketAddr) {
    let find = r#"{"type":"find","interests":["images"]}"#;
    let mut both = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(address).await.unwrap();
        let lines = ["X-Forwarded-For: 198.51.100.1"];
        let mut wire = Wire::upgrade_with(address, stream, "/ws", &lines).await.0;
        wire.say(find).await;
        both.push(wire);
    }
    let image = png_of(1_000_000);
    let head = format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{}}}"#, image.len());
    let [sender, receiver] = &mut both[..] else { unreachable!("there are two") };
    for wire in [&mut *sender, &mut *receiver] {
        hears(wire, br#"{"type":"matched""#).await;
    }
    let sending = async {
        sender.say(&head).await;
        sender.send(&frame(FIN | BINARY, &image)).await;
    };
    let receiving = async {
        hears(receiver, head.as_bytes()).await;
        assert_eq!(within("an image", receiver.message()).await.0, image);
    };
    tokio::join!(sending, receiving);
}

/// Skips messages until one begins like this.
async fn hears(wire: &mut Wire, start: &[u8]) {
    let hearing = async { while !wire.message().await.0.starts_with(start) {} };
    within("a message", hearing).await;
}

/// A client that polls, of the address of all of them.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    session: String,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let mut client = Self { address, session: String::new() };
        let answer = client.asks("GET", "").await.expect("a session begins");
        let answer = within("a session", Answer::read(answer)).await;
        let sid = answer.body.split_once(r#""sid":""#).expect("a session begins").1;
        let sid = sid.split('"').next().unwrap_or_default();
        client.session = format!("&sid={sid}");
        assert!(client.says("40").await);
        client
    }

    /// Sends a request, and reads no answer. Returns `None` if it is not taken.
    async fn asks(&self, method: &str, body: &str) -> Option<TcpStream> {
        let Self { address, session } = self;
        let head = format!(
            "{method} /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: {address}\r\n\
             X-Forwarded-For: 192.0.2.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body.as_bytes()).await.ok()?;
        Some(stream)
    }

    /// Returns true if the session goes on.
    async fn says(&self, packet: &str) -> bool {
        let stream = self.asks("POST", packet).await.expect("the server takes a packet");
        within("an answer", Answer::read(stream)).await.status == 200
    }

    /// Says the same as long as it is taken. Polls again once an answer has begun, and takes none.
    async fn says_and_takes_nothing(self, said: Arc<str>) {
        let polls = async {
            let mut polls = Vec::new();
            while let Some(poll) = self.asks("GET", "").await {
                // A session that has ended answers with another status, again and again.
                let mut status = [0; 12];
                let answered = poll.peek(&mut status).await;
                polls.push(poll);
                if answered.is_err() || &status != b"HTTP/1.1 200" {
                    break;
                }
            }
            std::future::pending::<()>().await;
            drop(polls);
        };
        let posts = async {
            while let Some(mut post) = self.asks("POST", &said).await {
                // Answered once the server has taken it, or when the session has ended.
                let mut status = [0; 12];
                if post.read_exact(&mut status).await.is_err() || &status != b"HTTP/1.1 200" {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(polls, posts);
    }
}

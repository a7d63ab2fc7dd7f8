//! Requests that begin sessions which are not used, or that ask for more than they cost.

use std::{
    fmt::Display,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    faults::{Story, check, size, within},
    support::{Answer, UPGRADE, raw},
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// Requests that are under way at once.
const AT_ONCE: usize = 64;

/// Asks as a client of this address, which it names as a proxy does.
async fn ask(address: SocketAddr, from: impl Display, request: &str, lines: &[&str]) -> Answer {
    ask_with(address, from, request, lines, "").await
}

async fn ask_with(
    address: SocketAddr,
    from: impl Display,
    request: &str,
    lines: &[&str],
    body: &str,
) -> Answer {
    let mut head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {from}\r\n");
    if !lines.iter().any(|line| line.starts_with("Connection:")) {
        head.push_str("Connection: close\r\n");
    }
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    let length = body.len();
    within("an answer", raw(address, format!("{head}Content-Length: {length}\r\n\r\n{body}"))).await
}

/// A polling session of this address, as one line of its requests.
struct Session {
    address: SocketAddr,
    from: String,
    path: String,
}

impl Session {
    /// Begins a session. Returns the status of the answer if that is no session.
    async fn begin(address: SocketAddr, from: impl Display) -> Result<Self, u16> {
        let answer = ask(address, &from, &format!("GET {POLLING}"), &[]).await;
        let rest = answer.body.split_once(r#""sid":""#).ok_or(answer.status)?.1;
        let session = rest.split('"').next().unwrap_or_default();
        let path = format!("{POLLING}&sid={session}");
        Ok(Self { address, from: from.to_string(), path })
    }

    /// Sends a packet. Returns the status of the answer.
    async fn sends(&self, packet: &str) -> u16 {
        let request = format!("POST {}", self.path);
        ask_with(self.address, &self.from, &request, &[], packet).await.status
    }

    /// Returns the packets that wait for the client.
    async fn polls(&self) -> String {
        ask(self.address, &self.from, &format!("GET {}", self.path), &[]).await.body
    }
}

// ---- Pages of other sites -----------------------------------------------------------------------

#[tokio::test]
async fn images_of_another_site() {
    let count = size(100, 1_000);
    let mut story = Story::new(format!(
        "a page of another site shows {count} images whose address begins a polling session"
    ));
    story = story.behind_proxy().hurried(&["--provisional-sessions-per-address", "50"]);
    check(story.searched(), async |target| {
        const VISITOR: &str = "192.0.2.1";
        // What a browser sends for an image: no `Origin`.
        let lines = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"];
        let images = (0..count).map(|_| async {
            ask(target.address, VISITOR, &format!("GET {POLLING}"), &lines).await.status
        });
        let statuses: Vec<_> = stream::iter(images).buffer_unordered(AT_ONCE).collect().await;
        // Another client behind the address of the visitor.
        let neighbour = Session::begin(target.address, VISITOR).await;
        let neighbour = neighbour.unwrap_or_else(|status| panic!("the neighbour got {status}"));
        assert_eq!(neighbour.sends("40").await, 200);
        assert_eq!(neighbour.sends("1").await, 200);
        let began = statuses.iter().filter(|status| **status != 403).count();
        assert_eq!(began, 0, "{began} of {count} images were not refused");
        format!("{count} × 403; a client behind the same address connects")
    })
    .await;
}

// ---- Sessions of which nothing is heard ---------------------------------------------------------

/// Connections in all. In the small story less than the handshakes, as in the full one.
const SMALL_LIMITS: [&str; 8] = [
    "--max-connections",
    "1000",
    "--provisional-sessions",
    "400",
    "--provisional-sessions-per-address",
    "50",
    "--provisional-timeout",
    "3s",
];

#[tokio::test]
async fn silent_sessions_of_many_addresses() {
    const ADDRESSES: usize = 100;
    let count = size(1_500, 100_000);
    let limit = size(400, 10_000);
    let story = Story::new(format!(
        "{ADDRESSES} addresses begin {count} polling sessions and send nothing"
    ));
    let story = story.behind_proxy().hurried(&SMALL_LIMITS);
    check(story.searched(), async |target| {
        let begun = AtomicUsize::new(0);
        let wave = async |count: usize| {
            let handshakes = (0..count).map(|at| {
                let begun = &begun;
                async move {
                    let from = format!("192.0.2.{}", at % ADDRESSES);
                    if Session::begin(target.address, from).await.is_ok() {
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            stream::iter(handshakes).buffer_unordered(AT_ONCE).collect::<()>().await;
        };
        wave(count / 2).await;
        let open = target.gauges().await[3];
        let took = honest_client(target.address).await;
        wave(count / 2).await;
        let open = open.max(target.gauges().await[3]);
        let took = took.max(honest_client(target.address).await);
        // With the bystanders, and sessions that end at this moment.
        let most = (limit + 2 + 2 + AT_ONCE) as u64;
        assert!(open <= most, "{open} connections with a limit of {limit} silent ones");
        format!(
            "{} begun, {open} connections at most; a client of another address connects within \
             {:.0} ms",
            begun.into_inner(),
            took.as_secs_f64() * 1e3
        )
    })
    .await;
}

/// Searches in a session that takes its place from an attacker. Returns how long it took to get
/// one.
async fn honest_client(address: SocketAddr) -> Duration {
    let began = Instant::now();
    let session = Session::begin(address, "198.51.100.1").await;
    let session = session.unwrap_or_else(|status| panic!("the honest client got {status}"));
    // From then on the place is its own.
    assert_eq!(session.sends("40").await, 200);
    let took = began.elapsed();
    assert_eq!(session.sends(r#"42["find_partner"]"#).await, 200);
    let mut heard = String::new();
    while !heard.contains(r#"["waiting"]"#) {
        heard = session.polls().await;
        assert!(!heard.is_empty(), "the session of the honest client ended");
    }
    assert_eq!(session.sends("1").await, 200);
    took
}

// ---- Requests beside the chats ------------------------------------------------------------------

#[tokio::test]
async fn pipelined_requests() {
    const LINES: usize = 8;
    const PIPELINED: usize = 500;
    const ATTACKER: &str = "192.0.2.1";
    let lasts = Duration::from_secs(size(2, 30) as u64);
    // The options of the two sizes.
    let (rate, burst) = (size(100, 1_000), size(500, 20_000));
    let story = Story::new(format!(
        "one address pipelines requests for `/metrics`, the page and its style, \
         {LINES} × {PIPELINED} at once, {lasts:?}"
    ));
    let story = story.behind_proxy().hurried(&["--request-rate", "100+500"]);
    check(story.searched(), async |target| {
        let address = target.address;
        let paths = ["/metrics", "/", "/assets/style.css"].map(|path| {
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {ATTACKER}\r\n\r\n")
        });
        let mut requests: String = (0..PIPELINED).map(|at| &*paths[at % paths.len()]).collect();
        // Otherwise a connection would stay until `--keep-alive-timeout`.
        requests.insert_str(requests.len() - 2, "Connection: close\r\n");
        let began = Instant::now();
        let lines = (0..LINES).map(async |_| {
            let mut answers = Answers::default();
            while began.elapsed() < lasts {
                answers.add(pipelined(address, requests.as_bytes()).await);
                answers.offered += PIPELINED;
            }
            answers
        });
        let lines = join_all(lines).await;
        let lasted = began.elapsed();
        // Another address is not limited by this one.
        assert_eq!(ask(address, "198.51.100.1", "GET /", &[]).await.status, 200);
        let mut all = Answers::default();
        lines.into_iter().for_each(|answers| all.add(answers));
        let Answers { offered, served, refused, bytes } = all;
        let most = burst + rate * (lasted.as_secs() as usize + 1);
        assert!(served <= most, "{served} requests were served in {lasted:?}, not {most}");
        assert!(refused > 0 || offered <= most, "no request was refused");
        format!(
            "{served} of {offered} served, {:.1} MB; {refused} connections closed with 429",
            bytes as f64 / 1e6
        )
    })
    .await;
}

/// How many requests were sent, how many answered with 200 and with 429, and the bytes of that.
#[derive(Default)]
struct Answers {
    offered: usize,
    served: usize,
    refused: usize,
    bytes: usize,
}

impl Answers {
    const fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.served += other.served;
        self.refused += other.refused;
        self.bytes += other.bytes;
    }
}

/// Sends all of this while reading to the end of the stream.
async fn pipelined(address: SocketAddr, requests: &[u8]) -> Answers {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answers = Vec::new();
    // The server closes once all are answered.
    let reading =
        async { while reader.read_buf(&mut answers).await.is_ok_and(|count| count > 0) {} };
    let writing = async {
        writer.write_all(requests).await.ok();
    };
    within("the answers", async { tokio::join!(reading, writing) }).await;
    let mut all = Answers { bytes: answers.len(), ..Answers::default() };
    let mut rest = &answers[..];
    while let Some((status, after)) = status_of_first(rest) {
        match status {
            "200" => all.served += 1,
            "429" => all.refused += 1,
            _ => panic!("a request was answered with {status}"),
        }
        rest = after;
    }
    all
}

/// Returns the status of the first answer and what follows it. Bodies are skipped and not searched:
/// there are hundreds of megabytes of them.
fn status_of_first(answers: &[u8]) -> Option<(&str, &[u8])> {
    let end = answers.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answers[..end]).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("an answer has a length").parse().unwrap();
    Some((&head[9..12], answers.get(end + length..)?))
}

#[tokio::test]
async fn two_origins() {
    let count = size(20, 500);
    let story = Story::new(format!("{count} requests of each kind with two `Origin` lines"));
    check(story.behind_proxy().searched(), async |target| {
        let own = format!("Origin: http://{}", target.address);
        let evil = "Origin: https://evil.example";
        let mut asked = 0;
        for at in 0..count {
            let lines = if at % 2 == 0 { [&own, evil] } else { [evil, &own] };
            let upgrade = [&UPGRADE[..], &lines].concat();
            for (path, lines) in [(POLLING, &lines[..]), (SOCKET, &upgrade), ("/ws", &upgrade)] {
                let answer = ask(target.address, "192.0.2.1", &format!("GET {path}"), lines).await;
                assert_eq!(answer.status, 400, "{path}: {}", answer.head);
                asked += 1;
            }
        }
        let upgrade = [&UPGRADE[..], &[&*own]].concat();
        let answer = ask(target.address, "192.0.2.1", "GET /ws", &upgrade).await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        format!("{asked} × 400; one line of its own host connects")
    })
    .await;
}

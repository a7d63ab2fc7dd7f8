//! Clients that are slow, or stand still.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::interval,
};

use crate::{
    faults::{
        Story, check,
        crowd::{LOST, Others, dialogue_until, pair_of_wires},
        size, within,
    },
    support::{
        Server, UPGRADE, png_of,
        wire::{BINARY, FIN, TEXT, frame},
    },
};

#[tokio::test]
async fn stopped_clients() {
    let count = size(5, 20);
    let story = Story::new(format!("SIGSTOP of {count} clients in chats")).hurried(&[
        "--chat-ping-interval",
        "300ms",
        "--chat-ping-timeout",
        "300ms",
    ]);
    check(story, async |target| {
        let mut others = Others::meet(target.address, count).await;
        others.signal("STOP").await;
        let began = Instant::now();
        let told = others.partners.iter_mut().map(async |partner| {
            partner.send(r#"{"type":"message","text":"are you there?"}"#).await;
            partner.gets(LOST).await;
        });
        within("the news", join_all(told)).await;
        format!("all partners told after {:.1} s", began.elapsed().as_secs_f64())
    })
    .await;
}

#[tokio::test]
async fn closed_receive_window() {
    const PICTURES: usize = 10;
    const BYTES: usize = 9_000_000;
    let story = Story::new("a reader with a closed window, 10 × 9 MB to it");
    let story = story.hurried(&["--stall", "1s"]).large();
    let picture = frame(FIN | BINARY, &png_of(BYTES));
    let mut said = Vec::new();
    for id in 1..=PICTURES {
        let head = format!(r#"{{"type":"image","id":{id},"mime":"image/png","size":{BYTES}}}"#);
        said.extend([frame(FIN | TEXT, head.as_bytes()), picture.clone()].concat());
    }
    said.extend(frame(FIN | TEXT, br#"{"type":"the end"}"#));
    check(story, async |target| {
        let (sender, _reader) = pair_of_wires(target.address).await;
        let (began, mut told) = (Instant::now(), None);
        dialogue_until(sender, &said, |heard| {
            let heard = String::from_utf8_lossy(heard);
            if let Some(lost) = heard.find(LOST) {
                let why = r#""code":"partner-slow""#;
                assert!(heard[..lost].contains(why), "no reason: {}", &heard[..lost]);
                told.get_or_insert_with(|| began.elapsed());
            }
            heard.contains(r#""code":"unknown-type""#)
        })
        .await;
        let told = told.expect("the sender is told");
        format!("`partner-slow` and `left` after {:.1} s", told.as_secs_f64())
    })
    .await;
}

// ---- Requests that do not come to their end -----------------------------------------------------

#[tokio::test]
async fn slowloris_heads() {
    let count = size(60, 3_000);
    let story = Story::new(format!("slowloris: {count} heads, silent, cut or without end"))
        .hurried(&["--header-timeout", "500ms"]);
    check(story, async |target| {
        trickle(target.address, count, |at| match at % 3 {
            0 => Slow { begin: Vec::new(), goes_on: false },
            1 => Slow { begin: b"GET /live".to_vec(), goes_on: false },
            _ => Slow { begin: b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec(), goes_on: true },
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn slowloris_upgrades() {
    let count = size(60, 3_000);
    let story = Story::new(format!("slowloris: {count} upgrades without end"))
        .hurried(&["--header-timeout", "500ms"]);
    check(story, async |target| {
        let lines = UPGRADE.join("\r\n");
        trickle(target.address, count, |at| {
            let path = ["/ws", "/socket.io/?EIO=4&transport=websocket"][at % 2];
            let begin = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\nX: ");
            Slow { begin: begin.into(), goes_on: true }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn slowloris_bodies() {
    let count = size(60, 3_000);
    let story = Story::new(format!("slowloris: {count} bodies of sessions that poll"))
        .hurried(&["--body-timeout", "500ms"]);
    check(story, async |target| {
        let sessions = join_all((0..count).map(|_| Server::polling_session_at(target.address)));
        let sessions = sessions.await;
        trickle(target.address, count, |at| {
            let begin = format!(
                "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
                 Content-Length: 1000000\r\n\r\n4",
                sessions[at]
            );
            Slow { begin: begin.into(), goes_on: true }
        })
        .await
    })
    .await;
}

/// A request that does not come to its end.
struct Slow {
    begin: Vec<u8>,
    /// More of it comes byte by byte.
    goes_on: bool,
}

/// Sends so many of them until the server has had enough of each; says what it answered, and after
/// which time at the latest.
async fn trickle(address: SocketAddr, count: usize, slow: impl Fn(usize) -> Slow) -> String {
    let began = Instant::now();
    let pace = Duration::from_millis(size(50, 1_000) as u64);
    let answers = join_all((0..count).map(|at| {
        let Slow { begin, goes_on } = slow(at);
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&begin).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let mut answer = Vec::new();
            let mut pace = interval(pace);
            let trickling = async {
                while goes_on && writer.write_all(b"a").await.is_ok() {
                    pace.tick().await;
                }
                std::future::pending().await
            };
            within("an end", async {
                tokio::select! {
                    _ = reader.read_to_end(&mut answer) => {}
                    () = trickling => {}
                }
            })
            .await;
            String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("no answer").to_owned()
        }
    }))
    .await;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers {
        *times.entry(answer).or_default() += 1;
    }
    let times: Vec<_> = times.iter().map(|(answer, times)| format!("{times} × {answer}")).collect();
    format!("{}; the last after {:.1} s", times.join(", "), began.elapsed().as_secs_f64())
}

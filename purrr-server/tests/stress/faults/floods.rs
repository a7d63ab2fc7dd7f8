//! Clients that do something cheap very often.

use std::time::Instant;

use futures::{StreamExt, future::join_all, stream};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    faults::{
        Story, check,
        crowd::{close_code, dialogue, hears, last_dialogue, pair, text},
        size, within,
    },
    support::{
        Peer, Server, UPGRADE,
        wire::{CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Wire, frame},
    },
};

const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";

#[tokio::test]
async fn half_open_upgrades() {
    let count = size(200, 9_900);
    let story = Story::new(format!("{count} half-open upgrades")).hurried(&[
        "--header-timeout",
        "1s",
        "--connect-timeout",
        "1s",
        "--ping-interval",
        "1s",
        "--ping-timeout",
        "1s",
    ]);
    check(story, async |target| {
        let lines = UPGRADE.join("\r\n");
        let began = Instant::now();
        let before = target.process.resident();
        // Without its end; and whole, after which neither a namespace nor the answer to a ping
        // comes.
        let upgrades = (0..count).map(|at| {
            let path = ["/ws", "/ws", SOCKET_IO][at % 3];
            let end = ["", "\r\n", "\r\n"][at % 3];
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n{end}")
        });
        let mut sockets = stream::iter(upgrades)
            .map(|upgrade| async move {
                let mut stream = TcpStream::connect(target.address).await.unwrap();
                stream.write_all(upgrade.as_bytes()).await.unwrap();
                stream
            })
            .buffer_unordered(64)
            .collect::<Vec<_>>()
            .await;
        let each = target.process.resident().saturating_sub(before) / count;
        within("the ends of all", join_all(sockets.iter_mut().map(read_to_end))).await;
        let last = began.elapsed().as_secs_f64();
        format!("about {each} bytes for each; the last closed after {last:.1} s")
    })
    .await;
}

async fn read_to_end(stream: &mut TcpStream) {
    tokio::io::copy(stream, &mut tokio::io::sink()).await.ok();
}

#[tokio::test]
async fn control_frame_flood() {
    let count = size(20_000, 1_000_000);
    let mut story = Story::new(format!("floods of {count} pings, pongs and empty fragments"));
    story.options.clear();
    check(story, async |target| {
        let mut codes = Vec::new();
        let begun = frame(TEXT, b"{");
        for (begin, repeated) in [
            (&b""[..], frame(FIN | PING, b"are you there?")),
            (b"", frame(FIN | PONG, b"")),
            (&begun, frame(CONTINUATION, b"")),
        ] {
            let (mut partner, wire) = pair(target.address).await;
            let flood = [begin, &repeated.repeat(count)].concat();
            let answers = last_dialogue(&mut partner, wire, &flood).await;
            codes.push(close_code(&answers).expect("a flood is closed with a code"));
        }
        assert_eq!(codes, [1008; 3]);
        "each closed with 1008, and the partners told".to_owned()
    })
    .await;
}

#[tokio::test]
async fn packets_that_ask_for_nothing() {
    const ATTACKER: &str = "X-Forwarded-For: 192.0.2.1";
    let (count, ignored) = (size(20_000, 1_000_000), size(1_000_000, 11_900_000));
    let story = Story::new(format!(
        "floods of {count} packets that ask for nothing, and {ignored} bytes of ignored JSON in \
         `cancel`"
    ));
    // A thread may keep the room for one message.
    check(story.behind_proxy().large().searched(), async |target| {
        for useless in ["43[]", "40/x,", r#"42["typing_stop"]"#, "3"] {
            let mut partner = Peer::connect(target.address, "the partner").await;
            partner.finds().await;
            let stream = TcpStream::connect(target.address).await.unwrap();
            let upgrade = Wire::upgrade_with(target.address, stream, SOCKET_IO, &[ATTACKER]);
            let mut wire = upgrade.await.0;
            wire.say("40").await;
            wire.say(r#"42["find_partner"]"#).await;
            partner.gets_type("matched").await;
            let flood = frame(FIN | TEXT, useless.as_bytes()).repeat(count);
            let answers = last_dialogue(&mut partner, wire, &flood).await;
            assert_eq!(close_code(&answers), Some(1008), "{useless}");
        }

        let stream = TcpStream::connect(target.address).await.unwrap();
        let mut wire = Wire::upgrade_with(target.address, stream, "/ws", &[ATTACKER]).await.0;
        let junk = "[],".repeat(ignored / 3);
        let cancel = format!(r#"{{"type":"cancel","ignored":[{junk}[]]}}"#);
        for _ in 0..3 {
            wire.say(&cancel).await;
            let refused = within("an answer", async {
                loop {
                    let (answer, _) = wire.message().await;
                    if answer.starts_with(br#"{"type":"error""#) {
                        break answer;
                    }
                }
            });
            let refused = String::from_utf8(refused.await).unwrap();
            assert!(refused.contains(r#""code":"too-long""#), "{refused}");
        }
        "each flood closed with 1008, and the partner told; each `cancel` `too-long`".to_owned()
    })
    .await;
}

#[tokio::test]
async fn connect_disconnect_flood() {
    let count = size(600, 50_000);
    let mut story = Story::new(format!("{count} connects and disconnects, 64 at once")).hurried(&[
        "--connect-timeout",
        "1s",
        "--ping-interval",
        "1s",
        "--ping-timeout",
        "1s",
    ]);
    // A person with a recent partner is remembered for ten minutes, up to a bound.
    story.options.extend(["--recent-partners", "0"]);
    check(story, async |target| {
        let began = Instant::now();
        let visits = stream::iter(0..count).map(|at| visit(target.address, at));
        visits.buffer_unordered(64).collect::<()>().await;
        format!("{:.0} in a second", count as f64 / began.elapsed().as_secs_f64())
    })
    .await;
}

/// Comes by some way, and goes by some way.
async fn visit(address: std::net::SocketAddr, at: usize) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut wire = match at % 5 {
        // Nothing but the connection.
        0 => Wire { stream },
        // A session that polls, of which nothing is heard again.
        1 => {
            Server::polling_session_at(address).await;
            Wire { stream }
        }
        2 => {
            let mut wire = Wire::upgrade(address, stream, SOCKET_IO).await;
            wire.say(r#"40{"autoPair":true}"#).await;
            wire
        }
        _ => {
            let mut wire = Wire::shake_hands(address, stream).await;
            wire.say(r#"{"type":"find"}"#).await;
            wire
        }
    };
    match at / 5 % 3 {
        0 => wire.stream.set_zero_linger().unwrap(),
        1 if at % 5 >= 2 => {
            wire.send(&close(1000, b"")).await;
            while wire.next().await.is_some_and(|frame| frame.opcode() != CLOSE) {}
        }
        _ => {}
    }
}

#[tokio::test]
async fn compression_requests() {
    let count = size(20, 1_000);
    let story = Story::new(format!("{count} clients ask for compression, then compress"));
    check(story, async |target| {
        for _ in 0..count {
            let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
            let stream = TcpStream::connect(target.address).await.unwrap();
            let (mut wire, head) =
                Wire::upgrade_with(target.address, stream, "/ws", &[offer]).await;
            assert!(!head.to_lowercase().contains("extensions"), "{head}");
            let welcome = wire.message().await.0;
            assert!(welcome.starts_with(br#"{"type":"welcome""#));
            const COMPRESSED: u8 = 0x40;
            let answers = dialogue(
                wire,
                &frame(
                    FIN | COMPRESSED | TEXT,
                    b"\xaa\x56\x2a\xa9\x2c\x48\x55\xb2\x52\xca\x4b\xad\x28\x51\xaa\x05\x00",
                ),
            )
            .await;
            assert_eq!(close_code(&answers), Some(1002));
        }
        "agreed to with none; compressed frames closed with 1002".to_owned()
    })
    .await;
}

#[tokio::test]
async fn one_byte_frames() {
    let (bytes, flood) = (size(5_000, 10_000), size(100_000, 200_000));
    let mut story = Story::new(format!(
        "a text of {bytes} bytes in frames of one byte, in packets of one byte; {flood} such \
         frames at once"
    ));
    story.options.clear();
    check(story, async |target| {
        let (mut partner, mut wire) = pair(target.address).await;
        let (whole, frames) = in_frames_of_one_byte(bytes);
        wire.stream.set_nodelay(true).unwrap();
        let began = Instant::now();
        let writing = async {
            for byte in &frames {
                wire.stream.write_all(std::slice::from_ref(byte)).await.unwrap();
            }
        };
        let arriving = within("a text", hears(&mut partner));
        let ((), arrived) = tokio::join!(writing, arriving);
        assert!(arrived == whole, "it arrives as it was");
        let lasted = began.elapsed().as_secs_f64();
        wire.send(&text("and on")).await;
        partner.gets(r#"{"type":"message","text":"and on"}"#).await;

        // Sixteen small fragments count like a ping, of which 1,000 may come at once.
        let (mut partner, wire) = pair(target.address).await;
        let (_, frames) = in_frames_of_one_byte(flood);
        let answers = last_dialogue(&mut partner, wire, &frames).await;
        assert_eq!(close_code(&answers), Some(1008));
        format!("arrived whole after {lasted:.1} s; the flood closed with 1008")
    })
    .await;
}

/// A text message of so many bytes, and its frames.
fn in_frames_of_one_byte(bytes: usize) -> (String, Vec<u8>) {
    let words = "x".repeat(bytes);
    let whole = format!(r#"{{"type":"message","text":"{words}"}}"#);
    let mut frames = Vec::new();
    for (at, byte) in whole.bytes().enumerate() {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        frames.extend(frame(if at + 1 == whole.len() { FIN | opcode } else { opcode }, &[byte]));
    }
    (whole, frames)
}

#[tokio::test]
async fn endless_fragments() {
    let count = size(5, 50);
    let story = Story::new(format!("{count} messages of fragments without end")).large();
    check(story, async |target| {
        for _ in 0..count {
            let (mut partner, wire) = pair(target.address).await;
            let fragment = frame(CONTINUATION, &[b'x'; 64 * 1024]);
            let endless = [frame(TEXT, b"{"), fragment.repeat(400)].concat();
            let answers = last_dialogue(&mut partner, wire, &endless).await;
            assert_eq!(close_code(&answers), Some(1009));
        }
        "each closed with 1009 past `--max-payload`, and the partners told".to_owned()
    })
    .await;
}

/// A close frame as a client sends it.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

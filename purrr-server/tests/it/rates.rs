//! Rate limits on both dialects, to the byte.

use std::time::Duration;

use futures::SinkExt;
use purrr_core::{Rates, model::Rate};
use purrr_server::ServerConfig;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    support::{Peer, Server, soon},
    visitor::{Line, Packet, Transport, Visitor, post},
};

async fn server_at(change: impl FnOnce(&mut Rates)) -> Server {
    let mut config = ServerConfig::default();
    change(config.limits.rates.get_or_insert_default());
    Server::with(config).await
}

fn said(id: u32) -> String {
    format!(r#"{{"type":"message","id":{id},"text":"hi"}}"#)
}

/// What an error says, without its words for people.
fn told(text: &str) -> serde_json::Value {
    let mut told: serde_json::Value = serde_json::from_str(text).expect("the server sends JSON");
    let words = told.as_object_mut().and_then(|told| told.remove("message"));
    assert!(words.is_some_and(|words| words.as_str().is_some_and(|words| words.len() > 10)));
    told
}

#[tokio::test]
async fn rate_limited_has_retry_after() {
    let server = server_at(|rates| rates.message_rate = Rate::new(1, 2)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    for id in 1..=3 {
        ann.send(said(id)).await;
    }
    bob.gets(said(1)).await;
    bob.gets(said(2)).await;
    let refused = loop {
        let text = ann.text().await;
        if !text.starts_with(r#"{"type":"delivered""#) {
            break told(&text);
        }
    };
    let wait = refused["retryAfterMs"].as_u64().expect("it says how long");
    assert!((1..=1_000).contains(&wait), "{refused}");
    let expected =
        serde_json::json!({"type": "error", "code": "rate-limited", "id": 3, "retryAfterMs": wait});
    assert_eq!(refused, expected);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    ann.send(said(3)).await;
    bob.gets(said(3)).await;
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("purrr_refused_total{code=\"rate-limited\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn rate_limited_on_socketio_keeps_message_index() {
    for transport in Transport::ALL {
        // The first of Ann's is that she says who she is.
        let server = server_at(|rates| rates.message_rate = Rate::new(1, 3)).await;
        let (mut ann, mut bob) = Visitor::pair(&server, [transport; 2]).await;
        let say = |text: &str| format!(r#"["send_message",{{"message":"{text}"}}]"#);
        let hear = |text: &str, reply: &str| {
            format!(
                r#"["receive_message",{{"from":"Ann","body":"{text}","image":null,"reply":{reply}}}]"#
            )
        };
        for text in ["a", "b", "c"] {
            ann.emit(&say(text)).await;
        }
        bob.gets(&hear("a", "null")).await;
        bob.gets(&hear("b", "null")).await;
        let text = ann.text().await;
        let event: serde_json::Value = serde_json::from_str(&text[2..]).expect("it is JSON");
        assert_eq!(event[0], "error");
        let wait = told(&event[1].to_string())["retryAfterMs"].as_u64().expect("how long");
        tokio::time::sleep(Duration::from_millis(wait)).await;
        // The page shows what was refused as its third, and `a` is still its first.
        ann.emit(r#"["send_message",{"message":"d","reply":0}]"#).await;
        bob.gets(&hear("d", "0")).await;
    }
}

#[tokio::test]
async fn flood_closes_with_4429() {
    let server = server_at(|rates| rates.refusal_rate = Rate::new(10, 100)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let (mut cat, mut dan, _) = Peer::pair(server.address).await;
    // Some of it comes too late for a connection that is closed by then.
    let flood = async {
        for _ in 0..10_000 {
            if !ann.may_send(&said(1)).await {
                break;
            }
        }
        loop {
            match ann.text_or_close().await {
                Ok(text) => assert!(text.contains("delivered") || text.contains("rate-limited")),
                Err(code) => break code,
            }
        }
    };
    let listening = async {
        let mut heard = 0;
        loop {
            let text = bob.text().await;
            if text == r#"{"type":"left","reason":"lost"}"# {
                break heard;
            }
            assert_eq!(text, said(1));
            heard += 1;
        }
    };
    let (code, heard) = tokio::join!(flood, listening);
    assert_eq!(code, 4429);
    assert!((4_000..6_000).contains(&heard), "{heard}");
    cat.send(said(1)).await;
    dan.gets(said(1)).await;
    bob.finds().await;
}

#[tokio::test]
async fn rates_per_address_are_shared() {
    let mut config = ServerConfig::default();
    config.routes.rates_per_address = 2;
    config.limits.rates.get_or_insert_default().message_rate = Rate::new(1, 100);
    let server = Server::with(config).await;
    // Sixty each is too little for any of them to be stopped for itself.
    let mut refused = 0;
    for _ in 0..5 {
        let (mut ann, mut bob, _) = Peer::pair(server.address).await;
        for _ in 0..60 {
            ann.send(r#"{"type":"typing","on":true}"#).await;
            ann.send(r#"{"type":"message","text":"hi"}"#).await;
        }
        ann.send(r#"{"type":"leave"}"#).await;
        loop {
            let text = ann.text().await;
            if text == r#"{"type":"idle"}"# {
                break;
            }
            assert!(text.contains("rate-limited"), "{text}");
            refused += 1;
        }
        while bob.text().await != r#"{"type":"left","reason":"left"}"# {}
        drop((ann, bob));
        soon("their end", async {
            while server.hub.online() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // 300 were said where 200 may be, less the five times that a peer left; more may be as time
    // goes on.
    assert!((80..=105).contains(&refused), "{refused}");
}

#[tokio::test]
async fn rate_limits_off() {
    let mut config = ServerConfig::default();
    config.routes.rate_limits = false;
    config.limits.rates.get_or_insert_default().message_rate = Rate::new(1, 1);
    let server = Server::with(config).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    for id in 1..=200 {
        ann.send(said(id)).await;
        bob.gets(said(id)).await;
    }
    for _ in 0..10 {
        ann.send("no JSON").await;
    }
    for _ in 0..200 {
        ann.gets_type("delivered").await;
    }
    for _ in 0..10 {
        ann.gets_error("bad-message", None).await;
    }
}

#[tokio::test]
async fn call_signals_are_relayed() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [Transport::WebSocket; 2]).await;
    for round in 0..64 {
        ann.emit(&format!(r#"["start_video_call",{{"offer":"{round}"}}]"#)).await;
        bob.emit(&format!(r#"["accept_video_call",{{"answer":"{round}"}}]"#)).await;
    }
    for round in 0..64 {
        bob.gets(&format!(r#"["recieve_video_call",{{"offer":"{round}"}}]"#)).await;
        ann.gets(&format!(r#"["accepted_video_call",{{"answer":"{round}"}}]"#)).await;
    }
}

#[tokio::test]
async fn packets_that_ask_for_nothing_are_limited() {
    const PACKETS: usize = 3_000;
    for transport in [Transport::Polling, Transport::WebSocket] {
        for useless in ["3", "43[]", "40", "40/x,", r#"42["typing_stop"]"#] {
            let server = Server::start().await;
            let (mut ann, mut bob) = Visitor::pair(&server, [transport; 2]).await;
            // A few, as a client of another version may send, are ignored.
            for _ in 0..10 {
                ann.line.send(useless).await;
            }
            let posting = match &mut ann.line {
                Line::Polling { address, session, .. } => {
                    let (address, session) = (*address, session.clone());
                    let body = [useless; PACKETS].join("\u{1e}");
                    Some(tokio::spawn(async move { post(address, &session, &body).await }))
                }
                // The connection may end before all is sent.
                Line::WebSocket { socket, .. } => {
                    for _ in 0..PACKETS {
                        if socket.feed(Message::text(useless)).await.is_err() {
                            break;
                        }
                    }
                    socket.flush().await.ok();
                    None
                }
            };
            let end = async {
                while let Some(packet) = ann.line.next().await {
                    assert!(matches!(&packet, Packet::Text(text) if text.starts_with("44/x,")));
                }
            };
            soon(useless, end).await;
            drop(posting);
            bob.gets_parted().await;
        }
    }
}

#[tokio::test]
async fn useless_packets_are_charged_to_the_address() {
    let mut config = ServerConfig::default();
    config.routes.rates_per_address = 1;
    let server = Server::with(config).await;
    let connect = async |name| Visitor::connect(&server, name, Transport::WebSocket).await;
    let (mut neighbour, mut ann) = (connect("neighbour").await, connect("Ann").await);
    let flood = async |visitor: &mut Visitor| {
        let Line::WebSocket { socket, .. } = &mut visitor.line else { unreachable!() };
        // Less than one connection alone may send.
        for _ in 0..900 {
            if socket.feed(Message::text("43[]")).await.is_err() {
                break;
            }
        }
        socket.flush().await.ok();
    };
    flood(&mut ann).await;
    ann.has_nothing_new().await;
    for name in ["Bob", "Cid"] {
        let mut other = connect(name).await;
        flood(&mut other).await;
        other.is_cut_off().await;
    }
    for _ in 0..20 {
        neighbour.line.send("43[]").await;
    }
    neighbour.has_nothing_new().await;
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("purrr_flooders_ended_total{limit=\"address\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn events_before_the_ping_barrier_are_counted() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [Transport::WebSocket; 2]).await;
    let mut cid = Visitor::connect(&server, "Cid", Transport::WebSocket).await;
    cid.introduces_itself().await;
    cid.emit(r#"["find_partner"]"#).await;
    cid.gets(r#"["waiting"]"#).await;
    ann.emit(r#"["disconnect_partner"]"#).await;
    ann.emit(r#"["find_partner"]"#).await;
    bob.gets_parted().await;
    cid.gets_matched("Ann").await;
    // She has not read of it yet, nor answered the ping before it.
    let Line::WebSocket { socket, .. } = &mut ann.line else { unreachable!() };
    for _ in 0..3_000 {
        if socket.feed(Message::text(r#"42["typing_start"]"#)).await.is_err() {
            break;
        }
    }
    socket.flush().await.ok();
    cid.gets_parted().await;
}

#[tokio::test]
async fn large_event_has_nothing_to_ignore() {
    let server = Server::start().await;
    for transport in Transport::ALL {
        let (mut ann, mut bob) = Visitor::pair_without_keys(&server, [transport; 2]).await;
        let junk = "[".repeat(100) + &"[],".repeat(500_000);
        let (string, space) = ("x".repeat(20_000), " ".repeat(50_000));
        for event in [
            format!(r#"["send_message",{{"message":"hi","junk":{junk}"#),
            format!(r#"["send_message",{{"message":"hi","junk":"{string}"}}]"#),
            format!(r#"["send_message",{{"message":"hi"}},"{string}"]"#),
            format!(r#"["send_message",{space}{{"message":"hi"}}]"#),
            format!(r#"["image upload",{junk}"#),
            format!(r#"["image upload",{{"image":"x","junk":"{string}"}}]"#),
        ] {
            ann.emit(&event).await;
            ann.gets_error().await;
        }
        // What is needed may be as large as ever, however it is written.
        let text = format!("\\u00e9{}", "é".repeat(20_000));
        ann.emit(&format!(r#"["send_message",{{"reply":null,"message":"{text}"}}]"#)).await;
        let text = text.replace("\\u00e9", "é");
        let message = format!(r#"{{"from":"Ann","body":"{text}","image":null,"reply":null}}"#);
        bob.gets(&format!(r#"["receive_message",{message}]"#)).await;
        bob.has_nothing_new().await;
    }
}

#[tokio::test]
async fn commands_are_bounded_before_they_are_parsed() {
    let mut config = ServerConfig::default();
    config.routes.command_bytes = 2_000;
    let server = Server::with(config).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    // Not even JSON: it is not parsed.
    let ignored = "[".repeat(2_000);
    let late = format!(r#"{{"ignored":"{ignored}","type":"leave"}}"#);
    let huge = format!(r#"{{"type":"message","text":"{}"}}"#, "x".repeat(2_000_000));
    for long in [&format!(r#"{{"type":"leave","ignored":{ignored}"#), &late, &huge] {
        ann.send(long).await;
        let refused = told(&ann.text().await);
        assert_eq!(refused, serde_json::json!({"type": "error", "code": "too-long"}));
    }
    let long = format!(r#"{{"type":"message","text":"{ignored}"}}"#);
    ann.send(&long).await;
    bob.gets(&long).await;

    for transport in Transport::ALL {
        let (mut cat, mut dan) = Visitor::pair(&server, [transport; 2]).await;
        let huge = "x".repeat(2_000_000);
        for long in [
            format!(r#"["disconnect_partner",{ignored}"#),
            format!(r#"["read_message",{ignored}"#),
            format!(r#"["chat message","{huge}"]"#),
        ] {
            cat.emit(&long).await;
            let error = cat.gets_error().await;
            assert!(error.starts_with("event too long"), "{error}");
        }
        let long = format!(r#"["chat message","{ignored}"]"#);
        cat.emit(&long).await;
        dan.gets(&long).await;
    }
}

//! What clients of other libraries send, and what the protocols' references answer.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use purrr_server::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::sleep,
};

use crate::{
    support::{
        Server, png_of, raw, soon,
        wire::{CLOSE, FIN, TEXT, Wire, frame},
    },
    visitor::{
        Line, Packet, Transport,
        Transport::{Polling, Upgraded, WebSocket},
        Visitor, poll, post, probe, take_over,
    },
};

fn config(change: impl FnOnce(&mut ServerConfig)) -> ServerConfig {
    let mut config = ServerConfig::default();
    change(&mut config);
    config
}

fn texts(packets: &[&str]) -> Option<Vec<Packet>> {
    Some(packets.iter().map(|packet| Packet::Text((*packet).to_owned())).collect())
}

// ---- Engine.IO ----------------------------------------------------------------------------------

#[tokio::test]
async fn noop_is_ignored() {
    let server = Server::start().await;
    for transport in Transport::ALL {
        let mut ann = Visitor::connect(&server, "Ann", transport).await;
        for _ in 0..3 {
            ann.line.send("6").await;
            ann.has_nothing_new().await;
        }
    }
}

#[tokio::test]
async fn listening_client_is_confirmed_by_first_pong() {
    let timeout = Duration::from_millis(1_500);
    let server = Server::with(config(|config| config.routes.provisional_timeout = timeout)).await;
    let session = server.polling_session().await;
    let first = soon("a ping", poll(server.address, &session)).await;
    assert_eq!(first, texts(&["2"]), "it comes before the provisional session ends");
    assert_eq!(post(server.address, &session, "3").await.body, "ok");
    sleep(2 * timeout).await;
    assert_eq!(post(server.address, &session, "40").await.body, "ok", "the session goes on");
    assert!(poll(server.address, &session).await.is_some());

    // A client that answers nothing is still given up.
    let session = server.polling_session().await;
    assert_eq!(soon("a ping", poll(server.address, &session)).await, texts(&["2"]));
    sleep(2 * timeout).await;
    assert_eq!(poll(server.address, &session).await, None);
}

/// Bytes that a slow client takes at once, and how often.
const SIP: usize = 16 * 1024;
const SIPS: Duration = Duration::from_millis(50);

#[tokio::test]
async fn slow_download_of_one_answer_is_progress() {
    let server = Server::with(config(|config| {
        config.limits.stall = Duration::from_secs(1);
        config.routes.chat_ping_timeout = Duration::from_secs(20);
    }))
    .await;
    let (mut ann, bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
    let Line::Polling { address, session, .. } = &bob.line else { panic!("he polls") };
    // More than an answer, what waits for the next poll, and what the chat holds.
    let texts: Vec<_> = ('a'..='t').map(|c| c.to_string().repeat(200_000)).collect();
    for text in &texts {
        ann.emit(&format!(r#"["chat message","{text}"]"#)).await;
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SIP as u32).unwrap();
    let mut stream = socket.connect(*address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\n\r\n"
    );
    // The first answer has what came before the poll; the second is the large one.
    soon("a session that stands still", async {
        while server.hub.stats().frames < 10 {
            sleep(SIPS).await;
        }
    })
    .await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut taken, mut sip) = (Vec::new(), vec![0; SIP]);
    loop {
        let read = soon("more of the answer", stream.read(&mut sip)).await.unwrap();
        taken.extend_from_slice(&sip[..read]);
        if read == 0 {
            break;
        }
        sleep(SIPS * u32::try_from(read).unwrap() / SIP as u32).await;
    }
    assert!(taken.len() > 1_000_000, "{} bytes take longer than a stall", taken.len());
    let next = soon("the next poll", poll(*address, session)).await;
    assert!(next.is_some_and(|packets| packets.len() > 1), "the chat goes on");
}

#[tokio::test]
async fn client_that_takes_no_answers_is_slow() {
    let server = Server::with(config(|config| {
        config.routes.rate_limits = false;
        config.limits.stall = Duration::from_millis(500);
        config.routes.ping_interval = Duration::from_secs(1);
        config.routes.ping_timeout = Duration::from_secs(1);
    }))
    .await;
    let session = server.polling_session().await;
    assert_eq!(post(server.address, &session, "40").await.body, "ok");
    // Each is answered with as many bytes. In all, more than may wait for a poll.
    let refused = format!("40/{},", "x".repeat(250)) + "\u{1e}";
    let body = refused.repeat(8_000) + "3";
    let posting = post(server.address, &session, &body);
    let answer = soon("the end of the session", posting).await;
    assert_eq!(answer.body, "ok");
    soon("a place that is free again", async {
        while server.hub.online() > 0 {
            sleep(SIPS).await;
        }
    })
    .await;
}

#[tokio::test]
async fn second_websocket_after_upgrade_is_closed() {
    let server = Server::start().await;
    let Line::Polling { address, session, .. } = Line::polling(&server).await else {
        panic!("it polls");
    };
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={session}");
    let mut line = take_over(probe(address, &session).await, []).await;
    line.send("40").await;
    assert!(soon("an answer", line.next()).await.is_some());
    for _ in 0..3 {
        let mut second = Wire::upgrade(&server, server.connect().await, &path).await;
        let close = second.next().await.expect("a close");
        assert_eq!((close.opcode(), &close.payload[..2]), (CLOSE, &1000_u16.to_be_bytes()[..]));
        line.send(r#"42["is there anything?"]"#).await;
        let Some(Packet::Text(answer)) = soon("an answer", line.next()).await else {
            panic!("the session goes on");
        };
        assert!(answer.starts_with(r#"42["error""#), "{answer}");
    }
    assert_eq!(poll(address, &session).await, None, "polling is over");
}

#[tokio::test]
async fn poll_after_change_over_is_refused() {
    let server = Server::with(config(|config| config.routes.rate_limits = false)).await;
    for round in 0..100 {
        let session = server.polling_session().await;
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={session}");
        let mut wire = Wire::upgrade(&server, server.connect().await, &path).await;
        // At once, without waiting for the answer to the probe.
        wire.send(&[frame(FIN | TEXT, b"2probe"), frame(FIN | TEXT, b"5")].concat()).await;
        assert_eq!(poll(server.address, &session).await, None, "round {round}");
        assert_eq!(wire.next().await.unwrap().payload, b"3probe");
        wire.say("40").await;
        assert!(wire.next().await.unwrap().payload.starts_with(b"40{"));
    }
}

#[tokio::test]
async fn close_by_post_answers_poll_in_any_order() {
    let server = Server::with(config(|config| config.routes.rate_limits = false)).await;
    let address = server.address;
    let noop = texts(&["6"]);
    for round in 0..500 {
        let session = server.polling_session().await;
        let polled = match round % 3 {
            // At once, as the suite of the protocol does it.
            0 => tokio::join!(poll(address, &session), post(address, &session, "1")).0,
            // The poll is under way.
            1 => {
                let polling = tokio::spawn({
                    let session = session.clone();
                    async move { poll(address, &session).await }
                });
                tokio::task::yield_now().await;
                assert_eq!(post(address, &session, "1").await.body, "ok");
                soon("the poll", polling).await.unwrap()
            }
            // The poll was overtaken.
            _ => {
                assert_eq!(post(address, &session, "1").await.body, "ok");
                poll(address, &session).await
            }
        };
        assert_eq!(polled, noop, "round {round}");
        assert_eq!(poll(address, &session).await, None, "round {round}");
    }
}

// ---- Socket.IO ----------------------------------------------------------------------------------

#[tokio::test]
async fn main_namespace_may_be_spelled_out() {
    let server = Server::start().await;
    for (transport, asking) in
        [(WebSocket, "40/,"), (Polling, "40/,{}"), (Upgraded, r#"40/,{"autoPair":false}"#)]
    {
        let mut ann = Visitor::connect_with(&server, "Ann", transport, asking).await;
        ann.line.send(r#"42/,["find_partner"]"#).await;
        ann.gets(r#"["waiting"]"#).await;
        ann.line.send(r#"42/,["disconnect_partner"]"#).await;
        ann.has_nothing_new().await;
    }
}

#[tokio::test]
async fn base64_attachment_arrives_over_websocket() {
    let array = r#"["image upload",{"_placeholder":true,"num":0}]"#;
    for transports in [[WebSocket, WebSocket], [Upgraded, Polling]] {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair_without_keys(&server, transports).await;
        for size in [100, 1_000, 200_000] {
            let bytes = png_of(size);
            ann.line.send(&format!("451-{array}")).await;
            ann.line.send(&format!("b{}", BASE64_STANDARD.encode(&bytes))).await;
            bob.gets_binary(array, &bytes).await;
        }
        ann.line.send(&format!("451-{array}")).await;
        ann.line.send("b!").await;
        bob.gets_parted().await;
    }
}

#[tokio::test]
async fn send_message_takes_binary_image() {
    let server = Server::start().await;
    for transports in [[WebSocket, Polling], [Polling, WebSocket]] {
        let (mut ann, mut bob) = Visitor::pair_without_keys(&server, transports).await;
        let bytes = png_of(1_000);
        let url = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&bytes));
        for (message, body) in [("null", "null"), (r#""look""#, r#""look""#)] {
            let sent = format!(
                r#"["send_message",{{"message":{message},"image":{{"_placeholder":true,"num":0}},"reply":null}}]"#
            );
            ann.emit_binary(&sent, &bytes).await;
            let received = format!(
                r#"["receive_message",{{"from":"Ann","body":{body},"image":"{url}","reply":null}}]"#
            );
            bob.gets(&received).await;
        }
        // What is no picture is refused, and counts as no message.
        let sent = r#"["send_message",{"image":{"_placeholder":true,"num":0}}]"#;
        ann.emit_binary(sent, b"<svg/>").await;
        ann.gets_error().await;
        bob.has_nothing_new().await;
    }
}

#[tokio::test]
async fn event_with_id_is_acknowledged_once() {
    for transports in [[WebSocket, Polling], [Polling, Upgraded]] {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair_without_keys(&server, transports).await;
        for id in 0..3 {
            ann.line.send(&format!(r#"42{id}["chat message","{id}"]"#)).await;
            assert_eq!(ann.text().await, format!("43{id}[]"));
            bob.gets(&format!(r#"["chat message","{id}"]"#)).await;
        }
        let array = r#"["image upload",{"_placeholder":true,"num":0}]"#;
        let bytes = png_of(100);
        let packets = [Packet::Text(format!("451-7{array}")), Packet::Binary(bytes.clone().into())];
        ann.line.send_all(&packets).await;
        assert_eq!(ann.text().await, "437[]");
        bob.gets_binary(array, &bytes).await;
        // A refused event was taken too: trying again would not help.
        ann.line.send(r#"428["dance"]"#).await;
        assert_eq!(ann.text().await, "438[]");
        ann.gets_error().await;
        ann.has_nothing_new().await;
        bob.has_nothing_new().await;
    }
}

// ---- Close codes --------------------------------------------------------------------------------

/// Sends these frames after the Engine.IO handshake, and returns the close that they get.
async fn closed_by(server: &Server, frames: &[Vec<u8>]) -> (u16, String) {
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut wire = Wire::upgrade(server, server.connect().await, path).await;
    for frame in frames {
        wire.send(frame).await;
    }
    loop {
        let frame = wire.next().await.expect("a close");
        if frame.opcode() == CLOSE {
            let (code, reason) = frame.payload.split_at(2.min(frame.payload.len()));
            let code = code.try_into().map_or(0, u16::from_be_bytes);
            return (code, String::from_utf8_lossy(reason).into_owned());
        }
    }
}

#[tokio::test]
async fn close_of_client_is_echoed_and_faults_have_own_reasons() {
    let server = Server::with(config(|config| config.routes.max_payload = 200_000_000)).await;
    let text = |text: &str| frame(FIN | TEXT, text.as_bytes());
    let close = |payload: &[u8]| frame(FIN | CLOSE, payload);
    for (last, code, reason) in [
        (close(&1000_u16.to_be_bytes()), 1000, ""),
        (close(&1001_u16.to_be_bytes()), 1001, ""),
        (close(b""), 0, ""),
        (text("41"), 1000, ""),
        (text("1"), 1000, ""),
        (frame(FIN | 0x3, b""), 1002, "protocol error"),
        (frame(FIN | TEXT, b"4\xff"), 1007, "not UTF-8"),
        (text("hello"), 1008, "not Engine.IO"),
    ] {
        for first in [None, Some(text("40"))] {
            let frames: Vec<_> = first.into_iter().chain([last.clone()]).collect();
            let closed = closed_by(&server, &frames).await;
            assert_eq!(closed, (code, reason.to_owned()), "{frames:x?}");
        }
    }
    for (frames, reason) in [
        (vec![text("40"), text("42{}")], "not Socket.IO"),
        (vec![text("42[]")], "no namespace was asked for"),
    ] {
        assert_eq!(closed_by(&server, &frames).await, (1008, reason.to_owned()), "{frames:x?}");
    }
}

#[tokio::test]
async fn missed_pong_is_told_as_heartbeat_timeout() {
    let server = Server::with(config(|config| {
        config.routes.ping_interval = Duration::from_millis(200);
        config.routes.ping_timeout = Duration::from_millis(200);
    }))
    .await;
    for frames in [vec![], vec![frame(FIN | TEXT, b"40")]] {
        let closed = closed_by(&server, &frames).await;
        assert_eq!(closed, (1008, "heartbeat timeout".to_owned()));
    }
}

#[tokio::test]
async fn large_message_closes_with_own_reason() {
    let server = Server::start().await;
    let mut head = vec![FIN | TEXT, 0x80 | 127];
    head.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    assert_eq!(closed_by(&server, &[head]).await, (1009, "too large".to_owned()));
    let answer = raw(server.address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(answer.status, 200);
}

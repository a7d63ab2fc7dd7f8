//! Heartbeats of a client under backpressure, whose partner does not read.

use std::time::Duration;

use purrr_server::ServerConfig;

use crate::{
    support::{
        Peer, Server,
        wire::{CLOSE, FIN, PING, PONG, TEXT, Wire, frame},
    },
    visitor::{Line, Packet, Transport, Visitor, post},
};

/// Long enough that nothing is ever late, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

/// A text of which six are as much as may wait for a poll.
const LARGE: usize = 200_000;
const TAKEN: u32 = 6;

/// Ann, who speaks in frames of her own making, and Bob, who polls.
async fn pair(server: &Server) -> (Wire, Visitor) {
    let mut ann = Wire::connect(server).await;
    ann.say(r#"{"type":"find"}"#).await;
    let mut bob = Visitor::connect(server, "Bob", Transport::Polling).await;
    bob.emit(r#"["find_partner"]"#).await;
    bob.gets(r#"["waiting"]"#).await;
    assert!(bob.text().await.starts_with(r#"42["matched""#));
    (ann, bob)
}

/// Sends as many texts as are taken, one that fills the queue, one that is held, and `more` that
/// are not read.
async fn fill(ann: &mut Wire, more: u32) {
    for id in 1..=TAKEN + 2 + more {
        let text = "x".repeat(LARGE);
        ann.say(&format!(r#"{{"type":"message","id":{id},"text":"{text}"}}"#)).await;
    }
}

#[tokio::test]
async fn heartbeat_continues_under_backpressure() {
    for more in [0, 3] {
        let mut config = ServerConfig::default();
        (config.routes.chat_ping_interval, config.routes.chat_ping_timeout) = (SHORT, 4 * SHORT);
        config.limits.queue_items = 1;
        config.limits.stall = Duration::from_secs(60);
        let server = Server::with(config).await;
        let (mut ann, mut bob) = pair(&server).await;
        let Line::Polling { address, session, .. } = &bob.line else { unreachable!() };
        let (address, session) = (*address, session.clone());
        // Bob does not poll any more, and says that he is there.
        let alive = tokio::spawn(async move {
            loop {
                post(address, &session, "3").await;
                tokio::time::sleep(SHORT / 4).await;
            }
        });

        fill(&mut ann, more).await;
        let mut asked = 0;
        while asked < 3 {
            let frame_read = ann.next().await.expect("she is there, so she is not cut off");
            if frame_read.opcode() == PING {
                asked += 1;
                ann.send(&frame(FIN | PONG, &frame_read.payload)).await;
            }
        }
        // Now she answers no more, which is noticed at the latest when what is before her answers
        // has been read.
        alive.abort();
        let mut heard = 0;
        loop {
            match bob.next().await {
                Packet::Text(text) if text.contains(r#""receive_message""#) => heard += 1,
                Packet::Text(text) if text == r#"42["partner_disconnected"]"# => break,
                Packet::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
        // Nothing that she said before is lost with her.
        assert_eq!(heard, TAKEN + 2 + more);
    }
}

#[tokio::test]
async fn partly_read_message_survives_backpressure() {
    let mut config = ServerConfig::default();
    config.limits.queue_items = 1;
    let server = Server::with(config).await;
    let (mut ann, mut bob) = pair(&server).await;
    fill(&mut ann, 0).await;
    // In one piece, a ping among them, which is answered before what is behind it is read.
    let small = |id: u32| {
        frame(FIN | TEXT, format!(r#"{{"type":"message","id":{id},"text":"small"}}"#).as_bytes())
    };
    let (first, second) = (small(100), small(101));
    ann.send(&[frame(FIN | PING, b"?"), first[..20].to_vec()].concat()).await;
    while ann.next().await.expect("she is there").opcode() != PONG {}
    ann.send(&[&first[20..], &frame(FIN | PING, b"!"), &second].concat()).await;
    for _ in 0..TAKEN + 2 {
        assert!(bob.text().await.contains("xxx"));
    }
    for _ in 0..2 {
        assert!(bob.text().await.contains("small"));
    }
    while ann.next().await.expect("she is there").payload != b"!" {}
    Peer::connect(server.address, "Cat").await;
}

/// Leaves the chat, or ends the connection, while texts are held for Bob.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaving {
    Command,
    Close,
}

/// A server on which nothing is slow before the test is.
async fn patient_server() -> Server {
    let mut config = ServerConfig::default();
    config.limits.queue_items = 1;
    config.limits.stall = Duration::from_secs(60);
    Server::with(config).await
}

/// Bob hears all texts and a word, and then that Ann left.
async fn hears_all_and_then_left(bob: &mut Visitor) {
    let mut heard = 0;
    loop {
        match bob.text().await {
            text if text.contains(r#""receive_message""#) => heard += 1,
            text if text == r#"42["partner_disconnected"]"# => break,
            _ => {}
        }
    }
    assert_eq!(heard, TAKEN + 2 + 1);
}

#[tokio::test]
async fn native_client_leaves_at_once_while_texts_are_held() {
    for leaving in [Leaving::Command, Leaving::Close] {
        let server = patient_server().await;
        let (mut ann, mut bob) = pair(&server).await;
        fill(&mut ann, 0).await;
        ann.say(r#"{"type":"message","id":100,"text":"a word"}"#).await;
        match leaving {
            Leaving::Command => {
                ann.say(r#"{"type":"leave"}"#).await;
                while ann.next().await.expect("she is there").payload != br#"{"type":"idle"}"# {}
            }
            Leaving::Close => {
                ann.send(&frame(FIN | CLOSE, &1000_u16.to_be_bytes())).await;
                while ann.next().await.is_some() {}
            }
        }
        hears_all_and_then_left(&mut bob).await;
    }
}

#[tokio::test]
async fn purrr_chat_client_leaves_at_once_while_texts_are_held() {
    for (transport, leaving) in Transport::ALL.into_iter().flat_map(|transport| {
        [Leaving::Command, Leaving::Close].map(|leaving| (transport, leaving))
    }) {
        let server = patient_server().await;
        let (mut ann, mut bob) =
            Visitor::pair_without_keys(&server, [transport, Transport::Polling]).await;
        let text = "x".repeat(LARGE);
        for _ in 0..TAKEN + 2 {
            ann.emit(&format!(r#"["send_message",{{"message":"{text}"}}]"#)).await;
        }
        ann.emit(r#"["send_message",{"message":"a word"}]"#).await;
        match leaving {
            Leaving::Command => {
                ann.emit(r#"["disconnect_partner"]"#).await;
                while ann.text().await != r#"42["partner_disconnected"]"# {}
            }
            Leaving::Close => ann.line.send("1").await,
        }
        hears_all_and_then_left(&mut bob).await;
    }
}

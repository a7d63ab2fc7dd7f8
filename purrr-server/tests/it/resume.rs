//! Chats that outlive a connection, over the native dialect.

use std::{future::pending, time::Duration};

use futures::{StreamExt, future::join_all};
use purrr_server::ServerConfig;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::support::{Peer, Server};

/// A client that can resume, with the token of its last `welcome`.
struct Client {
    peer: Peer,
    token: String,
}

impl Client {
    async fn connect(server: &Server, name: &'static str) -> Self {
        let client = Self::arrive(server, name).await;
        let Self { mut peer, token } = client;
        peer.send(format!(r#"{{"type":"hello","name":"{name}","received":0}}"#)).await;
        Self { peer, token }
    }

    async fn arrive(server: &Server, name: &'static str) -> Self {
        let (peer, token) = Peer::connect_remembered(server.address, name).await;
        Self { peer, token }
    }

    async fn claims(&mut self, token: &str, chat: &str, received: u64) {
        let name = self.peer.name;
        self.peer
            .send(format!(
                r#"{{"type":"hello","name":"{name}","resume":"{token}","chat":"{chat}","received":{received}}}"#
            ))
            .await;
    }

    async fn says(&mut self, id: u64) {
        self.peer.send(said(id)).await;
    }
}

fn said(id: u64) -> String {
    format!(r#"{{"type":"message","id":{id},"text":"no. {id}"}}"#)
}

async fn pair(server: &Server) -> (Client, Client, String) {
    let mut ann = Client::connect(server, "Ann").await;
    let mut bob = Client::connect(server, "Bob").await;
    ann.peer.finds().await;
    bob.peer.finds().await;
    let chat = ann.peer.gets_matched(r#"{"name":"Bob"}"#, "[]").await;
    bob.peer.gets_matched(r#"{"name":"Ann"}"#, "[]").await;
    (ann, bob, chat)
}

async fn until_detached(server: &Server, sessions: u64) {
    while server.hub.stats().detached != sessions {
        sleep(Duration::from_millis(5)).await;
    }
}

fn resumed(chat: &str, partner: &str, rest: &str) -> String {
    format!(r#"{{"type":"resumed","chat":"{chat}","partner":{{"name":"{partner}"}},{rest}}}"#)
}

#[tokio::test]
async fn drop_and_return() {
    let server = Server::start().await;
    let (mut ann, mut bob, chat) = pair(&server).await;
    bob.says(1).await;
    bob.says(2).await;
    ann.peer.gets(said(1)).await;
    ann.says(1).await;
    bob.peer.gets(said(1)).await;
    let token = ann.token;
    ann.peer.vanish();
    until_detached(&server, 1).await;
    bob.says(3).await;
    bob.peer.gets(r#"{"type":"away"}"#).await;

    let mut ann = Client::arrive(&server, "Ann").await;
    ann.claims(&token, &chat, 1).await;
    ann.peer.gets(resumed(&chat, "Bob", r#""received":1"#)).await;
    bob.peer.gets(r#"{"type":"back","partner":{"name":"Ann"}}"#).await;
    bob.peer.gets(r#"{"type":"delivered","id":1}"#).await;
    ann.peer.gets(said(2)).await;
    ann.peer.gets(said(3)).await;
    ann.peer.send(format!(r#"{{"type":"ack","chat":"{chat}","received":3}}"#)).await;
    bob.peer.gets(r#"{"type":"delivered","id":2}"#).await;
    bob.peer.gets(r#"{"type":"delivered","id":3}"#).await;
    // A frame that is refused counts as arrived.
    ann.peer.send(r#"{"type":"message","id":2}"#).await;
    ann.peer.gets_error("bad-message", Some(2)).await;
    ann.peer.vanish();
    until_detached(&server, 1).await;
    let mut again = Client::arrive(&server, "Ann").await;
    again.claims(&ann.token, &chat, 3).await;
    again.peer.gets(resumed(&chat, "Bob", r#""received":2"#)).await;
    again.peer.send(r#"{"type":"leave"}"#).await;
    again.peer.gets(r#"{"type":"idle"}"#).await;
    bob.peer.gets(r#"{"type":"left","reason":"left"}"#).await;
}

#[tokio::test]
async fn take_over_closes_the_old_connection() {
    let server = Server::start().await;
    let (mut ann, mut bob, chat) = pair(&server).await;
    let mut again = Client::arrive(&server, "Ann").await;
    again.claims(&ann.token, &chat, 0).await;
    again.peer.gets(resumed(&chat, "Bob", r#""received":0"#)).await;
    assert_eq!(ann.peer.is_closed(4409).await, "taken over");
    bob.says(1).await;
    again.peer.gets(said(1)).await;

    let mut thief = Client::arrive(&server, "Ann").await;
    thief.claims(&ann.token, &chat, 0).await;
    thief.peer.gets_error("unknown-session", None).await;
    again.peer.has_nothing_new().await;
}

#[tokio::test]
async fn new_key_after_reload_reaches_the_partner() {
    let server = Server::start().await;
    let (mut ann, mut bob, chat) = pair(&server).await;
    let going_away = CloseFrame { code: CloseCode::Away, reason: "".into() };
    ann.peer.feed(Message::Close(Some(going_away))).await;
    until_detached(&server, 1).await;
    let mut again = Client::arrive(&server, "Anna").await;
    again.claims(&ann.token, &chat, 0).await;
    again.peer.gets(resumed(&chat, "Bob", r#""received":0"#)).await;
    bob.peer.gets(r#"{"type":"back","partner":{"name":"Anna"}}"#).await;
}

#[tokio::test]
async fn closes_are_held_as_long_as_they_say() {
    let mut config = ServerConfig::default();
    config.limits.resume_window = Duration::from_millis(2_000);
    config.limits.background_window = Duration::from_millis(2_600);
    let server = Server::with(config).await;
    for (code, is_background, window) in [
        (Some(CloseCode::Normal), false, 0),
        (None, true, 0),
        (Some(CloseCode::Away), false, 2_000),
        (Some(CloseCode::Away), true, 2_600),
    ] {
        let (mut ann, mut bob, chat) = pair(&server).await;
        if is_background {
            ann.peer.send(r#"{"type":"background"}"#).await;
        }
        let closed = Instant::now();
        let frame = code.map(|code| CloseFrame { code, reason: "".into() });
        ann.peer.feed(Message::Close(frame)).await;
        if window > 0 {
            bob.peer.gets(r#"{"type":"away"}"#).await;
        }
        bob.peer.gets(r#"{"type":"left","reason":"lost"}"#).await;
        let held = closed.elapsed().as_millis();
        assert!((window..window + 400).contains(&held), "{code:?} was held {held} ms");
        let mut again = Client::arrive(&server, "Ann").await;
        again.claims(&ann.token, &chat, 0).await;
        if window > 0 {
            again.peer.gets(r#"{"type":"left","reason":"lost"}"#).await;
        } else {
            again.peer.gets_error("unknown-session", None).await;
        }
    }
}

#[tokio::test]
async fn guessed_tokens_claim_nothing() {
    let server = Server::start().await;
    let (ann, mut bob, chat) = pair(&server).await;
    ann.peer.vanish();
    until_detached(&server, 1).await;
    let mut thief = Client::arrive(&server, "Eve").await;
    for guess in 0..50 {
        thief.claims(&format!("{guess:032x}"), &chat, 0).await;
        let error: Value = thief.peer.gets_type("error").await;
        assert_eq!(error["code"], "unknown-session");
    }
    let mut again = Client::arrive(&server, "Ann").await;
    again.claims(&ann.token, &chat, 0).await;
    again.peer.gets(resumed(&chat, "Bob", r#""received":0"#)).await;
    bob.says(1).await;
    again.peer.gets(said(1)).await;
}

/// Every chat survives when the connections of all drop together.
#[tokio::test]
async fn many_clients_drop_and_return_together() {
    const PAIRS: usize = 50;
    let server = Server::start().await;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(pair(&server).await);
    }
    let mut lost = Vec::new();
    for (mut ann, mut bob, chat) in pairs {
        ann.says(1).await;
        bob.peer.gets(said(1)).await;
        bob.says(1).await;
        lost.push((ann.token, bob.token, chat));
        ann.peer.vanish();
        bob.peer.vanish();
    }
    until_detached(&server, 2 * PAIRS as u64).await;
    for (ann_token, bob_token, chat) in lost {
        let mut ann = Client::arrive(&server, "Ann").await;
        ann.claims(&ann_token, &chat, 0).await;
        ann.peer.gets(resumed(&chat, "Bob", r#""received":1"#)).await;
        ann.peer.gets(said(1)).await;
        let mut bob = Client::arrive(&server, "Bob").await;
        bob.claims(&bob_token, &chat, 1).await;
        // The frame may have been lost with Bob's connection.
        let text = bob.peer.text().await;
        assert!(text.starts_with(&format!(r#"{{"type":"resumed","chat":"{chat}""#)), "{text}");
        bob.peer.vanish();
        ann.peer.vanish();
    }
}

/// How a chat fares whose connections are cut, one of them or both, for this long.
async fn survives(
    server: &'static Server,
    (mut ann, mut bob, chat): (Client, Client, String),
    gap: Duration,
    both: bool,
) -> bool {
    ann.says(1).await;
    bob.peer.gets(said(1)).await;
    bob.says(1).await;
    ann.peer.gets(said(1)).await;
    let (ann_token, bob_token) = (ann.token, bob.token);
    ann.peer.vanish();
    let mut waiting = Some(bob.peer);
    if both && let Some(bob) = waiting.take() {
        bob.vanish();
    }
    let reading = async {
        // Reading answers the pings of the server.
        match &mut waiting {
            Some(bob) => while bob.socket.next().await.is_some() {},
            None => pending().await,
        }
    };
    timeout(gap, reading).await.expect_err("a connection that is read goes on");
    let mut resumed = true;
    for (name, token) in [("Ann", ann_token), ("Bob", bob_token)] {
        if name == "Bob" && !both {
            break;
        }
        let mut client = Client::arrive(server, name).await;
        client.claims(&token, &chat, 1).await;
        let answer: Value = serde_json::from_str(&client.peer.text().await).expect("JSON");
        resumed &= answer["type"] == "resumed" && answer["received"] == 1;
    }
    resumed
}

/// `cargo test -p purrr-server --test it chats_survive -- --ignored --nocapture`
#[tokio::test]
#[ignore = "takes 45 s; measures"]
async fn chats_survive_cuts_within_the_window() {
    const CHATS: usize = 20;
    let server: &Server = Box::leak(Box::new(Server::start().await));
    let gaps = [3, 5, 8, 12, 20, 25, 40].map(Duration::from_secs);
    let mut told = Vec::new();
    for (gap, both) in gaps.into_iter().flat_map(|gap| [(gap, false), (gap, true)]) {
        let mut chats = Vec::new();
        for _ in 0..CHATS {
            // Begun at once, or its clients would answer no ping.
            let pair = pair(server).await;
            chats.push(tokio::spawn(survives(server, pair, gap, both)));
        }
        told.push(async move {
            let ends = join_all(chats).await.into_iter();
            (gap, both, ends.filter(|end| matches!(end, Ok(true))).count())
        });
    }
    let told = join_all(told).await;
    for (gap, both, survived) in told {
        eprintln!("cut for {gap:?}, both sides: {both}: {survived} of {CHATS} survive");
        assert_eq!(survived, if gap < Duration::from_secs(30) { CHATS } else { 0 });
    }
}

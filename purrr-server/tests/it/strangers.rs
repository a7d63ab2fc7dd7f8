//! Whom the server matches with whom: new partners, none that is blocked, and none that is gone.

use std::time::Duration;

use purrr_server::ServerConfig;
use tokio::time::{Instant, sleep};

use crate::support::{Peer, Server, soon};

fn config(change: impl FnOnce(&mut ServerConfig)) -> ServerConfig {
    let mut config = ServerConfig::default();
    change(&mut config);
    config
}

/// Says something to the partner, to see who it is.
async fn meet(asking: &mut Peer, asked: &mut Peer) {
    for peer in [&mut *asking, &mut *asked] {
        peer.gets_type("matched").await;
    }
    asking.send(r#"{"type":"message","text":"is it you?"}"#).await;
    asked.gets(r#"{"type":"message","text":"is it you?"}"#).await;
}

/// The two are paired, and the first blocks the other, who sees exactly what a partner sees that
/// was merely left.
async fn meet_and_block(blocking: &mut Peer, blocked: &mut Peer) {
    blocking.finds().await;
    blocked.finds().await;
    meet(blocking, blocked).await;
    blocking.send(r#"{"type":"block"}"#).await;
    blocking.gets(r#"{"type":"idle"}"#).await;
    blocked.gets(r#"{"type":"left","reason":"left"}"#).await;
}

async fn until_waiting(server: &Server, waiting: u64) {
    while server.hub.census().await.expect("the lobby in memory counts").waiting != waiting {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn resume(peer: &mut Peer, token: &str) {
    peer.send(format!(r#"{{"type":"hello","resume":"{token}"}}"#)).await;
}

#[tokio::test]
async fn next_prefers_new_partner() {
    // For as long as the test may take, whom one knows is not met again.
    let server = Server::with(config(|config| {
        config.limits.recent_relax = Duration::from_secs(3_600);
    }))
    .await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    ann.send(r#"{"type":"next"}"#).await;
    ann.gets_type("waiting").await;
    bob.gets(r#"{"type":"left","reason":"next"}"#).await;
    // Bob waits before Ann does, and Ann must not be held up by that.
    bob.finds().await;
    let mut cid = Peer::connect(server.address, "Cid").await;
    cid.finds().await;
    meet(&mut cid, &mut ann).await;
    let mut dee = Peer::connect(server.address, "Dee").await;
    dee.finds().await;
    meet(&mut dee, &mut bob).await;
}

#[tokio::test]
async fn recent_partners_rematch_after_relax() {
    let relax = Duration::from_millis(400);
    let server = Server::with(config(|config| config.limits.recent_relax = relax)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    ann.send(r#"{"type":"next"}"#).await;
    ann.gets_type("waiting").await;
    bob.gets(r#"{"type":"left","reason":"next"}"#).await;
    let began = Instant::now();
    bob.finds().await;
    meet(&mut bob, &mut ann).await;
    assert!(began.elapsed() >= relax, "{:?}", began.elapsed());
}

#[tokio::test]
async fn block_survives_reconnects() {
    let server = Server::with(config(|config| config.limits.recent_partners = 0)).await;
    let (mut ann, ann_token) = Peer::connect_remembered(server.address, "Ann").await;
    let (mut bob, bob_token) = Peer::connect_remembered(server.address, "Bob").await;
    meet_and_block(&mut ann, &mut bob).await;
    bob.finds().await;
    ann.finds().await;
    assert_eq!(server.hub.census().await.unwrap().waiting, 2);

    ann.vanish();
    bob.vanish();
    while server.hub.online() > 0 {
        tokio::task::yield_now().await;
    }
    let (mut ann, new_token) = Peer::connect_remembered(server.address, "Ann again").await;
    resume(&mut ann, &ann_token).await;
    let mut bob = Peer::connect(server.address, "Bob again").await;
    resume(&mut bob, &bob_token).await;
    ann.finds().await;
    bob.finds().await;
    bob.has_nothing_new().await;
    assert_eq!(server.hub.census().await.unwrap().waiting, 2);

    // A token is good once; the one it was used with takes its place.
    let mut eve = Peer::connect(server.address, "Eve").await;
    resume(&mut eve, &ann_token).await;
    eve.gets_error("unknown-session", None).await;
    eve.finds().await;
    meet(&mut eve, &mut ann).await;
    let mut ann_once_more = Peer::connect(server.address, "Ann once more").await;
    resume(&mut ann_once_more, &new_token).await;
    ann_once_more.finds().await;
    bob.has_nothing_new().await;
}

#[tokio::test]
async fn resume_while_waiting() {
    let server = Server::with(config(|config| config.limits.recent_partners = 0)).await;
    let (mut ann, token) = Peer::connect_remembered(server.address, "Ann").await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    meet_and_block(&mut ann, &mut bob).await;

    let mut again = Peer::connect(server.address, "Ann again").await;
    again.finds().await;
    again.send(format!(r#"{{"type":"hello","name":"Ann","resume":"{token}"}}"#)).await;
    again.has_nothing_new().await;
    bob.finds().await;
    bob.has_nothing_new().await;
    let mut cid = Peer::connect(server.address, "Cid").await;
    cid.finds().await;
    cid.gets_matched(r#"{"name":"Ann"}"#, "[]").await;
    again.gets_matched("{}", "[]").await;
}

#[tokio::test]
async fn block_applies_to_other_waiting_connection() {
    let server = Server::with(config(|config| config.limits.recent_partners = 0)).await;
    let (mut ann, token) = Peer::connect_remembered(server.address, "Ann").await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    ann.finds().await;
    bob.finds().await;
    meet(&mut ann, &mut bob).await;
    let mut window = Peer::connect(server.address, "Ann's other window").await;
    resume(&mut window, &token).await;
    window.finds().await;
    ann.send(r#"{"type":"block"}"#).await;
    ann.gets(r#"{"type":"idle"}"#).await;
    bob.gets(r#"{"type":"left","reason":"left"}"#).await;
    bob.finds().await;
    bob.has_nothing_new().await;
    window.has_nothing_new().await;
    let mut cid = Peer::connect(server.address, "Cid").await;
    cid.finds().await;
    meet(&mut cid, &mut window).await;
}

#[tokio::test]
async fn block_after_left() {
    let server = Server::with(config(|config| config.limits.recent_partners = 0)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    bob.send(r#"{"type":"leave"}"#).await;
    bob.gets(r#"{"type":"idle"}"#).await;
    ann.gets(r#"{"type":"left","reason":"left"}"#).await;
    ann.send(r#"{"type":"block"}"#).await;
    ann.gets(r#"{"type":"idle"}"#).await;
    ann.finds().await;
    bob.finds().await;
    bob.has_nothing_new().await;
    ann.has_nothing_new().await;
}

#[tokio::test]
async fn block_needs_partner() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(r#"{"type":"block"}"#).await;
    ann.gets_error("not-paired", None).await;
    ann.finds().await;
    ann.send(r#"{"type":"block"}"#).await;
    ann.gets_error("not-paired", None).await;
}

#[tokio::test]
async fn same_person_is_not_matched_with_itself() {
    let server = Server::start().await;
    let (mut ann, token) = Peer::connect_remembered(server.address, "Ann").await;
    let (mut twin, _) = Peer::connect_remembered(server.address, "Ann's other window").await;
    resume(&mut twin, &token).await;
    ann.finds().await;
    twin.finds().await;
    twin.has_nothing_new().await;
    assert_eq!(server.hub.census().await.unwrap().waiting, 2);
}

#[tokio::test]
async fn unresponsive_waiting_peer_is_skipped_then_closed() {
    let server = Server::with(config(|config| {
        config.routes.chat_ping_interval = Duration::from_millis(200);
        config.routes.chat_ping_timeout = Duration::from_secs(4);
    }))
    .await;
    // Pings are answered while a client is read from; the frozen one is not.
    let mut frozen = Peer::connect(server.address, "frozen").await;
    frozen.finds().await;
    soon("the frozen one is passed by", until_waiting(&server, 0)).await;
    assert_eq!(server.hub.online(), 1);
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;

    // Once heard of it is back, as one who has waited all the while.
    frozen.has_nothing_new().await;
    soon("it is back", until_waiting(&server, 1)).await;
    ann.send(r#"{"type":"next"}"#).await;
    ann.gets_type("waiting").await;
    meet(&mut ann, &mut frozen).await;
    bob.gets(r#"{"type":"left","reason":"next"}"#).await;
}

#[tokio::test]
async fn frozen_script_is_suspended_although_its_browser_answers_pings() {
    let server = Server::with(config(|config| {
        config.routes.chat_ping_interval = Duration::from_millis(200);
        config.routes.chat_ping_timeout = Duration::from_secs(4);
    }))
    .await;
    let mut page = Peer::connect(server.address, "page").await;
    page.send(r#"{ "type": "ping", "n": 1 }"#).await;
    page.gets(r#"{"type":"pong"}"#).await;
    page.finds().await;
    // It is asked by a message, which only its script could answer.
    page.gets(r#"{"type":"ping"}"#).await;
    soon("the page is suspended", until_waiting(&server, 0)).await;
    page.send(r#"{"type":"pong"}"#).await;
    soon("the page is back", until_waiting(&server, 1)).await;
}

#[tokio::test]
async fn chat_heartbeat_is_faster_than_idle_heartbeat() {
    let server = Server::with(config(|config| {
        config.routes.chat_ping_interval = Duration::from_millis(200);
        config.routes.chat_ping_timeout = Duration::from_millis(300);
    }))
    .await;
    let mut idle = Peer::connect(server.address, "idle").await;
    let (frozen, mut bob, _) = Peer::pair(server.address).await;
    bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
    drop(frozen);
    idle.has_nothing_new().await;
}

#[tokio::test]
async fn wait_estimate_needs_data() {
    let server = Server::start().await;
    for round in 0..4 {
        let mut ann = Peer::connect(server.address, "Ann").await;
        ann.send(r#"{"type":"find"}"#).await;
        let told = ann.gets_type("waiting").await;
        // Two waits have ended in each round before.
        assert_eq!(told["estimateMs"].is_u64(), round >= 3, "{told}");
        let mut bob = Peer::connect(server.address, "Bob").await;
        bob.finds().await;
        ann.gets_type("matched").await;
        bob.gets_type("matched").await;
    }
}

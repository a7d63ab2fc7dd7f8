//! Purrr.chat clients that lose their connection in a chat and come back, as the frontend does: it
//! forgets its chat, connects anew with `pid`, and asks for a partner under a new key.

use std::time::Duration;

use purrr_server::ServerConfig;
use tokio::time::{Instant, sleep};

use crate::{
    support::{KEY, Server},
    visitor::{
        Transport,
        Transport::{Polling, Upgraded, WebSocket},
        Visitor,
    },
};

/// The key of a page that came back: the point opposite to [`KEY`].
const NEW_KEY: &str =
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWsBy9HAHlgGVxGBS1g/Bh6dQxzKmUzqExNEm/l8hArgo=";

pub(crate) async fn until_detached(server: &Server, sessions: u64) {
    while server.hub.stats().detached != sessions {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn lose(server: &Server, visitor: Visitor) -> String {
    let token = visitor.token.clone();
    drop(visitor);
    until_detached(server, 1).await;
    token
}

async fn return_to(server: &Server, transport: Transport, token: &str) -> Visitor {
    let asking = format!(r#"40{{"pid":"{token}"}}"#);
    Visitor::connect_with(server, "Ann", transport, &asking).await
}

impl Visitor {
    async fn finds_as(&mut self, name: &str, key: &str) {
        self.emit(&format!(r#"["init_user",{{"name":"{name}","publicKey":"{key}"}}]"#)).await;
        self.emit(r#"["find_partner"]"#).await;
    }

    async fn gets_matched_to(&mut self, name: &str, key: &str) {
        self.gets(&format!(r#"["matched",{{"partnerName":"{name}","partnerPk":"{key}"}}]"#)).await;
    }

    async fn says(&mut self, text: &str) {
        self.emit(&format!(r#"["send_message",{{"message":"{text}","image":null,"reply":0}}]"#))
            .await;
    }

    async fn hears(&mut self, from: &str, text: &str, reply: &str) {
        self.gets(&format!(
            r#"["receive_message",{{"from":"{from}","body":"{text}","image":null,"reply":{reply}}}]"#
        ))
        .await;
    }
}

#[tokio::test]
async fn client_that_forgot_its_chat_is_matched_with_its_partner_again() {
    for transport in [WebSocket, Polling, Upgraded] {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, transport]).await;
        bob.says("one").await;
        ann.hears("Bob", "one", "null").await;
        ann.emit(r#"["read_message",{"messageId":0}]"#).await;
        bob.gets(r#"["mark_as_read",{"messageId":0}]"#).await;
        let token = lose(&server, ann).await;
        bob.says("to the key that is gone").await;
        bob.gets(r#"["hide_typing"]"#).await;

        let mut ann = return_to(&server, transport, &token).await;
        ann.has_nothing_new().await;
        ann.finds_as("Anna", NEW_KEY).await;
        ann.gets_matched("Bob").await;
        // Shown as a new partner, since the page knows no other way to take a new key.
        bob.gets(r#"["mark_as_read",{"messageId":-1}]"#).await;
        bob.gets(r#"["hide_typing"]"#).await;
        bob.gets_matched_to("Anna", NEW_KEY).await;
        bob.has_nothing_new().await;
        bob.says("two").await;
        ann.hears("Bob", "two", "null").await;
        ann.says("three").await;
        bob.hears("Anna", "three", "0").await;
        for visitor in [&mut ann, &mut bob] {
            visitor.has_nothing_new().await;
        }
        assert_eq!(server.hub.stats().resumed, 1);
        ann.emit(r#"["disconnect_partner"]"#).await;
        for visitor in [&mut ann, &mut bob] {
            visitor.gets_parted().await;
        }
    }
}

#[tokio::test]
async fn deliberate_end_is_not_held() {
    for end in ["41", "1"] {
        for transport in Transport::ALL {
            let server = Server::start().await;
            let (mut ann, mut bob) = Visitor::pair(&server, [transport, WebSocket]).await;
            ann.line.send(end).await;
            bob.gets_parted().await;
            assert_eq!(server.hub.stats().detached, 0);
            let mut again = return_to(&server, WebSocket, &ann.token).await;
            again.finds_as("Ann", KEY).await;
            again.gets(r#"["waiting"]"#).await;
            bob.has_nothing_new().await;
        }
    }
}

#[tokio::test]
async fn lost_client_is_awaited_for_the_resume_window() {
    let mut config = ServerConfig::default();
    config.limits.resume_window = Duration::from_secs(2);
    let server = Server::with(config).await;
    let (ann, mut bob) = Visitor::pair(&server, [WebSocket, WebSocket]).await;
    let lost = Instant::now();
    let token = lose(&server, ann).await;
    bob.gets(r#"["hide_typing"]"#).await;
    bob.gets_parted().await;
    let held = lost.elapsed().as_millis();
    assert!((2_000..2_500).contains(&held), "held {held} ms");
    let mut ann = return_to(&server, WebSocket, &token).await;
    ann.finds_as("Ann", KEY).await;
    ann.gets(r#"["waiting"]"#).await;
    bob.has_nothing_new().await;
    ann.has_nothing_new().await;
}

#[tokio::test]
async fn chat_that_ended_meanwhile_is_not_shown_again() {
    let server = Server::start().await;
    let (ann, mut bob) = Visitor::pair(&server, [WebSocket, WebSocket]).await;
    let token = lose(&server, ann).await;
    bob.says("bye").await;
    bob.emit(r#"["disconnect_partner"]"#).await;
    bob.gets_parted().await;
    let mut ann = return_to(&server, WebSocket, &token).await;
    ann.finds_as("Ann", KEY).await;
    ann.gets(r#"["waiting"]"#).await;
    ann.has_nothing_new().await;
}

#[tokio::test]
async fn one_of_two_claims_wins() {
    let server = Server::start().await;
    let (ann, mut bob) = Visitor::pair(&server, [WebSocket, WebSocket]).await;
    let token = lose(&server, ann).await;
    let mut first = return_to(&server, WebSocket, &token).await;
    let mut second = return_to(&server, Polling, &token).await;
    first.finds_as("Ann", KEY).await;
    first.gets_matched("Bob").await;
    second.finds_as("Ann", KEY).await;
    second.gets(r#"["waiting"]"#).await;
    first.says("it is me").await;
    bob.hears("Ann", "it is me", "null").await;
    second.has_nothing_new().await;
}

#[tokio::test]
async fn claim_takes_over_a_connection_that_looks_open() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
    let mut again = return_to(&server, Polling, &ann.token).await;
    again.finds_as("Anna", NEW_KEY).await;
    again.gets_matched("Bob").await;
    bob.gets(r#"["hide_typing"]"#).await;
    bob.gets_matched_to("Anna", NEW_KEY).await;
    ann.is_cut_off().await;
    again.says("here").await;
    bob.hears("Anna", "here", "null").await;
}

#[tokio::test]
async fn unusable_key_ends_the_chat() {
    let server = Server::start().await;
    let (ann, mut bob) = Visitor::pair(&server, [WebSocket, WebSocket]).await;
    let token = lose(&server, ann).await;
    let mut ann = return_to(&server, WebSocket, &token).await;
    ann.finds_as("Ann", "no key").await;
    bob.gets_parted().await;
}

#[tokio::test]
async fn client_that_waits_keeps_its_session() {
    let server = Server::start().await;
    let mut ann = Visitor::connect(&server, "Ann", WebSocket).await;
    ann.introduces_itself().await;
    ann.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    let token = lose(&server, ann).await;
    let mut ann = return_to(&server, WebSocket, &token).await;
    ann.finds_as("Ann", KEY).await;
    ann.gets(r#"["waiting"]"#).await;
    ann.has_nothing_new().await;
    let mut bob = Visitor::connect(&server, "Bob", WebSocket).await;
    bob.finds_as("Bob", KEY).await;
    bob.gets(r#"["waiting"]"#).await;
    ann.gets_matched("Bob").await;
    bob.gets_matched("Ann").await;
}

#[tokio::test]
async fn both_may_come_back() {
    let server = Server::start().await;
    let (ann, bob) = Visitor::pair(&server, [WebSocket, WebSocket]).await;
    let tokens = [ann.token.clone(), bob.token.clone()];
    drop((ann, bob));
    until_detached(&server, 2).await;
    let mut ann = return_to(&server, WebSocket, &tokens[0]).await;
    ann.finds_as("Ann", NEW_KEY).await;
    ann.gets_matched("Bob").await;
    let mut bob = return_to(&server, Polling, &tokens[1]).await;
    bob.finds_as("Bobby", KEY).await;
    bob.gets_matched_to("Ann", NEW_KEY).await;
    ann.gets(r#"["hide_typing"]"#).await;
    ann.gets_matched_to("Bobby", KEY).await;
    ann.has_nothing_new().await;
    ann.says("one").await;
    bob.hears("Ann", "one", "null").await;
    bob.says("two").await;
    ann.hears("Bobby", "two", "0").await;
}

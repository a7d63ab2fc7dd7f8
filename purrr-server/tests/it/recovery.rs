//! Connection state recovery, as `socket.io-client` speaks it from version 4.6 on.

use serde_json::Value;

use crate::{
    returning::until_detached,
    support::{KEY, Server},
    visitor::{
        Transport::{self, Polling, Upgraded, WebSocket},
        Visitor,
    },
};

/// What `socket.io-client` keeps of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    sid: String,
    pid: String,
    offset: Option<String>,
}

/// A client that speaks connection state recovery.
struct Client {
    visitor: Visitor,
    kept: Kept,
}

impl Client {
    async fn connect(server: &Server, transport: Transport) -> Self {
        Self::connect_with(server, transport, r#"40{"recovery":true}"#).await
    }

    async fn connect_with(server: &Server, transport: Transport, asking: &str) -> Self {
        let visitor = Visitor::connect_with(server, "Ann", transport, asking).await;
        let (sid, pid) = (visitor.sid.clone(), visitor.token.clone());
        Self { visitor, kept: Kept { sid, pid, offset: None } }
    }

    /// Connects again with what was kept, as the client library does.
    async fn again(server: &Server, transport: Transport, kept: &Kept) -> Self {
        let Kept { pid, offset, .. } = kept;
        let offset = match offset {
            Some(offset) => format!(r#","offset":"{offset}""#),
            None => String::new(),
        };
        let asking = format!(r#"40{{"pid":"{pid}"{offset},"recovery":true}}"#);
        Self::connect_with(server, transport, &asking).await
    }

    /// The session was recovered, and the next event brings the next offset.
    async fn is_recovered(&mut self, before: &Kept) {
        assert_eq!((&self.kept.sid, &self.kept.pid), (&before.sid, &before.pid));
        self.gets(r#"["hide_typing"]"#).await;
    }

    fn is_new(&self, before: &Kept) {
        assert_ne!(self.kept.sid, before.sid);
        assert_ne!(self.kept.pid, before.pid);
    }

    async fn lose(self, server: &Server) -> Kept {
        drop(self.visitor);
        until_detached(server, 1).await;
        self.kept
    }

    /// The next event is this one, with an offset.
    async fn gets(&mut self, expected: &str) {
        let text = self.visitor.text().await;
        let array = text.strip_prefix("42").unwrap_or_else(|| panic!("an event was due: {text}"));
        let mut event: Vec<Value> = serde_json::from_str(array).expect("it is JSON");
        let Some(Value::String(offset)) = event.pop() else { panic!("no offset: {text}") };
        self.kept.offset = Some(offset);
        assert_eq!(Value::from(event).to_string(), expected);
    }

    async fn hears(&mut self, text: &str) {
        self.gets(&format!(r#"["chat message","{text}"]"#)).await;
    }

    async fn pair(server: &Server, transport: Transport) -> (Self, Visitor) {
        let mut ann = Self::connect(server, transport).await;
        let mut bob = Visitor::connect(server, "Bob", WebSocket).await;
        ann.visitor.introduces_itself().await;
        ann.visitor.emit(r#"["find_partner"]"#).await;
        ann.gets(r#"["waiting"]"#).await;
        bob.introduces_itself().await;
        bob.emit(r#"["find_partner"]"#).await;
        bob.gets(r#"["waiting"]"#).await;
        ann.gets(&format!(r#"["matched",{{"partnerName":"Bob","partnerPk":"{KEY}"}}]"#)).await;
        bob.gets_matched("Ann").await;
        (ann, bob)
    }
}

async fn says(visitor: &mut Visitor, text: &str) {
    visitor.emit(&format!(r#"["chat message","{text}"]"#)).await;
}

#[tokio::test]
async fn missed_events_come_once_and_in_order() {
    for transport in [WebSocket, Polling, Upgraded] {
        let server = Server::start().await;
        let (mut ann, mut bob) = Client::pair(&server, WebSocket).await;
        says(&mut bob, "0").await;
        ann.hears("0").await;
        // Read by the client's machine, and never by the client.
        says(&mut bob, "1").await;
        let mut kept = ann.lose(&server).await;
        for text in ["2", "3"] {
            says(&mut bob, text).await;
        }
        bob.gets(r#"["hide_typing"]"#).await;
        for round in 0..2 {
            let mut ann = Client::again(&server, transport, &kept).await;
            ann.is_recovered(&kept).await;
            if round == 0 {
                for text in ["1", "2", "3"] {
                    ann.hears(text).await;
                }
            }
            says(&mut ann.visitor, "here").await;
            bob.gets(r#"["chat message","here"]"#).await;
            says(&mut bob, "4").await;
            ann.hears("4").await;
            if transport == WebSocket {
                kept = ann.lose(&server).await;
                bob.gets(r#"["hide_typing"]"#).await;
            } else {
                return;
            }
        }
    }
}

#[tokio::test]
async fn indices_go_on_after_a_recovery() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Client::pair(&server, WebSocket).await;
    bob.emit(r#"["send_message",{"message":"0"}]"#).await;
    ann.gets(r#"["receive_message",{"body":"0","from":"Bob","image":null,"reply":null}]"#).await;
    bob.emit(r#"["send_message",{"message":"1"}]"#).await;
    let kept = ann.lose(&server).await;
    let mut ann = Client::again(&server, WebSocket, &kept).await;
    ann.is_recovered(&kept).await;
    ann.gets(r#"["receive_message",{"body":"1","from":"Bob","image":null,"reply":null}]"#).await;
    ann.visitor.emit(r#"["send_message",{"message":"2","reply":1}]"#).await;
    bob.gets(r#"["receive_message",{"from":"Ann","body":"2","image":null,"reply":1}]"#).await;
    bob.emit(r#"["send_message",{"message":"3","reply":2}]"#).await;
    ann.gets(r#"["receive_message",{"body":"3","from":"Bob","image":null,"reply":2}]"#).await;
}

#[tokio::test]
async fn end_of_the_chat_is_a_missed_event() {
    let server = Server::start().await;
    let (ann, mut bob) = Client::pair(&server, WebSocket).await;
    let kept = ann.lose(&server).await;
    says(&mut bob, "bye").await;
    bob.emit(r#"["disconnect_partner"]"#).await;
    bob.gets_parted().await;
    let mut ann = Client::again(&server, WebSocket, &kept).await;
    ann.is_recovered(&kept).await;
    ann.hears("bye").await;
    ann.gets(r#"["hide_typing"]"#).await;
    ann.gets(r#"["partner_disconnected"]"#).await;
    ann.visitor.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
}

#[tokio::test]
async fn missed_match_is_told_again() {
    let server = Server::start().await;
    let mut ann = Client::connect(&server, WebSocket).await;
    ann.visitor.introduces_itself().await;
    ann.visitor.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    let kept = ann.kept.clone();
    let mut bob = Visitor::connect(&server, "Bob", WebSocket).await;
    bob.introduces_itself().await;
    bob.emit(r#"["find_partner"]"#).await;
    bob.gets(r#"["waiting"]"#).await;
    bob.gets_matched("Ann").await;
    says(&mut bob, "hello").await;
    ann.lose(&server).await;
    let mut ann = Client::again(&server, WebSocket, &kept).await;
    assert_eq!((&ann.kept.sid, &ann.kept.pid), (&kept.sid, &kept.pid));
    ann.gets(&format!(r#"["matched",{{"partnerName":"Bob","partnerPk":"{KEY}"}}]"#)).await;
    ann.hears("hello").await;
}

#[tokio::test]
async fn what_cannot_be_recovered_is_a_new_session() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Client::pair(&server, WebSocket).await;
    let mut kept = ann.kept.clone();
    ann.visitor.line.send("41").await;
    bob.gets_parted().await;
    Client::again(&server, WebSocket, &kept).await.is_new(&kept);
    for offset in ["", "hello", "00000000000000000000000000000000.7"] {
        kept.offset = Some(offset.to_owned());
        Client::again(&server, WebSocket, &kept).await.is_new(&kept);
    }
}

#[tokio::test]
async fn claim_takes_over_once() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Client::pair(&server, WebSocket).await;
    says(&mut bob, "0").await;
    ann.hears("0").await;
    says(&mut ann.visitor, "from the old connection").await;
    let mut first = Client::again(&server, Polling, &ann.kept).await;
    first.is_recovered(&ann.kept).await;
    ann.visitor.is_cut_off().await;
    bob.gets(r#"["chat message","from the old connection"]"#).await;
    Client::again(&server, WebSocket, &ann.kept).await.is_new(&ann.kept);
    says(&mut bob, "1").await;
    first.hears("1").await;
}

#[tokio::test]
async fn burst_is_acknowledged_by_pongs() {
    let mut config = purrr_server::ServerConfig::default();
    config.limits.rates = None;
    let server = Server::with(config).await;
    let (mut ann, mut bob) = Client::pair(&server, WebSocket).await;
    for number in 0..2_000 {
        says(&mut bob, &number.to_string()).await;
        if number % 100 == 99 {
            for number in number - 99..=number {
                ann.hears(&number.to_string()).await;
            }
        }
    }
}

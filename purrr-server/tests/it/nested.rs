//! Whole chats over the router in another app's own `axum::serve`, as every embedder has it.
//!
//! There the upgraded connection is hyper's, not the socket of our own listener.

use std::{collections::VecDeque, net::SocketAddr};

use axum::{Router, routing::get};
use purrr_core::Hub;
use purrr_server::Config;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{PNG, Peer, raw};

/// Serves an app with the chat under `/chat`, with or without the addresses of its clients.
async fn serve(hub: Hub, connect_info: bool) -> SocketAddr {
    let app = Router::new()
        .route("/", get(|| async { "the app's own page" }))
        .nest("/chat", purrr_server::router(hub, Config::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        if connect_info {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, app).await
        } else {
            axum::serve(listener, app).await
        }
    });
    address
}

async fn connect(address: SocketAddr, name: &'static str) -> Peer {
    let (mut peer, protocol) = Peer::connect_at(address, "/chat/ws", name, Some("purrr.v1")).await;
    assert_eq!(protocol.as_deref(), Some("purrr.v1"));
    peer.gets_type("welcome").await;
    peer
}

/// A Socket.IO client that polls, request by request.
pub(crate) struct Polling {
    address: SocketAddr,
    target: String,
    /// Packets that came with those that were read.
    polled: VecDeque<String>,
}

impl Polling {
    /// Opens a session and connects the namespace.
    pub(crate) async fn connect(address: SocketAddr, prefix: &str) -> Self {
        let target = format!("{prefix}/socket.io/?EIO=4&transport=polling");
        let mut client = Self { address, target, polled: VecDeque::new() };
        let greeting = client.poll().await;
        let greeting: Value = serde_json::from_str(&greeting[1..]).expect("a greeting is JSON");
        let sid = greeting["sid"].as_str().expect("a greeting names the session");
        client.target = format!("{}&sid={sid}", client.target);
        client.send("40").await;
        assert!(client.poll().await.starts_with(r#"40{"sid":"#));
        client
    }

    pub(crate) async fn send(&self, packet: &str) {
        let (target, length) = (&self.target, packet.len());
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let answer = raw(self.address, format!("{head}{packet}")).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{packet}");
    }

    async fn poll(&self) -> String {
        let answer = raw(self.address, format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", self.target));
        let answer = answer.await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The next packets are these, in as many answers as it takes.
    pub(crate) async fn gets(&mut self, packets: &[&str]) {
        while self.polled.len() < packets.len() {
            let answer = self.poll().await;
            self.polled.extend(answer.split('\u{1e}').map(str::to_owned));
        }
        let got: Vec<_> = self.polled.drain(..packets.len()).collect();
        assert_eq!(got, packets);
    }
}

#[tokio::test]
async fn nested_router_carries_chat_of_websockets() {
    for connect_info in [false, true] {
        let hub = Hub::memory();
        let address = serve(hub.clone(), connect_info).await;
        let page = raw(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert_eq!(page.body, "the app's own page");

        let mut ann = connect(address, "Ann").await;
        let mut bob = connect(address, "Bob").await;
        ann.finds().await;
        bob.finds().await;
        let chat = ann.gets_matched("{}", "[]").await;
        assert_eq!(bob.gets_matched("{}", "[]").await, chat);

        let said = r#"{"type":"message","id":1,"text":"hello"}"#;
        ann.send(said).await;
        bob.gets(said).await;
        ann.gets(r#"{"type":"delivered","id":1}"#).await;
        let size = PNG.len();
        let head = format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{size}}}"#);
        bob.send(head.as_str()).await;
        bob.send_bytes(PNG).await;
        ann.gets(head).await;
        assert_eq!(ann.bytes().await, PNG);
        bob.gets(r#"{"type":"delivered","id":1}"#).await;

        ann.send(r#"{"type":"leave"}"#).await;
        ann.gets(r#"{"type":"idle"}"#).await;
        bob.gets(r#"{"type":"left","reason":"left"}"#).await;
        assert_eq!(hub.online(), 2);
    }
}

#[tokio::test]
async fn nested_router_ends_chat_when_connection_resets() {
    for connect_info in [false, true] {
        let address = serve(Hub::memory(), connect_info).await;
        let mut ann = connect(address, "Ann").await;
        let mut bob = connect(address, "Bob").await;
        ann.finds().await;
        bob.finds().await;
        ann.gets_type("matched").await;
        bob.gets_type("matched").await;
        ann.vanish();
        bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
    }
}

#[tokio::test]
async fn nested_router_carries_chat_of_socketio_polling() {
    for connect_info in [false, true] {
        let address = serve(Hub::memory(), connect_info).await;
        let mut cid = Polling::connect(address, "/chat").await;
        cid.send(r#"42["find_partner"]"#).await;
        cid.gets(&[r#"42["waiting"]"#]).await;
        let mut ann = connect(address, "Ann").await;
        ann.finds().await;
        ann.gets_matched("{}", "[]").await;
        cid.gets(&[r#"42["matched",{"partnerName":"Stranger","partnerPk":""}]"#]).await;

        cid.send(r#"42["chat message","hello"]"#).await;
        ann.gets(r#"{"type":"message","id":1,"text":"hello"}"#).await;
        ann.send(r#"{"type":"message","id":1,"text":"hi"}"#).await;
        cid.gets(&[
            r#"42["receive_message",{"from":"Stranger","body":"hi","image":null,"reply":null}]"#,
        ])
        .await;
        ann.send(r#"{"type":"leave"}"#).await;
        cid.gets(&[r#"42["hide_typing"]"#, r#"42["partner_disconnected"]"#]).await;
    }
}

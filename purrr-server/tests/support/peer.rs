//! A person on the native dialect, who sees every byte.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use super::soon;

pub(crate) struct Peer {
    /// Leads every complaint.
    pub(crate) name: &'static str,
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Peer {
    /// Connects and is welcomed.
    pub(crate) async fn connect(address: SocketAddr, name: &'static str) -> Self {
        let (mut peer, protocol) = Self::connect_offering(address, name, Some("purrr.v1")).await;
        assert_eq!(protocol.as_deref(), Some("purrr.v1"));
        peer.gets_type("welcome").await;
        peer
    }

    /// Begins to search.
    pub(crate) async fn finds(&mut self) {
        self.send(r#"{"type":"find"}"#).await;
        self.gets_type("waiting").await;
    }

    /// Connects offering these subprotocols; returns the one agreed to.
    pub(crate) async fn connect_offering(
        address: SocketAddr,
        name: &'static str,
        offered: Option<&'static str>,
    ) -> (Self, Option<String>) {
        Self::connect_at(address, "/ws", name, offered).await
    }

    /// Connects at any path, as [`connect_offering`](Self::connect_offering) does at its own.
    pub(crate) async fn connect_at(
        address: SocketAddr,
        path: &str,
        name: &'static str,
        offered: Option<&'static str>,
    ) -> (Self, Option<String>) {
        let url = format!("ws://{address}{path}");
        let mut request = url.into_client_request().expect("the address makes a URL");
        if let Some(offered) = offered {
            let offered = HeaderValue::from_static(offered);
            request.headers_mut().insert("sec-websocket-protocol", offered);
        }
        let stream = TcpStream::connect(address).await.expect("the server accepts connections");
        // As browsers have it. Otherwise a message right after a pong waits 40 ms for the server's
        // delayed acknowledgement (Nagle's algorithm).
        stream.set_nodelay(true).expect("a socket of TCP");
        let (socket, response) =
            soon(name, client_async(request, stream)).await.expect("the server speaks WebSocket");
        let agreed = response.headers().get("sec-websocket-protocol");
        let agreed = agreed.map(|value| value.to_str().expect("an ASCII header").to_owned());
        (Self { name, socket }, agreed)
    }

    /// Two people without a key who have just been paired, and their chat.
    pub(crate) async fn pair(address: SocketAddr) -> (Self, Self, String) {
        let mut ann = Self::connect(address, "Ann").await;
        let mut bob = Self::connect(address, "Bob").await;
        ann.finds().await;
        bob.finds().await;
        let chat = ann.gets_matched("{}", "[]").await;
        assert_eq!(bob.gets_matched("{}", "[]").await, chat);
        (ann, bob, chat)
    }

    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.feed(Message::text(text.into())).await;
    }

    pub(crate) async fn feed(&mut self, message: Message) {
        soon(self.name, self.socket.send(message)).await.expect("the connection takes messages");
    }

    /// The next message that is no ping.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let next = soon(self.name, self.socket.next()).await;
            let next = next.unwrap_or_else(|| panic!("{}: the connection ended", self.name));
            match next.unwrap_or_else(|error| panic!("{}: {error}", self.name)) {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("{}: a text was due, not {other:?}", self.name),
        }
    }

    /// The next frame is this text, to the byte.
    pub(crate) async fn gets(&mut self, expected: impl AsRef<str>) {
        assert_eq!(self.text().await, expected.as_ref(), "{}", self.name);
    }

    /// The next frame is a JSON object of this type.
    pub(crate) async fn gets_type(&mut self, kind: &str) -> Value {
        let text = self.text().await;
        let value: Value = serde_json::from_str(&text).expect("the server sends JSON");
        assert_eq!(value["type"], kind, "{}: {text}", self.name);
        value
    }

    /// The next frame says that a pair was made, with exactly this partner and these interests; returns the chat.
    pub(crate) async fn gets_matched(&mut self, partner: &str, shared: &str) -> String {
        let text = self.text().await;
        let value: Value = serde_json::from_str(&text).expect("the server sends JSON");
        let chat = value["chat"].as_str().unwrap_or_default().to_owned();
        assert!(chat.len() >= 16, "{}: a chat id must be unguessable: {text}", self.name);
        let expected = format!(
            r#"{{"type":"matched","chat":"{chat}","partner":{partner},"shared":{shared}}}"#
        );
        assert_eq!(text, expected, "{}", self.name);
        chat
    }

    /// The server closes, with this code; returns the reason it gave.
    pub(crate) async fn is_closed(&mut self, code: u16) -> String {
        match self.next().await {
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), code, "{}", self.name);
                frame.reason.as_str().to_owned()
            }
            other => panic!("{}: a close was due, not {other:?}", self.name),
        }
    }
}

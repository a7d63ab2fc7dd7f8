//! What only these tests do with a [`Peer`].

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::{Peer, soon};

impl Peer {
    /// Connects and is welcomed with a token, which is returned.
    pub(crate) async fn connect_remembered(
        address: SocketAddr,
        name: &'static str,
    ) -> (Self, String) {
        let (mut peer, _) = Self::connect_offering(address, name, None).await;
        let welcome = peer.gets_type("welcome").await;
        let token = welcome["resume"].as_str().expect("a welcome brings a token").to_owned();
        (peer, token)
    }

    pub(crate) async fn send_bytes(&mut self, bytes: impl Into<Bytes>) {
        self.feed(Message::binary(bytes)).await;
    }

    /// Sends a text, if the connection goes on; whether it does.
    pub(crate) async fn may_send(&mut self, text: &str) -> bool {
        soon(self.name, self.socket.send(Message::text(text))).await.is_ok()
    }

    /// The next text, or the code with which the server closes.
    pub(crate) async fn text_or_close(&mut self) -> Result<String, u16> {
        match self.next().await {
            Message::Text(text) => Ok(text.as_str().to_owned()),
            Message::Close(Some(frame)) => Err(frame.code.into()),
            other => panic!("{}: a text or a close was due, not {other:?}", self.name),
        }
    }

    pub(crate) async fn bytes(&mut self) -> Bytes {
        match self.next().await {
            Message::Binary(bytes) => bytes,
            other => panic!("{}: bytes were due, not {other:?}", self.name),
        }
    }

    /// The next frame is an error of this code and about this message, with words for people.
    pub(crate) async fn gets_error(&mut self, code: &str, id: Option<u64>) -> String {
        let text = self.text().await;
        let value: Value = serde_json::from_str(&text).expect("the server sends JSON");
        let message = value["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.len() > 10, "{}: an error says what was wrong: {text}", self.name);
        let quoted = Value::from(message.clone());
        let id = id.map_or_else(String::new, |id| format!(r#","id":{id}"#));
        let expected = format!(r#"{{"type":"error","code":"{code}","message":{quoted}{id}}}"#);
        assert_eq!(text, expected, "{}", self.name);
        message
    }

    /// Nothing else has come before the answer to a question asked now.
    pub(crate) async fn has_nothing_new(&mut self) {
        self.send(r#"{"type":"is there anything?"}"#).await;
        self.gets_error("unknown-type", None).await;
    }

    /// Reads this text as often as it comes, then a close with this code; returns the reason it
    /// gave.
    pub(crate) async fn is_closed_after_any(&mut self, text: &str, code: u16) -> String {
        loop {
            match self.next().await {
                Message::Text(same) if same.as_str() == text => {}
                Message::Close(Some(frame)) => {
                    assert_eq!(u16::from(frame.code), code, "{}", self.name);
                    return frame.reason.as_str().to_owned();
                }
                other => panic!("{}: a close was due, not {other:?}", self.name),
            }
        }
    }

    /// Sends a text over and over, however slowly it is taken, until something comes back.
    pub(crate) async fn flood(&mut self, text: &str) -> String {
        let (mut sink, mut stream) = (&mut self.socket).split();
        let flooding = async { while sink.send(Message::text(text)).await.is_ok() {} };
        let answer = async {
            tokio::select! {
                () = flooding => panic!("{}: the connection ended", self.name),
                answer = stream.next() => answer,
            }
        };
        match soon(self.name, answer).await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("{}: a text was due, not {other:?}", self.name),
        }
    }

    /// Goes without a word: the connection is reset.
    pub(crate) fn vanish(self) {
        let stream = self.socket.into_inner();
        stream.set_zero_linger().expect("a connected socket");
        drop(stream);
    }
}

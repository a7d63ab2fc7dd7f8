//! Messages that would harm the client of the partner.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    faults::{Story, check, size, within},
    support::{
        KEY, PNG, Peer,
        wire::{BINARY, FIN, Wire, frame},
    },
};

/// "Images" that a page would fetch from elsewhere, run or show as something else.
const NO_IMAGES: [&str; 5] = [
    "https://evil.example/x.png",
    "//evil.example/x.png",
    "DATA:image/svg+xml;base64,PHN2Zy8+",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "<html><script>alert(1)</script></html>",
];

/// An image of a chat with keys.
const CIPHERTEXT: &str = r#"{"ciphertext":"AA==","iv":"BB=="}"#;

/// Returns what is no image in a chat with this key, or without one.
fn no_images(key: &str) -> impl Iterator<Item = &'static str> {
    NO_IMAGES.into_iter().chain(key.is_empty().then_some(CIPHERTEXT))
}

// ---- Images that are none -----------------------------------------------------------------------

#[tokio::test]
async fn images_that_are_none() {
    let count = size(2, 50);
    let story = Story::new(format!(
        "{count} chats with and without keys: {} \"images\" that are URLs or HTML, without keys also \
         a ciphertext, in each form of both dialects",
        NO_IMAGES.len()
    ));
    check(story.searched(), async |target| {
        let mut refused = 0;
        for key in ["", KEY].repeat(count) {
            refused += native_images(target.address, key).await;
            refused += purrr_chat_images(target.address, key).await;
        }
        format!("{refused} × refused; of each chat only the image arrived")
    })
    .await;
}

async fn native_images(address: SocketAddr, key: &str) -> usize {
    let mut ann = Peer::connect(address, "Ann").await;
    let mut bob = Peer::connect(address, "Bob").await;
    for peer in [&mut ann, &mut bob] {
        if !key.is_empty() {
            peer.send(format!(r#"{{"type":"hello","publicKey":"{key}"}}"#)).await;
        }
        peer.finds().await;
    }
    for peer in [&mut ann, &mut bob] {
        peer.gets_type("matched").await;
    }
    let head = |mime: &str, size: usize, encrypted: bool| {
        format!(
            r#"{{"type":"image","id":1,"mime":"{mime}","size":{size},"encrypted":{encrypted}}}"#
        )
    };
    let mut refused = 0;
    for image in no_images(key) {
        for (mime, encrypted) in [("image/png", false), ("image/png", true), ("text/html", true)] {
            ann.send(head(mime, image.len(), encrypted)).await;
            ann.feed(Message::binary(image)).await;
            let error = ann.gets_type("error").await;
            assert_eq!(error["code"], "unsupported-type", "{mime}: {image}");
            refused += 1;
        }
    }
    let head = head("image/png", PNG.len(), false);
    ann.send(&*head).await;
    ann.feed(Message::binary(PNG)).await;
    // Nothing else comes before it.
    bob.gets_type("image").await;
    assert_eq!(bob.next().await, Message::binary(PNG));
    refused
}

async fn purrr_chat_images(address: SocketAddr, key: &str) -> usize {
    const UPLOAD: &str = r#"["image upload",{"_placeholder":true,"num":0}]"#;
    let mut ann = Visitor::searches(address, key).await;
    let mut bob = Visitor::searches(address, key).await;
    for visitor in [&mut ann, &mut bob] {
        visitor.gets(r#"["matched""#).await;
    }
    let mut refused = 0;
    for image in no_images(key) {
        let quoted = serde_json::json!(image);
        ann.emit(&format!(r#"["send_message",{{"image":{quoted}}}]"#)).await;
        ann.gets(r#"["error""#).await;
        ann.emit(&format!(r#"["image upload",{quoted}]"#)).await;
        ann.gets(r#"["error""#).await;
        ann.emit_binary(UPLOAD, image.as_bytes()).await;
        ann.gets(r#"["error""#).await;
        refused += 3;
    }
    ann.emit_binary(UPLOAD, PNG).await;
    let upload = within("an image", bob.wire.message()).await.0;
    assert_eq!(String::from_utf8_lossy(&upload), format!("451-{UPLOAD}"));
    assert_eq!(within("its bytes", bob.wire.message()).await.0, PNG);
    refused
}

/// A client of the Purrr.chat dialect.
struct Visitor {
    wire: Wire,
}

impl Visitor {
    async fn searches(address: SocketAddr, key: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let path = "/socket.io/?EIO=4&transport=websocket";
        let mut wire = Wire::upgrade(address, stream, path).await;
        wire.say("40").await;
        let mut visitor = Self { wire };
        visitor.until("40").await;
        visitor.emit(&format!(r#"["init_user",{{"name":"Ann","publicKey":"{key}"}}]"#)).await;
        visitor.emit(r#"["find_partner"]"#).await;
        visitor.gets(r#"["waiting""#).await;
        visitor
    }

    async fn emit(&mut self, array: &str) {
        self.wire.say(&format!("42{array}")).await;
    }

    async fn emit_binary(&mut self, array: &str, attachment: &[u8]) {
        self.wire.say(&format!("451-{array}")).await;
        self.wire.send(&frame(FIN | BINARY, attachment)).await;
    }

    /// The next event begins like this.
    async fn gets(&mut self, event: &str) {
        let packet = within("an event", self.wire.message()).await.0;
        let packet = String::from_utf8_lossy(&packet);
        assert!(packet.starts_with(&format!("42{event}")), "{event} was due, not {packet}");
    }

    /// Skips other packets.
    async fn until(&mut self, begin: &str) {
        let packets = async { while !self.wire.message().await.0.starts_with(begin.as_bytes()) {} };
        within("a packet", packets).await;
    }
}

// ---- Ids at the end of the range ----------------------------------------------------------------

#[tokio::test]
async fn ids_at_the_end_of_the_range() {
    let count = size(20, 1_000);
    let story = Story::new(format!("{count} chats: a message with the `id` 2^53 - 1"));
    check(story.searched(), async |target| {
        const LAST: u64 = (1 << 53) - 1;
        let message =
            |id: u64, text: &str| format!(r#"{{"type":"message","id":{id},"text":"{text}"}}"#);
        for _ in 0..count {
            let (mut ann, mut bob, _) = Peer::pair(target.address).await;
            let (first, second) = (message(1, "hi"), message(2, "and on"));
            ann.send(&*first).await;
            bob.gets(&first).await;
            ann.gets_type("delivered").await;
            ann.send(message(LAST, "no id is left")).await;
            assert_eq!(ann.gets_type("error").await["code"], "bad-message");
            // The partner's ids go on behind the highest that it has seen.
            bob.send(&*second).await;
            ann.gets(&second).await;
            bob.gets_type("delivered").await;
            ann.send(message(3, "and on")).await;
            assert_eq!(bob.gets_type("message").await["id"], 3);
        }
        format!("{count} × `bad-message`; both sides go on")
    })
    .await;
}

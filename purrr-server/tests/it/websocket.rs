//! WebSocket frames: those that come in parts or slowly, and those that the server sends.

use std::time::Duration;

use purrr_server::ServerConfig;
use tokio::{io::AsyncReadExt, net::TcpSocket, time::sleep};

use crate::support::{
    Peer, Server, png_of, soon,
    wire::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, Wire, frame, head},
};

#[tokio::test]
async fn fragments_with_interleaved_ping() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let text = br#"{"type":"cancel"}"#;
    wire.send(&frame(TEXT, &text[..1])).await;
    wire.send(&frame(FIN | PING, b"still there?")).await;
    for byte in &text[1..] {
        wire.send(&frame(CONTINUATION, &[*byte])).await;
    }
    wire.send(&frame(FIN | CONTINUATION, b"")).await;
    assert_eq!(
        wire.next().await,
        Some(Frame { first: FIN | PONG, payload: b"still there?".to_vec() })
    );
    let idle = br#"{"type":"idle"}"#.to_vec();
    assert_eq!(wire.next().await, Some(Frame { first: FIN | TEXT, payload: idle }));
}

#[tokio::test]
async fn invalid_text_is_told_at_the_end_of_its_fragment() {
    let server = Server::start().await;
    for fragments in [
        &[&b"ok"[..], b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80"][..],
        &[b"\xff"],
        // The second half of a character cannot follow the first.
        &[b"\xe2\x82", b"A"],
        &[b"\xf0\x9f", b"\x90", b"\x88", b"\xed\xa0\x80"],
    ] {
        let mut wire = Wire::connect(&server).await;
        for (at, fragment) in fragments.iter().enumerate() {
            wire.send(&frame(if at == 0 { TEXT } else { CONTINUATION }, fragment)).await;
        }
        let close = wire.next().await.expect("the message has not ended");
        assert_eq!((close.opcode(), &close.payload[..2]), (CLOSE, &1007_u16.to_be_bytes()[..]));
    }
    // Bytes are not text, and a character may be cut anywhere.
    let mut wire = Wire::connect(&server).await;
    wire.send(&frame(BINARY, b"\xff")).await;
    wire.send(&frame(FIN | CONTINUATION, b"\xff")).await;
    wire.send(&frame(TEXT, b"{\"type\":\"cancel\",\"x\":\"\xf0")).await;
    for piece in [&b"\x9f"[..], b"", b"\x90", b"\x88\"}"] {
        wire.send(&frame(CONTINUATION, piece)).await;
    }
    wire.send(&frame(FIN | CONTINUATION, b"")).await;
    assert!(wire.next().await.unwrap().payload.starts_with(br#"{"type":"error""#));
    assert_eq!(wire.next().await.unwrap().payload, br#"{"type":"idle"}"#);
}

/// Bytes of one frame that the server sends, at most.
const FRAGMENT_MAX: usize = 64 * 1024;

#[tokio::test]
async fn large_message_is_fragmented() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(r#"{"type":"find"}"#).await;
    ann.gets_type("waiting").await;
    let mut wire = Wire::connect(&server).await;
    wire.say(r#"{"type":"find"}"#).await;
    ann.gets_matched("{}", "[]").await;
    while !wire.message().await.0.starts_with(br#"{"type":"matched""#) {}

    // Characters of three bytes, so that some are cut in two.
    let said = format!(r#"{{"type":"message","text":"{}"}}"#, "€".repeat(80_000));
    let announced = r#"{"type":"image","id":1,"mime":"image/png","size":1000001}"#;
    let picture: Vec<u8> = png_of(1_000_001);
    ann.send(&said).await;
    ann.send(announced).await;
    ann.send_bytes(picture.clone()).await;
    for (message, kind) in
        [(said.as_bytes(), TEXT), (announced.as_bytes(), TEXT), (&picture, BINARY)]
    {
        let (arrived, frames) = wire.message().await;
        assert!(arrived == message, "{} bytes of {}", arrived.len(), message.len());
        assert_eq!(frames[0].opcode(), kind);
        for frame in &frames[1..] {
            assert_eq!(frame.opcode(), CONTINUATION);
        }
        let most = frames.iter().map(|frame| frame.payload.len()).max();
        assert!(most <= Some(FRAGMENT_MAX), "{most:?} bytes in a frame");
        assert!(frames.len() <= message.len() / 4_096 + 1, "{} frames", frames.len());
    }
    // And with a library on the other side.
    for text in [said.as_str(), announced] {
        wire.say(text).await;
    }
    wire.send(&frame(FIN | BINARY, &picture)).await;
    ann.gets_type("delivered").await;
    ann.gets(&said).await;
    ann.gets(announced).await;
    assert!(ann.bytes().await == picture, "the picture arrives as it was sent");
}

#[tokio::test]
async fn ping_answered_between_sent_fragments() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(r#"{"type":"find"}"#).await;
    ann.gets_type("waiting").await;
    let mut wire = Wire::connect(&server).await;
    wire.say(r#"{"type":"find"}"#).await;
    ann.gets_matched("{}", "[]").await;
    // More than the system holds for a connection.
    let size = 9_500_000;
    ann.send(format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{size}}}"#)).await;
    ann.send_bytes(png_of(size)).await;
    while wire.next().await.unwrap().first != BINARY {}
    wire.send(&frame(FIN | PING, b"still there?")).await;
    while wire.next().await.unwrap().first != FIN | PONG {}
    // A message that ends after the answer was not held up by it, nor the answer by the message.
    assert_eq!(wire.next().await.unwrap().opcode(), CONTINUATION);
}

#[tokio::test]
async fn protocol_violation_ends_chat_without_timeout() {
    // No timeout can be what tells of it.
    let mut config = ServerConfig::default();
    let hour = Duration::from_secs(3_600);
    (config.routes.ping_interval, config.routes.ping_timeout) = (hour, hour);
    (config.routes.chat_ping_interval, config.routes.chat_ping_timeout) = (hour, hour);
    (config.routes.body_timeout, config.limits.stall) = (hour, hour);
    let server = Server::with(config).await;
    for (bytes, resets) in [(frame(FIN | 3, b""), false), (head(FIN | TEXT, 1_000), true)] {
        let mut bob = Peer::connect(server.address, "Bob").await;
        bob.send(r#"{"type":"find"}"#).await;
        bob.gets_type("waiting").await;
        let mut wire = Wire::connect(&server).await;
        wire.say(r#"{"type":"find"}"#).await;
        bob.gets_matched("{}", "[]").await;
        wire.send(&bytes).await;
        let told = bob.gets(r#"{"type":"left","reason":"lost"}"#);
        if resets {
            wire.stream.set_zero_linger().unwrap();
            drop(wire);
            told.await;
            continue;
        }
        // The server waits for this client to close as well. The partner does not wait with it.
        let closed = async { while wire.next().await.is_some() {} };
        tokio::select! {
            biased;
            () = told => {}
            () = closed => panic!("the partner is told only when the connection is over"),
        }
    }
}

#[tokio::test]
async fn partial_message_does_not_extend_heartbeat() {
    let mut config = ServerConfig::default();
    config.routes.ping_interval = Duration::from_millis(300);
    config.routes.ping_timeout = Duration::from_millis(300);
    // So it is the heartbeat that ends it.
    config.routes.body_timeout = Duration::from_secs(3_600);
    let server = Server::with(config).await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&head(FIN | TEXT, 1_000_000)).await;
    wire.send(b"ten bytes!").await;
    let ended = async {
        while let Some(frame) = wire.next().await {
            assert!(matches!(frame.opcode(), PING | CLOSE), "{frame:?}");
        }
    };
    soon("the end of a connection that stops within a message", ended).await;
}

#[tokio::test]
async fn slow_upload_extends_heartbeat() {
    let mut config = ServerConfig::default();
    config.routes.ping_interval = Duration::from_millis(150);
    config.routes.ping_timeout = Duration::from_millis(150);
    let server = Server::with(config).await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets_type("waiting").await;
    let mut wire = Wire::connect(&server).await;
    wire.say(r#"{"type":"find"}"#).await;
    bob.gets_matched("{}", "[]").await;
    let announced = r#"{"type":"image","id":1,"mime":"image/png","size":80}"#;
    wire.say(announced).await;
    let picture = png_of(80);
    wire.send(&head(FIN | BINARY, 80)).await;
    let sending = async {
        // A browser sends a picture as one frame and cannot answer a ping in the midst of it.
        let mut pace = tokio::time::interval(Duration::from_millis(30));
        for part in picture.chunks(2) {
            pace.tick().await;
            wire.send(part).await;
        }
    };
    let receiving = async {
        bob.gets(announced).await;
        bob.bytes().await
    };
    let ((), bytes) = tokio::join!(sending, receiving);
    assert_eq!(bytes, picture);
}

#[tokio::test]
async fn slow_download_extends_heartbeat() {
    let mut config = ServerConfig::default();
    config.limits.stall = Duration::from_secs(1);
    let server = Server::with(config).await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(r#"{"type":"find"}"#).await;
    ann.gets_type("waiting").await;
    // The less the system holds, the more of the picture waits in the server.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut wire = Wire::shake_hands(&server, stream).await;
    wire.say(r#"{"type":"find"}"#).await;
    ann.gets_matched("{}", "[]").await;

    let size = 9_500_000;
    ann.send(format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{size}}}"#)).await;
    ann.send_bytes(png_of(size)).await;
    let receiving = async {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        let (mut part, mut taken) = (vec![0; 64 * 1024], 0);
        while taken < size {
            pace.tick().await;
            match wire.stream.read(&mut part).await.unwrap() {
                0 => break,
                count => taken += count,
            }
        }
        taken
    };
    let taken = soon("the picture", receiving).await;
    assert!(taken >= size, "the connection was closed after {taken} bytes of {size}");
    ann.gets(r#"{"type":"delivered","id":1}"#).await;
}

#[tokio::test]
async fn slow_line_is_no_stall() {
    const STALL: Duration = Duration::from_secs(2);
    /// Bytes that Ann takes in each eighth of a second.
    const SLOWLY: usize = 65_536 / 8;
    let mut config = ServerConfig::default();
    config.limits.stall = STALL;
    let server = Server::with(config).await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.finds().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut ann = Wire::shake_hands(&server, stream).await;
    ann.say(r#"{"type":"find"}"#).await;
    bob.gets_matched("{}", "[]").await;
    let head = r#"{"type":"image","id":1,"mime":"image/png","size":9000000}"#;
    bob.send(head).await;
    bob.send_bytes(png_of(9_000_000)).await;
    let taking = async {
        let mut taken = vec![0; SLOWLY];
        while matches!(ann.stream.read(&mut taken).await, Ok(1..)) {
            sleep(Duration::from_millis(125)).await;
        }
    };
    tokio::select! {
        () = taking => panic!("Ann's connection ended"),
        told = bob.next() => panic!("Bob was told: {told:?}"),
        () = sleep(3 * STALL) => {}
    }
}

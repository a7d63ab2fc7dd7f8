//! Engine.IO under the Purrr.chat dialect: polling, WebSocket, and the change from the one to the
//! other.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{SinkExt, StreamExt};
use purrr_server::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    returning::until_detached,
    support::{
        Server, png_of, soon,
        wire::{BINARY, CLOSE, CONTINUATION, FIN, TEXT, Wire, frame},
    },
    visitor::{
        Line, Packet, Transport,
        Transport::{Polling, Upgraded, WebSocket},
        Visitor, poll, post, probe, take_over,
    },
};

// ---- Order --------------------------------------------------------------------------------------

/// Events in a burst.
const BURST: usize = 2_000;

#[tokio::test]
async fn burst_arrives_once_in_order_on_every_transport() {
    for from in Transport::ALL {
        for to in Transport::ALL {
            let server = Server::start().await;
            // Who upgrades does so in the midst of the burst.
            let begin = |transport| if transport == Upgraded { Polling } else { transport };
            let (mut ann, mut bob) = Visitor::pair(&server, [begin(from), begin(to)]).await;
            let sending = async {
                for (part, upgrades) in
                    [(0..BURST / 2, from == Upgraded), (BURST / 2..BURST, false)]
                {
                    let packets: Vec<_> = part
                        .map(|n| Packet::Text(format!(r#"42["chat message","{n}"]"#)))
                        .collect();
                    ann.line.send_all(&packets).await;
                    if upgrades {
                        ann.line.upgrade().await;
                    }
                }
            };
            let receiving = async {
                for n in 0..BURST {
                    bob.gets(&format!(r#"["chat message","{n}"]"#)).await;
                    if n == BURST / 4 && to == Upgraded {
                        bob.line.upgrade().await;
                    }
                }
                bob.has_nothing_new().await;
            };
            soon(&format!("{from:?} to {to:?}"), async { tokio::join!(sending, receiving) }).await;
            ann.has_nothing_new().await;
        }
    }
}

#[tokio::test]
async fn upgrade_keeps_packets_of_flushing_session() {
    // With a poll under way, which the probe ends, and without.
    for polls in [false, true] {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
        let Line::Polling { address, session, .. } = &bob.line else { panic!("he polls") };
        let (address, session) = (*address, session.clone());
        let polling = polls.then(|| {
            let session = session.clone();
            tokio::spawn(async move { poll(address, &session).await })
        });
        let socket = probe(address, &session).await;
        let mut polled = Vec::new();
        if let Some(polling) = polling {
            let last = soon("the last poll", polling).await.unwrap();
            polled = last.expect("the session goes on");
        }
        let texts: Vec<_> = ('a'..='t').map(|c| c.to_string().repeat(200_000)).collect();
        let sending = async {
            for text in &texts {
                ann.emit(&format!(r#"["chat message","{text}"]"#)).await;
            }
        };
        let receiving = async {
            // More than a chat holds under way: some of it waits in the session for a poll.
            let held = server.hub.limits().queue_bytes / 200_000 + 1;
            soon("a session that stands still", async {
                while server.hub.stats().frames <= held as u64 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            bob.line = take_over(socket, polled).await;
            for text in &texts {
                let event = bob.text().await;
                assert!(event == format!(r#"42["chat message","{text}"]"#), "{:.40}", event);
            }
            bob.has_nothing_new().await;
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn upgrade_before_first_poll() {
    let server = Server::start().await;
    let Line::Polling { address, session, .. } = Line::polling(&server).await else {
        panic!("it polls");
    };
    let socket = probe(address, &session).await;
    assert_eq!(post(address, &session, "40").await.body, "ok");
    // The answer waits for a poll that will not come.
    let mut line = take_over(socket, []).await;
    let Some(Packet::Text(connected)) = soon("an answer", line.next()).await else {
        panic!("a text was due");
    };
    assert!(connected.starts_with(r#"40{"sid":""#), "{connected}");
    line.send(r#"42["find_partner"]"#).await;
    let waiting = Packet::Text(r#"42["waiting"]"#.to_owned());
    assert_eq!(soon("an answer", line.next()).await, Some(waiting));
}

#[tokio::test]
async fn upgrade_keeps_packets_under_backpressure() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [Polling, Polling]).await;
    let texts: Vec<_> = ('a'..='t').map(|c| c.to_string().repeat(200_000)).collect();
    let event = |text: &str| format!(r#"42["chat message","{text}"]"#);
    let body = texts.iter().map(|text| event(text)).collect::<Vec<_>>().join("\u{1e}");
    let mut posting = Vec::new();
    for visitor in [&ann, &bob] {
        let Line::Polling { address, session, .. } = &visitor.line else { panic!("all poll") };
        let (address, session, body) = (*address, session.clone(), body.clone());
        posting.push(tokio::spawn(async move { post(address, &session, &body).await }));
    }
    // No client polls. What a chat holds under way, what waits for a poll, and one held back, for
    // each.
    let held = 2 * (server.hub.limits().queue_bytes / 200_000 + 5);
    soon("two sessions that stand still", async {
        while server.hub.stats().frames < held as u64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let Line::Polling { address, session, .. } = &bob.line else { panic!("all poll") };
    let socket = probe(*address, session).await;
    bob.line = take_over(socket, []).await;
    for visitor in [&mut bob, &mut ann] {
        for text in &texts {
            let found = visitor.text().await;
            assert!(found == event(text), "{:.40} instead of {:.40}", found, event(text));
        }
    }
    for visitor in [&mut bob, &mut ann] {
        visitor.has_nothing_new().await;
    }
    for answer in posting {
        assert_eq!(soon("an answer", answer).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn aborted_upgrade_keeps_polling() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
    let Line::Polling { address, session, .. } = &bob.line else { panic!("he polls") };
    let mut socket = probe(*address, session).await;
    ann.emit(r#"["chat message","one"]"#).await;
    bob.gets(r#"["chat message","one"]"#).await;
    socket.send(Message::text("no more of this")).await.unwrap();
    // The server lets go of the socket when it has given up, too.
    while let Some(Ok(_)) = soon("the end of the socket", socket.next()).await {}
    for text in ["two", "three"] {
        ann.emit(&format!(r#"["chat message","{text}"]"#)).await;
        bob.gets(&format!(r#"["chat message","{text}"]"#)).await;
    }
    bob.line.upgrade().await;
    ann.emit(r#"["chat message","four"]"#).await;
    bob.gets(r#"["chat message","four"]"#).await;
}

#[tokio::test]
async fn concurrent_upgrade_is_closed() {
    let server = Server::start().await;
    let session = server.polling_session().await;
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={session}");
    // It has not even probed, and could be one of thousands.
    let mut first = Wire::upgrade(&server, server.connect().await, &path).await;
    let mut second = Wire::upgrade(&server, server.connect().await, &path).await;
    second.say("2probe").await;
    let close = second.next().await.expect("a close");
    assert_eq!((close.opcode(), &close.payload[..2]), (CLOSE, &1000_u16.to_be_bytes()[..]));
    first.say("2probe").await;
    assert_eq!(first.next().await.unwrap().payload, b"3probe", "the first goes on");
    drop(first);
    soon("another turn", async {
        loop {
            let mut next = Wire::upgrade(&server, server.connect().await, &path).await;
            next.say("2probe").await;
            if next.next().await.is_some_and(|frame| frame.payload == b"3probe") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn concurrent_post_ends_session() {
    let server = Server::start().await;
    let head = |session: &str| {
        format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4"
        )
    };
    // A second body is not read beside the first.
    let session = server.polling_session().await;
    let mut first = server.connect().await;
    first.write_all(head(&session).as_bytes()).await.unwrap();
    soon("a session that is over", async {
        while post(server.address, &session, "3").await.status != 400 {}
    })
    .await;
    // A body that is given up ends the session at once, and not by a timeout.
    let session = server.polling_session().await;
    let mut given_up = server.connect().await;
    given_up.write_all(head(&session).as_bytes()).await.unwrap();
    drop(given_up);
    let over = [Packet::Text("1".to_owned())];
    let last = soon("the session's end", poll(server.address, &session)).await;
    assert!(last.as_deref().is_none_or(|last| last == over), "{last:?}");
}

// ---- Size ---------------------------------------------------------------------------------------

#[tokio::test]
async fn large_packet_is_fragmented() {
    let server = Server::start().await;
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut wire = Wire::upgrade(&server, server.connect().await, path).await;
    wire.message().await;
    wire.say(r#"40{"autoPair":true}"#).await;
    let mut ann = Visitor::connect(&server, "Ann", WebSocket).await;
    ann.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    ann.gets(r#"["matched",{"partnerName":"Stranger","partnerPk":""}]"#).await;
    while !wire.message().await.0.starts_with(br#"42["matched""#) {}

    let bytes = png_of(1_000_001);
    let url = BASE64_STANDARD.encode(png_of(750_000));
    let array = format!(r#"["image upload","data:image/png;base64,{url}"]"#);
    let placeholder = r#"["image upload",{"_placeholder":true,"num":0}]"#;
    ann.emit(&array).await;
    ann.emit_binary(placeholder, &bytes).await;
    for expected in
        [format!("42{array}").as_bytes(), format!("451-{placeholder}").as_bytes(), &bytes]
    {
        let (message, frames) = wire.message().await;
        assert!(message == expected, "{} bytes of {}", message.len(), expected.len());
        let kind = if expected == bytes { BINARY } else { TEXT };
        assert_eq!(frames[0].opcode(), kind);
        assert!(frames[1..].iter().all(|frame| frame.opcode() == CONTINUATION));
        let most = frames.iter().map(|frame| frame.payload.len()).max();
        assert!(most <= Some(64 * 1024), "{most:?} bytes in a frame");
    }
    // And with a library on the other side.
    wire.say(&format!("42{array}")).await;
    wire.say(&format!("451-{placeholder}")).await;
    wire.send(&frame(FIN | BINARY, &bytes)).await;
    assert!(ann.text().await == format!("42{array}"), "the text arrives as it was sent");
    ann.gets_binary(placeholder, &bytes).await;
}

// ---- What is wrong ------------------------------------------------------------------------------

#[tokio::test]
async fn invalid_engineio_requests_are_refused() {
    let server = Server::start().await;
    for (request, code, message) in [
        ("GET /socket.io/?transport=polling", 5, "Unsupported protocol version"),
        ("GET /socket.io/?EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("GET /socket.io/?EIO=abc&transport=polling", 5, "Unsupported protocol version"),
        ("GET /socket.io/?EIO=4", 0, "Transport unknown"),
        ("GET /socket.io/?EIO=4&transport=pigeon", 0, "Transport unknown"),
        ("GET /socket.io/?EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        ("GET /socket.io/?EIO=4&transport=websocket&sid=unknown", 1, "Session ID unknown"),
        ("POST /socket.io/?EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        ("POST /socket.io/?EIO=4&transport=polling", 2, "Bad handshake method"),
        ("DELETE /socket.io/?EIO=4&transport=polling", 2, "Bad handshake method"),
    ] {
        let answer = server.ask(request, &[]).await;
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        assert_eq!((answer.status, answer.body), (400, body), "{request}");
    }
}

#[tokio::test]
async fn invalid_packets_end_session() {
    let mut config = ServerConfig::default();
    config.limits.image_bytes = 100_000;
    config.limits.message_bytes = 100_000;
    config.routes.max_payload = 110_000;
    let server = Server::with(config).await;
    for (body, status) in [
        (String::new(), 400),
        ("abc".to_owned(), 400),
        ("b!!!".to_owned(), 400),
        ("4a\u{1e}\u{1e}4b".to_owned(), 400),
        ("2\u{1e}".repeat(50_000), 400),
        ("4".repeat(110_001), 413),
    ] {
        let session = server.polling_session().await;
        let answer = post(server.address, &session, &body).await;
        assert_eq!(answer.status, status, "{body:.20}");
        assert_eq!(poll(server.address, &session).await, None, "{body:.20}");
    }
    let session = server.polling_session().await;
    let (first, second) =
        tokio::join!(poll(server.address, &session), poll(server.address, &session));
    // Whichever came second breaks the session; the first is told to close.
    let closed = Some(vec![Packet::Text("1".to_owned())]);
    assert!((&first, &second) == (&closed, &None) || (&first, &second) == (&None, &closed));
}

#[tokio::test]
async fn aborted_poll_loses_the_connection() {
    let server = Server::start().await;
    let (ann, mut bob) = Visitor::pair(&server, [Polling, WebSocket]).await;
    let Line::Polling { session, .. } = &ann.line else { panic!("she polls") };
    let request = format!(
        "GET /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    until_detached(&server, 1).await;
    bob.gets(r#"["hide_typing"]"#).await;
    bob.has_nothing_new().await;
}

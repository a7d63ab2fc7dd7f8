//! The Purrr.chat dialect over real sockets, to the byte: what is asked, what comes back, what the
//! partner gets.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::future::join_all;
use purrr_server::ServerConfig;

use crate::{
    support::{KEY, Peer, Server, png_of, soon},
    visitor::{
        Line, Packet, Transport,
        Transport::{Polling, Upgraded, WebSocket},
        Visitor, post,
    },
};

/// A picture of no bytes that matter, as the frontend sends it.
/// Only how a PNG begins, since no check looks further.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgo=";

const PICTURE_BYTES: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Transports of the one and of the other.
const PAIRS: [[Transport; 2]; 3] =
    [[Polling, WebSocket], [WebSocket, Upgraded], [Upgraded, Polling]];

// ---- Searching ----------------------------------------------------------------------------------

#[tokio::test]
async fn matched_has_name_and_key() {
    for transports in PAIRS {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair(&server, transports).await;
        for visitor in [&mut ann, &mut bob] {
            visitor.has_nothing_new().await;
        }
    }
}

#[tokio::test]
async fn find_is_idempotent() {
    let server = Server::start().await;
    let mut ann = Visitor::connect(&server, "Ann", WebSocket).await;
    for _ in 0..2 {
        ann.emit(r#"["find_partner"]"#).await;
        ann.gets(r#"["waiting"]"#).await;
    }
    assert_eq!(server.hub.census().await.unwrap().waiting, 1);
    let mut bob = Visitor::connect(&server, "Bob", WebSocket).await;
    bob.emit(r#"["find_partner"]"#).await;
    bob.gets(r#"["waiting"]"#).await;
    for visitor in [&mut ann, &mut bob] {
        visitor.gets(r#"["matched",{"partnerName":"Stranger","partnerPk":""}]"#).await;
        visitor.has_nothing_new().await;
    }
}

#[tokio::test]
async fn auto_pair_searches_on_connect() {
    for transport in Transport::ALL {
        let server = Server::start().await;
        let asking = r#"40{"autoPair":true,"of no concern":[1]}"#;
        let mut ann = Visitor::connect_with(&server, "Ann", transport, asking).await;
        ann.gets(r#"["waiting"]"#).await;
        let mut bob = Visitor::connect_with(&server, "Bob", transport, asking).await;
        bob.gets(r#"["waiting"]"#).await;
        for visitor in [&mut ann, &mut bob] {
            visitor.gets(r#"["matched",{"partnerName":"Stranger","partnerPk":""}]"#).await;
        }
        let asking = r#"40{"autoPair":false}"#;
        let mut cid = Visitor::connect_with(&server, "Cid", transport, asking).await;
        cid.has_nothing_new().await;
    }
}

#[tokio::test]
async fn name_chars_limit() {
    let server = Server::start().await;
    let mut ann = Visitor::connect(&server, "Ann", WebSocket).await;
    let mut bob = Visitor::connect(&server, "Bob", Polling).await;
    let name = format!("<b>\\\" \\u0000\u{202e}🐈{}", "ü".repeat(256 - 8));
    ann.emit(&format!(r#"["init_user",{{"name":"{name}","publicKey":"{KEY}"}}]"#)).await;
    for (user, words) in [
        (format!(r#"{{"name":"{}","publicKey":"{KEY}"}}"#, "x".repeat(257)), "256 characters"),
        (format!(r#"{{"name":7,"publicKey":"{KEY}"}}"#), "wrong type"),
        (format!(r#"{{"publicKey":"{KEY}"}}"#), "missing"),
        (r#""Ann""#.to_owned(), "missing"),
    ] {
        ann.emit(&format!(r#"["init_user",{user}]"#)).await;
        let error = ann.gets_error().await;
        assert!(error.contains(words), "{words} in: {error}");
    }
    bob.introduces_itself().await;
    for visitor in [&mut ann, &mut bob] {
        visitor.emit(r#"["find_partner"]"#).await;
        visitor.gets(r#"["waiting"]"#).await;
    }
    ann.gets_matched("Bob").await;
    bob.gets_matched(&name).await;
    ann.emit(r#"["send_message",{"message":"hello"}]"#).await;
    let received = format!(
        r#"["receive_message",{{"from":"{name}","body":"hello","image":null,"reply":null}}]"#
    );
    bob.gets(&received).await;
}

#[tokio::test]
async fn disconnect_partner_leaves_queue() {
    let server = Server::start().await;
    let mut ann = Visitor::connect(&server, "Ann", Polling).await;
    ann.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    ann.emit(r#"["disconnect_partner"]"#).await;
    ann.has_nothing_new().await;
    assert_eq!(server.hub.census().await.unwrap().waiting, 0);
}

// ---- In a chat ----------------------------------------------------------------------------------

#[tokio::test]
async fn every_event_is_relayed_both_ways() {
    for transports in PAIRS {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair(&server, transports).await;
        for from_ann in [true, false] {
            let (name, me, partner) =
                if from_ann { ("Ann", &mut ann, &mut bob) } else { ("Bob", &mut bob, &mut ann) };
            for (sent, received) in events() {
                me.emit(&sent).await;
                if let Some(received) = received {
                    partner.gets(&received.replace("NAME", name)).await;
                }
            }
            for array in [
                r#"["image upload",{"_placeholder":true,"num":0}]"#,
                r#"["image upload",{"image":{"_placeholder":true,"num":0}}]"#,
            ] {
                let ciphertext = br#"{"ciphertext":"AA==","iv":"BB=="}"#;
                for bytes in [&png_of(256)[..], ciphertext] {
                    me.emit_binary(array, bytes).await;
                    partner.gets_binary(array, bytes).await;
                }
            }
            me.has_nothing_new().await;
            partner.has_nothing_new().await;
        }
    }
}

/// What is emitted, and what the partner gets, if anything. The first event is the first message of
/// its sender.
fn events() -> Vec<(String, Option<String>)> {
    let mut events = Vec::new();
    let mut event = |sent: &str, received: &str| {
        let received = Some(received.to_owned()).filter(|received| !received.is_empty());
        events.push((sent.to_owned(), received));
    };
    for (sent, received) in [
        (
            r#"{"message":"one","image":null,"reply":null}"#,
            r#""body":"one","image":null,"reply":null"#,
        ),
        (r#"{"message":"a \"ü\" 🐈\n"}"#, r#""body":"a \"ü\" 🐈\n","image":null,"reply":null"#),
        (r#"{"message":"","reply":0}"#, r#""body":"","image":null,"reply":0"#),
        // An index that is none of a message is no index.
        (r#"{"message":"x","reply":99}"#, r#""body":"x","image":null,"reply":null"#),
        (r#"{"message":"x","reply":-1}"#, r#""body":"x","image":null,"reply":null"#),
        (r#"{"message":"x","reply":0.5}"#, r#""body":"x","image":null,"reply":null"#),
        (r#"{"message":"x","reply":1e300}"#, r#""body":"x","image":null,"reply":null"#),
        (r#"{"message":"x","more":[{}]}"#, r#""body":"x","image":null,"reply":null"#),
        // A ciphertext is not looked into; a picture in the clear is one of five kinds.
        (
            r#"{"message":"{\"ciphertext\":\"AA==\",\"iv\":\"BB==\"}","image":"{\"ciphertext\":\"CC==\",\"iv\":\"DD==\"}","reply":1}"#,
            r#""body":"{\"ciphertext\":\"AA==\",\"iv\":\"BB==\"}","image":"{\"ciphertext\":\"CC==\",\"iv\":\"DD==\"}","reply":1"#,
        ),
        (
            &format!(r#"{{"message":null,"image":"{PICTURE}","reply":null}}"#),
            &format!(r#""body":null,"image":"{PICTURE}","reply":null"#),
        ),
    ] {
        let received = format!(r#"["receive_message",{{"from":"NAME",{received}}}]"#);
        event(&format!(r#"["send_message",{sent}]"#), &received);
    }
    for (sent, received) in [
        (r#"["read_message",{"messageId":0}]"#, r#"["mark_as_read",{"messageId":0}]"#),
        (r#"["read_message",{"messageId":3}]"#, r#"["mark_as_read",{"messageId":3}]"#),
        (r#"["read_message",{"messageId":-1}]"#, ""),
        (r#"["read_message",{"messageId":99}]"#, ""),
        (r#"["read_message",{"messageId":0.5}]"#, ""),
        (r#"["typing_stop"]"#, ""),
        (r#"["typing_start"]"#, r#"["show_typing"]"#),
        (r#"["typing_stop"]"#, r#"["hide_typing"]"#),
        (
            r#"["start_video_call",{"offer":"v=0\r\n"}]"#,
            r#"["recieve_video_call",{"offer":"v=0\r\n"}]"#,
        ),
        (
            r#"["start_video_call",{"offer":"v=0\r\n"}]"#,
            r#"["recieve_video_call",{"offer":"v=0\r\n"}]"#,
        ),
        (r#"["accept_video_call",{"answer":"a"}]"#, r#"["accepted_video_call",{"answer":"a"}]"#),
        (r#"["accept_video_call",{"answer":"a"}]"#, r#"["accepted_video_call",{"answer":"a"}]"#),
        (r#"["refuse_video_call"]"#, r#"["refused_video_calL"]"#),
        (r#"["hang_video_call"]"#, r#"["hanged_video_call"]"#),
    ] {
        event(sent, received);
    }
    // The events of the README arrive as they were sent.
    for same in [
        r#"["chat message","hello"]"#,
        r#"["chat message", { "message" : "hello" } ]"#,
        r#"["chat message",{"message":"hello","reply":0}]"#,
        &format!(r#"["image upload","{PICTURE}"]"#),
        &format!(r#"["image upload",{{"image":"{PICTURE}"}}]"#),
    ] {
        event(same, same);
    }
    events
}

#[tokio::test]
async fn message_index_counts_both_sides() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
    for (from_ann, reply) in [(true, "null"), (false, "0"), (true, "1"), (false, "2"), (true, "0")]
    {
        let (name, me, partner) =
            if from_ann { ("Ann", &mut ann, &mut bob) } else { ("Bob", &mut bob, &mut ann) };
        me.emit(&format!(r#"["send_message",{{"message":"x","reply":{reply}}}]"#)).await;
        partner
            .gets(&format!(
                r#"["receive_message",{{"from":"{name}","body":"x","image":null,"reply":{reply}}}]"#
            ))
            .await;
    }
    for index in 0..5 {
        bob.emit(&format!(r#"["read_message",{{"messageId":{index}}}]"#)).await;
        ann.gets(&format!(r#"["mark_as_read",{{"messageId":{index}}}]"#)).await;
    }
    bob.emit(r#"["read_message",{"messageId":5}]"#).await;
    bob.has_nothing_new().await;
    ann.has_nothing_new().await;

    // They begin anew with every chat, and the page is told so.
    press_refresh(&mut ann).await;
    ann.gets(r#"["mark_as_read",{"messageId":-1}]"#).await;
    ann.gets_parted().await;
    ann.gets(r#"["waiting"]"#).await;
    bob.gets_parted().await;
    bob.emit(r#"["find_partner"]"#).await;
    bob.gets(r#"["waiting"]"#).await;
    bob.gets_matched("Ann").await;
    ann.gets_matched("Bob").await;
    bob.emit(r#"["send_message",{"message":"x","reply":0}]"#).await;
    ann.gets(r#"["receive_message",{"from":"Bob","body":"x","image":null,"reply":null}]"#).await;
    bob.emit(r#"["read_message",{"messageId":4}]"#).await;
    bob.has_nothing_new().await;
    ann.has_nothing_new().await;
}

// ---- The end of a chat --------------------------------------------------------------------------

#[tokio::test]
async fn ping_barrier_drops_events_of_last_chat() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [Polling, WebSocket]).await;
    let mut cid = Visitor::connect(&server, "Cid", WebSocket).await;
    cid.introduces_itself().await;
    cid.emit(r#"["find_partner"]"#).await;
    cid.gets(r#"["waiting"]"#).await;
    // Ann does not poll, so of what she is told about her next partner nothing leaves the server.
    let long = "x".repeat(250_000);
    for _ in 0..6 {
        bob.emit(&format!(r#"["send_message",{{"message":"{long}"}}]"#)).await;
    }
    bob.has_nothing_new().await;
    let events = [
        r#"["disconnect_partner"]"#,
        r#"["find_partner"]"#,
        r#"["send_message",{"message":"meant for Bob"}]"#,
        r#"["typing_start"]"#,
    ];
    ann.line.send_all(&events.map(|event| Packet::Text(format!("42{event}")))).await;
    cid.gets_matched("Ann").await;
    cid.has_nothing_new().await;
}

#[tokio::test]
async fn ping_barrier_timeout() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [Polling, WebSocket]).await;
    let mut cid = Visitor::connect(&server, "Cid", WebSocket).await;
    cid.introduces_itself().await;
    bob.emit(r#"["disconnect_partner"]"#).await;
    ann.gets_parted().await;
    ann.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    cid.emit(r#"["find_partner"]"#).await;
    cid.gets(r#"["waiting"]"#).await;
    cid.gets_matched("Ann").await;
    // Longer than a client has for its answer, once it has been asked.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    ann.emit(r#"["chat message","meant for Bob"]"#).await;
    cid.has_nothing_new().await;
}

/// What the frontend's button does, in one request where there are requests.
async fn press_refresh(visitor: &mut Visitor) {
    let events = [r#"42["disconnect_partner"]"#, r#"42["find_partner"]"#];
    visitor.line.send_all(&events.map(|event| Packet::Text(event.to_owned()))).await;
}

async fn refresh(visitor: &mut Visitor) {
    press_refresh(visitor).await;
    visitor.gets_parted().await;
    visitor.gets(r#"["waiting"]"#).await;
}

#[tokio::test]
async fn disconnect_partner_tells_both() {
    for transports in PAIRS {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair(&server, transports).await;
        ann.emit(r#"["typing_start"]"#).await;
        bob.gets(r#"["show_typing"]"#).await;
        ann.emit(r#"["disconnect_partner"]"#).await;
        ann.gets_parted().await;
        bob.gets_parted().await;
        for visitor in [&mut ann, &mut bob] {
            visitor.emit(r#"["send_message",{"message":"too late"}]"#).await;
            visitor.gets(r#"["error",{"message":"No partner found."}]"#).await;
        }
    }
}

#[tokio::test]
async fn find_partner_in_chat_leaves_and_searches() {
    for transports in PAIRS {
        let server = Server::start().await;
        let (mut ann, mut bob) = Visitor::pair(&server, transports).await;
        refresh(&mut ann).await;
        bob.gets_parted().await;
        refresh_alone(&mut bob).await;
        ann.gets_matched("Bob").await;
        bob.gets_matched("Ann").await;
    }
}

/// The same button when there is no partner any more.
async fn refresh_alone(visitor: &mut Visitor) {
    let events = [r#"42["disconnect_partner"]"#, r#"42["find_partner"]"#];
    visitor.line.send_all(&events.map(|event| Packet::Text(event.to_owned()))).await;
    visitor.gets(r#"["waiting"]"#).await;
}

/// A server that awaits no lost client.
fn without_resume() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.limits.resume_window = Duration::ZERO;
    config
}

#[tokio::test]
async fn connection_loss_ends_chat() {
    for transports in PAIRS {
        let config = match transports[0] {
            Polling => ServerConfig::default(),
            _ => without_resume(),
        };
        let server = Server::with(config).await;
        let (ann, mut bob) = Visitor::pair(&server, transports).await;
        match ann.line {
            // The client library ends its session by saying so.
            Line::Polling { address, session, .. } => {
                assert_eq!(post(address, &session, "1").await.status, 200);
            }
            socket => drop(socket),
        }
        bob.gets_parted().await;
        bob.has_nothing_new().await;
    }
}

#[tokio::test]
async fn drain_is_announced_and_lets_chats_finish() {
    for transports in PAIRS {
        // So long that no idle disconnect comes meanwhile.
        let mut config = ServerConfig::default();
        config.guards.drain = Duration::from_secs(3_600);
        let mut server = Server::with(config).await;
        let (mut ann, mut bob) = Visitor::pair(&server, transports).await;
        let mut idle = Visitor::connect(&server, "idle", transports[0]).await;
        let mut waiting = Visitor::connect(&server, "waiting", transports[1]).await;
        waiting.emit(r#"["find_partner"]"#).await;
        waiting.gets(r#"["waiting"]"#).await;

        let all = [&mut ann, &mut bob, &mut idle, &mut waiting];
        let told = join_all(all.map(async |visitor| visitor.text().await));
        // The polls are under way, or come after the news.
        let (told, ()) = tokio::join!(told, async { server.shut_down() });
        for text in told {
            let wait = text.strip_prefix(r#"42["draining",{"retryAfterMs":"#).unwrap_or_default();
            let wait: u64 = wait.trim_end_matches("}]").parse().expect(&text);
            assert!((1_000..=6_000).contains(&wait), "{text}");
        }
        ann.emit(r#"["chat message","let us finish"]"#).await;
        bob.gets(r#"["chat message","let us finish"]"#).await;
        ann.emit(r#"["disconnect_partner"]"#).await;
        ann.gets_parted().await;
        bob.gets_parted().await;
        for visitor in [&mut idle, &mut waiting] {
            visitor.emit(r#"["find_partner"]"#).await;
            visitor.gets_error().await;
        }
        for visitor in [&mut ann, &mut bob, &mut idle, &mut waiting] {
            // The server may have stopped before another poll.
            if let Line::WebSocket { .. } = visitor.line {
                visitor.is_cut_off().await;
            }
        }
        server.stopped().await;
    }
}

// ---- What is wrong ------------------------------------------------------------------------------

#[tokio::test]
async fn events_without_partner_are_refused() {
    for transport in Transport::ALL {
        let server = Server::start().await;
        let mut ann = Visitor::connect(&server, "Ann", transport).await;
        for event in [
            r#"["send_message",{"message":"x","image":null,"reply":null}]"#,
            r#"["read_message",{"messageId":0}]"#,
            r#"["typing_start"]"#,
            r#"["typing_stop"]"#,
            r#"["start_video_call",{"offer":"x"}]"#,
            r#"["accept_video_call",{"answer":"x"}]"#,
            r#"["refuse_video_call"]"#,
            r#"["hang_video_call"]"#,
            r#"["chat message","x"]"#,
            r#"["image upload","data:image/png;base64,"]"#,
        ] {
            ann.emit(event).await;
            ann.gets(r#"["error",{"message":"No partner found."}]"#).await;
        }
        ann.emit_binary(r#"["image upload",{"_placeholder":true,"num":0}]"#, b"x").await;
        ann.gets(r#"["error",{"message":"No partner found."}]"#).await;
        // To leave without a partner is no mistake.
        ann.emit(r#"["disconnect_partner"]"#).await;
        ann.has_nothing_new().await;
    }
}

/// A picture that claims 65,535 by 65,535.
const VAST: &[u8] = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\0;";

#[tokio::test]
async fn invalid_events_get_errors() {
    let server = Server::start().await;
    let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
    let long = "x".repeat(262_145);
    let vast = BASE64_STANDARD.encode(VAST);
    for (event, words) in [
        (r#"["send_message"]"#.to_owned(), "`send_message` needs an argument"),
        (r#"["send_message",{}]"#.to_owned(), "needs a `message` or an `image`"),
        (r#"["send_message",{"message":null,"image":null}]"#.to_owned(), "`message` or an `image`"),
        (r#"["send_message",{"message":7}]"#.to_owned(), "wrong type"),
        (r#"["send_message",{"message":"x","image":[]}]"#.to_owned(), "wrong type"),
        (r#"["send_message",{"message":"x","reply":"0"}]"#.to_owned(), "wrong type"),
        (r#"["send_message","x"]"#.to_owned(), "wrong type"),
        (format!(r#"["send_message",{{"message":"{long}"}}]"#), "262144 bytes"),
        (r#"["send_message",{"image":"data:text/html;base64,AA=="}]"#.to_owned(), "JPEG, PNG"),
        (r#"["send_message",{"image":"data:image/svg+xml;base64,AA=="}]"#.to_owned(), "JPEG, PNG"),
        (r#"["send_message",{"image":"data:image/png,x"}]"#.to_owned(), "JPEG, PNG"),
        (r#"["send_message",{"image":"data:image/png;base64,PHN2Zy8+"}]"#.to_owned(), "MIME type"),
        (r#"["image upload","data:image/gif;base64,iVBORw0KGgo="]"#.to_owned(), "MIME type"),
        (format!(r#"["image upload","data:image/gif;base64,{vast}"]"#), "pixels"),
        (format!(r#"["send_message",{{"image":"data:image/gif;base64,{vast}"}}]"#), "pixels"),
        (r#"["send_message",{"image":"data:image/png;base64,A A="}]"#.to_owned(), "strict base64"),
        (r#"["send_message",{"image":"data:image/png;base64,AA"}]"#.to_owned(), "strict base64"),
        (r#"["send_message",{"image":"data:image/png;base64,_-=="}]"#.to_owned(), "strict base64"),
        (r#"["read_message",{"messageId":"0"}]"#.to_owned(), "`read_message`"),
        (r#"["read_message"]"#.to_owned(), "`read_message` needs an argument"),
        (r#"["start_video_call",{}]"#.to_owned(), "the field `offer`"),
        (r#"["start_video_call",{"offer":null}]"#.to_owned(), "the field `offer`"),
        (r#"["start_video_call","x"]"#.to_owned(), "`start_video_call`"),
        (r#"["accept_video_call",{"offer":"x"}]"#.to_owned(), "the field `answer`"),
        (format!(r#"["start_video_call",{{"offer":"{long}"}}]"#), "262144 bytes"),
        (r#"["chat message",7]"#.to_owned(), "`chat message`"),
        (r#"["chat message",{"text":"x"}]"#.to_owned(), "`chat message`"),
        (format!(r#"["chat message","{long}"]"#), "262144 bytes"),
        (r#"["image upload",7]"#.to_owned(), "`image upload`"),
        (r#"["image upload","data:image/bmp;base64,AA=="]"#.to_owned(), "JPEG, PNG"),
        (r#"["find_partner"]"#.to_owned(), "partner already"),
        (r#"["receive_message",{"from":"x"}]"#.to_owned(), "unknown event"),
        (r#"["connect"]"#.to_owned(), "unknown event"),
        (r#"["disconnect"]"#.to_owned(), "unknown event"),
        (r#"["error",{"message":"x"}]"#.to_owned(), "unknown event"),
    ] {
        ann.emit(&event).await;
        let error = ann.gets_error().await;
        assert!(error.contains(words), "{words} in: {error}, for {event:.60}");
    }
    ann.emit_binary(r#"["image upload",{"_placeholder":true,"num":0}]"#, VAST).await;
    assert!(ann.gets_error().await.contains("pixels"));
    ann.emit_binary(r#"["chat message",{"_placeholder":true,"num":0}]"#, b"x").await;
    assert_eq!(ann.gets_error().await, "`chat message` takes no binary data");
    ann.emit_binary(r#"["<script>",{"_placeholder":true,"num":0}]"#, b"x").await;
    assert_eq!(ann.gets_error().await, "`this event` takes no binary data");
    ann.emit(r#"["init_user",{"name":[]}]"#).await;
    ann.gets_error().await;
    // Ann's page counts the two that were too long, since it shows them; Bob's has seen neither.
    ann.emit(r#"["send_message",{"message":"first","reply":0}]"#).await;
    bob.gets(r#"["receive_message",{"from":"Ann","body":"first","image":null,"reply":null}]"#)
        .await;
    bob.emit(r#"["send_message",{"message":"second","reply":0}]"#).await;
    ann.gets(r#"["receive_message",{"from":"Bob","body":"second","image":null,"reply":2}]"#).await;
}

#[tokio::test]
async fn image_bytes_limit() {
    let mut config = ServerConfig::default();
    config.limits.image_bytes = 1_000;
    let server = Server::with(config).await;
    let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, Polling]).await;
    let sealed = "x".repeat(1_001);
    for event in [
        format!(r#"["send_message",{{"image":"{sealed}"}}]"#),
        format!(r#"["image upload","{sealed}"]"#),
    ] {
        ann.emit(&event).await;
        assert_eq!(ann.gets_error().await, "image too large; maximum 1000 bytes");
    }
    let placeholder = r#"["image upload",{"_placeholder":true,"num":0}]"#;
    let image = png_of(1_001);
    for bytes in [sealed.as_bytes(), &image] {
        ann.emit_binary(placeholder, bytes).await;
        assert_eq!(ann.gets_error().await, "image too large; maximum 1000 bytes");
    }
    ann.emit_binary(placeholder, &image[..1_000]).await;
    bob.gets_binary(placeholder, &image[..1_000]).await;
}

/// Images that are neither an image nor a ciphertext.
const NO_IMAGES: [&str; 8] = [
    "https://evil.example/x.png",
    "//evil.example/x.png",
    "DATA:image/svg+xml;base64,PHN2Zy8+",
    "DATA:image/png;base64,iVBORw0KGgo=",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "<html><script>alert(1)</script></html>",
    r#"{\"ciphertext\":\"<script>\",\"iv\":\"BB==\"}"#,
    "",
];

#[tokio::test]
async fn image_is_a_checked_image_or_a_ciphertext() {
    const UPLOAD: &str = r#"["image upload",{"_placeholder":true,"num":0}]"#;
    const CIPHERTEXT: &str = r#"{\"ciphertext\":\"AA==\",\"iv\":\"BB==\"}"#;
    for has_keys in [true, false] {
        let server = Server::start().await;
        let (mut ann, mut bob) = if has_keys {
            Visitor::pair(&server, [WebSocket, Polling]).await
        } else {
            Visitor::pair_without_keys(&server, [WebSocket, Polling]).await
        };
        for image in NO_IMAGES {
            ann.emit(&format!(r#"["send_message",{{"image":"{image}"}}]"#)).await;
            ann.gets_error().await;
            ann.emit(&format!(r#"["image upload","{image}"]"#)).await;
            ann.gets_error().await;
            ann.emit_binary(UPLOAD, image.replace('\\', "").as_bytes()).await;
            ann.gets_error().await;
        }
        let send = format!(r#"["send_message",{{"image":"{CIPHERTEXT}"}}]"#);
        let upload = format!(r#"["image upload","{CIPHERTEXT}"]"#);
        let bytes = CIPHERTEXT.replace('\\', "");
        ann.emit(&send).await;
        if has_keys {
            let body = r#""body":null,"image":"#;
            bob.gets(&format!(
                r#"["receive_message",{{"from":"Ann",{body}"{CIPHERTEXT}","reply":null}}]"#
            ))
            .await;
            ann.emit(&upload).await;
            bob.gets(&upload).await;
            ann.emit_binary(UPLOAD, bytes.as_bytes()).await;
            bob.gets_binary(UPLOAD, bytes.as_bytes()).await;
        } else {
            let words = "this chat is not encrypted; send the image itself";
            assert_eq!(ann.gets_error().await, words);
            ann.emit(&upload).await;
            assert_eq!(ann.gets_error().await, words);
            ann.emit_binary(UPLOAD, bytes.as_bytes()).await;
            assert_eq!(ann.gets_error().await, words);
        }
        ann.emit_binary(UPLOAD, &png_of(100)).await;
        bob.gets_binary(UPLOAD, &png_of(100)).await;
    }
}

#[tokio::test]
async fn encrypted_image_of_a_native_client_is_a_ciphertext() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(format!(r#"{{"type":"hello","name":"Ann","publicKey":"{KEY}"}}"#)).await;
    ann.finds().await;
    let mut bob = Visitor::connect(&server, "Bob", Polling).await;
    bob.introduces_itself().await;
    bob.emit(r#"["find_partner"]"#).await;
    bob.gets(r#"["waiting"]"#).await;
    bob.gets_matched("Ann").await;
    ann.gets_type("matched").await;
    for image in NO_IMAGES {
        let size = image.len();
        ann.send(format!(
            r#"{{"type":"image","id":1,"mime":"image/png","size":{size},"encrypted":true}}"#
        ))
        .await;
        ann.send_bytes(image).await;
        let error = ann.gets_type("error").await;
        assert_eq!((&error["code"], &error["id"]), (&"unsupported-type".into(), &1.into()));
    }
    ann.send(r#"{"type":"message","text":"hi"}"#).await;
    bob.gets(r#"["receive_message",{"from":"Ann","body":"hi","image":null,"reply":null}]"#).await;
}

#[tokio::test]
async fn other_namespaces_are_refused() {
    for transport in [Polling, WebSocket] {
        let server = Server::start().await;
        let mut line = match transport {
            WebSocket => Line::websocket(&server).await,
            _ => Line::polling(&server).await,
        };
        let refused = Packet::Text(r#"44/nope,{"message":"Invalid namespace"}"#.to_owned());
        for asking in ["40/nope,", "40/nope", r#"40/nope,{"token":"x"}"#] {
            line.send(asking).await;
            assert_eq!(soon("an answer", line.next()).await, Some(refused.clone()), "{asking}");
        }
        line.send(&format!("40/{},", "x".repeat(65_536))).await;
        let Some(Packet::Text(answer)) = soon("an answer", line.next()).await else {
            panic!("a text was due");
        };
        assert!(answer.starts_with("44/xxx") && answer.len() < 512, "{} bytes", answer.len());
        // Nothing is lost by having asked, neither before nor after.
        line.send("40/,").await;
        let Some(Packet::Text(connected)) = soon("an answer", line.next()).await else {
            panic!("a text was due");
        };
        assert!(connected.starts_with(r#"40{"sid":""#), "{connected}");
        line.send("40/nope,").await;
        assert_eq!(soon("an answer", line.next()).await, Some(refused));
        line.send("40").await;
        line.send(r#"42["find_partner"]"#).await;
        let waiting = Packet::Text(r#"42["waiting"]"#.to_owned());
        assert_eq!(soon("an answer", line.next()).await, Some(waiting));
        assert_eq!(server.hub.online(), 1);
    }
}

#[tokio::test]
async fn invalid_socketio_packet_ends_session() {
    let server = Server::start().await;
    for packet in [
        "",
        "9",
        "0{}",
        "4",
        "47",
        "42{}",
        "42[]",
        "42[1,2]",
        "42[\"find_partner\"",
        "42",
        "41",
        "42-1[\"find_partner\"]",
        "42/nope,[\"find_partner\"]",
        "4599999999-[\"image upload\"]",
        "450-[\"image upload\"]",
        "452-[\"image upload\"]",
        "451-[\"image upload\",{\"_placeholder\":true,\"num\":7}]",
        "451-[\"image upload\",{\"_placeholder\":true,\"num\":-1}]",
        "451-[\"image upload\"]",
        "451-[\"image upload\",\"x\"]",
        "4212345678901234567890[\"find_partner\"]",
    ] {
        let (mut ann, mut bob) = Visitor::pair(&server, [WebSocket, WebSocket]).await;
        ann.line.send(packet).await;
        ann.is_cut_off().await;
        bob.gets_parted().await;
    }
    for packets in [
        vec![Packet::Binary("unasked".into())],
        vec![
            Packet::Text(r#"451-["image upload",{"_placeholder":true,"num":0}]"#.to_owned()),
            Packet::Text(r#"42["find_partner"]"#.to_owned()),
        ],
    ] {
        for transport in [Polling, WebSocket] {
            let (mut ann, mut bob) = Visitor::pair(&server, [transport, WebSocket]).await;
            ann.line.send_all(&packets).await;
            ann.is_cut_off().await;
            bob.gets_parted().await;
        }
    }
}

#[tokio::test]
async fn events_before_namespace_end_session() {
    let mut config = ServerConfig::default();
    config.routes.connect_timeout = Duration::from_millis(300);
    let server = Server::with(config).await;
    for transport in [Polling, WebSocket] {
        for packet in [Some(r#"42["find_partner"]"#), Some("40[1,2"), Some("41"), None] {
            let mut line = match transport {
                WebSocket => Line::websocket(&server).await,
                _ => Line::polling(&server).await,
            };
            if let Some(packet) = packet {
                line.send(packet).await;
            }
            assert_eq!(soon("the end of the session", line.next()).await, None, "{packet:?}");
        }
    }
    assert_eq!(server.hub.stats().arrivals, 0);
}

// ---- With a peer on the native dialect ----------------------------------------------------------

#[tokio::test]
async fn chat_across_dialects() {
    let server = Server::start().await;
    let mut ann = Visitor::connect(&server, "Ann", Upgraded).await;
    ann.introduces_itself().await;
    ann.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.send(format!(r#"{{"type":"hello","name":"Bob","publicKey":"{KEY}"}}"#)).await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets_type("waiting").await;
    bob.gets_matched(&format!(r#"{{"name":"Ann","publicKey":"{KEY}"}}"#), "[]").await;
    ann.gets_matched("Bob").await;

    // What one says the other gets in its own words; ids on the one side are indices on the other.
    ann.emit(r#"["send_message",{"message":"one","image":null,"reply":null}]"#).await;
    bob.gets(r#"{"type":"message","id":1,"text":"one"}"#).await;
    bob.send(r#"{"type":"message","id":7,"text":"two","reply":1}"#).await;
    ann.gets(r#"["receive_message",{"from":"Bob","body":"two","image":null,"reply":0}]"#).await;
    bob.gets(r#"{"type":"delivered","id":7}"#).await;
    ann.emit(r#"["send_message",{"message":"three","reply":1}]"#).await;
    bob.gets(r#"{"type":"message","id":8,"text":"three","reply":7}"#).await;
    ann.emit(r#"["chat message",{"message":"four"}]"#).await;
    bob.gets(r#"{"type":"message","id":9,"text":"four"}"#).await;
    ann.emit(r#"["read_message",{"messageId":1}]"#).await;
    bob.gets(r#"{"type":"read","id":7}"#).await;
    bob.send(r#"{"type":"read","id":8}"#).await;
    ann.gets(r#"["mark_as_read",{"messageId":2}]"#).await;
    ann.emit(r#"["typing_start"]"#).await;
    bob.gets(r#"{"type":"typing","on":true}"#).await;
    bob.send(r#"{"type":"typing","on":true}"#).await;
    ann.gets(r#"["show_typing"]"#).await;
    bob.send(r#"{"type":"typing","on":false}"#).await;
    ann.gets(r#"["hide_typing"]"#).await;

    // A picture is a data URL here and bytes there.
    ann.emit(&format!(r#"["send_message",{{"message":"look","image":"{PICTURE}"}}]"#)).await;
    bob.gets(r#"{"type":"message","id":10,"text":"look"}"#).await;
    let image = bob.gets_type("image").await;
    assert_eq!((&image["mime"], &image["size"]), (&"image/png".into(), &8.into()), "{image}");
    assert_eq!(bob.bytes().await, PICTURE_BYTES);
    bob.send(r#"{"type":"image","id":12,"mime":"image/png","size":8}"#).await;
    bob.send_bytes(PICTURE_BYTES).await;
    let received = format!(
        r#"["receive_message",{{"from":"Bob","body":null,"image":"{PICTURE}","reply":null}}]"#
    );
    ann.gets(&received).await;
    bob.gets(r#"{"type":"delivered","id":12}"#).await;
    ann.emit_binary(r#"["image upload",{"_placeholder":true,"num":0}]"#, PICTURE_BYTES).await;
    assert_eq!(bob.gets_type("image").await["mime"], "image/png");
    assert_eq!(bob.bytes().await, PICTURE_BYTES);
    let sealed = r#"{\"ciphertext\":\"AA==\",\"iv\":\"BB==\"}"#;
    ann.emit(&format!(r#"["send_message",{{"image":"{sealed}"}}]"#)).await;
    assert_eq!(bob.gets_type("image").await["encrypted"], true);
    let plain = r#"{"ciphertext":"AA==","iv":"BB=="}"#;
    assert_eq!(bob.bytes().await, plain.as_bytes());
    let size = plain.len();
    let head = format!(
        r#"{{"type":"image","id":13,"mime":"application/octet-stream","size":{size},"encrypted":true}}"#
    );
    bob.send(head).await;
    bob.send_bytes(plain).await;
    let received = format!(
        r#"["receive_message",{{"from":"Bob","body":null,"image":"{sealed}","reply":null}}]"#
    );
    ann.gets(&received).await;
    bob.gets(r#"{"type":"delivered","id":13}"#).await;

    // The steps of a call.
    for (event, signal) in [
        (r#"["start_video_call",{"offer":"v=0"}]"#, r#""kind":"offer","data":"v=0""#),
        (r#"["accept_video_call",{"answer":"v=0"}]"#, r#""kind":"answer","data":"v=0""#),
        (r#"["refuse_video_call"]"#, r#""kind":"refuse""#),
        (r#"["hang_video_call"]"#, r#""kind":"hangup""#),
    ] {
        ann.emit(event).await;
        bob.gets(format!(r#"{{"type":"signal",{signal}}}"#)).await;
    }
    for (signal, event) in [
        (r#""kind":"offer","data":"v=0""#, r#"["recieve_video_call",{"offer":"v=0"}]"#),
        (r#""kind":"answer","data":"v=0""#, r#"["accepted_video_call",{"answer":"v=0"}]"#),
        (r#""kind":"refuse""#, r#"["refused_video_calL"]"#),
        (r#""kind":"hangup""#, r#"["hanged_video_call"]"#),
    ] {
        bob.send(format!(r#"{{"type":"signal",{signal}}}"#)).await;
        ann.gets(event).await;
    }
    // What one of them has no words for is refused, not dropped.
    bob.send(r#"{"type":"signal","kind":"candidate","data":"x"}"#).await;
    bob.gets_error("unsupported-by-partner", None).await;

    ann.emit(r#"["disconnect_partner"]"#).await;
    ann.gets(r#"["mark_as_read",{"messageId":-1}]"#).await;
    ann.gets_parted().await;
    bob.gets(r#"{"type":"left","reason":"left"}"#).await;
    ann.has_nothing_new().await;
    bob.has_nothing_new().await;
}

#[tokio::test]
async fn peer_without_key_does_not_meet_frontend_with_key() {
    let server = Server::start().await;
    let mut ann = Visitor::connect(&server, "Ann", WebSocket).await;
    ann.introduces_itself().await;
    ann.emit(r#"["find_partner"]"#).await;
    ann.gets(r#"["waiting"]"#).await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets_type("waiting").await;
    let mut cid = Visitor::connect(&server, "Cid", WebSocket).await;
    cid.emit(r#"["init_user",{"name":"Cid","publicKey":"none"}]"#).await;
    cid.emit(r#"["find_partner"]"#).await;
    cid.gets(r#"["waiting"]"#).await;
    // The two who can open nothing have each other.
    cid.gets(r#"["matched",{"partnerName":"Stranger","partnerPk":""}]"#).await;
    bob.gets_type("matched").await;
    ann.has_nothing_new().await;
}

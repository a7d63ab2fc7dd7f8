//! The native dialect over real sockets, to the byte: what is asked, what comes back, what the
//! partner gets.

use std::time::{Duration, Instant};

use futures::future::join_all;
use purrr_server::ServerConfig;

use crate::support::{KEY, PNG, Peer, Server, png_of, soon};

/// Long enough that nothing is ever late, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

fn config(change: impl FnOnce(&mut ServerConfig)) -> ServerConfig {
    let mut config = ServerConfig::default();
    change(&mut config);
    config
}

// ---- Arriving -----------------------------------------------------------------------------------

#[tokio::test]
async fn welcome_comes_first_with_limits() {
    let server = Server::start().await;
    let (mut ann, _) = Peer::connect_offering(server.address, "Ann", None).await;
    let welcome = ann.text().await;
    let session = welcome.split('"').nth(9).expect("a welcome names the session");
    let resume = welcome.split('"').nth(13).expect("a welcome brings a token");
    assert_eq!(resume.len(), 32);
    assert_eq!(
        welcome,
        format!(
            r#"{{"type":"welcome","protocol":1,"session":"{session}","resume":"{resume}","online":1,"limits":{{"messageBytes":262144,"imageBytes":9500000,"signalBytes":262144,"nameChars":256,"interests":32,"interestChars":64,"languages":8,"languageChars":35}},"calls":"video","iceServers":[],"search":{{"languageAfterMs":5000,"anyoneAfterMs":20000}}}}"#
        )
    );
    let (mut bob, _) = Peer::connect_offering(server.address, "Bob", None).await;
    assert_eq!(bob.gets_type("welcome").await["online"], 2);
}

#[tokio::test]
async fn subprotocol_is_negotiated() {
    let server = Server::start().await;
    for (offered, agreed) in [
        (None, None),
        (Some("purrr.v1"), Some("purrr.v1")),
        (Some("chat, purrr.v1"), Some("purrr.v1")),
    ] {
        let (_, protocol) = Peer::connect_offering(server.address, "Ann", offered).await;
        assert_eq!(protocol.as_deref(), agreed, "{offered:?}");
    }
}

// ---- Searching ----------------------------------------------------------------------------------

#[tokio::test]
async fn find_matches_two_peers() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    ann.send(r#"{"type":"hello","name":"Ann \"1\" ü"}"#).await;
    ann.send(r#"{"type":"find","interests":["Trains","cats "],"languages":["en"]}"#).await;
    ann.gets(r#"{"type":"waiting","online":2,"waiting":0}"#).await;
    bob.send(r#"{"type":"find","interests":["chess","CATS"]}"#).await;
    bob.gets(r#"{"type":"waiting","online":2,"waiting":1}"#).await;
    let chat = ann.gets_matched("{}", r#"["cats"]"#).await;
    assert_eq!(bob.gets_matched(r#"{"name":"Ann \"1\" ü"}"#, r#"["cats"]"#).await, chat);
}

#[tokio::test]
async fn spellings_of_one_tag_meet() {
    let mut config = ServerConfig::default();
    config.routes.language_after = Duration::ZERO;
    config.routes.anyone_after = Duration::from_secs(3_600);
    let server = Server::with(config).await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    let mut bob = Peer::connect(server.address, "Bob").await;
    for (mine, theirs, shared) in [
        (r#""interests":["caf\u00e9"]"#, r#""interests":["CAFE\u0301"]"#, "[\"café\"]"),
        (
            r#""interests":["\uff21\uff2e\uff29\uff2d\uff25"]"#,
            r#""interests":[" #Anime "]"#,
            r#"["anime"]"#,
        ),
        (
            r#""interests":["late\u00a0 night"]"#,
            r#""interests":["Late Night"]"#,
            r#"["late night"]"#,
        ),
        (r#""interests":["ca\u00adts"]"#, r#""interests":["\u200bcats","CATS"]"#, r#"["cats"]"#),
        (r#""languages":["pt-BR"]"#, r#""languages":["pt"]"#, "[]"),
        (r#""languages":["en_US"]"#, r#""languages":["de","en-GB"]"#, "[]"),
    ] {
        ann.send(format!(r#"{{"type":"find",{mine}}}"#)).await;
        ann.gets_type("waiting").await;
        bob.send(format!(r#"{{"type":"find",{theirs}}}"#)).await;
        bob.gets_type("waiting").await;
        ann.gets_matched("{}", shared).await;
        bob.gets_matched("{}", shared).await;
        ann.send(r#"{"type":"leave"}"#).await;
        ann.gets_type("idle").await;
        bob.gets_type("left").await;
        // Otherwise the two would be kept apart as recent partners.
        ann = Peer::connect(server.address, "Ann").await;
        bob = Peer::connect(server.address, "Bob").await;
    }
}

#[tokio::test]
async fn find_is_idempotent() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.send(r#"{"type":"find"}"#).await;
    ann.gets(r#"{"type":"waiting","online":1,"waiting":0}"#).await;
    ann.send(r#"{"type":"find","interests":["cats"]}"#).await;
    ann.gets(r#"{"type":"waiting","online":1,"waiting":1}"#).await;
    assert_eq!(server.hub.census().await.unwrap().waiting, 1);

    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets_type("waiting").await;
    bob.gets_matched("{}", "[]").await;
    ann.gets_matched("{}", "[]").await;
    for command in ["find", "cancel"] {
        ann.send(format!(r#"{{"type":"{command}"}}"#)).await;
        ann.gets_error("already-paired", None).await;
    }
    bob.has_nothing_new().await;
}

#[tokio::test]
async fn cancel_leaves_the_queue() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    for command in ["cancel", "leave"] {
        ann.send(r#"{"type":"find"}"#).await;
        ann.gets_type("waiting").await;
        ann.send(format!(r#"{{"type":"{command}"}}"#)).await;
        ann.gets(r#"{"type":"idle"}"#).await;
        assert_eq!(server.hub.census().await.unwrap().waiting, 0);
        ann.send(format!(r#"{{"type":"{command}"}}"#)).await;
        ann.gets(r#"{"type":"idle"}"#).await;
    }
}

#[tokio::test]
async fn peers_with_key_meet_only_peers_with_key() {
    let server = Server::start().await;
    let mut keyed = Peer::connect(server.address, "keyed").await;
    keyed.send(format!(r#"{{"type":"hello","publicKey":"{KEY}"}}"#)).await;
    keyed.send(r#"{"type":"find"}"#).await;
    keyed.gets_type("waiting").await;
    let mut plain = Peer::connect(server.address, "plain").await;
    plain.send(r#"{"type":"find"}"#).await;
    plain.gets_type("waiting").await;
    let mut also_keyed = Peer::connect(server.address, "also keyed").await;
    also_keyed.send(format!(r#"{{"type":"hello","name":"K","publicKey":"{KEY}"}}"#)).await;
    also_keyed.send(r#"{"type":"find"}"#).await;
    also_keyed.gets_type("waiting").await;
    also_keyed.gets_matched(&format!(r#"{{"publicKey":"{KEY}"}}"#), "[]").await;
    keyed.gets_matched(&format!(r#"{{"name":"K","publicKey":"{KEY}"}}"#), "[]").await;
    plain.has_nothing_new().await;
}

#[tokio::test]
async fn invalid_key_is_refused() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    for key in ["", "key", &KEY[..80], &KEY.replace('+', "-")] {
        ann.send(format!(r#"{{"type":"hello","name":"Ann","publicKey":"{key}"}}"#)).await;
        ann.gets_error("bad-message", None).await;
    }
}

#[tokio::test]
async fn forty_peers_are_all_matched() {
    let server = Server::start().await;
    let people = (0..40).map(|number| {
        let address = server.address;
        tokio::spawn(async move {
            let mut peer = Peer::connect(address, "one of forty").await;
            peer.send(format!(r#"{{"type":"hello","name":"{number}"}}"#)).await;
            peer.send(r#"{"type":"find"}"#).await;
            peer.gets_type("waiting").await;
            let matched = peer.gets_type("matched").await;
            let partner = matched["partner"]["name"].as_str().unwrap().to_owned();
            // The partner may be on its way still, so no peer leaves.
            ((number.to_string(), partner, matched["chat"].clone()), peer)
        })
    });
    let people: Vec<_> = join_all(people).await.into_iter().map(Result::unwrap).collect();
    for ((name, partner, chat), _) in &people {
        assert_ne!(name, partner);
        let ((_, back, same), _) = people
            .iter()
            .find(|((other, ..), _)| other == partner)
            .expect("a partner is one of them");
        assert_eq!((back, same), (name, chat));
    }
    assert_eq!(server.hub.census().await.unwrap().pairs, 20);
}

// ---- Talking ------------------------------------------------------------------------------------

#[tokio::test]
async fn messages_arrive_byte_for_byte() {
    let server = Server::start().await;
    let (mut ann, mut bob, chat) = Peer::pair(server.address).await;
    for frame in [
        r#"{"type":"message","text":"without an id"}"#,
        r#"{"type":"message","text":""}"#,
        r#"  { "text" : "\u00fc ü \ud83d\ude3a \u0000 \u202e" , "type":"message" , "later":[1,{"x":null}] } "#,
        r#"{"type":"message","text":"an answer","reply":7}"#,
        r#"{"type":"typing","on":true}"#,
        r#"{"type":"typing","on":false}"#,
        r#"{"type":"read","id":9007199254740991}"#,
        r#"{"type":"signal","kind":"offer","data":"v=0\r\n"}"#,
        r#"{"type":"signal","kind":"answer","data":"v=0"}"#,
        r#"{"type":"signal","kind":"candidate","data":"candidate:1"}"#,
        r#"{"type":"signal","kind":"candidate","data":"candidate:1"}"#,
        r#"{"type":"signal","kind":"refuse"}"#,
        r#"{"type":"signal","kind":"hangup"}"#,
        &format!(r#"{{"type":"message","chat":"{chat}","text":"meant for this chat"}}"#),
    ] {
        ann.send(frame).await;
        bob.gets(frame).await;
        bob.send(frame).await;
        ann.gets(frame).await;
    }
}

#[tokio::test]
async fn delivered_in_order() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let frames = [
        r#"{"type":"message","id":0,"text":"first"}"#,
        r#"{"type":"message","text":"no receipt is due for this"}"#,
        r#"{"type":"message","id":41,"text":"second"}"#,
    ];
    for frame in frames {
        ann.send(frame).await;
        bob.gets(frame).await;
    }
    ann.gets(r#"{"type":"delivered","id":0}"#).await;
    ann.gets(r#"{"type":"delivered","id":41}"#).await;
    ann.has_nothing_new().await;
}

#[tokio::test]
async fn image_is_head_and_binary_frame() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let photograph = b"\xff\xd8\xff\xe0".iter().copied();
    let noise = (4..5_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    let photograph: Vec<u8> = photograph.chain(noise).collect();
    let dot = PNG.len();
    for (id, head, bytes) in [
        (1, format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{dot}}}"#), PNG.to_vec()),
        (
            2,
            r#"{"mime":"image/jpeg", "size":5000000,"type":"image","id":2,"reply":1}"#.to_owned(),
            photograph,
        ),
    ] {
        ann.send(&*head).await;
        ann.send_bytes(bytes.clone()).await;
        bob.gets(&head).await;
        assert!(bob.bytes().await == bytes, "the bytes of {head}");
        ann.gets(format!(r#"{{"type":"delivered","id":{id}}}"#)).await;
    }
}

#[tokio::test]
async fn encrypted_image_needs_keys_and_the_form_of_a_ciphertext() {
    let head = |id: u32, mime: &str, size: usize| {
        format!(r#"{{"type":"image","id":{id},"mime":"{mime}","size":{size},"encrypted":true}}"#)
    };
    for has_keys in [true, false] {
        let server = Server::start().await;
        let mut ann = Peer::connect(server.address, "Ann").await;
        let mut bob = Peer::connect(server.address, "Bob").await;
        for peer in [&mut ann, &mut bob] {
            if has_keys {
                peer.send(format!(r#"{{"type":"hello","publicKey":"{KEY}"}}"#)).await;
            }
            peer.finds().await;
        }
        for peer in [&mut ann, &mut bob] {
            peer.gets_type("matched").await;
        }
        let ciphertexts =
            [r#"{"ciphertext":"AA==","iv":"BB=="}"#, r#"{ "iv": "BB==", "ciphertext": "" }"#];
        for (image, is_ciphertext) in ciphertexts.map(|it| (it, true)).into_iter().chain([
            ("<html><script>alert(1)</script></html>", false),
            ("https://evil.example/x.png", false),
            ("{}", false),
            ("", false),
        ]) {
            for (id, mime) in [(1, "image/png"), (2, "text/plain")] {
                let head = head(id, mime, image.len());
                ann.send(&*head).await;
                ann.send_bytes(image).await;
                if has_keys && is_ciphertext {
                    bob.gets(&head).await;
                    assert_eq!(bob.bytes().await, image.as_bytes());
                    ann.gets(format!(r#"{{"type":"delivered","id":{id}}}"#)).await;
                } else {
                    let error = ann.gets_type("error").await;
                    let expected = (&"unsupported-type".into(), &id.into());
                    assert_eq!((&error["code"], &error["id"]), expected, "{image}");
                }
            }
        }
        // A key that comes later changes nothing for the chat.
        ann.send(format!(r#"{{"type":"hello","publicKey":"{KEY}"}}"#)).await;
        let dot = format!(r#"{{"type":"image","id":3,"mime":"image/png","size":{}}}"#, PNG.len());
        ann.send(&*dot).await;
        ann.send_bytes(PNG).await;
        bob.gets(&dot).await;
        assert_eq!(bob.bytes().await, PNG);
    }
}

#[tokio::test]
async fn id_far_beyond_the_last_is_refused() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let message = |id: u64| format!(r#"{{"type":"message","id":{id},"text":"hi"}}"#);
    let far = 5 + (1 << 30);
    for (id, accepted) in
        [((1 << 53) - 1, false), (5, true), ((1 << 53) - 1, false), (far + 1, false), (far, true)]
    {
        ann.send(message(id)).await;
        if accepted {
            bob.gets(message(id)).await;
            ann.gets(format!(r#"{{"type":"delivered","id":{id}}}"#)).await;
        } else {
            let error = ann.gets_type("error").await;
            assert_eq!((&error["code"], &error["id"]), (&"bad-message".into(), &id.into()));
        }
    }
    bob.send(message(far + 1)).await;
    ann.gets(message(far + 1)).await;
}

#[tokio::test]
async fn thousand_messages_arrive_once_in_order() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let frame = |n: u32| {
        format!(r#"{{"type":"message","id":{n},"text":"{}"}}"#, "x".repeat(n as usize % 50))
    };
    let saying = async {
        for n in 1..=1_000 {
            ann.send(frame(n)).await;
        }
        for n in 1..=1_000 {
            ann.gets(format!(r#"{{"type":"delivered","id":{n}}}"#)).await;
        }
    };
    let listening = async {
        for n in 1..=1_000 {
            bob.gets(frame(n)).await;
        }
    };
    tokio::join!(saying, listening);
}

#[tokio::test]
async fn message_of_other_chat_is_dropped() {
    let server = Server::start().await;
    let (mut ann, mut bob, chat) = Peer::pair(server.address).await;
    bob.send(r#"{"type":"next"}"#).await;
    bob.gets_type("waiting").await;
    ann.gets(r#"{"type":"left","reason":"next"}"#).await;
    let mut cid = Peer::connect(server.address, "Cid").await;
    cid.send(r#"{"type":"find"}"#).await;
    cid.gets_type("waiting").await;
    let new_chat = cid.gets_matched("{}", "[]").await;
    assert_eq!(bob.gets_matched("{}", "[]").await, new_chat);
    assert_ne!(chat, new_chat);

    bob.send(format!(r#"{{"type":"message","id":1,"text":"late","chat":"{chat}"}}"#)).await;
    let size = PNG.len();
    let head =
        format!(r#"{{"type":"image","id":2,"mime":"image/png","size":{size},"chat":"{chat}"}}"#);
    bob.send(head).await;
    bob.send_bytes(PNG).await;
    bob.send(r#"{"type":"typing","on":true,"chat":"no chat at all"}"#).await;
    bob.send(r#"{"type":"message","text":"in time"}"#).await;
    cid.gets(r#"{"type":"message","text":"in time"}"#).await;
    bob.has_nothing_new().await;
}

// ---- Parting ------------------------------------------------------------------------------------

#[tokio::test]
async fn next_leaves_and_searches_in_one_step() {
    let server = Server::with(config(|config| config.limits.recent_partners = 0)).await;
    let (mut ann, mut bob, chat) = Peer::pair(server.address).await;
    ann.send(r#"{"type":"next"}"#).await;
    ann.gets(r#"{"type":"waiting","online":2,"waiting":0}"#).await;
    bob.gets(r#"{"type":"left","reason":"next"}"#).await;
    // The peer that was left is idle, and may search again.
    bob.send(r#"{"type":"message","id":8,"text":"are you there?"}"#).await;
    bob.gets_error("not-paired", Some(8)).await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets(r#"{"type":"waiting","online":2,"waiting":1}"#).await;
    let new_chat = bob.gets_matched("{}", "[]").await;
    assert_eq!(ann.gets_matched("{}", "[]").await, new_chat);
    assert_ne!(chat, new_chat);
}

#[tokio::test]
async fn leave_ends_chat() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    ann.send(r#"{"type":"message","text":"goodbye"}"#).await;
    ann.send(r#"{"type":"leave"}"#).await;
    ann.gets(r#"{"type":"idle"}"#).await;
    bob.gets(r#"{"type":"message","text":"goodbye"}"#).await;
    bob.gets(r#"{"type":"left","reason":"left"}"#).await;
    ann.has_nothing_new().await;
    bob.has_nothing_new().await;
}

#[tokio::test]
async fn connection_reset_ends_chat_without_timeout() {
    // Neither a heartbeat nor the stall can be what tells of it.
    let server = Server::with(config(|config| {
        let hour = Duration::from_secs(3_600);
        (config.routes.ping_interval, config.routes.ping_timeout) = (hour, hour);
        (config.routes.chat_ping_interval, config.routes.chat_ping_timeout) = (hour, hour);
        config.limits.stall = hour;
    }))
    .await;
    let (ann, mut bob, _) = Peer::pair(server.address).await;
    ann.vanish();
    bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
    assert_eq!(server.hub.census().await.unwrap().pairs, 0);
}

#[tokio::test]
async fn reset_while_waiting_leaves_lobby() {
    let server = Server::start().await;
    for _ in 0..50 {
        let mut ghost = Peer::connect(server.address, "a ghost").await;
        ghost.send(r#"{"type":"find"}"#).await;
        ghost.gets_type("waiting").await;
        ghost.vanish();
        while server.hub.census().await.unwrap().waiting > 0 {
            tokio::task::yield_now().await;
        }
    }
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    ann.has_nothing_new().await;
    bob.has_nothing_new().await;
}

// ---- What is wrong ------------------------------------------------------------------------------

#[tokio::test]
async fn invalid_messages_get_errors() {
    // With limits the third of some of these is the last.
    let server = Server::with(config(|config| config.routes.rate_limits = false)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let deep = "[".repeat(100_000);
    let nested = format!(r#"{{"type":"next","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for (frame, code, id, words) in [
        ("", "bad-message", None, "JSON"),
        ("PLANTED", "bad-message", None, "JSON"),
        ("[]", "bad-message", None, "one JSON object"),
        ("42", "bad-message", None, "one JSON object"),
        (r#""""#, "bad-message", None, "one JSON object"),
        (&deep, "bad-message", None, "one JSON object"),
        (&nested, "bad-message", None, "JSON"),
        ("{}", "bad-message", None, "`type`"),
        (r#"{"type":7}"#, "bad-message", None, "`type`"),
        (r#"{"type":"PLANTED"}"#, "unknown-type", None, "`type`"),
        (r#"{"type":"__proto__"}"#, "unknown-type", None, "`type`"),
        (r#"{"type":"message"}"#, "bad-message", None, "`text`"),
        (r#"{"type":"message","id":3,"text":null}"#, "bad-message", Some(3), "`text`"),
        (r#"{"type":"message","id":3,"text":["PLANTED"]}"#, "bad-message", Some(3), "`text`"),
        (r#"{"type":"message","id":-1,"text":"PLANTED"}"#, "bad-message", None, "`id`"),
        (r#"{"type":"message","id":1.5,"text":"PLANTED"}"#, "bad-message", None, "`id`"),
        (r#"{"type":"read","id":1e999}"#, "bad-message", None, "JSON"),
        (r#"{"type":"read","id":18446744073709551617}"#, "bad-message", None, "`id`"),
        (r#"{"type":"read","id":1,"id":2}"#, "bad-message", None, "twice"),
        (r#"{"type":"message","text":"\ud800"}"#, "bad-message", None, "JSON"),
        (r#"{"type":"typing","on":"yes"}"#, "bad-message", None, "`on`"),
        (r#"{"type":"signal","kind":"PLANTED"}"#, "bad-message", None, "`kind`"),
        (r#"{"type":"find","interests":"PLANTED"}"#, "bad-message", None, "`interests`"),
        (r#"{"type":"image","id":4,"mime":"image/png"}"#, "bad-message", Some(4), "`size`"),
        (r#"{"type":"hello","resume":"PLANTED"}"#, "unknown-session", None, "`resume`"),
        (r#"{"type":"hello","resume":7}"#, "bad-message", None, "`resume`"),
        (r#"{"type":"report","reason":"PLANTED"}"#, "not-supported", None, "report"),
    ] {
        ann.send(frame).await;
        let message = ann.gets_error(code, id).await;
        let shown: String = frame.chars().take(60).collect();
        assert!(message.contains(words), "{shown}: {message}");
        assert!(!message.contains("PLANTED"), "{shown}: {message}");
    }
    ann.send(r#"{"type":"message","text":"still here"}"#).await;
    bob.gets(r#"{"type":"message","text":"still here"}"#).await;
}

#[tokio::test]
async fn mislabelled_images_are_refused() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;

    ann.send_bytes(vec![1, 2, 3]).await;
    ann.gets_error("bad-message", None).await;

    ann.send(r#"{"type":"image","id":1,"mime":"image/png","size":3}"#).await;
    ann.send_bytes(vec![1, 2]).await;
    ann.gets_error("bad-message", Some(1)).await;

    ann.send(r#"{"type":"image","id":2,"mime":"image/svg+xml","size":1}"#).await;
    ann.gets_error("unsupported-type", Some(2)).await;
    ann.send_bytes(vec![1]).await;

    // What it is called is not what it is; a drawing may run scripts where it is opened.
    for (mime, bytes) in [
        ("image/png", &b"<svg/>"[..]),
        ("image/jpeg", PNG),
        ("image/webp", b"RIFF\x24\0\0\0WAVEfmt "),
        ("image/gif", b""),
    ] {
        let size = bytes.len();
        ann.send(format!(r#"{{"type":"image","id":5,"mime":"{mime}","size":{size}}}"#)).await;
        ann.send_bytes(bytes).await;
        ann.gets_error("unsupported-type", Some(5)).await;
    }

    ann.send(r#"{"type":"image","id":3,"mime":"image/png","size":9500001}"#).await;
    ann.send_bytes(png_of(9_500_001)).await;
    ann.gets_error("too-large", Some(3)).await;

    // A text where bytes are due: the head is dropped, and its sender is told.
    ann.send(r#"{"type":"image","id":4,"mime":"image/png","size":1}"#).await;
    ann.send(r#"{"type":"typing","on":true}"#).await;
    ann.gets_error("bad-message", Some(4)).await;
    ann.send_bytes(vec![1]).await;
    ann.gets_error("bad-message", None).await;

    ann.send(r#"{"type":"message","text":"still here"}"#).await;
    bob.gets(r#"{"type":"message","text":"still here"}"#).await;
}

#[tokio::test]
async fn limit_errors_name_the_limit() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let text = |bytes: usize| format!(r#"{{"type":"message","text":"{}"}}"#, "x".repeat(bytes));
    ann.send(text(262_144)).await;
    bob.gets(text(262_144)).await;
    ann.send(text(262_145)).await;
    assert!(ann.gets_error("too-long", None).await.contains("262144"));
    ann.send(format!(r#"{{"type":"signal","kind":"offer","data":"{}"}}"#, "x".repeat(262_145)))
        .await;
    assert!(ann.gets_error("too-long", None).await.contains("262144"));

    let mut cid = Peer::connect(server.address, "Cid").await;
    for (frame, code, limit) in [
        (format!(r#"{{"type":"hello","name":"{}"}}"#, "ü".repeat(257)), "too-long", "256"),
        (format!(r#"{{"type":"hello","name":"{}"}}"#, "x".repeat(10_000)), "too-long", "256"),
        (format!(r#"{{"type":"hello","name":"{}"}}"#, "x".repeat(1 << 20)), "too-long", "16384"),
        (format!(r#"{{"type":"find","interests":["{}"]}}"#, "x".repeat(65)), "too-long", "64"),
        (
            format!(r#"{{"type":"find","interests":["a"{}]}}"#, r#","b""#.repeat(1_000)),
            "too-many",
            "32",
        ),
        (format!(r#"{{"type":"find","languages":["a"{}]}}"#, r#","b""#.repeat(8)), "too-many", "8"),
    ] {
        cid.send(frame).await;
        assert!(cid.gets_error(code, None).await.contains(limit), "{limit}");
    }
    cid.send(format!(r#"{{"type":"hello","name":"{}"}}"#, "ü".repeat(256))).await;
    cid.has_nothing_new().await;
}

#[tokio::test]
async fn messages_without_partner_are_refused() {
    let server = Server::start().await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    for state in ["idle", "waiting"] {
        if state == "waiting" {
            ann.send(r#"{"type":"find"}"#).await;
            ann.gets_type("waiting").await;
        }
        for (frame, id) in [
            (r#"{"type":"message","id":5,"text":"hello?"}"#, Some(5)),
            (r#"{"type":"message","text":"hello?"}"#, None),
            (r#"{"type":"typing","on":true}"#, None),
            (r#"{"type":"read","id":6}"#, Some(6)),
            (r#"{"type":"signal","kind":"offer"}"#, None),
        ] {
            ann.send(frame).await;
            ann.gets_error("not-paired", id).await;
        }
        let size = PNG.len();
        ann.send(format!(r#"{{"type":"image","id":7,"mime":"image/png","size":{size}}}"#)).await;
        ann.send_bytes(PNG).await;
        ann.gets_error("not-paired", Some(7)).await;
    }
    let mut bob = Peer::connect(server.address, "Bob").await;
    bob.send(r#"{"type":"find"}"#).await;
    bob.gets_type("waiting").await;
    bob.gets_matched("{}", "[]").await;
    bob.has_nothing_new().await;
}

// ---- Connections that go wrong ------------------------------------------------------------------

#[tokio::test]
async fn max_payload_closes_with_1009() {
    let server = Server::with(config(|config| {
        config.routes.max_payload = 100_000;
        config.limits.image_bytes = 50_000;
        config.limits.message_bytes = 50_000;
    }))
    .await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    ann.send("x".repeat(100_001)).await;
    ann.is_closed(1009).await;
    bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
}

#[tokio::test]
async fn heartbeat_timeout_closes_connection() {
    let server = Server::with(config(|config| {
        config.routes.ping_interval = SHORT;
        config.routes.ping_timeout = SHORT;
        // Bob asks without a pause.
        config.routes.rate_limits = false;
    }))
    .await;
    let (ann, mut bob, _) = Peer::pair(server.address).await;
    // Pings are answered while Bob is read from; Ann is not.
    bob.gets(r#"{"type":"left","reason":"lost"}"#).await;
    drop(ann);
    let began = Instant::now();
    while began.elapsed() < 3 * SHORT {
        bob.has_nothing_new().await;
    }
}

#[tokio::test]
async fn stall_disconnects_slow_reader() {
    let server = Server::with(config(|config| config.limits.stall = SHORT)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let (mut cid, mut dee, _) = Peer::pair(server.address).await;
    let flood = format!(r#"{{"type":"message","text":"{}"}}"#, "x".repeat(100_000));
    let told = ann.flood(&flood).await;
    assert!(told.starts_with(r#"{"type":"error","code":"partner-slow","#), "{told}");
    // At once: the server waits a limited time for a client to take its close.
    assert_eq!(bob.is_closed_after_any(&flood, 1008).await, "slow");
    ann.gets(r#"{"type":"left","reason":"lost"}"#).await;
    cid.send(r#"{"type":"typing","on":true}"#).await;
    dee.gets(r#"{"type":"typing","on":true}"#).await;
}

// ---- Going away ---------------------------------------------------------------------------------

#[tokio::test]
async fn drain_is_announced_and_lets_chats_finish() {
    // So long that no idle disconnect comes meanwhile.
    let hour = Duration::from_secs(3_600);
    let mut server = Server::with(config(|config| config.guards.drain = hour)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let mut idle = Peer::connect(server.address, "idle").await;
    let mut waiting = Peer::connect(server.address, "waiting").await;
    waiting.send(r#"{"type":"hello","publicKey":null}"#).await;
    waiting.send(r#"{"type":"find"}"#).await;
    waiting.gets_type("waiting").await;

    server.shut_down();
    for peer in [&mut ann, &mut bob, &mut idle, &mut waiting] {
        let told = peer.gets_type("draining").await;
        assert!(told["retryAfterMs"].is_u64(), "{told}");
    }
    waiting.gets(r#"{"type":"idle"}"#).await;
    idle.send(r#"{"type":"find"}"#).await;
    idle.gets_error("draining", None).await;
    idle.gets(r#"{"type":"idle"}"#).await;
    assert_eq!(idle.is_closed(1001).await, "draining");
    waiting.send(r#"{"type":"cancel"}"#).await;
    waiting.gets(r#"{"type":"idle"}"#).await;
    waiting.is_closed(1001).await;

    ann.send(r#"{"type":"message","text":"let us finish"}"#).await;
    bob.gets(r#"{"type":"message","text":"let us finish"}"#).await;
    ann.send(r#"{"type":"next"}"#).await;
    ann.gets_error("draining", None).await;
    bob.gets(r#"{"type":"left","reason":"next"}"#).await;
    bob.is_closed(1001).await;
    drop(ann);
    server.stopped().await;
}

#[tokio::test]
async fn drain_timeout_closes_chats() {
    let mut server = Server::with(config(|config| config.guards.drain = SHORT)).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    server.shut_down();
    for peer in [&mut ann, &mut bob] {
        peer.gets_type("draining").await;
        peer.gets(r#"{"type":"left","reason":"ended"}"#).await;
        peer.is_closed(1001).await;
    }
    soon("the end", server.stopped()).await;
}

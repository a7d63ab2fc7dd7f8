//! What an app can do with the routes: nest them, leave parts out, observe, collect the metrics.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, Version, request::Parts},
    response::Response,
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use purrr_core::{
    Hub, Observer, Profile,
    hub::{ChatSide, EndedBy, Ending},
    model::{ChatEnd, PersonId},
};
use purrr_server::{Config, Guards, Part, RouterBuilder, router};
use tokio::{io::AsyncWriteExt, time::Instant};
use tower::ServiceExt;

use crate::support::{Answer, Peer, Server, soon};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Returns the status of the answer to a request for a path.
async fn status(app: &Router, path: &str) -> StatusCode {
    let request = Request::get(path).header("host", "x").body(Body::empty()).expect("a request");
    app.clone().oneshot(request).await.expect("routes do not fail").status()
}

// ---- Nesting ------------------------------------------------------------------------------------

#[tokio::test]
async fn routes_are_nested_under_path_with_parameters() {
    let chat = || router(Hub::memory(), Config::default());
    let nested = Router::new().nest("/t/{tenant}/{name}", chat());
    let mounted = Router::new().nest_service("/t/{tenant}/{name}", chat());
    for (app, slash) in [(nested, 404), (mounted, 200)] {
        for (path, expected) in [
            ("/t/acme/x/assets/app.js", 200),
            ("/t/acme/x/assets/none.js", 404),
            ("/t/acme/x/livez", 200),
            ("/t/acme/x", 200),
            // axum has no route for it below `nest`.
            ("/t/acme/x/", slash),
            ("/t/acme/x/socket.io/?EIO=4&transport=polling", 200),
        ] {
            assert_eq!(status(&app, path).await, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn authority_of_http2_is_the_host() {
    let app: Router = router(Hub::memory(), Config::default());
    for (version, origin, expected) in [
        (Version::HTTP_2, "https://a.example", 200),
        (Version::HTTP_2, "https://evil.example", 403),
        (Version::HTTP_2, "https://a.example.evil.test", 403),
        (Version::HTTP_11, "https://a.example", 400),
    ] {
        let request = Request::get(format!("https://a.example{POLLING}"))
            .version(version)
            .header("origin", origin)
            .body(Body::empty())
            .unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), expected, "{origin} over {version:?}");
    }
}

/// As a browser asks over HTTP/2 for a WebSocket (RFC 8441), where the app's server announces it.
#[tokio::test]
async fn websocket_over_http2_is_refused() {
    let app: Router = router(Hub::memory(), Config::default());
    for (path, expected) in [("/ws", 405), ("/socket.io/?EIO=4&transport=websocket", 400)] {
        let request = Request::connect(format!("https://a.example{path}"))
            .version(Version::HTTP_2)
            .header("sec-websocket-version", "13")
            .body(Body::empty())
            .unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), expected, "{path}: {answer:?}");
    }
}

// ---- Parts --------------------------------------------------------------------------------------

#[tokio::test]
async fn each_part_can_be_left_out() {
    let paths = [
        (Part::Page, "/", 200),
        (Part::Page, "/assets/app.js", 200),
        (Part::Operations, "/livez", 200),
        (Part::Operations, "/readyz", 200),
        (Part::Operations, "/healthz", 200),
        (Part::Operations, "/metrics", 200),
        // It asks for an upgrade.
        (Part::Native, "/ws", 426),
        (Part::PurrrChat, POLLING, 200),
    ];
    let parts = [Part::Page, Part::Operations, Part::Native, Part::PurrrChat];
    for left_out in parts {
        let (app, handle) = RouterBuilder::new(Hub::builder()).without(left_out).build();
        for (part, path, expected) in paths {
            let expected = if part == left_out { 404 } else { expected };
            assert_eq!(status(&app, path).await, expected, "{path} without {left_out:?}");
        }
        // They can be served elsewhere.
        let operations: Router = handle.operations();
        assert_eq!(status(&operations, "/livez").await, 200);
        assert_eq!(status(&operations, "/metrics").await, 200);
        assert_eq!(status(&operations, "/ws").await, 404);
    }
    let all_left_out = parts
        .into_iter()
        .fold(RouterBuilder::new(Hub::builder()), |builder, part| builder.without(part));
    let app = Router::new().nest("/chat", all_left_out.build().0);
    for (_, path, _) in paths {
        assert_eq!(status(&app, &format!("/chat{path}")).await, 404, "{path}");
    }
}

#[tokio::test]
async fn page_left_out_leaves_fallback_to_the_app() {
    let (chat, _) = RouterBuilder::new(Hub::builder()).without(Part::Page).build();
    let app = Router::new().route("/", get(|| async { "own" })).merge(chat);
    assert_eq!(status(&app, "/").await, 200);
    assert_eq!(status(&app, "/livez").await, 200);
}

// ---- Observers ----------------------------------------------------------------------------------

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Matched { person: u64, partner: u64 },
    Ended { person: u64, reason: ChatEnd, by: EndedBy },
}

#[derive(Default)]
struct Log(Mutex<Vec<Heard>>);

impl Observer for Log {
    fn matched(&self, side: &ChatSide, _waited: Duration) {
        let (person, partner) = (side.peer.person.to_bits(), side.partner.person.to_bits());
        self.0.lock().expect("no observer panics").push(Heard::Matched { person, partner });
    }

    fn ended(&self, side: &ChatSide, ending: &Ending) {
        let person = side.peer.person.to_bits();
        let heard = Heard::Ended { person, reason: ending.reason, by: ending.by };
        self.0.lock().expect("no observer panics").push(heard);
    }
}

/// Takes the query for the number of the person.
async fn by_query(parts: &Parts) -> Result<Profile, Response> {
    let mut profile = Profile::default();
    let number = parts.uri.query().and_then(|query| query.parse().ok());
    profile.person = number.map(PersonId::from_bits);
    Ok(profile)
}

#[tokio::test]
async fn observer_hears_both_persons_and_the_reason() {
    let log = Arc::new(Log::default());
    let builder = RouterBuilder::new(Hub::builder()).observe(Arc::clone(&log)).identify(by_query);
    let (app, handle) = builder.build();
    let server = Server::serve(app, handle, Guards::default()).await;
    let mut peers = Vec::new();
    for path in ["/ws?1", "/ws?2"] {
        let (mut peer, _) = Peer::connect_at(server.address, path, "a person", None).await;
        peer.gets_type("welcome").await;
        peer.finds().await;
        peers.push(peer);
    }
    let [mut ann, mut bob]: [Peer; 2] = peers.try_into().ok().unwrap();
    ann.gets_type("matched").await;
    bob.gets_type("matched").await;
    ann.send(r#"{"type":"leave"}"#).await;
    ann.gets(r#"{"type":"idle"}"#).await;
    bob.gets_type("left").await;
    let all_heard = async {
        while log.0.lock().unwrap().len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    soon("both sides are told", all_heard).await;
    let heard = log.0.lock().unwrap();
    for expected in [
        Heard::Matched { person: 1, partner: 2 },
        Heard::Matched { person: 2, partner: 1 },
        Heard::Ended { person: 1, reason: ChatEnd::Left, by: EndedBy::Peer },
        Heard::Ended { person: 2, reason: ChatEnd::Left, by: EndedBy::Partner },
    ] {
        assert!(heard.contains(&expected), "{expected:?} of {heard:?}");
    }
}

#[tokio::test]
async fn metrics_are_collected_in_registry_of_the_app() {
    let (app, handle) = RouterBuilder::new(Hub::builder()).without(Part::Operations).build();
    let mut registry = Registry::default();
    let metrics = Box::new(handle.metrics().clone());
    registry.sub_registry_with_prefix("chat").register_collector(metrics);
    let server = Server::serve(app, handle, Guards::default()).await;
    let mut ann = Peer::connect(server.address, "Ann").await;
    ann.finds().await;
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in ["chat_online 1\n", "chat_waiting 1\n", "chat_connections{dialect=\"native\"} 1\n"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
}

// ---- Guards -------------------------------------------------------------------------------------

#[tokio::test]
async fn routes_of_the_app_have_the_guards() {
    let (chat, handle) = RouterBuilder::new(Hub::builder()).build();
    let app = Router::new().route("/own", get(|| async { "own" })).nest_service("/chat", chat);
    let mut guards = Guards::default();
    guards.header_timeout = Duration::from_millis(300);
    guards.drain = Duration::from_millis(300);
    let mut server = Server::serve(app, handle, guards).await;
    assert_eq!(server.get("/own").await.body, "own");
    for begun in ["", "GET /own HT"] {
        let mut slow = server.connect().await;
        let since = Instant::now();
        slow.write_all(begun.as_bytes()).await.unwrap();
        Answer::read(slow).await;
        assert!(since.elapsed() < Duration::from_secs(5), "after {begun:?}");
    }
    let (mut ann, _) = Peer::connect_at(server.address, "/chat/ws", "Ann", None).await;
    ann.gets_type("welcome").await;
    server.shut_down();
    ann.gets_type("draining").await;
    server.stopped().await;
}

//! Who may connect: limits in all, per address and per second, on every transport, and whose
//! address counts.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::{Duration, Instant},
};

use axum::Router;
use purrr_core::{Hub, model::Rate};
use purrr_server::Config;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::support::{Answer, Peer, Server, UPGRADE, soon, wire::Wire};

const POLLING: &str = "GET /socket.io/?EIO=4&transport=polling";

async fn limited(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    change(&mut config);
    Server::with(config).await
}

/// Opens a native connection as if through a proxy for `client`; keeps it open while the stream is
/// held.
async fn upgrade(server: &Server, client: &str) -> (u16, TcpStream) {
    let mut stream = server.connect().await;
    let lines = UPGRADE.join("\r\n");
    let request =
        format!("GET /ws HTTP/1.1\r\nHost: x\r\n{lines}\r\nX-Forwarded-For: {client}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let status = Answer::read_from(&mut stream).await.status;
    (status, stream)
}

/// Waits until as many connections are counted.
async fn counts(server: &Server, connections: usize) {
    let counted = async || -> usize {
        let metrics = server.get("/metrics").await.body;
        let lines = metrics.lines().filter(|line| line.starts_with("purrr_connections{"));
        lines.map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()).sum()
    };
    soon("a connection that ended is given back", async {
        while counted().await != connections {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn max_connections_refuses_until_one_closes() {
    let server = limited(|config| config.max_connections = 2.try_into().unwrap()).await;
    let ann = Peer::connect(server.address, "Ann").await;
    // A session that polls is one connection, whether or not a request is under way.
    let sid = server.polling_session().await;
    counts(&server, 2).await;

    for answer in [
        server.ask("GET /ws", &UPGRADE).await,
        server.ask(POLLING, &[]).await,
        server.ask("GET /socket.io/?EIO=4&transport=websocket", &UPGRADE).await,
    ] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    }
    assert_eq!(server.get("/livez").await.status, 200);
    let metrics = server.get("/metrics").await.body;
    assert!(
        metrics.contains("purrr_connections_rejected_total{limit=\"connections\"} 3\n"),
        "{metrics}"
    );

    drop(ann);
    counts(&server, 1).await;
    let bob = Peer::connect(server.address, "Bob").await;
    let close = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: 1\r\nConnection: close\r\n\r\n1"
    );
    assert_eq!(server.raw(close).await.status, 200);
    counts(&server, 1).await;
    drop(bob);
    counts(&server, 0).await;
}

#[tokio::test]
async fn refused_handshake_takes_no_permit() {
    let server = limited(|config| config.max_connections = NonZeroUsize::MIN).await;
    for _ in 0..3 {
        assert_eq!(server.get("/ws").await.status, 426);
        let answer = server.ask("GET /socket.io/?EIO=4&transport=websocket", &[]).await;
        assert_eq!(answer.status, 426);
    }
    Peer::connect(server.address, "Ann").await;
}

#[tokio::test]
async fn per_address_limit_follows_trusted_proxy() {
    let server = limited(|config| {
        config.max_connections_per_address = 1;
        config.trusted_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let (status, first) = upgrade(&server, "198.51.100.1").await;
    assert_eq!(status, 101);
    assert_eq!(upgrade(&server, "198.51.100.1").await.0, 503);
    assert_eq!(upgrade(&server, "192.0.2.1, 198.51.100.1").await.0, 503, "the last hop counts");
    let (status, _second) = upgrade(&server, "2001:db8:0:1::1").await;
    assert_eq!(status, 101);
    assert_eq!(upgrade(&server, "2001:db8:0:1::2").await.0, 503, "a /64 is one address");
    assert_eq!(upgrade(&server, "2001:db8:0:2::1").await.0, 101);
    drop(first);
    counts(&server, 1).await;
    assert_eq!(upgrade(&server, "198.51.100.1").await.0, 101);
}

#[tokio::test]
async fn forged_forwarded_address_is_ignored() {
    let server = limited(|config| config.max_connections_per_address = 1).await;
    let (status, _first) = upgrade(&server, "198.51.100.1").await;
    assert_eq!(status, 101);
    assert_eq!(upgrade(&server, "198.51.100.2").await.0, 503);
}

#[tokio::test]
async fn connect_rate_limit_has_retry_after() {
    let server = limited(|config| config.connects_per_second = NonZeroU32::MIN).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(server.ask(POLLING, &[]).await);
    }
    assert_eq!(statuses[0].status, 200);
    let last = &statuses[4];
    assert_eq!(last.status, 429, "{last:?}");
    assert!((1..=2).contains(&last.header("retry-after").unwrap().parse::<u32>().unwrap()));
    assert_eq!(server.get("/livez").await.status, 200);

    let server = limited(|config| {
        config.connects_per_second = NonZeroU32::MIN;
        config.rate_limits = false;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(server.ask(POLLING, &[]).await.status, 200);
    }
}

#[tokio::test]
async fn lost_searching_connection_frees_permit() {
    let server = limited(|config| config.rate_limits = false).await;
    for _ in 0..40 {
        let vanish = async || {
            let mut wire = Wire::connect(&server).await;
            wire.say(r#"{"type":"find"}"#).await;
            wire.stream.set_zero_linger().unwrap();
        };
        futures::future::join_all((0..50).map(|_| vanish())).await;
    }
    soon("an empty hub", async {
        let is_empty = async || {
            let census = server.hub.census().await.unwrap();
            (server.hub.online(), census.waiting, census.pairs) == (0, 0, 0)
        };
        while !is_empty().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    counts(&server, 0).await;
}

#[tokio::test]
async fn plain_http_sockets_are_limited() {
    let server = limited(|config| config.max_connections_per_address = 1).await;
    let mut held = Vec::new();
    for _ in 0..66 {
        held.push(server.connect().await);
    }
    // The sockets above are accepted in order, so this one comes when all of them are counted.
    assert_eq!(server.get("/livez").await.status, 0, "closed without an answer");
    drop(held);
    soon("the sockets that were closed are given back", async {
        while server.get("/livez").await.status != 200 {}
    })
    .await;
}

#[tokio::test]
async fn request_rate_of_an_address() {
    let server = limited(|config| {
        config.request_rate = Rate::new(1, 20);
        config.trusted_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ask = async |request: &str, client: &str| {
        let forwarded = format!("X-Forwarded-For: {client}");
        server.ask(request, &[&forwarded, "Connection: keep-alive"]).await
    };
    let requests = ["GET /", "GET /assets/style.css", "GET /metrics", "HEAD /none", "GET /ws"];
    for request in requests.into_iter().cycle().take(20) {
        assert_ne!(ask(request, "192.0.2.1").await.status, 429, "{request}");
    }
    for request in requests.into_iter().chain([
        POLLING,
        "GET /socket.io/",
        "POST /socket.io/?sid=x",
        "POST /socket.io/?EIO=4&transport=polling&sid=unknown",
        "OPTIONS /socket.io/",
        "DELETE /",
    ]) {
        let answer = ask(request, "192.0.2.1").await;
        assert_eq!(answer.status, 429, "{request}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{request}");
        assert_eq!(answer.header("connection"), Some("close"), "{request}");
    }
    for probe in ["GET /livez", "GET /readyz"] {
        let answer = ask(probe, "192.0.2.1").await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{probe}");
    }
    let metrics = ask("GET /metrics", "192.0.2.2").await.body;
    let expected = "purrr_requests_rejected_total{reason=\"request-rate\"} 11\n";
    assert!(metrics.contains(expected), "{metrics}");
    // What a page of another site asks for does not count.
    for _ in 0..30 {
        let lines = ["X-Forwarded-For: 192.0.2.3", "Sec-Fetch-Site: cross-site"];
        assert_eq!(server.ask(POLLING, &lines).await.status, 403);
    }
    assert_eq!(ask("GET /", "192.0.2.3").await.status, 200);
    let unlimited = limited(|config| {
        (config.request_rate, config.rate_limits) = (Rate::new(1, 1), false);
    })
    .await;
    for _ in 0..5 {
        assert_eq!(unlimited.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn polling_session_has_a_request_rate_of_its_own() {
    let server = limited(|config| {
        (config.request_rate, config.polling_rate) = (Rate::new(1, 3), Rate::new(1, 10));
    })
    .await;
    let (ann, bob) = (server.polling_session().await, server.polling_session().await);
    for _ in 0..10 {
        assert_eq!(post(&server, &ann, "3").await.status, 200);
    }
    let refused = post(&server, &ann, "3").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(post(&server, &bob, "40").await.status, 200);
    assert_eq!(server.get("/").await.status, 200);
    assert_eq!(server.get("/").await.status, 429);
    assert_eq!(post(&server, &bob, r#"42["find_partner"]"#).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(post(&server, &ann, "40").await.status, 200, "the session goes on");
}

/// Sends a packet on a polling session.
async fn post(server: &Server, sid: &str, packet: &str) -> Answer {
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{packet}",
        packet.len()
    );
    server.raw(request).await
}

#[tokio::test]
async fn provisional_session_ends_unless_the_client_sends_a_packet() {
    let server = limited(|config| config.provisional_timeout = Duration::from_millis(300)).await;
    let [silent, polling, speaking] = [(); 3].map(|()| async { server.polling_session().await });
    let (silent, polling, speaking) = (silent.await, polling.await, speaking.await);
    assert_eq!(post(&server, &speaking, "40").await.status, 200);
    let poll = async |sid: &str| server.ask(&format!("{POLLING}&sid={sid}"), &[]).await;
    assert_eq!(poll(&speaking).await.status, 200);
    let waited = Instant::now();
    assert_eq!(poll(&polling).await.body, "2", "a client that only polls is asked");
    assert_eq!(poll(&polling).await.body, "1", "it does not answer, so it is told");
    assert!(waited.elapsed() < Duration::from_secs(5));
    counts(&server, 1).await;
    assert_eq!(post(&server, &silent, "40").await.status, 400);
    assert_eq!(post(&server, &speaking, r#"42["find_partner"]"#).await.status, 200);
    let waiting = poll(&speaking).await.body;
    assert_eq!(waiting.trim_start_matches("2\u{1e}"), r#"42["waiting"]"#, "perhaps with a ping");
    let metrics = server.get("/metrics").await.body;
    for line in [
        "purrr_provisional_sessions 0\n",
        "purrr_provisional_sessions_ended_total{reason=\"expired\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn upgraded_session_is_not_provisional() {
    let server = limited(|config| config.provisional_timeout = Duration::from_millis(300)).await;
    let sid = server.polling_session().await;
    let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let mut wire = Wire::upgrade(server.address, server.connect().await, &path).await;
    wire.say("2probe").await;
    assert_eq!(wire.next().await.unwrap().payload, b"3probe");
    wire.say("5").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    wire.say("40").await;
    let next = match wire.next().await.unwrap().payload {
        ping if ping == b"2" => wire.next().await.unwrap().payload,
        other => other,
    };
    assert!(next.starts_with(b"40"));
}

#[tokio::test]
async fn provisional_sessions_of_an_address_are_limited() {
    let server = limited(|config| config.provisional_sessions_per_address = 3).await;
    let mut sids = Vec::new();
    for _ in 0..3 {
        sids.push(server.polling_session().await);
    }
    let refused = server.ask(POLLING, &[]).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    let metrics = server.get("/metrics").await.body;
    let expected = "purrr_connections_rejected_total{limit=\"provisional\"} 1\n";
    assert!(metrics.contains(expected), "{metrics}");
    assert_eq!(upgrade(&server, "x").await.0, 101, "a WebSocket is not provisional");
    assert_eq!(post(&server, &sids[0], "40").await.status, 200);
    server.polling_session().await;
}

#[tokio::test]
async fn provisional_sessions_of_many_addresses_keep_out_no_other() {
    let server = limited(|config| {
        config.provisional_sessions = 20;
        config.trusted_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let begin = async |client: &str| {
        let line = format!("X-Forwarded-For: {client}");
        server.ask(POLLING, &[&line]).await
    };
    for number in 0..40 {
        // A /48 with 2^16 addresses counts as one client here.
        begin(&format!("2001:db8:0:{number:x}::1")).await;
        begin(&format!("198.51.100.{}", number % 2)).await;
    }
    for number in 0..5 {
        let answer = begin(&format!("192.0.2.{number}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sid = answer.body.split('"').skip_while(|part| *part != "sid").nth(2).unwrap();
        assert_eq!(post(&server, sid, "40").await.status, 200);
    }
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("purrr_provisional_sessions 19\n"), "{metrics}");
}

#[tokio::test]
async fn total_limit_without_connect_info() {
    let mut config = Config::default();
    config.max_connections = 2.try_into().unwrap();
    config.max_connections_per_address = 1;
    for (told, admitted) in [(false, 2), (true, 1)] {
        let app: Router =
            Router::new().nest("/chat", purrr_server::router(Hub::memory(), config.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            if told {
                let app = app.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, app).await
            } else {
                axum::serve(listener, app).await
            }
        });
        for round in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request =
                "GET /chat/socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = Answer::read(stream).await;
            let expected = if round < admitted { 200 } else { 503 };
            assert_eq!(answer.status, expected, "told {told}, round {round}: {answer:?}");
        }
    }
}

//! Plain HTTP: the page, the health of the server, who may connect, and requests that are wrong.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request};
use purrr_core::Hub;
use purrr_server::{Config, ServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

use crate::support::{Answer, Peer, Server, UPGRADE, soon, wire::Wire};

/// What RFC 6455, section 1.3, answers to that key.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Long enough that no request of a test is late, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

async fn impatient() -> Server {
    let mut config = ServerConfig::default();
    config.guards.header_timeout = SHORT;
    Server::with(config).await
}

/// Returns the path that a browser, which sees the page at `path`, resolves its links by.
fn base_of(path: &str, page: &str) -> String {
    let base = page.split_once("<base href=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (base, _) = base.unwrap_or_else(|| panic!("{page}"));
    let folder = &path[..=path.rfind('/').expect("a path has a slash")];
    base.strip_prefix("./").map_or_else(|| base.to_owned(), |rest| format!("{folder}{rest}"))
}

// ---- The page -----------------------------------------------------------------------------------

#[tokio::test]
async fn page_has_strict_csp() {
    let server = Server::start().await;
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        page.header("content-security-policy"),
        Some(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
             connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'self'; \
             form-action 'none'; frame-ancestors 'none'"
        )
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(base_of("/", &page.body), "/");

    let head = server.ask("HEAD /", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
}

#[tokio::test]
async fn page_assets_exist() {
    let server = Server::start().await;
    let page = server.get("/").await.body;
    let assets: Vec<&str> = page.split('"').filter(|part| part.starts_with("assets/")).collect();
    assert!(assets.len() >= 3, "a style, a script and an icon at least: {assets:?}");
    for asset in assets {
        let answer = server.get(&format!("/{asset}")).await;
        assert_eq!(answer.status, 200, "{asset}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{asset}");
        let expected = match asset.rsplit_once('.').map(|(_, extension)| extension) {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("png") => "image/png",
            Some("svg") => "image/svg+xml",
            Some("webmanifest") => "application/manifest+json",
            _ => panic!("{asset} is of a kind that this test does not know"),
        };
        assert_eq!(answer.header("content-type"), Some(expected), "{asset}");
    }
    for absent in ["/assets/none.js", "/assets/..%2fCargo.toml", "/assets/index.html", "/assets/"] {
        assert_eq!(server.get(absent).await.status, 404, "{absent}");
    }
}

#[tokio::test]
async fn etag_gives_not_modified() {
    let server = Server::start().await;
    let mut tags = HashSet::new();
    for path in ["/", "/assets/app.js", "/assets/style.css", "/assets/favicon.svg"] {
        let first = server.get(path).await;
        assert_eq!(first.status, 200, "{path}");
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").expect("a version").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{path}: {tag}");
        assert!(tags.insert(tag.clone()), "{path}: two files have the tag {tag}");
        for (known, status) in [
            (tag.clone(), 304),
            (format!("\"another\", {tag}"), 304),
            (format!("W/{tag}"), 304),
            ("*".to_owned(), 304),
            ("\"another\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
        ] {
            for method in ["GET", "HEAD"] {
                let line = format!("If-None-Match: {known}");
                let again = server.ask(&format!("{method} {path}"), &[&line]).await;
                assert_eq!(again.status, status, "{method} {path}, {known}");
                assert_eq!(again.header("etag"), Some(tag.as_str()), "{method} {path}, {known}");
                assert_eq!(again.header("cache-control"), Some("no-cache"), "{method} {path}");
                let body = if status == 200 && method == "GET" { first.body.as_str() } else { "" };
                assert_eq!(again.body, body, "{method} {path}, {known}");
            }
        }
    }
    assert_eq!(server.get("/assets/none.js").await.header("etag"), None);

    // Under a prefix the page is another one.
    let app: Router =
        Router::new().nest("/a/b", purrr_server::router(Hub::memory(), Config::default()));
    let request = Request::get("/a/b").header("host", "x").body(Body::empty()).unwrap();
    let nested = app.oneshot(request).await.unwrap();
    assert_eq!(nested.status(), 200);
    assert!(!tags.contains(nested.headers()["etag"].to_str().unwrap()));
}

#[tokio::test]
async fn routes_work_under_a_prefix() {
    let chat = || purrr_server::router(Hub::memory(), Config::default());
    // axum's `nest` hands on `/a/b` and not `/a/b/`; its `nest_service` hands on both.
    for (app, pages) in [
        (Router::new().nest("/a/b", chat()), &["/a/b"][..]),
        (Router::new().nest_service("/a/b", chat()), &["/a/b", "/a/b/"]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let ask = async |path: &str, lines: &[&str]| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let lines = lines.join("\r\n");
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            Answer::read(stream).await
        };
        for path in pages {
            let page = ask(path, &["Connection: close"]).await;
            assert_eq!(page.status, 200, "{path}");
            assert_eq!(base_of(path, &page.body), "/a/b/", "{path}");
        }
        for (path, status) in [
            ("/a/b/assets/favicon.svg", 200),
            ("/a/b/livez", 200),
            ("/a/b/readyz", 200),
            ("/a/b/healthz", 200),
            ("/a/b/metrics", 200),
            ("/a/b/socket.io/?EIO=4&transport=polling", 200),
            ("/a/b/socket.io?EIO=4&transport=polling", 200),
            ("/a/b/nowhere", 404),
            ("/", 404),
            ("/livez", 404),
        ] {
            assert_eq!(ask(path, &["Connection: close"]).await.status, status, "{path}");
        }
        assert_eq!(ask("/a/b/ws", &UPGRADE).await.status, 101);
    }
}

#[tokio::test]
async fn page_below_a_path_that_a_proxy_strips() {
    let mut config = Config::default();
    config.trusted_proxy = vec!["127.0.0.1".parse().unwrap()];
    let behind_proxy = Server::with(config.clone()).await;
    config.trusted_proxy.clear();
    let open = Server::with(config.clone()).await;
    config.base_path = "/app".parse().unwrap();
    let told = Server::with(config).await;
    let prefix = "X-Forwarded-Prefix: ";
    for (server, seen, line, base) in [
        (&open, "/chat/", "", "/chat/"),
        (&open, "/", "", "/"),
        (&open, "/chat/", "/evil", "/chat/"),
        (&behind_proxy, "/chat/", "", "/chat/"),
        (&behind_proxy, "/chat", "/chat", "/chat/"),
        (&behind_proxy, "/a/chat/", "/a/chat/", "/a/chat/"),
        (&behind_proxy, "/chat/", "/", "/"),
        (&behind_proxy, "/chat/", "//evil.example", "/chat/"),
        (&behind_proxy, "/chat/", "https://evil.example", "/chat/"),
        (&behind_proxy, "/chat/", "/\"><script>", "/chat/"),
        (&told, "/app", "", "/app/"),
        (&told, "/app", "/evil", "/app/"),
    ] {
        let line = format!("{prefix}{line}");
        let lines = if line == prefix { vec![] } else { vec![line.as_str()] };
        let page = server.ask("GET /", &lines).await;
        assert_eq!(page.status, 200);
        assert_eq!(base_of(seen, &page.body), base, "{seen}, {line}");
    }
}

#[tokio::test]
async fn preview_of_a_link_has_an_absolute_image() {
    let mut config = Config::default();
    let open = Server::with(config.clone()).await;
    config.trusted_proxy = vec!["127.0.0.1".parse().unwrap()];
    let behind_proxy = Server::with(config.clone()).await;
    config.base_path = "/app".parse().unwrap();
    let told = Server::with(config).await;
    let proxied = ["X-Forwarded-Proto: https", "X-Forwarded-Host: chat.example"];
    let below = [proxied[0], proxied[1], "X-Forwarded-Prefix: /chat"];
    let of = |server: &Server| format!("http://{}/", server.address);
    for (server, lines, address) in [
        (&open, &[][..], of(&open)),
        (&open, &proxied, of(&open)),
        (&behind_proxy, &[], of(&behind_proxy)),
        (&behind_proxy, &proxied, "https://chat.example/".to_owned()),
        (&behind_proxy, &below, "https://chat.example/chat/".to_owned()),
        (&behind_proxy, &["X-Forwarded-Host: \"><script>"], of(&behind_proxy)),
        (&told, &proxied, "https://chat.example/app/".to_owned()),
    ] {
        let page = server.ask("GET /", lines).await;
        let image = format!(r#"<meta property="og:image" content="{address}assets/icon-512.png">"#);
        assert!(page.body.contains(&image), "{lines:?}: {}", page.body);
    }
    assert_eq!(open.get("/assets/icon-512.png").await.status, 200);
}

#[tokio::test]
async fn page_may_be_framed_by_named_sites() {
    let mut config = Config::default();
    config.frame_ancestor = ["https://Site.Example:443", "https://*.example.com"]
        .map(|site| site.parse().unwrap())
        .to_vec();
    let server = Server::with(config).await;
    let policy = server.get("/").await;
    let policy = policy.header("content-security-policy").unwrap();
    let expected = "; frame-ancestors https://site.example https://*.example.com";
    assert!(policy.ends_with(expected), "{policy}");
    assert_eq!(server.get("/").await.header("x-frame-options"), None);
}

// ---- Health -------------------------------------------------------------------------------------

#[tokio::test]
async fn health_counts_peers() {
    let server = Server::start().await;
    let (_ann, _bob, _) = Peer::pair(server.address).await;
    let mut cid = Peer::connect(server.address, "Cid").await;
    cid.send(r#"{"type":"find"}"#).await;
    cid.gets_type("waiting").await;
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    let health = server.get("/healthz").await;
    assert_eq!(health.header("content-type"), Some("application/json"));
    let health: serde_json::Value = serde_json::from_str(&health.body).unwrap();
    for (name, value) in [("online", 3), ("waiting", 1), ("pairs", 1)] {
        assert_eq!(health[name], value, "{name}: {health}");
    }
    assert_eq!(health["status"], "ok");
}

#[tokio::test]
async fn metrics_count_events() {
    let server = Server::start().await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    ann.send(r#"{"type":"message","text":"12345"}"#).await;
    bob.gets(r#"{"type":"message","text":"12345"}"#).await;
    ann.send("nonsense").await;
    ann.gets_error("bad-message", None).await;
    ann.send(r#"{"type":"find"}"#).await;
    ann.gets_error("already-paired", None).await;

    let metrics = server.ask("GET /metrics", &["Accept: application/openmetrics-text"]).await;
    assert_eq!(metrics.status, 200);
    assert_eq!(metrics.header("content-type"), Some(OPEN_METRICS));
    for line in [
        "purrr_online 2",
        "purrr_waiting 0",
        "purrr_pairs 1",
        "purrr_arrivals_total 2",
        "purrr_matches_total 2",
        "purrr_frames_total 1",
        "purrr_refused_total{code=\"bad-message\"} 1",
        "purrr_refused_total{code=\"already-paired\"} 1",
        "purrr_refused_total{code=\"too-long\"} 0",
        concat!("purrr_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} in:\n{}", metrics.body);
    }
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
}

#[tokio::test]
async fn metrics_label_connections_by_dialect() {
    let server = Server::start().await;
    let open = async |native: u64, purrr_chat: u64| {
        let lines = [
            format!("purrr_connections{{dialect=\"native\"}} {native}"),
            format!("purrr_connections{{dialect=\"purrr-chat\"}} {purrr_chat}"),
        ];
        // A connection is counted by a task of its own, before or after the test gets to ask.
        soon(&lines.concat(), async {
            loop {
                let metrics = server.get("/metrics").await.body;
                if lines.iter().all(|line| metrics.lines().any(|found| found == line)) {
                    break;
                }
            }
        })
        .await;
    };
    open(0, 0).await;
    let (ann, bob, _) = Peer::pair(server.address).await;
    open(2, 0).await;
    let session = server.polling_session().await;
    open(2, 1).await;
    let wire =
        Wire::upgrade(&server, server.connect().await, "/socket.io/?EIO=4&transport=websocket");
    let wire = wire.await;
    open(2, 2).await;
    ann.vanish();
    drop((bob, wire));
    open(0, 1).await;
    let close = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\nContent-Length: 1\r\n\r\n1"
    );
    assert_eq!(server.raw(close).await.status, 200);
    open(0, 0).await;
}

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[tokio::test]
async fn metrics_have_the_format_that_is_asked_for() {
    let server = Server::start().await;
    let ask = async |lines: &[&str], content_type| {
        let answer = server.ask("GET /metrics", lines).await;
        assert_eq!(answer.header("content-type"), Some(content_type), "{lines:?}");
        answer.body
    };
    let plain = ask(&["Accept: text/plain;version=0.0.4"], PROMETHEUS).await;
    let open = ask(&["Accept: application/openmetrics-text"], OPEN_METRICS).await;
    // What is piped into promtool, which reads only the older format.
    for lines in [&["Accept: */*"][..], &[]] {
        assert_prometheus(&ask(lines, PROMETHEUS).await);
    }
    assert_prometheus(&plain);
    assert_open_metrics(&open);
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&plain), samples(&open));
    assert!(samples(&plain) > 20, "{plain}");
}

/// What promtool wants: each sample after a line of the type, which has the sample's name.
fn assert_prometheus(text: &str) {
    let mut typed = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            typed = name;
        } else if !line.starts_with("# HELP ") {
            assert_eq!(line.split(['{', ' ']).next(), Some(typed), "{line}");
        }
    }
}

/// What OpenMetrics 1.0 wants of each family: a type; a name that ends with its unit; the suffix of
/// the type in the name of each sample, and in no other name; 1 for `info`. `# EOF` ends the text.
fn assert_open_metrics(text: &str) {
    let lines = text.strip_suffix("# EOF\n").expect("an end mark").lines();
    let (mut family, mut suffix) = ("", "");
    let mut seen = std::collections::HashSet::new();
    for line in lines {
        let word = |at| line.split(' ').nth(at).unwrap_or_else(|| panic!("{line}"));
        match line.split(' ').nth(1).filter(|_| line.starts_with("# ")) {
            Some("HELP") => {
                assert!(seen.insert(word(2)), "{line}: the family is there twice");
                (family, suffix) = (word(2), "?");
            }
            Some("TYPE") => {
                assert_eq!(word(2), family, "{line}");
                suffix = match word(3) {
                    "counter" => "_total",
                    "info" => "_info",
                    "gauge" => "",
                    _ => panic!("{line}"),
                };
                assert!(!family.ends_with("_total") && !family.ends_with("_info"), "{line}");
            }
            Some("UNIT") => {
                assert_eq!(word(2), family, "{line}");
                assert!(family.ends_with(&format!("_{}", word(3))), "{line}");
            }
            Some(_) => panic!("{line}"),
            None => {
                let name = line.split(['{', ' ']).next();
                assert_eq!(name, Some(&*format!("{family}{suffix}")), "{line}");
                assert!(suffix != "_info" || line.ends_with(" 1"), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn options_are_answered() {
    let server = Server::start().await;
    for (request, allow) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", "GET, HEAD, OPTIONS"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET, HEAD, OPTIONS"),
        ("OPTIONS /livez HTTP/1.0\r\n\r\n", "GET, HEAD, OPTIONS"),
        ("OPTIONS /ws HTTP/1.0\r\n\r\n", "GET, OPTIONS"),
    ] {
        let answer = server.raw(request).await;
        assert_eq!((answer.status, &*answer.body), (204, ""), "{request}");
        assert_eq!(answer.header("allow"), Some(allow), "{request}");
    }
    assert_eq!(server.raw("OPTIONS /nowhere HTTP/1.0\r\n\r\n").await.status, 404);
}

#[tokio::test]
async fn answers_that_are_no_assets_are_not_stored() {
    let server = Server::start().await;
    let polling = "/socket.io/?EIO=4&transport=polling";
    let session = server.polling_session().await;
    let of_session = format!("{polling}&sid={session}");
    for (request, status, caching) in [
        (format!("GET {polling}"), 200, "no-store"),
        (format!("POST {of_session}"), 400, "no-store"),
        (format!("GET {polling}&sid=none"), 400, "no-store"),
        ("GET /livez".to_owned(), 200, "no-store"),
        ("GET /readyz".to_owned(), 200, "no-store"),
        ("GET /healthz".to_owned(), 200, "no-store"),
        ("GET /metrics".to_owned(), 200, "no-store"),
        ("GET /nowhere".to_owned(), 404, "no-store"),
        ("GET /assets/none.js".to_owned(), 404, "no-store"),
        ("GET /ws".to_owned(), 426, "no-store"),
        ("DELETE /".to_owned(), 405, "no-store"),
        ("GET /".to_owned(), 200, "no-cache"),
        ("GET /assets/app.js".to_owned(), 200, "no-cache"),
    ] {
        let answer = server.ask(&request, &[]).await;
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.header("cache-control"), Some(caching), "{request}");
    }
    let foreign = server.ask(&format!("GET {polling}"), &["Origin: https://evil.example"]).await;
    assert_eq!((foreign.status, foreign.header("cache-control")), (403, Some("no-store")));
}

#[tokio::test]
async fn draining_server_is_alive_but_not_ready() {
    let mut server = Server::start().await;
    let (mut ann, bob, _) = Peer::pair(server.address).await;
    server.shut_down();
    ann.gets_type("draining").await;
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(server.get("/livez").await.status, 200);
    assert!(server.get("/healthz").await.body.contains("draining"));
    drop((ann, bob));
    server.stopped().await;
}

// ---- Who may connect ----------------------------------------------------------------------------

#[tokio::test]
async fn origin_check() {
    let mut config = ServerConfig::default();
    config.routes.allowed_origin = vec!["https://good.example".parse().unwrap()];
    let server = Server::with(config).await;
    let own = format!("http://{}", server.address);
    let own_behind_a_proxy = format!("https://{}", server.address);
    let other_port = format!("http://127.0.0.1:{}", server.address.port() ^ 1);
    let polling = "GET /socket.io/?EIO=4&transport=polling";
    for (origin, listed, admitted) in [
        ("https://good.example", true, true),
        (own.as_str(), false, true),
        (own_behind_a_proxy.as_str(), false, true),
        ("https://evil.example", false, false),
        ("null", false, false),
        ("https://good.example.evil.com", false, false),
        ("https://evilgood.example", false, false),
        ("https://good.example:8443", false, false),
        ("http://good.example", false, false),
        ("http://localhost:3000", false, false),
        (other_port.as_str(), false, false),
    ] {
        let origin_line = format!("Origin: {origin}");
        let upgrade: Vec<&str> = UPGRADE.into_iter().chain([origin_line.as_str()]).collect();
        let expected = if admitted { 101 } else { 403 };
        assert_eq!(server.ask("GET /ws", &upgrade).await.status, expected, "/ws, {origin}");
        let socketio = "GET /socket.io/?EIO=4&transport=websocket";
        assert_eq!(server.ask(socketio, &upgrade).await.status, expected, "websocket, {origin}");

        let answer = server.ask(polling, &[&origin_line]).await;
        assert_eq!(answer.status, if admitted { 200 } else { 403 }, "polling, {origin}");
        let shared = answer.header("access-control-allow-origin");
        assert_eq!(shared, listed.then_some(origin), "polling, {origin}");

        let lines = [
            origin_line.as_str(),
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: content-type",
        ];
        let preflight = server.ask("OPTIONS /socket.io/?EIO=4&transport=polling", &lines).await;
        let shared = preflight.header("access-control-allow-origin");
        assert_eq!(shared, listed.then_some(origin), "preflight, {origin}");
        if listed {
            assert!((200..300).contains(&preflight.status), "{preflight:?}");
            assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
            let headers = preflight.header("access-control-allow-headers").unwrap();
            assert!(headers.eq_ignore_ascii_case("content-type"), "{headers}");
        }
        if !admitted {
            assert_eq!(preflight.status, 403, "preflight, {origin}");
        }
    }
    let post =
        server.ask("POST /socket.io/?EIO=4&transport=polling", &["Origin: https://evil.example"]);
    assert_eq!(post.await.status, 403);
    assert_eq!(server.ask("GET /ws", &UPGRADE).await.status, 101, "a program sends no origin");
}

#[tokio::test]
async fn origin_of_the_own_host_in_any_form() {
    let mut config = Config::default();
    config.allowed_origin = ["https://Listed.Example", "null", "file://", "https://*.example.com"]
        .map(|origin| origin.parse().unwrap())
        .to_vec();
    config.trusted_proxy = vec!["127.0.0.1".parse().unwrap()];
    let behind_proxy = Server::with(config.clone()).await;
    config.trusted_proxy.clear();
    let server = Server::with(config).await;
    let forwarded = ["X-Forwarded-Host: chat.example", "Forwarded: for=1.1.1.1;host=chat.example"];
    let inner = "127.0.0.1:3007";
    for (origin, host, line, admitted) in [
        ("https://chat.example:8443", "chat.example", "", [true, true]),
        ("https://chat.example", inner, forwarded[0], [true, false]),
        ("https://chat.example", inner, forwarded[1], [true, false]),
        ("https://chat.example", inner, "", [false, false]),
        ("https://evil.example", inner, forwarded[0], [false, false]),
        ("ws://127.0.0.1:3007", inner, "", [true, true]),
        ("wss://chat.example", "chat.example", "", [true, true]),
        ("https://listed.example", inner, "", [true, true]),
        ("null", inner, "", [true, true]),
        ("file://", inner, "", [true, true]),
        ("https://a.example.com", inner, "", [true, true]),
        ("https://example.com", inner, "", [false, false]),
        ("https://a.b.example.com", inner, "", [false, false]),
        ("https://a.example.com.evil.test", inner, "", [false, false]),
    ] {
        for (server, admitted) in [&behind_proxy, &server].into_iter().zip(admitted) {
            let origin_line = format!("Origin: {origin}");
            let mut lines = [&UPGRADE[..], &[&origin_line, line]].concat();
            lines.retain(|line| !line.is_empty());
            let lines = lines.join("\r\n");
            let request = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n\r\n");
            let expected = if admitted { 101 } else { 403 };
            assert_eq!(server.raw(request).await.status, expected, "{origin} on {host}, {line}");
        }
    }
}

#[tokio::test]
async fn preflight_allows_the_headers_that_it_asks_for() {
    let server = Server::start().await;
    for (origin, allowed) in [
        ("http://localhost:3000", Some("authorization,x-anything")),
        ("https://evil.example", None),
    ] {
        let lines = [
            &format!("Origin: {origin}"),
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization,x-anything",
        ];
        let preflight = server.ask("OPTIONS /socket.io/?EIO=4&transport=polling", &lines).await;
        assert_eq!(preflight.header("access-control-allow-headers"), allowed, "{origin}");
    }
}

#[tokio::test]
async fn cross_site_requests_without_origin_are_refused() {
    let server = Server::start().await;
    let [polling, websocket] = ["polling", "websocket"]
        .map(|transport| format!("/socket.io/?EIO=4&transport={transport}"));
    for (site, admitted) in
        [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
    {
        let line = format!("Sec-Fetch-Site: {site}");
        let upgrade = [&UPGRADE[..], &[line.as_str()]].concat();
        for path in ["/ws", &websocket] {
            let answer = server.ask(&format!("GET {path}"), &upgrade).await;
            assert_eq!(answer.status, if admitted { 101 } else { 403 }, "{path}, {site}");
        }
        let answer = server.ask(&format!("GET {polling}"), &[&line]).await;
        assert_eq!(answer.status, if admitted { 200 } else { 403 }, "{site}");
        for method in ["POST", "OPTIONS", "HEAD", "PUT"] {
            let answer = server.ask(&format!("{method} {polling}"), &[&line]).await;
            assert_eq!(answer.status == 403, !admitted, "{method}, {site}: {answer:?}");
        }
        // The page and what it shows may be linked to from other sites.
        assert_eq!(server.ask("GET /", &[&line]).await.status, 200, "{site}");
    }
    // A program sends neither header, and a page of another origin is known by `Origin`.
    let lines = ["Origin: http://localhost:3000", "Sec-Fetch-Site: cross-site"];
    assert_eq!(server.ask(&format!("GET {polling}"), &lines).await.status, 200);
    let metrics = server.get("/metrics").await.body;
    let expected = "purrr_requests_rejected_total{reason=\"cross-site\"} 14\n";
    assert!(metrics.contains(expected), "{metrics}");
}

#[tokio::test]
async fn duplicate_origin_is_refused() {
    let server = Server::start().await;
    let polling = "GET /socket.io/?EIO=4&transport=polling";
    let (good, evil) = ("Origin: http://localhost:3000", "Origin: https://evil.example");
    for pair in [
        [good, evil],
        [evil, good],
        [good, good],
        ["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"],
    ] {
        let upgrade = [&UPGRADE[..], &pair].concat();
        for answer in [
            server.ask(polling, &pair).await,
            server.ask("GET /ws", &upgrade).await,
            server.ask("GET /socket.io/?EIO=4&transport=websocket", &upgrade).await,
        ] {
            assert_eq!(answer.status, 400, "{pair:?}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{pair:?}");
        }
    }
}

#[tokio::test]
async fn cross_site_requests_to_a_nested_router_are_refused() {
    let chat = purrr_server::router(Hub::memory(), Config::default());
    let app: Router = Router::new().nest("/a/b", chat);
    for (site, status) in [("cross-site", 403), ("same-origin", 200)] {
        let request = Request::get("/a/b/socket.io/?EIO=4&transport=polling")
            .header("host", "x")
            .header("sec-fetch-site", site)
            .body(Body::empty())
            .unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{site}");
    }
}

// ---- Handshakes ---------------------------------------------------------------------------------

#[tokio::test]
async fn websocket_handshake_follows_rfc_6455() {
    let server = Server::start().await;
    let lines: Vec<&str> = UPGRADE
        .into_iter()
        .chain([
            "Sec-WebSocket-Protocol: unknown.v9",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        ])
        .collect();
    let answer = server.ask("GET /ws", &lines).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(answer.header("sec-websocket-protocol"), None);
    assert_eq!(answer.header("sec-websocket-extensions"), None);
}

// ---- Requests that are wrong --------------------------------------------------------------------

#[tokio::test]
async fn length_and_chunked_request_is_refused() {
    let server = impatient().await;
    let mut stream = server.connect().await;
    let both = "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    stream
        .write_all(format!("{both}GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answers = String::new();
    soon("the end of the connection", stream.read_to_string(&mut answers)).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 4"), "{answers}");
}

#[tokio::test]
async fn header_timeout_closes_connection() {
    let server = impatient().await;
    for (what, start) in [
        ("nothing", ""),
        ("half a request line", "GET /live"),
        ("half a head", "GET /livez HTTP/1.1\r\nHost: x\r\n"),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let began = Instant::now();
        Answer::read(stream).await;
        assert!(began.elapsed() < 8 * SHORT, "{what}: open for {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn kept_connection_outlasts_the_header_timeout() {
    let server = impatient().await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(Answer::read_from(&mut stream).await.status, 200);
        tokio::time::sleep(4 * SHORT).await;
    }
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let began = Instant::now();
    assert_eq!(Answer::read_from(&mut stream).await.status, 0);
    let open = began.elapsed();
    assert!((SHORT / 2..8 * SHORT).contains(&open), "a begun head was open for {open:?}");
}

#[tokio::test]
async fn keep_alive_timeout_closes_idle_connection() {
    let mut config = ServerConfig::default();
    config.guards.keep_alive_timeout = SHORT;
    let server = Server::with(config).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read_from(&mut stream).await.status, 200);
    let began = Instant::now();
    assert_eq!(Answer::read_from(&mut stream).await.status, 0);
    let open = began.elapsed();
    assert!((SHORT / 2..8 * SHORT).contains(&open), "open for {open:?}");
}

#[tokio::test]
async fn header_timeout_closes_endless_head() {
    let server = impatient().await;
    let began = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let dripping = async {
        let mut pace = tokio::time::interval(SHORT / 10);
        loop {
            pace.tick().await;
            if stream.write_all(b"X: y\r\n").await.is_err() {
                break;
            }
        }
    };
    soon("the end of a connection that drips", dripping).await;
    let open = began.elapsed();
    assert!((SHORT..8 * SHORT).contains(&open), "open for {open:?}");
}

#[tokio::test]
async fn slow_body_counts_as_heartbeat() {
    let mut config = ServerConfig::default();
    config.routes.ping_interval = SHORT;
    config.routes.ping_timeout = 4 * SHORT;
    let server = Server::with(config).await;
    let session = server.polling_session().await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={session}");
    let post = |length: usize| {
        format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
    };
    assert_eq!(server.raw(format!("{}40", post(2))).await.body, "ok");
    // The client cannot answer a ping before it has sent all of this, which takes longer than an
    // answer may.
    let event = r#"42["slow"]"#;
    let mut stream = server.connect().await;
    stream.write_all(post(event.len()).as_bytes()).await.unwrap();
    for byte in event.as_bytes() {
        tokio::time::sleep(SHORT).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(Answer::read(stream).await.body, "ok");
    let answer = server.get(&target).await.body;
    assert!(answer.contains("40{") && answer.contains(r#"42["error""#), "{answer}");
}

/// The head of a POST to a polling session, on a server that waits for its body for a short time
/// only.
async fn post_begun(length: usize) -> (Server, TcpStream) {
    let mut config = ServerConfig::default();
    config.routes.body_timeout = SHORT;
    let server = Server::with(config).await;
    let session = server.polling_session().await;
    let mut stream = server.connect().await;
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    (server, stream)
}

#[tokio::test]
async fn body_timeout() {
    let (_server, stream) = post_begun(1_000).await;
    let answer = Answer::read(stream).await;
    assert_eq!(answer.status, 408, "{answer:?}");
}

#[tokio::test]
async fn slow_body_extends_timeout() {
    let (_server, mut stream) = post_begun(16_386).await;
    stream.write_all(b"40").await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(SHORT / 2).await;
        stream.write_all(&[b'{'; 4_096]).await.unwrap();
    }
    let answer = Answer::read(stream).await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"), "{answer:?}");
}

#[tokio::test]
async fn idle_timeout_closes_unread_connection() {
    let mut config = ServerConfig::default();
    config.guards.idle_timeout = SHORT;
    let server = Server::with(config).await;
    let mut stream = server.connect().await;
    // It goes on until all buffers are full. From then on nothing is written.
    let mut written = Instant::now();
    let asking = async {
        while stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {
            written = Instant::now();
        }
    };
    soon("the end of a connection that is not read from", asking).await;
    assert!(written.elapsed() < 8 * SHORT, "open for {:?}", written.elapsed());
}

//! The configurations of `docs/deployment.md`, run or checked by the programs that they are for.
//!
//! A proxy that is not installed is left out, but not in CI, where `.ci/proxies` installs it. The
//! other programs are left out wherever they are not installed.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use purrr_server::config::ServerConfig;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::support::{Answer, Peer, Server, UPGRADE, program::program, raw, soon};

/// Longer than `--header-timeout`, after which a kept connection once ended.
const SILENCE: Duration = Duration::from_secs(6);

/// A running proxy in front of a server. Both end with the test.
struct Proxy {
    address: SocketAddr,
    server: Server,
    _child: Child,
}

/// Returns the code block below this heading of `docs/deployment.md`.
fn documented(heading: &str, language: &str) -> String {
    block_below(&format!("### {heading}"), language)
}

fn block_below(heading: &str, language: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deployment.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split_once(&format!("\n{heading}\n")).unwrap().1;
    let block = section.split_once(&format!("```{language}\n")).unwrap().1;
    block.split_once("```").unwrap().0.to_owned()
}

/// Replaces a part of a configuration, which must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} in:\n{text}");
    text.replace(from, to)
}

/// Starts a server and a proxy before it. Returns `None` if the proxy is not installed.
///
/// `configuration` is made from the addresses of both and a folder of its own.
async fn start(
    program: &str,
    arguments: impl Fn(&Path) -> Vec<String>,
    configuration: impl Fn(SocketAddr, SocketAddr, &Path) -> String,
) -> Option<Proxy> {
    if !is_installed(program).await {
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
        return None;
    }
    let mut config = ServerConfig::default();
    config.routes.trusted_proxy = vec!["127.0.0.1".parse().unwrap()];
    let server = Server::with(config).await;
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = format!("{program}-{}", address.port());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("configuration");
    std::fs::write(&file, configuration(address, server.address, &folder)).unwrap();
    let mut command = Command::new(program);
    command.args(arguments(&file)).env("HOME", &folder).kill_on_drop(true);
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(name, &folder);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    soon(program, async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    Some(Proxy { address, server, _child: child })
}

async fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().await;
    let found = found.unwrap().status.success();
    if !found {
        eprintln!("left out: {program} is not installed");
    }
    found
}

async fn nginx(http: impl Fn(SocketAddr, SocketAddr) -> String) -> Option<Proxy> {
    let arguments = |file: &Path| vec!["-c".to_owned(), file.to_str().unwrap().to_owned()];
    let configuration = |proxy: SocketAddr, server: SocketAddr, folder: &Path| {
        let folder = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
            .concat();
        format!(
            "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\n\
             events {{ worker_connections 512; }}\n\
             http {{\naccess_log off;\n{temporary}{}\n}}\n",
            http(proxy, server)
        )
    };
    start("nginx", arguments, configuration).await
}

/// Asks over one connection to the proxy, which stays open.
async fn ask(stream: &mut TcpStream, request: &str, lines: &[&str]) -> Answer {
    let lines = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    let request = format!("{request} HTTP/1.1\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read_from(stream).await
}

/// Checks what every proxy must let through, below this path.
async fn check(proxy: &Proxy, path: &str) {
    let address = proxy.address;
    let (host, origin) = (format!("Host: {address}"), format!("Origin: http://{address}"));
    let ask_once = async |request: String, lines: &[&str]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, &request, lines).await
    };
    assert_eq!(ask_once(format!("GET {path}livez"), &[&host]).await.status, 200);
    let page = ask_once(format!("GET {path}"), &[&host]).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(ask_once(format!("GET {path}assets/app.js"), &[&host]).await.status, 200);

    // A page of this host on either socket.
    let upgrade = [&UPGRADE[..], &[&host, &origin]].concat();
    assert_eq!(ask_once(format!("GET {path}ws"), &upgrade).await.status, 101);
    let polling = format!("{path}socket.io/?EIO=4&transport=polling");
    let greeting = ask_once(format!("GET {polling}"), &[&host, &origin]).await;
    assert_eq!(greeting.status, 200, "{greeting:?}");
    let lines = [&host, "Origin: https://evil.example"];
    assert_eq!(ask_once(format!("GET {polling}"), &lines).await.status, 403);

    // Two peers, through the proxy.
    let mut peers = Vec::new();
    for name in ["Ann", "Bob"] {
        let ws = format!("{path}ws");
        let (mut peer, _) = Peer::connect_at(address, &ws, name, Some("purrr.v1")).await;
        peer.gets_type("welcome").await;
        peer.finds().await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.gets_type("matched").await;
    }
    peers[0].send(r#"{"type":"message","text":"through"}"#).await;
    peers[1].gets(r#"{"type":"message","text":"through"}"#).await;

    // A picture of 2 MB by polling.
    let sid = greeting.body.split("\"sid\":\"").nth(1).unwrap();
    let target = format!("{polling}&sid={}", sid.split('"').next().unwrap());
    let picture = format!(r#"42["send_message",{{"image":"{}"}}]"#, "x".repeat(2_000_000));
    for body in ["40", &picture] {
        let length = format!("Content-Length: {}", body.len());
        let head = format!("POST {target} HTTP/1.1\r\n{host}\r\n{length}\r\n\r\n");
        let answer = raw(address, format!("{head}{body}")).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
    }

    // A connection that the proxy keeps to the server.
    let mut kept = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&mut kept, &format!("GET {path}livez"), &[&host]).await.status, 200);
        tokio::time::sleep(SILENCE).await;
    }
}

#[tokio::test]
async fn nginx_as_documented() {
    let http = |proxy: SocketAddr, server: SocketAddr| {
        let documented = documented("nginx", "nginx");
        let plain = replaced(&documented, "listen 443 ssl;", &format!("listen {proxy};"));
        replaced(&plain, "127.0.0.1:3007", &server.to_string())
    };
    let Some(proxy) = nginx(http).await else { return };
    check(&proxy, "/").await;
    for path in ["/metrics", "/healthz"] {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        assert_eq!(raw(proxy.address, request).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn nginx_below_a_path_as_documented() {
    let http = |proxy: SocketAddr, server: SocketAddr| {
        let documented_at_root = documented("nginx", "nginx");
        let plain = replaced(&documented_at_root, "listen 443 ssl;", &format!("listen {proxy};"));
        let plain = replaced(&plain, "127.0.0.1:3007", &server.to_string());
        let below = documented("Below a path", "nginx");
        let (redirect, location) = below.split_once('\n').unwrap();
        let (location, _) = location.split_once('}').unwrap();
        let plain = replaced(&plain, "location / {", &format!("{redirect}\n{location}"));
        replaced(&plain, "proxy_pass http://purrr;", "")
    };
    let Some(proxy) = nginx(http).await else { return };
    check(&proxy, "/chat/").await;
    let redirect = raw(proxy.address, "GET /chat HTTP/1.0\r\n\r\n").await;
    assert_eq!(redirect.status, 301);
    let page = raw(proxy.address, "GET /chat/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(page.body.contains("<base href=\"./\">"), "{}", page.body);
    drop(proxy.server);
}

/// What operators copy for a WebSocket, and what nginx does without any of it.
#[tokio::test]
async fn nginx_with_usual_snippets() {
    let http = |proxy: SocketAddr, server: SocketAddr| {
        let upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                       proxy_set_header Connection \"upgrade\";";
        format!(
            "server {{ listen {proxy};\n\
             location /host/ {{ {upgrade} proxy_set_header Host $host; proxy_pass http://{server}/; }}\n\
             location /forwarded/ {{ {upgrade} proxy_set_header X-Forwarded-Host $http_host; \
             proxy_pass http://{server}/; }}\n\
             location /bare/ {{ {upgrade} proxy_pass http://{server}/; }}\n}}"
        )
    };
    let Some(proxy) = nginx(http).await else { return };
    for (path, status) in [("/host/", 101), ("/forwarded/", 101), ("/bare/", 403)] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let lines = ["Host: chat.example:8443", "Origin: https://chat.example:8443"];
        let lines = [&UPGRADE[..], &lines].concat();
        let answer = ask(&mut stream, &format!("GET {path}ws"), &lines).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

async fn haproxy(change: impl Fn(&str) -> String) -> Option<Proxy> {
    let arguments =
        |file: &Path| vec!["-db".to_owned(), "-f".to_owned(), file.to_str().unwrap().to_owned()];
    let configuration = |proxy: SocketAddr, server: SocketAddr, _: &Path| {
        let documented = documented("HAProxy", "haproxy");
        let bind = "bind :443 ssl crt /etc/haproxy/chat.example.pem";
        let plain = replaced(&documented, bind, &format!("bind {proxy}"));
        // So that a check has been made before the first request of a test.
        let server = format!("{server} inter 1s fall 1 rise 1");
        change(&replaced(&plain, "127.0.0.1:3007", &server))
    };
    start("haproxy", arguments, configuration).await
}

#[tokio::test]
async fn haproxy_as_documented() {
    let Some(proxy) = haproxy(str::to_owned).await else { return };
    tokio::time::sleep(Duration::from_secs(2)).await;
    check(&proxy, "/").await;
    for path in ["/metrics", "/healthz"] {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        assert_eq!(raw(proxy.address, request).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn haproxy_with_its_plain_check() {
    let plain_check = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("http-check send"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let Some(proxy) = haproxy(plain_check).await else { return };
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(raw(proxy.address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    drop(proxy.server);
}

#[tokio::test]
async fn caddy_as_documented() {
    let arguments = |file: &Path| {
        let file = file.to_str().unwrap();
        ["run", "--adapter", "caddyfile", "--config", file].map(str::to_owned).to_vec()
    };
    let configuration = |proxy: SocketAddr, server: SocketAddr, _: &Path| {
        let documented = documented("Caddy", "caddyfile");
        let plain = replaced(&documented, "chat.example {", &format!("http://{proxy} {{"));
        let plain = replaced(&plain, "127.0.0.1:3007", &server.to_string());
        format!("{{\n    admin off\n    auto_https off\n}}\n{plain}")
    };
    let Some(proxy) = start("caddy", arguments, configuration).await else { return };
    check(&proxy, "/").await;
    let private = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address);
    assert_eq!(raw(proxy.address, private).await.status, 404);
}

// ---- Other programs -----------------------------------------------------------------------------

#[tokio::test]
async fn systemd_unit_as_documented() {
    if !is_installed("systemd-analyze").await {
        return;
    }
    let unit = block_below("## systemd", "ini");
    let binary = env!("CARGO_BIN_EXE_purrr-server");
    let unit = replaced(&unit, "/usr/local/bin/purrr-server", binary);
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/purrr.service");
    std::fs::write(file, &unit).unwrap();
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no", file]).output().await;
    let verify = verify.unwrap();
    // It only warns of a key that it does not know.
    let complaint = String::from_utf8(verify.stderr).unwrap();
    assert!(verify.status.success() && !complaint.contains("purrr.service"), "{complaint}");

    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let options: Vec<_> = start.split(' ').skip(1).collect();
    let checked = program(&[&["check-config"], &options[..]].concat(), &[]).output().await.unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn metrics_pass_promtool() {
    if !is_installed("promtool").await {
        return;
    }
    let server = Server::start().await;
    let (_ann, _bob, _) = Peer::pair(server.address).await;
    // As by `curl http://localhost:3007/metrics | promtool check metrics`, and by a scraper.
    for accept in ["Accept: */*", "Accept: text/plain;version=0.0.4"] {
        let metrics = server.ask("GET /metrics", &[accept]).await.body;
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped());
        let mut child = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
        let output = soon("promtool", child.wait_with_output()).await.unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && told.is_empty(), "{accept}: {told}");
    }
}

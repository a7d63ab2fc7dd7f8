//! What operators and the systems they use do to the program.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    io::{PipeReader, Write},
    net::SocketAddr,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Child,
};

use crate::support::{
    Answer, Peer, Server,
    program::{Running, in_shell, program, signal},
    raw, soon,
};

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    soon("the program's end", program(arguments, variables).output()).await.unwrap()
}

/// Runs the program, which must succeed. Returns the table that it prints.
async fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> toml::Table {
    let output = run(arguments, variables).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {variables:?}: {complaint}");
    assert_eq!(complaint, "", "{arguments:?} {variables:?}");
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

async fn shell(script: &str) -> Output {
    soon("the shell's end", in_shell(script, &program(&[], &[])).output()).await.unwrap()
}

// ---- Variables and options ----------------------------------------------------------------------

#[tokio::test]
async fn variables_of_a_container_platform_do_not_stop_the_program() {
    let defaults = printed(&["print-config"], &[]).await;
    let injected = [
        ("PURRR_SERVICE_HOST", "10.43.0.7"),
        ("PURRR_SERVICE_PORT", "3007"),
        ("PURRR_SERVICE_PORT_HTTP", "3007"),
        ("PURRR_PORT", "tcp://10.43.0.7:3007"),
        ("PURRR_PORT_3007_TCP", "tcp://10.43.0.7:3007"),
        ("PURRR_PORT_3007_TCP_PROTO", "tcp"),
        ("PURRR_PORT_3007_TCP_PORT", "3007"),
        ("PURRR_PORT_3007_TCP_ADDR", "10.43.0.7"),
        ("PURRR_SOMETHING_SERVICE_HOST", "10.43.0.8"),
        ("PURRR_SOMETHING_PORT", "tcp://10.43.0.8:80"),
        ("PURRR_SOMETHING_PORT_80_TCP_ADDR", "10.43.0.8"),
    ];
    assert_eq!(printed(&["print-config"], &injected).await, defaults);
}

#[tokio::test]
async fn wrong_variable_names_what_is_meant() {
    for (variable, hint) in [
        (("PURRR_DRIAN", "5s"), "did you mean `PURRR_DRAIN`?"),
        (("PURRR_PORT", "3007"), "did you mean `PORT` or `PURRR_LISTEN`?"),
    ] {
        let output = run(&["check-config"], &[variable]).await;
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        let expected = format!("purrr-server: there is no option `{}`; {hint}\n", variable.0);
        assert_eq!(complaint, expected);
    }
}

#[tokio::test]
async fn empty_variable_counts_as_unset() {
    let defaults = printed(&["print-config"], &[]).await;
    let names: Vec<String> = (defaults.keys())
        .map(|name| format!("PURRR_{}", name.to_uppercase().replace('-', "_")))
        .chain(["PURRR_CONFIG", "PORT", "HOST_URL"].map(str::to_owned))
        .collect();
    let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(printed(&["print-config"], &empty).await, defaults);
    for variable in empty {
        assert_eq!(printed(&["print-config"], &[variable]).await, defaults, "{variable:?}");
    }
}

#[tokio::test]
async fn list_in_a_variable_is_separated_by_commas_or_spaces() {
    for text in [
        "https://a.example,https://b.example",
        "https://a.example, https://b.example",
        "https://a.example https://b.example",
    ] {
        let table = printed(&["print-config"], &[("PURRR_ALLOWED_ORIGIN", text)]).await;
        let expected: toml::Value = vec!["https://a.example", "https://b.example"].into();
        assert_eq!(table["allowed-origin"], expected, "{text}");
        let host_url = printed(&["print-config"], &[("HOST_URL", text)]).await;
        assert_eq!(host_url["allowed-origin"].as_array().unwrap().len(), 3, "{text}");
        let path = format!("{}/list-{}.toml", env!("CARGO_TARGET_TMPDIR"), text.len());
        std::fs::write(&path, format!("allowed-origin = \"{text}\"\n")).unwrap();
        let table = printed(&["--config", &path, "print-config"], &[]).await;
        assert_eq!(table["allowed-origin"], expected, "{text} in a file");
    }
}

#[tokio::test]
async fn options_go_on_either_side_of_the_subcommand() {
    for arguments in [
        &["--drain", "5s", "print-config"][..],
        &["print-config", "--drain", "5s"],
        &["--drain", "1s", "print-config", "--drain", "5s"],
        &["--stall", "9s", "print-config", "--drain", "5s"],
    ] {
        let table = printed(arguments, &[("PURRR_DRAIN", "7s")]).await;
        assert_eq!(table["drain"], "5s".into(), "{arguments:?}");
        let stall = if arguments[0] == "--stall" { "9s" } else { "10s" };
        assert_eq!(table["stall"], stall.into(), "{arguments:?}");
    }
    assert!(run(&["check-config", "--drain", "5s"], &[]).await.status.success());
    assert!(!run(&["check-config", "--drain", "soon"], &[]).await.status.success());
}

#[tokio::test]
async fn output_that_cannot_be_written_is_no_panic() {
    for subcommand in ["print-config", "check-config", "print-reference", "--help", "--version"] {
        let full = shell(&format!("\"$0\" {subcommand} >/dev/full")).await;
        let complaint = String::from_utf8(full.stderr).unwrap();
        assert_eq!(full.status.code(), Some(1), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains("standard output") && complaint.contains("No space"));

        let closed = format!("(\"$0\" {subcommand}; echo \"exit $?\" >&2) | exec sh -c ':'");
        let complaint = String::from_utf8(shell(&closed).await.stderr).unwrap();
        assert_eq!(complaint, "exit 0\n", "{subcommand}");
    }
    let complaint = shell("\"$0\" --drain soon 2>/dev/full").await;
    assert_eq!(complaint.status.code(), Some(1));
}

// ---- Log ----------------------------------------------------------------------------------------

/// Starts the program with a log that is full from the start. Returns its end that is not read.
async fn with_full_log(arguments: &[&str]) -> (Child, SocketAddr, PipeReader) {
    /// What a pipe of Linux holds.
    const PIPE: usize = 65_536;
    let (unread, mut log) = std::io::pipe().unwrap();
    log.write_all(&[b'x'; PIPE]).unwrap();
    let address = free_address().await;
    let listen = ["--listen", &address.to_string(), "--log-format", "json"];
    let mut program = program(&[&listen, arguments].concat(), &[]);
    let child = program.stderr(log).spawn().unwrap();
    soon("a server that listens", async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    (child, address, unread)
}

#[tokio::test]
async fn log_that_is_not_read_does_not_block_the_server() {
    const FOREIGN: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\
                           Origin: https://evil.example\r\nConnection: close\r\n\r\n";
    let (mut child, address, _unread) = with_full_log(&[]).await;
    let (mut ann, mut bob, _) = Peer::pair(address).await;
    for request in 0..2_000 {
        assert_eq!(raw(address, FOREIGN).await.status, 403, "request {request}");
    }
    let said = r#"{"type":"message","text":"still here"}"#;
    ann.send(said).await;
    bob.gets(said).await;
    let metrics = raw(address, "GET /metrics HTTP/1.0\r\n\r\n").await.body;
    assert!(metrics.contains("purrr_log_lines_dropped_total "), "{metrics}");
    signal(&child, "TERM").await;
    ann.gets_type("draining").await;
    ann.send(r#"{"type":"leave"}"#).await;
    drop((ann, bob));
    assert_eq!(soon("the program's end", child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn second_signal_ends_a_program_whose_log_is_not_read() {
    let (mut child, address, _unread) = with_full_log(&["--drain", "1h"]).await;
    let (mut ann, _bob, _) = Peer::pair(address).await;
    signal(&child, "TERM").await;
    ann.gets_type("draining").await;
    signal(&child, "TERM").await;
    assert_eq!(soon("the program's end", child.wait()).await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn refused_origins_are_few_lines_that_name_both_sides() {
    let server = Running::start(&[]).await;
    let evil = format!("https://evil.example{}", "x".repeat(2_000));
    for origin in ["https://evil.example", &evil] {
        for _ in 0..500 {
            let request = format!(
                "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: chat.example\r\n\
                 Origin: {origin}\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(raw(server.address, request).await.status, 403);
        }
    }
    server.signal("TERM").await;
    let (_, log) = server.ended().await;
    let told: Vec<_> = log.lines().filter(|line| line.contains("refused a request")).collect();
    assert!((1..50).contains(&told.len()), "{} lines", told.len());
    for line in told {
        for words in ["https://evil.example", "chat.example", "--allowed-origin"] {
            assert!(line.contains(words), "{words} in: {line}");
        }
        assert!(line.len() < 600, "{line}");
    }
}

// ---- Descriptors --------------------------------------------------------------------------------

#[tokio::test]
async fn soft_limit_of_files_is_raised_and_compared() {
    let program = program(&["--listen", "127.0.0.1:0", "--log-format", "json"], &[]);
    let limited = "ulimit -Sn 256 && ulimit -Hn 4096 && exec \"$0\" \"$@\"";
    let mut child = in_shell(limited, &program).spawn().unwrap();
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("listening") {
        assert!(soon("the log", log.read_line(&mut told)).await.unwrap() > 0, "{told}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id().unwrap())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("4096"), "{files}");
    let warning = told.lines().find(|line| line.contains("--max-connections")).unwrap();
    assert!(warning.contains("4096") && warning.contains("100000"), "{warning}");
}

#[tokio::test]
async fn probe_is_answered_when_descriptors_have_run_out() {
    let server = Running::start_with_files(&[], 64).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
    }
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/livez", 200), ("/", 503)] {
        let began = Instant::now();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = raw(server.address, request).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert!(began.elapsed() < Duration::from_secs(3), "{path}: {:?}", began.elapsed());
    }
    drop(crowd);
    soon("all of the server", async {
        while raw(server.address, "GET / HTTP/1.0\r\n\r\n").await.status != 200 {}
    })
    .await;
}

// ---- Addresses ----------------------------------------------------------------------------------

/// Returns an address of the loopback interface that is free.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn default_listens_on_both_families() {
    let table = printed(&["print-config"], &[]).await;
    assert_eq!(table["listen"], "[::]:3007".into());
    let port = free_address().await.port();
    let mut program = program(&["--listen", &port.to_string()], &[]);
    let _child = program.stderr(Stdio::null()).spawn().unwrap();
    let has_ipv6 = TcpListener::bind("[::1]:0").await.is_ok();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        if address.starts_with('[') && !has_ipv6 {
            continue;
        }
        let answer = soon("an answer", async {
            while TcpStream::connect(&address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            raw(address.parse().unwrap(), "GET /livez HTTP/1.0\r\n\r\n").await
        });
        assert_eq!(answer.await.status, 200, "{address}");
    }
}

/// Runs a program that can open no socket of IPv6, as on a system without it.
const WITHOUT_IPV6: &str = r#"
import ctypes, os, platform, struct, sys

if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
    sys.exit("left out")
socket = {"x86_64": 41, "aarch64": 198}[platform.machine()]
AF_INET6, EAFNOSUPPORT = 10, 97
steps = [
    (0x20, 0, 0, 0),  # the number of the call
    (0x15, 0, 3, socket),
    (0x20, 0, 0, 16),  # its first argument
    (0x15, 0, 1, AF_INET6),
    (0x06, 0, 0, 0x00050000 | EAFNOSUPPORT),
    (0x06, 0, 0, 0x7FFF0000),  # allowed
]
filter = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(filter))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 4
if prctl(38, 1, None, None, None) or prctl(22, 2, program, None, None):
    sys.exit("left out")
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[tokio::test]
async fn default_listens_on_ipv4_alone_without_ipv6() {
    let port = free_address().await.port();
    let server = program(&["--listen", &port.to_string()], &[]);
    let mut program = in_shell("exec python3 -c \"$WITHOUT_IPV6\" \"$0\" \"$@\"", &server);
    let mut child = program.env("WITHOUT_IPV6", WITHOUT_IPV6).spawn().unwrap();
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("listening") {
        let read = soon("the log", log.read_line(&mut told)).await.unwrap();
        if told.contains("left out") || told.contains("python3: not found") {
            eprintln!("left out: {told}");
            return;
        }
        assert!(read > 0, "{told}");
    }
    assert!(told.contains(&format!("0.0.0.0:{port}")), "{told}");
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    assert_eq!(raw(address, "GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn metrics_and_health_have_an_address_of_their_own() {
    let admin = free_address().await;
    let server = Running::start(&["--admin-listen", &admin.to_string()]).await;
    for (path, public) in [("/metrics", 404), ("/healthz", 404), ("/livez", 200), ("/readyz", 200)]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(server.address, &request).await.status, public, "{path}");
        assert_eq!(raw(admin, &request).await.status, 200, "{path} at --admin-listen");
    }
    assert_eq!(raw(admin, "GET / HTTP/1.0\r\n\r\n").await.status, 404);
    let taken = ["--admin-listen", &server.address.to_string(), "--listen", "127.0.0.1:0"];
    let complaint = String::from_utf8(run(&taken, &[]).await.stderr).unwrap();
    assert!(complaint.contains("--admin-listen"), "{complaint}");
}

// ---- Signals ------------------------------------------------------------------------------------

#[tokio::test]
async fn hangup_and_quit_drain() {
    for name in ["HUP", "QUIT"] {
        let server = Running::start(&[]).await;
        let (mut ann, mut bob, _) = Peer::pair(server.address).await;
        server.signal(name).await;
        for peer in [&mut ann, &mut bob] {
            peer.gets_type("draining").await;
        }
        // A hangup, as a terminal and systemd send it beside another signal, is no second signal.
        server.signal("HUP").await;
        ann.send(r#"{"type":"message","text":"one more thing"}"#).await;
        bob.gets(r#"{"type":"message","text":"one more thing"}"#).await;
        ann.send(r#"{"type":"leave"}"#).await;
        ann.gets(r#"{"type":"idle"}"#).await;
        bob.gets(r#"{"type":"left","reason":"left"}"#).await;
        drop((ann, bob));
        assert_eq!(server.ended().await.0, Some(0), "SIG{name}");
    }
}

#[tokio::test]
async fn signals_without_meaning_are_ignored() {
    let server = Running::start(&[]).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    for name in ["USR1", "USR2", "PIPE", "USR1"] {
        server.signal(name).await;
        let said = format!(r#"{{"type":"message","text":"after {name}"}}"#);
        ann.send(said.as_str()).await;
        bob.gets(said).await;
    }
    server.signal("TERM").await;
    ann.gets_type("draining").await;
    drop((ann, bob));
    assert_eq!(server.ended().await.0, Some(0));
}

#[tokio::test]
async fn default_drain_tells_all_clients_before_a_container_is_killed() {
    /// What container runtimes wait between SIGTERM and SIGKILL by default.
    const GRACE: Duration = Duration::from_secs(10);
    let server = Running::start(&[]).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let post = async |target: &str, body: &str| {
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        raw(server.address, format!("{head}Connection: close\r\n\r\n{body}")).await.status
    };
    let mut visitors = Vec::new();
    for _ in 0..2 {
        let session = Server::polling_session_at(server.address).await;
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={session}");
        assert_eq!(post(&target, "40").await, 200);
        assert_eq!(post(&target, r#"42["find_partner"]"#).await, 200);
        visitors.push(target);
    }
    let poll = async |target: &str| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(stream).await.body
    };
    for target in &visitors {
        let mut heard = String::new();
        while !heard.contains(r#"42["matched""#) {
            heard += &poll(target).await;
        }
    }
    let began = Instant::now();
    server.signal("TERM").await;
    for peer in [&mut ann, &mut bob] {
        peer.gets_type("draining").await;
    }
    assert!(began.elapsed() < GRACE / 5, "native clients are told at once");
    let told = async |target: &str| {
        let mut heard = String::new();
        while !heard.contains(r#"42["draining",{"retryAfterMs":"#) {
            heard += &poll(target).await;
        }
        assert!(began.elapsed() < GRACE / 5, "a poll under way is told at once");
        while !heard.contains("partner_disconnected") {
            let body = poll(target).await;
            if body.split('\x1e').any(|packet| packet == "2") {
                assert_eq!(post(target, "3").await, 200);
            }
            heard += &body;
        }
    };
    let ended = async |peer: &mut Peer| {
        peer.gets(r#"{"type":"left","reason":"ended"}"#).await;
        peer.is_closed(1001).await;
    };
    tokio::join!(told(&visitors[0]), told(&visitors[1]), ended(&mut ann), ended(&mut bob));
    assert_eq!(server.ended().await.0, Some(0));
    assert!(began.elapsed() < GRACE - Duration::from_millis(500), "{:?}", began.elapsed());
}

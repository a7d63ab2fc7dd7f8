//! The program itself: what it reads, what it says when that is wrong, how it starts and how it
//! ends.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{path::PathBuf, process::Output};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    support::{
        Answer, KEY, PNG, Peer,
        program::{Running, program, signal},
        soon,
    },
    visitor::{Line, Packet},
};

impl Running {
    /// The next line of the log.
    pub(crate) async fn logs(&mut self) -> String {
        let mut line = String::new();
        soon("a line of the log", self.log.read_line(&mut line)).await.unwrap();
        line
    }
}

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    soon("the program's end", program(arguments, variables).output()).await.unwrap()
}

/// What it prints when all is well.
async fn prints(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {variables:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains of when something is wrong.
async fn complains(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables).await;
    assert!(!output.status.success(), "{arguments:?} {variables:?}");
    assert!(output.stdout.is_empty(), "{arguments:?} {variables:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn file(name: &str, contents: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

// ---- Options ------------------------------------------------------------------------------------

#[tokio::test]
async fn flag_beats_variable_beats_file_beats_default() {
    let path = file("precedence.toml", "drain = \"2s\"\nping-timeout = \"1500ms\"\n");
    let from_variables = [("PURRR_DRAIN", "3s"), ("PURRR_CONFIG", path.as_str())];
    for (arguments, variables, drain) in [
        (&["print-config"][..], &[][..], "8s"),
        (&["print-config", "--config", &path], &[], "2s"),
        (&["print-config"], &from_variables[1..], "2s"),
        (&["print-config"], &from_variables, "3s"),
        (&["--drain", "4s", "print-config"], &from_variables, "4s"),
    ] {
        let printed = prints(arguments, variables).await;
        let line = format!("drain = \"{drain}\"");
        assert!(printed.lines().any(|found| found == line), "{line} in:\n{printed}");
    }
}

#[tokio::test]
async fn print_config_round_trip() {
    let arguments =
        ["--allowed-origin", "https://a.example", "--allowed-origin", "https://b.example"];
    let arguments =
        [&arguments[..], &["--ping-timeout", "1500ms", "--log", "purrr_core=debug"]].concat();
    let printed = prints(&[&arguments[..], &["print-config"]].concat(), &[]).await;
    let path = file("printed.toml", &printed);
    assert_eq!(prints(&["--config", &path, "print-config"], &[]).await, printed);
    let table: toml::Table = printed.parse().unwrap();
    assert_eq!(
        table["allowed-origin"],
        vec!["https://a.example".to_owned(), "https://b.example".to_owned()].into()
    );
    assert!(run(&["--config", &path, "check-config"], &[]).await.status.success());
}

#[tokio::test]
async fn port_and_host_url_variables() {
    for (variables, line) in [
        (&[("PORT", "4000")][..], r#"listen = "[::]:4000""#),
        (&[("PORT", "4000"), ("PURRR_LISTEN", "127.0.0.1:5000")], r#"listen = "127.0.0.1:5000""#),
        (&[("PURRR_LISTEN", "5000")], r#"listen = "[::]:5000""#),
        (
            &[("HOST_URL", "https://a.example  https://b.example")],
            r#"allowed-origin = ["http://localhost:3000", "https://a.example", "https://b.example"]"#,
        ),
        (
            &[("HOST_URL", "https://a.example"), ("PURRR_ALLOWED_ORIGIN", "https://c.example")],
            r#"allowed-origin = ["https://c.example", "https://a.example"]"#,
        ),
    ] {
        let printed: toml::Table = prints(&["print-config"], variables).await.parse().unwrap();
        let expected: toml::Table = line.parse().unwrap();
        for (name, value) in expected {
            assert_eq!(printed[&name], value, "{variables:?}");
        }
    }
}

#[tokio::test]
async fn help_lists_every_option_variable_and_default() {
    let help = prints(&["--help"], &[]).await;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let defaults: toml::Table = prints(&["print-config"], &[]).await.parse().unwrap();
    assert!(defaults.len() >= 20, "{defaults:?}");
    for (name, value) in &defaults {
        let about = help.split_once(&format!("--{name} <")).map(|(_, rest)| rest);
        let about = about.unwrap_or_else(|| panic!("--{name} is not in the help"));
        let next = defaults.keys().filter_map(|next| about.find(&format!(" --{next} <"))).min();
        let about = &about[..next.unwrap_or(about.len())];
        let variable = format!("[env: PURRR_{}]", name.to_uppercase().replace('-', "_"));
        assert!(about.contains(&variable), "{variable} in: {about}");
        let value = shown(value);
        let value = if value.contains(' ') { format!("\"{value}\"") } else { value };
        let default = format!("[default: {value}");
        assert!(about.contains(&default), "{default} in: {about}");
    }
    for heading in ["Network:", "Limits:", "Rates:", "Matching:", "Page:", "Running:"] {
        assert!(help.contains(heading), "{heading}");
    }
}

#[tokio::test]
async fn documentation_has_every_option() {
    let tables = prints(&["print-reference"], &[]).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    let held = page.split_once("<!-- print-reference -->\n").map(|(_, rest)| rest);
    let held = held.and_then(|rest| rest.split_once("\n<!-- end -->")).map(|(held, _)| held);
    assert_eq!(held, Some(tables.as_str()), "put there what `cargo run -- print-reference` prints");

    let rows: Vec<&str> = tables.lines().filter(|line| line.starts_with("| `--")).collect();
    let defaults: toml::Table = prints(&["print-config"], &[]).await.parse().unwrap();
    assert_eq!(rows.len(), defaults.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [option, variable, default, unit, sets, at_most] = cells[..] else { panic!("{row}") };
        let name = option.trim_matches('`').trim_start_matches("--");
        assert_eq!(variable, format!("`PURRR_{}`", name.to_uppercase().replace('-', "_")));
        assert!([unit, sets, at_most].iter().all(|cell| !cell.is_empty()), "{row}");
        assert_eq!(default, shown(&defaults[name]), "{row}");
    }
}

#[tokio::test]
async fn documentation_names_only_options_that_exist() {
    /// Options of cargo, of container runtimes, and of the programs in `benches` and `examples`.
    const OTHERS: [&str; 23] = [
        "bench",
        "config",
        "example",
        "from",
        "help",
        "ignored",
        "nocapture",
        "package",
        "paired",
        "pairs",
        "patience",
        "release",
        "resumable",
        "rounds",
        "seconds",
        "skip-build",
        "stop-timeout",
        "table",
        "test",
        "test-threads",
        "ulimit",
        "waiting",
        "warm-up",
    ];
    let defaults: toml::Table = prints(&["print-config"], &[]).await.parse().unwrap();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|page| page.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", "SECURITY.md", "CHANGELOG.md", "purrr-server/README.md"];
    let mut named = 0;
    for path in pages.chain(others.map(|name| root.join(name))) {
        let page = std::fs::read_to_string(&path).unwrap();
        for (at, _) in page.match_indices("--") {
            let name = &page[at + 2..];
            let end =
                name.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
            let name = name[..end.unwrap_or(name.len())].trim_end_matches('-');
            let begins = !page[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
            if !begins || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            let known = defaults.contains_key(name) || OTHERS.contains(&name);
            assert!(known, "{}: there is no option --{name}", path.display());
            named += usize::from(defaults.contains_key(name));
        }
    }
    assert!(named > 100, "{named}");
}

/// Returns a default as help and documentation show it.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) if text.is_empty() => "none".to_owned(),
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => {
            items.first().map_or("none", |item| item.as_str().unwrap()).to_owned()
        }
        other => other.to_string(),
    }
}

#[tokio::test]
async fn backend_is_a_url() {
    let path = file("backend.toml", "backend = \"redis://:secret@example.com\"\n");
    for (arguments, variables) in [
        (&["print-config"][..], &[][..]),
        (&["--backend", "memory:", "print-config"], &[]),
        (&["print-config"], &[("PURRR_BACKEND", "memory:")]),
        (&["--backend", "memory:", "--config", &path, "print-config"], &[]),
        (&["--config", &path, "print-config"], &[("PURRR_BACKEND", "memory:")]),
    ] {
        let printed: toml::Table = prints(arguments, variables).await.parse().unwrap();
        assert_eq!(printed["backend"], "memory:".into(), "{arguments:?} {variables:?}");
    }
    let in_file = format!("{path}, line 1: backend");
    for (arguments, variables, place) in [
        (&["--backend", "redis://:secret@example.com"][..], &[][..], "--backend"),
        (&["check-config"], &[("PURRR_BACKEND", "redis://:secret@example.com")], "PURRR_BACKEND"),
        (&["check-config", "--config", &path], &[], &in_file),
    ] {
        let refusal = "must be `memory:`; this program has no backend for `redis:`";
        assert_eq!(
            complains(arguments, variables).await,
            format!("purrr-server: {place} {refusal}\n"),
            "{arguments:?} {variables:?}"
        );
    }
}

// ---- Mistakes -----------------------------------------------------------------------------------

#[tokio::test]
async fn misspelt_option_gets_suggestion() {
    let path = file("misspelt.toml", "max-payloads = 20000000\n");
    for (arguments, variables, words) in [
        (&["check-config", "--config", &path][..], &[][..], ["max-payloads", "`max-payload`"]),
        (&["check-config"], &[("PURRR_DRIAN", "1s")], ["PURRR_DRIAN", "`PURRR_DRAIN`"]),
        (&["--drian", "1s"], &[], ["--drian", "'--drain'"]),
    ] {
        let complaint = complains(arguments, variables).await;
        for word in words {
            assert!(complaint.contains(word), "{word} in: {complaint}");
        }
    }
}

#[tokio::test]
async fn config_errors_are_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, variables, words) in [
        (&["--listen", taken.as_str()][..], &[][..], &[taken.as_str(), "--listen", "in use"][..]),
        (&["--listen", "nowhere"], &[], &["--listen", "nowhere"]),
        (&["--listen", "192.0.2.1:1"], &[], &["192.0.2.1:1", "--listen"]),
        (&["--config", "/no/such/file.toml"], &[], &["/no/such/file.toml", "--config", "No such"]),
        (&["check-config"], &[("PORT", "many")], &["PORT must", "many"]),
        (&["check-config"], &[("PURRR_STALL", "soon")], &["PURRR_STALL must", "soon"]),
        (&["--image-bytes", "20000000", "check-config"], &[], &["--max-payload", "--image-bytes"]),
        (&["--stall", "0s", "check-config"], &[], &["--stall"]),
        (&["--log", "info,=", "check-config"], &[], &["--log", "invalid", "`info`"]),
        (
            &["--allowed-origin", "chat.example", "check-config"],
            &[],
            &["--allowed-origin", "such as"],
        ),
        (&["--allowed-origin", "*", "check-config"], &[], &["--allowed-origin", "\"*\""]),
        (
            &["check-config"],
            &[("HOST_URL", "https://a.example/chat")],
            &["HOST_URL must", "https://a.example/chat"],
        ),
    ] {
        let complaint = complains(arguments, variables).await;
        assert_eq!(complaint.trim_end().lines().count(), 1, "{arguments:?}: {complaint}");
        for word in words {
            assert_eq!(complaint.matches(word).count(), 1, "{word} in: {complaint}");
        }
    }
}

#[tokio::test]
async fn file_errors_name_the_line() {
    for (name, contents, words) in [
        (
            "value.toml",
            "drain = \"1s\"\nstall = \"soon\"\n",
            ["line 2: stall must", "not \"soon\""],
        ),
        ("type.toml", "image-bytes = \"many\"\n", ["line 1: image-bytes must", "not \"many\""]),
        ("syntax.toml", "drain = \"1s\"\n\nstall =\n", ["line 3", "stall ="]),
    ] {
        let path = file(name, contents);
        let complaint = complains(&["--config", &path, "check-config"], &[]).await;
        for word in [path.as_str()].into_iter().chain(words) {
            assert!(complaint.contains(word), "{word} in: {complaint}");
        }
    }
}

// ---- Running ------------------------------------------------------------------------------------

#[tokio::test]
async fn signal_ends_idle_server() {
    for signal in ["TERM", "INT"] {
        let server = Running::start(&["--drain", "1h"]).await;
        server.signal(signal).await;
        let (status, log) = server.ended().await;
        assert_eq!(status, Some(0), "SIG{signal}: {log}");
    }
}

#[tokio::test]
async fn signal_drains_chats() {
    let server = Running::start(&[]).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    server.signal("TERM").await;
    ann.gets_type("draining").await;
    bob.gets_type("draining").await;

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(Answer::read(stream).await.status, 503);

    ann.send(r#"{"type":"message","text":"one more thing"}"#).await;
    bob.gets(r#"{"type":"message","text":"one more thing"}"#).await;
    ann.send(r#"{"type":"leave"}"#).await;
    ann.gets(r#"{"type":"idle"}"#).await;
    ann.is_closed(1001).await;
    bob.gets(r#"{"type":"left","reason":"left"}"#).await;
    bob.is_closed(1001).await;
    assert_eq!(server.ended().await.0, Some(0));
}

#[tokio::test]
async fn drain_timeout_ends_program() {
    let server = Running::start(&["--drain", "300ms"]).await;
    let (mut ann, _bob, _) = Peer::pair(server.address).await;
    server.signal("TERM").await;
    ann.gets_type("draining").await;
    ann.gets(r#"{"type":"left","reason":"ended"}"#).await;
    ann.is_closed(1001).await;
    assert_eq!(server.ended().await.0, Some(0));
}

#[tokio::test]
async fn second_signal_skips_drain() {
    let server = Running::start(&["--drain", "1h"]).await;
    let (mut ann, _bob, _) = Peer::pair(server.address).await;
    server.signal("TERM").await;
    ann.gets_type("draining").await;
    server.signal("TERM").await;
    let (status, _) = server.ended().await;
    assert_ne!(status, Some(0));
}

#[tokio::test]
async fn connection_burst_waits_in_backlog() {
    let server = Running::start(&[]).await;
    server.signal("STOP").await;
    let mut burst = Vec::new();
    for _ in 0..500 {
        let connecting = soon("a connection", TcpStream::connect(server.address));
        let mut stream = connecting.await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        burst.push(stream);
    }
    server.signal("CONT").await;
    for (place, stream) in burst.into_iter().enumerate() {
        assert_eq!(Answer::read(stream).await.status, 200, "number {place}");
    }
}

#[tokio::test]
async fn out_of_descriptors_serves_open_connections_and_recovers() {
    let mut server = Running::start_with_files(&[], 64).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert!(server.logs().await.contains("raise the limit of open files"));
    for round in 0..100 {
        let said = format!(r#"{{"type":"message","text":"still here {round}"}}"#);
        ann.send(said.as_str()).await;
        bob.gets(said).await;
    }
    drop(crowd);
    // It is said that they ran out once, not at every attempt.
    assert!(server.logs().await.contains("accepting connections again"));
    Peer::pair(server.address).await;
    server.signal("TERM").await;
    ann.gets_type("draining").await;
    drop((ann, bob));
    assert_eq!(server.ended().await.0, Some(0));
}

#[tokio::test]
async fn refusal_log_is_rate_limited_and_truncates_address() {
    let server = Running::start(&["--max-connections-per-address", "1"]).await;
    let ask = async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(stream).await.status
    };
    assert_eq!(ask().await, 200);
    for _ in 0..20 {
        assert_eq!(ask().await, 503);
    }
    server.signal("TERM").await;
    let (_, log) = server.ended().await;
    let told: Vec<_> = log.lines().filter(|line| line.contains("refused a connection")).collect();
    // At most once a second, whatever this took.
    assert!((1..20).contains(&told.len()), "{log}");
    for words in ["--max-connections-per-address", "--trusted-proxy", "127.0.0.0/24"] {
        assert!(told[0].contains(words), "{words} in: {log}");
    }
    assert!(!log.contains("127.0.0.1"), "{log}");
}

#[tokio::test]
async fn refused_search_log_names_its_limit() {
    let server = Running::start(&["--waiting-per-address", "1"]).await;
    let (mut ann, _) = Peer::connect_remembered(server.address, "Ann").await;
    let (mut bob, _) = Peer::connect_remembered(server.address, "Bob").await;
    ann.send(r#"{"type":"find","interests":["cats"]}"#).await;
    ann.gets_type("waiting").await;
    for _ in 0..20 {
        bob.send(r#"{"type":"find","interests":["tea"]}"#).await;
        for answer in ["waiting", "error", "idle"] {
            bob.gets_type(answer).await;
        }
    }
    server.signal("TERM").await;
    drop((ann, bob));
    let (_, log) = server.ended().await;
    let told: Vec<_> = log.lines().filter(|line| line.contains("refused a search")).collect();
    // At most once a second, whatever this took.
    assert!((1..20).contains(&told.len()), "{log}");
    assert!(told[0].contains("--waiting-per-address"), "{log}");
}

#[tokio::test]
async fn log_contains_no_names_or_messages() {
    let Running { mut child, mut log, address } = Running::start(&["--log", "trace"]).await;
    // Read all the while, or the pipe would fill and the server wait for it.
    let log = tokio::spawn(async move {
        let mut lines = String::new();
        log.read_to_string(&mut lines).await.unwrap();
        lines
    });
    let (mut ann, token) = Peer::connect_remembered(address, "a client").await;
    let (mut bob, _) = Peer::connect_remembered(address, "a client").await;
    let hello = format!(r#"{{"type":"hello","name":"PLANTED","publicKey":"{KEY}"}}"#);
    for peer in [&mut ann, &mut bob] {
        peer.send(&*hello).await;
        peer.send(r#"{"type":"find","interests":["PLANTED"],"languages":["PLANTED"]}"#).await;
        peer.gets_type("waiting").await;
    }
    for peer in [&mut ann, &mut bob] {
        peer.gets_type("matched").await;
    }
    ann.send(r#"{"type":"message","text":"PLANTED"}"#).await;
    bob.gets_type("message").await;
    ann.send(r#"{"type":"signal","kind":"offer","data":"PLANTED"}"#).await;
    bob.gets_type("signal").await;
    let picture = [PNG, b"PLANTED"].concat();
    let size = picture.len();
    ann.send(format!(r#"{{"type":"image","id":1,"mime":"image/png","size":{size}}}"#)).await;
    ann.send_bytes(picture).await;
    bob.gets_type("image").await;
    bob.bytes().await;
    ann.gets_type("delivered").await;
    ann.send("PLANTED").await;
    ann.gets_error("bad-message", None).await;
    ann.send(r#"{"type":"PLANTED"}"#).await;
    ann.gets_error("unknown-type", None).await;
    bob.send(format!(r#"{{"type":"hello","resume":"{token}"}}"#)).await;
    drop((ann, bob));

    // The same on Socket.IO.
    let mut lines = Vec::new();
    for _ in 0..2 {
        let mut line = polling(address).await;
        line.send("40").await;
        line.next().await;
        line.send(&format!(r#"42["init_user",{{"name":"PLANTED","publicKey":"{KEY}"}}]"#)).await;
        line.send(r#"42["find_partner"]"#).await;
        assert_eq!(line.next().await, Some(Packet::Text(r#"42["waiting"]"#.to_owned())));
        lines.push(line);
    }
    for line in &mut lines {
        let Some(Packet::Text(matched)) = line.next().await else { panic!("no match") };
        assert!(matched.starts_with(r#"42["matched""#), "{matched}");
    }
    lines[0].send(r#"42["send_message",{"message":"PLANTED"}]"#).await;
    let Some(Packet::Text(received)) = lines[1].next().await else { panic!("nothing came") };
    assert!(received.contains("PLANTED"), "{received}");
    lines[0].send(r#"42["PLANTED","PLANTED"]"#).await;
    lines[0].next().await;
    for line in &mut lines {
        line.send("1").await;
    }

    signal(&child, "TERM").await;
    let log = soon("the end of the log", log).await.unwrap();
    assert_eq!(soon("the program's end", child.wait()).await.unwrap().code(), Some(0));
    assert!(log.contains("draining"), "{log}");
    for secret in ["PLANTED", KEY, token.as_str(), "127.0.0.1"] {
        let told = log.lines().find(|line| line.contains(secret));
        assert_eq!(told, None, "{secret} is in the log");
    }
}

/// An Engine.IO session that polls.
async fn polling(address: std::net::SocketAddr) -> Line {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let greeting = Answer::read(stream).await.body;
    let greeting: serde_json::Value = serde_json::from_str(&greeting[1..]).unwrap();
    let session = greeting["sid"].as_str().unwrap().to_owned();
    Line::Polling { address, session, polled: std::collections::VecDeque::new() }
}

#[tokio::test]
async fn unread_log_does_not_block_server() {
    let Running { mut child, log, address } = Running::start(&[]).await;
    drop(log);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // That a page of another origin was refused is logged, and so is the end.
    assert_eq!(Answer::read(stream).await.status, 403);
    signal(&child, "TERM").await;
    assert_eq!(soon("the program's end", child.wait()).await.unwrap().code(), Some(0));
}

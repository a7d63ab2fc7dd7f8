//! Requests and handshakes.

use super::{Door, Has, Lacks, Row, Status, Want};
use crate::support::{
    UPGRADE,
    wire::{FIN, PING, frame},
};

fn row(what: &str, sent: impl Into<Vec<u8>>, want: Want) -> Row {
    Row::new(what, Door::Http, sent, want)
}

/// A request with these lines in its head.
fn ask(request: &str, lines: &[&str]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{request} HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes()
}

/// The lines of a handshake without those that begin so.
fn without(name: &str) -> Vec<&'static str> {
    UPGRADE.into_iter().filter(|line| !line.starts_with(name)).collect()
}

fn with(line: &'static str) -> Vec<&'static str> {
    let name = line.split(':').next().unwrap();
    [without(name), vec![line]].concat()
}

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

pub(super) fn rows() -> Vec<Row> {
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{rest}\r\n");
    // Understood, these would be answered by 405.
    let post = |rest: &str| format!("POST /livez HTTP/1.1\r\nHost: x\r\n{rest}");
    let headers = |count| -> String { (0..count).map(|n| format!("X-{n}: y\r\n")).collect() };
    let long = "y".repeat(100_000);
    let mut rows = vec![
        row("/ws without Upgrade", ask("GET /ws", &[]), Has(&[426], "sec-websocket-version: 13")),
        row("Upgrade to h2c", ask("GET /ws", &with("Upgrade: h2c")), Status(&[426])),
        row("no Connection", ask("GET /ws", &without("Connection")), Status(&[400])),
        row("no key", ask("GET /ws", &without("Sec-WebSocket-Key")), Status(&[400])),
        row("a key of 3 bytes", ask("GET /ws", &with("Sec-WebSocket-Key: AAAA")), Status(&[400])),
        row(
            "a key not in base64",
            ask("GET /ws", &with("Sec-WebSocket-Key: !!!!")),
            Status(&[400]),
        ),
        row(
            "version 8",
            ask("GET /ws", &with("Sec-WebSocket-Version: 8")),
            Has(&[426], "sec-websocket-version: 13"),
        ),
        row(
            "no version",
            ask("GET /ws", &without("Sec-WebSocket-Version")),
            Has(&[426], "sec-websocket-version: 13"),
        ),
        row("POST /ws", ask("POST /ws", &UPGRADE), Has(&[405], "allow: get")),
        row(
            "an upgrade over HTTP/1.0",
            format!("GET /ws HTTP/1.0\r\nHost: x\r\n{}\r\n\r\n", UPGRADE.join("\r\n")),
            Status(&[400, 426]),
        ),
        row("no Host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", Status(&[400])),
        row(
            "an unknown subprotocol",
            ask("GET /ws", &[&UPGRADE[..], &["Sec-WebSocket-Protocol: chess.v9"]].concat()),
            Lacks(&[101], "sec-websocket-protocol"),
        ),
        row(
            "compression offered",
            ask(
                "GET /ws",
                &[&UPGRADE[..], &["Sec-WebSocket-Extensions: permessage-deflate"]].concat(),
            ),
            Lacks(&[101], "sec-websocket-extensions"),
        ),
        row("a header of 100 KB", get(&format!("X: {long}\r\n")), Status(&[431])),
        row("200 headers", get(&headers(200)), Status(&[431])),
        row(
            "a head of 500 KB",
            get(&format!("{}X: {}", headers(50), long.repeat(5))),
            Status(&[431]),
        ),
        row(
            "a URI of 100 KB",
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            Status(&[414, 431]),
        ),
        // RFC 9112, section 2.2, lets a server take a line feed alone for the end of a line, and
        // hyper does.
        row(
            "line feeds alone",
            "GET /livez HTTP/1.1\nHost: x\nConnection: close\n\n",
            Status(&[200]),
        ),
        row("a NUL in a header", get("X: a\0b\r\n"), Status(&[400])),
        row("a header without a name", get(": y\r\n"), Status(&[400])),
        row("a space before the colon", post("Content-Length : 1\r\n\r\nx"), Status(&[400])),
        row("a folded header", get("X: a\r\n b\r\n"), Status(&[400])),
        row("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), Status(&[400])),
        row("a negative length", post("Content-Length: -1\r\n\r\n"), Status(&[400])),
        row(
            "a length of 2^64",
            post("Content-Length: 18446744073709551616\r\n\r\n"),
            Status(&[400]),
        ),
        row("an unknown coding", post("Transfer-Encoding: rot13\r\n\r\n"), Status(&[400, 501])),
        row("a TLS hello", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], Status(&[0, 400])),
        row("noise", vec![0xff; 512], Status(&[0, 400])),
        row("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Status(&[0, 400, 505])),
        row("HTTP/9.9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", Status(&[0, 400, 505])),
        row("CONNECT", ask("CONNECT example.com:443", &[]), Status(&[400, 404, 405])),
        row("TRACE", ask("TRACE /", &[]), Status(&[405])),
        row("DELETE /", ask("DELETE /", &[]), Status(&[405])),
        row("DELETE /livez", ask("DELETE /livez", &[]), Status(&[405])),
        row("up and out", ask("GET /../../etc/passwd", &[]), Status(&[404])),
        row(
            "up and out, in hexadecimal",
            ask("GET /%2e%2e/%2e%2e/etc/passwd", &[]),
            Status(&[404]),
        ),
        row(
            "up and out of the assets",
            ask("GET /assets/..%2f..%2fCargo.toml", &[]),
            Status(&[404]),
        ),
        row("percent signs of no use", ask("GET /%zz?%ff", &[]), Status(&[404])),
        row("DELETE / has Allow", ask("DELETE /", &[]), Has(&[405], "allow: get, head")),
        row("DELETE /livez has Allow", ask("DELETE /livez", &[]), Has(&[405], "allow: get")),
        row("PUT /metrics has Allow", ask("PUT /metrics", &[]), Has(&[405], "allow: get")),
        row("a target without a slash", ask("GET livez", &[]), Status(&[400])),
        row("a target with a port", ask("GET livez:80", &[]), Status(&[400])),
        row("a target that is a host", ask("GET chat.example", &[]), Status(&[400])),
        row("a target that is an asterisk", ask("GET *", &[]), Status(&[400, 404])),
        row("a fragment in the target", ask("GET /livez#x", &[]), Status(&[200, 400, 404])),
        row("a target with a user", ask("GET http://user@x/livez", &[]), Status(&[400])),
        row("a target with a wrong port", ask("GET http://x:100000/livez", &[]), Status(&[400])),
        row("a handshake at a wrong port", ask("GET http://x:100000/ws", &UPGRADE), Status(&[400])),
        row("a target of another scheme", ask("GET ftp://x/livez", &[]), Status(&[400])),
        row(
            "a target with a host",
            ask("GET HTTP://X/livez", &["Connection: close"]),
            Status(&[200]),
        ),
        row("nothing", "", Status(&[0])),
        row("half a request line", "GET /live", Status(&[0, 400, 408])),
        row("half a head", "GET /livez HTTP/1.1\r\nHost: x\r\n", Status(&[0, 400, 408])),
    ];
    for (what, hosts) in [
        ("two hosts", "Host: x\r\nHost: y"),
        ("two equal hosts", "Host: x\r\nHost: x"),
        ("an empty host beside another", "Host:\r\nHost: x"),
        ("a host with a path", "Host: a/b"),
        ("a host with a space", "Host: a b"),
        ("a list of hosts", "Host: a, b"),
        ("a host with a user", "Host: user@a"),
        ("a host with a wrong port", "Host: a:80x"),
        ("a host with a port of six digits", "Host: a:100000"),
        ("a host with a scheme", "Host: http://a"),
        ("an IPv6 host without brackets", "Host: ::1"),
        ("a host that is not ASCII", "Host: \u{e4}.example"),
    ] {
        let request = |rest: &str| format!("GET {rest}\r\n\r\n");
        let plain = request(&format!("/livez HTTP/1.1\r\n{hosts}"));
        let old = request(&format!("/livez HTTP/1.0\r\n{hosts}"));
        let handshake = request(&format!("/ws HTTP/1.1\r\n{hosts}\r\n{}", UPGRADE.join("\r\n")));
        for (place, sent) in [("", plain), (", HTTP/1.0", old), (", /ws", handshake)] {
            rows.push(row(&format!("{what}{place}"), sent, Status(&[400])));
        }
    }
    for hosts in ["Host:", "Host: X.Example.:3007", "Host: [::1]:3007", "Host: a_b"] {
        let sent = format!("GET /livez HTTP/1.1\r\n{hosts}\r\nConnection: close\r\n\r\n");
        rows.push(row(&format!("the valid line {hosts:?}"), sent, Status(&[200])));
    }
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    for (what, lines, codes) in [
        ("two keys", &[key][..], &[400][..]),
        ("a key twice", &[UPGRADE[3]], &[400]),
        ("versions 13 and 8", &["Sec-WebSocket-Version: 8"], &[400, 426]),
        ("version 13 twice", &["Sec-WebSocket-Version: 13"], &[400, 426]),
        ("a body before the upgrade", &["Content-Length: 6"], &[400]),
        ("a chunked body before the upgrade", &["Transfer-Encoding: chunked"], &[400]),
    ] {
        for target in ["/ws", "/socket.io/?EIO=4&transport=websocket"] {
            let mut sent = ask(&format!("GET {target}"), &[&UPGRADE[..], lines].concat());
            if what.contains("body") {
                sent.extend(frame(FIN | PING, b""));
            }
            rows.push(row(&format!("{what}, {target}"), sent, Status(codes)));
        }
    }
    for (what, target, host, codes) in [
        ("an origin that is Host's", "http://b.example/ws", "a.example", &[403][..]),
        ("an origin that is the target's", "http://a.example/ws", "b.example", &[101]),
    ] {
        let lines = [&UPGRADE[..], &["Origin: http://a.example"]].concat().join("\r\n");
        let sent = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n\r\n");
        rows.push(row(what, sent, Status(codes)));
    }
    for origin in [
        "https://evil.example",
        "null",
        "https://localhost:3000",
        "http://localhost:3001",
        "http://localhost:3000.evil.example",
        "http://evil-localhost:3000",
        "http://localhost",
    ] {
        let line = format!("Origin: {origin}");
        for (request, lines) in [
            ("GET /ws".to_owned(), [&UPGRADE[..], &[&line]].concat()),
            (format!("GET {POLLING}"), vec![line.as_str()]),
            (format!("POST {POLLING}&sid={{sid}}"), vec![line.as_str(), "Content-Length: 0"]),
            (
                "GET /socket.io/?EIO=4&transport=websocket".to_owned(),
                [&UPGRADE[..], &[&line]].concat(),
            ),
        ] {
            let what = format!("{request} from {origin}");
            rows.push(row(
                &what,
                ask(&request, &lines),
                Lacks(&[403], "access-control-allow-origin"),
            ));
        }
        let lines = [line.as_str(), "Access-Control-Request-Method: POST"];
        let what = format!("a preflight from {origin}");
        let want = Lacks(&[200, 204, 403], "access-control-allow-origin");
        rows.push(row(&what, ask(&format!("OPTIONS {POLLING}"), &lines), want));
    }
    rows
}

//! Engine.IO and Socket.IO, over WebSockets and by polling.

use super::{Closes, Door, Ends, Has, MAX_PAYLOAD, Nothing, Row, Says, Status, Want};
use crate::support::{
    UPGRADE,
    wire::{FIN, TEXT, frame},
};

const BINARY: u8 = 2;

fn ask(what: &str, request: &str, lines: &[&str], want: Want) -> Row {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let sent = format!("{request} HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    Row::new(what, Door::Http, sent, want)
}

fn frames(what: &str, door: Door, packets: &[&str], want: Want) -> Row {
    let sent: Vec<u8> =
        packets.iter().flat_map(|packet| frame(FIN | TEXT, packet.as_bytes())).collect();
    Row::new(format!("{what} (WebSocket)"), door, sent, want)
}

fn post(what: &str, body: impl Into<Vec<u8>>, want: Want) -> Row {
    Row::new(format!("{what} (polling)"), Door::Polling, body, want)
}

/// A packet over both transports.
fn packet(what: &str, text: &str, want: fn() -> Want) -> [Row; 2] {
    [frames(what, Door::SocketIo, &[text], want()), post(what, text, want())]
}

pub(super) fn rows() -> Vec<Row> {
    let session = "/socket.io/?EIO=4&transport=polling&sid={sid}";
    let mut rows = vec![
        Row::new(
            "300 KB in chunks",
            Door::Http,
            format!(
                "POST {session} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                format!("3e8\r\n{}\r\n", "4".repeat(1_000)).repeat(300)
            ),
            Status(&[413]),
        ),
        ask("no version", "GET /socket.io/?transport=polling", &[], Has(&[400], r#""code":5"#)),
        ask("no transport", "GET /socket.io/?EIO=4", &[], Has(&[400], r#""code":0"#)),
        ask(
            "transport pigeon",
            "GET /socket.io/?EIO=4&transport=pigeon",
            &[],
            Has(&[400], r#""code":0"#),
        ),
        ask("no query", "GET /socket.io/", &[], Status(&[400])),
        ask(
            "the same question twice",
            "GET /socket.io/?EIO=4&EIO=4&transport=polling",
            &[],
            Status(&[400]),
        ),
        ask(
            "a POST without a session",
            "POST /socket.io/?EIO=4&transport=polling",
            &["Content-Length: 0"],
            Has(&[400], r#""code":2"#),
        ),
        ask("a DELETE in a session", &format!("DELETE {session}"), &[], Has(&[400], r#""code":2"#)),
        ask(
            "a PUT in a session",
            &format!("PUT {session}"),
            &["Content-Length: 0"],
            Has(&[400], r#""code":2"#),
        ),
        ask(
            "a body that never comes",
            &format!("POST {session}"),
            &["Content-Length: 1000"],
            Status(&[408]),
        ),
        ask(
            "a WebSocket for a session that is not there",
            "GET /socket.io/?EIO=4&transport=websocket&sid=gone",
            &UPGRADE,
            Has(&[400], r#""code":1"#),
        ),
        ask(
            "no WebSocket where one was asked for",
            "GET /socket.io/?EIO=4&transport=websocket",
            &[],
            Status(&[400, 426]),
        ),
        frames("an event before CONNECT", Door::EngineIo, &[r#"42["find_partner"]"#], Ends),
        frames("no CONNECT", Door::EngineIo, &["3"], Ends),
        frames("an auth that is no JSON", Door::EngineIo, &["40[1,2"], Ends),
        frames("an auth that is a list", Door::EngineIo, &["40[true]"], Ends),
        frames(
            "an auth nested 5,000 deep",
            Door::EngineIo,
            &[&format!("40{}", "[".repeat(5_000))],
            Ends,
        ),
        frames("no CONNECT in words", Door::EngineIo, &["hello"], Closes(&[1008])),
        frames("a probe where nothing is probed", Door::EngineIo, &["2probe"], Ends),
        frames("200 CONNECTs", Door::SocketIo, &["40"; 200], Nothing),
        frames(
            "one byte too many",
            Door::SocketIo,
            &[&"4".repeat(MAX_PAYLOAD + 1)],
            Closes(&[1009]),
        ),
        frames(
            "1,000 searches",
            Door::SocketIo,
            &[r#"42["find_partner"]"#; 1_000],
            Says("retryAfterMs"),
        ),
        frames(
            "10,000 messages",
            Door::SocketIo,
            &[r#"42["send_message",{"message":"x"}]"#; 10_000],
            Closes(&[4429]),
        ),
        post(
            "2,000 messages",
            "42[\"send_message\",{\"message\":\"x\"}]\x1e".repeat(2_000) + "3",
            Ends,
        ),
        Row::new(
            "bad UTF-8 (WebSocket)",
            Door::SocketIo,
            frame(FIN | TEXT, b"4\xff"),
            Closes(&[1007]),
        ),
        Row::new("unannounced bytes (WebSocket)", Door::SocketIo, frame(FIN | BINARY, b"?"), Ends),
        post("unannounced bytes", "bAQI=", Ends),
        post("one byte too many", "4".repeat(MAX_PAYLOAD + 1), Status(&[413])),
        post("no packet", "", Status(&[400])),
        post("words", "abc", Status(&[400])),
        post("bad UTF-8", &b"4\xff"[..], Status(&[400])),
        post("bad base64", "b!", Status(&[400])),
        post("base64 without its padding", "bAQI", Status(&[400])),
        post("50,000 separators", "\x1e".repeat(50_000), Status(&[400])),
        post("20,000 packets", "3\x1e".repeat(20_000), Status(&[400])),
    ];
    for version in ["3", "5", "abc", "", "44"] {
        let request = format!("GET /socket.io/?EIO={version}&transport=polling");
        rows.push(ask(&format!("version {version:?}"), &request, &[], Has(&[400], r#""code":5"#)));
    }
    for sid in ["gone".to_owned(), "x".repeat(4_096), "%00%ff".to_owned(), String::new()] {
        let request = format!("GET /socket.io/?EIO=4&transport=polling&sid={sid}");
        let what = format!("a session called {:.8}", sid);
        rows.push(ask(&what, &request, &[], Has(&[400], r#""code""#)));
    }
    let placeholder =
        |number: &str| format!(r#"451-["image upload",{{"_placeholder":true,"num":{number}}}]"#);
    for (what, text, want) in [
        (
            "a namespace that is not there",
            "40/nope,",
            (|| Says("Invalid namespace")) as fn() -> Want,
        ),
        ("a namespace of 64 KB", &format!("40/{},", "x".repeat(65_536)), || {
            Says("Invalid namespace")
        }),
        ("an event to another namespace", r#"42/nope,["find_partner"]"#, || Ends),
        ("CONNECT twice", "40", || Nothing),
        ("a packet of type 7", "47", || Ends),
        ("Engine.IO's type 9", "9", || Ends),
        ("Engine.IO's greeting", "0{}", || Ends),
        ("an empty Socket.IO packet", "4", || Ends),
        ("an event that is an object", "42{}", || Ends),
        ("an event without a name", "42[]", || Ends),
        ("an event whose name is a number", "42[1,2]", || Ends),
        ("half an event", r#"42["find_partner""#, || Ends),
        ("an event and some", r#"42["find_partner"]x"#, || Ends),
        (
            "an event nested 5,000 deep",
            &format!(r#"42["send_message",{}"#, "[".repeat(5_000)),
            || Ends,
        ),
        ("an unknown event", r#"42["dance",{"on":true}]"#, || Says("error")),
        ("an event called connect", r#"42["connect"]"#, || Says("error")),
        ("an event called disconnect", r#"42["disconnect"]"#, || Says("error")),
        ("an event called error", r#"42["error",{}]"#, || Says("error")),
        ("an event called __proto__", r#"42["__proto__",{}]"#, || Says("error")),
        ("an argument of a wrong type", r#"42["send_message",17]"#, || Says("error")),
        ("an argument too few", r#"42["send_message"]"#, || Says("error")),
        ("a field of a wrong type", r#"42["send_message",{"message":{}}]"#, || Says("error")),
        ("a name that is no string", r#"42["init_user",{"name":7}]"#, || Says("error")),
        ("half a surrogate", r#"42["init_user",{"name":"\ud800"}]"#, || Says("error")),
        ("a message without a partner", r#"42["send_message",{"message":"x"}]"#, || {
            Says("No partner found.")
        }),
        (
            "an acknowledgement's id of 20 digits",
            r#"4212345678901234567890["find_partner"]"#,
            || Ends,
        ),
        ("a negative id", r#"42-1["find_partner"]"#, || Ends),
        ("an unrequested acknowledgement", "4317[]", || Nothing),
        ("99,999,999 attachments", r#"4599999999-["image upload"]"#, || Ends),
        ("2^64 attachments", r#"4518446744073709551616-["image upload"]"#, || Ends),
        ("no attachments", r#"450-["image upload"]"#, || Ends),
        ("attachment 7 of 1", &placeholder("7"), || Ends),
        ("attachment -1", &placeholder("-1"), || Ends),
        ("attachment 2^64", &placeholder("18446744073709551616"), || Ends),
        ("a goodbye", "41", || Ends),
        ("a noop", "6", || Nothing),
    ] {
        rows.extend(packet(what, text, want));
    }
    let promised = placeholder("0");
    rows.push(frames(
        "text for bytes",
        Door::SocketIo,
        &[&promised, r#"42["find_partner"]"#],
        Ends,
    ));
    rows.push(post("text for bytes", format!("{promised}\x1e42[\"find_partner\"]"), Ends));
    for (what, image) in [
        ("a drawing with scripts in it", "data:image/svg+xml;base64,PHN2Zy8+"),
        ("a page", "data:text/html;base64,PGh0bWw+"),
        ("a drawing that is called a picture", "data:image/png;base64,PHN2Zy8+"),
        ("a page that is called a picture", "data:image/jpeg;base64,PGh0bWw+"),
        ("base64 with white space", "data:image/png;base64,iVBO Rw0K"),
        ("base64 of another alphabet", "data:image/png;base64,____"),
        ("base64 padded badly", "data:image/png;base64,iVBORw0="),
    ] {
        let text =
            format!(r#"42["send_message",{{"message":null,"image":"{image}","reply":null}}]"#);
        rows.extend(packet(what, &text, || Says("error")));
    }
    rows
}

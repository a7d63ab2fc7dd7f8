//! Frames that break RFC 6455.

use super::{Closes, Door, MAX_PAYLOAD, Nothing, Row, Says, Starves, Want};
use crate::support::wire::{CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame, head};

fn row(what: &str, sent: impl Into<Vec<u8>>, want: Want) -> Row {
    Row::new(what, Door::Native, sent, want)
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// One text in fragments of one byte.
fn crumbs(text: &[u8]) -> Vec<u8> {
    let (first, rest) = text.split_first().unwrap();
    let rest = rest.iter().flat_map(|byte| frame(CONTINUATION, &[*byte]));
    frame(TEXT, &[*first]).into_iter().chain(rest).chain(frame(FIN | CONTINUATION, b"")).collect()
}

/// A text that begins with many fragments of nothing.
fn in_empty_fragments(count: usize) -> Vec<u8> {
    let last = frame(FIN | CONTINUATION, br#"{"type":"cancel"}"#);
    [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(count), last].concat()
}

pub(super) fn rows() -> Vec<Row> {
    // A frame whose length is written in two bytes though one would do.
    let long_winded = [&[FIN | TEXT, 0x80 | 126, 0, 2, 0, 0, 0, 0], &b"{}"[..]].concat();
    let padded = format!("{}{}", " ".repeat(10_000), r#"{"type":"cancel"}"#);
    let mut rows = vec![
        row("unmasked", [FIN | TEXT, 2, b'h', b'i'], Closes(&[1002])),
        row("RSV1 set", frame(FIN | 0x40 | TEXT, b"hi"), Closes(&[1002])),
        row("RSV2 set", frame(FIN | 0x20 | TEXT, b"hi"), Closes(&[1002])),
        row("RSV3 set", frame(FIN | 0x10 | TEXT, b"hi"), Closes(&[1002])),
        row("RSV1 set on a ping", frame(FIN | 0x40 | PING, b""), Closes(&[1002])),
        row("a ping of 126 bytes", frame(FIN | PING, &[0; 126]), Closes(&[1002])),
        row("a fragmented ping", frame(PING, b""), Closes(&[1002])),
        row("a continuation of nothing", frame(FIN | CONTINUATION, b"x"), Closes(&[1002])),
        row(
            "a text within a text",
            [frame(TEXT, b"x"), frame(FIN | TEXT, b"y")].concat(),
            Closes(&[1002]),
        ),
        row("bad UTF-8", frame(FIN | TEXT, b"\xff"), Closes(&[1007])),
        row("UTF-8 cut short", frame(FIN | TEXT, b"\xe2\x82"), Closes(&[1007])),
        row("UTF-8 longer than need be", frame(FIN | TEXT, b"\xc0\xaf"), Closes(&[1007])),
        row("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80"), Closes(&[1007])),
        row(
            "a surrogate in two fragments",
            [frame(TEXT, b"\xed"), frame(FIN | CONTINUATION, b"\xa0\x80")].concat(),
            Closes(&[1007]),
        ),
        row("a close of one byte", frame(FIN | CLOSE, &[3]), Closes(&[1002])),
        row("a close reason that is not UTF-8", close(1000, b"\xff"), Closes(&[1002, 1007])),
        row(
            "data after a close",
            [close(1000, b""), frame(FIN | TEXT, b"{}")].concat(),
            Closes(&[1000]),
        ),
        row("one byte too many", frame(FIN | TEXT, &vec![b'x'; MAX_PAYLOAD + 1]), Closes(&[1009])),
        row(
            "one byte too many in fragments",
            [frame(TEXT, &vec![b'x'; MAX_PAYLOAD]), frame(FIN | CONTINUATION, b"x")].concat(),
            Closes(&[1009]),
        ),
        row("2^40 bytes announced", head(FIN | TEXT, 1 << 40), Closes(&[1009])),
        row("2^62 bytes announced", head(FIN | TEXT, 1 << 62), Closes(&[1009])),
        row("2^63 bytes announced", head(FIN | TEXT, 1 << 63), Closes(&[1002, 1009])),
        row("a message that never ends", head(FIN | TEXT, MAX_PAYLOAD as u64), Starves),
        row("fragments that never end", frame(TEXT, b"x"), Starves),
        row("a length that is longer than need be", long_winded, Says("bad-message")),
        row("10,000 fragments of one byte", crumbs(padded.as_bytes()), Says(r#""idle""#)),
        row("500 empty fragments", in_empty_fragments(500), Says(r#""idle""#)),
        row("100,000 empty fragments", in_empty_fragments(100_000), Closes(&[1008])),
        row("500 unrequested pongs", frame(FIN | PONG, b"?").repeat(500), Nothing),
        row("10,000 unrequested pongs", frame(FIN | PONG, b"?").repeat(10_000), Closes(&[1008])),
        row("10,000 pings", frame(FIN | PING, b"?").repeat(10_000), Closes(&[1008])),
        Row::new(
            "10,000 pings on Socket.IO",
            Door::SocketIo,
            frame(FIN | PING, b"?").repeat(10_000),
            Closes(&[1008]),
        ),
        row("500 pings at once", frame(FIN | PING, b"?").repeat(500), Nothing),
    ];
    for opcode in [3, 4, 7, 11, 12, 15] {
        let sent = frame(FIN | opcode, b"");
        rows.push(row(&format!("opcode {opcode}"), sent, Closes(&[1002])));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 5000, 65535] {
        let what = format!("close code {code}");
        rows.push(row(&what, close(code, b""), Closes(&[1002])));
    }
    rows
}

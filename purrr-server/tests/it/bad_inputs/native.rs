//! Messages of the native dialect.

use super::{Closes, Door, Nothing, Row, Says, Want};
use crate::support::{
    PNG, png_of,
    wire::{FIN, TEXT, frame},
};

const BINARY: u8 = 2;

fn row(what: &str, text: impl AsRef<str>, want: Want) -> Row {
    Row::new(what, Door::Native, frame(FIN | TEXT, text.as_ref().as_bytes()), want)
}

fn both(what: &str, first: &str, second: &str, want: Want) -> Row {
    let sent = [first, second].map(|text| frame(FIN | TEXT, text.as_bytes())).concat();
    Row::new(what, Door::Native, sent, want)
}

/// The head of a picture and its bytes.
fn picture(what: &str, head: &str, bytes: &[u8], want: Want) -> Row {
    let sent = [frame(FIN | TEXT, head.as_bytes()), frame(FIN | BINARY, bytes)].concat();
    Row::new(what, Door::Native, sent, want)
}

/// The same text so many times at once.
fn often(what: &str, times: usize, text: &str, want: Want) -> Row {
    Row::new(what, Door::Native, frame(FIN | TEXT, text.as_bytes()).repeat(times), want)
}

/// A picture that is small on the wire.
fn vast(what: &str, mime: &str, bytes: &[u8], want: Want) -> Row {
    let size = bytes.len();
    let head = format!(r#"{{"type":"image","id":1,"mime":"{mime}","size":{size}}}"#);
    picture(what, &head, bytes, want)
}

/// A picture of one dot that says it has 60,000 by 60,000.
fn vast_png() -> Vec<u8> {
    let mut bytes = PNG.to_vec();
    for at in [16, 20] {
        bytes[at..at + 4].copy_from_slice(&60_000_u32.to_be_bytes());
    }
    bytes
}

/// One dot, 4,900 times.
fn moving_gif() -> Vec<u8> {
    let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\0";
    [&b"GIF89a\x01\0\x01\0\0\0\0"[..], &frame.repeat(4_900), b";"].concat()
}

pub(super) fn rows() -> Vec<Row> {
    let find = r#"{"type":"find"}"#;
    let tags = |count, tag: &str| {
        let tags = vec![format!("{tag:?}"); count].join(",");
        format!(r#"{{"type":"find","interests":[{tags}]}}"#)
    };
    let nested = |depth| format!(r#"{{"type":"cancel","x":{}}}"#, "[".repeat(depth));
    let message = |text: &str| format!(r#"{{"type":"message","text":"{text}"}}"#);
    let mut rows: Vec<Row> = ["no JSON", "", "[]", "42", "null", r#""""#, "{", "{}", "{}{}", "\0"]
        .into_iter()
        .map(|text| row(&format!("{text:?}"), text, Says("bad-message")))
        .collect();
    rows.extend([
        Row::new("unannounced bytes", Door::Native, frame(FIN | BINARY, b"?"), Says("bad-message")),
        row("an unknown type", r#"{"type":"dance"}"#, Says("unknown-type")),
        row("a type in capitals", r#"{"type":"FIND"}"#, Says("unknown-type")),
        row("a type that is a number", r#"{"type":1}"#, Says("bad-message")),
        row(
            "a type of 10 KB",
            format!(r#"{{"type":"{}"}}"#, "x".repeat(10_000)),
            Says("unknown-type"),
        ),
        row("a message without a text", r#"{"type":"message"}"#, Says("`text`")),
        row("a text that is a number", r#"{"type":"message","text":1}"#, Says("bad-message")),
        row("an unknown field", r#"{"type":"cancel","dance":true}"#, Says(r#""idle""#)),
        row("a prototype", r#"{"type":"cancel","__proto__":{"x":1}}"#, Says(r#""idle""#)),
        row("two types", r#"{"type":"cancel","type":"find"}"#, Says("error")),
        row("a depth of 200", nested(200), Says("bad-message")),
        row("a depth of 2,000", nested(2_000), Says("bad-message")),
        row("a depth of 90,000", nested(90_000), Says("too-long")),
        row("an id of 1e999", r#"{"type":"message","id":1e999,"text":"x"}"#, Says("bad-message")),
        row(
            "an id of 2^64 and 1",
            r#"{"type":"message","id":18446744073709551617,"text":"x"}"#,
            Says("bad-message"),
        ),
        row("an id of -1", r#"{"type":"message","id":-1,"text":"x"}"#, Says("bad-message")),
        row("an id of 1.5", r#"{"type":"message","id":1.5,"text":"x"}"#, Says("bad-message")),
        row("half a surrogate", message(r"\ud800"), Says("bad-message")),
        row("a text without a partner", message("x"), Says("not-paired")),
        row("a mark without a partner", r#"{"type":"read","id":0}"#, Says("not-paired")),
        row(
            "a signal without a partner",
            r#"{"type":"signal","kind":"offer"}"#,
            Says("not-paired"),
        ),
        row("a signal of no kind", r#"{"type":"signal","kind":"smoke"}"#, Says("bad-message")),
        row("leave without partner", r#"{"type":"leave"}"#, Says(r#""idle""#)),
        row("block without partner", r#"{"type":"block"}"#, Says("error")),
        row("cancelling no search", r#"{"type":"cancel"}"#, Says(r#""idle""#)),
        both("a text while waiting", find, &message("x"), Says("not-paired")),
        both("searching twice", find, find, Says("waiting")),
        row("1,000 interests", tags(1_000, "x"), Says("too-many")),
        row("10,000 interests", tags(10_000, "x"), Says("too-long")),
        row("an interest of 80 KB", tags(1, &"x".repeat(80_000)), Says("too-long")),
        row(
            "interests that are no list",
            r#"{"type":"find","interests":"x"}"#,
            Says("bad-message"),
        ),
        row(
            "a language of 80 KB",
            format!(r#"{{"type":"find","languages":["{}"]}}"#, "x".repeat(80_000)),
            Says("too-long"),
        ),
        row(
            "a name of 257 characters",
            format!(r#"{{"type":"hello","name":"{}"}}"#, "x".repeat(257)),
            Says("too-long"),
        ),
        row("a name that is a list", r#"{"type":"hello","name":["x"]}"#, Says("bad-message")),
        row("a key that is none", r#"{"type":"hello","publicKey":"AAAA"}"#, Says("bad-message")),
        row(
            "a picture without a size",
            r#"{"type":"image","id":1,"mime":"image/png"}"#,
            Says("bad-message"),
        ),
        both(
            "a picture whose bytes are text",
            r#"{"type":"image","id":1,"mime":"image/png","size":1}"#,
            r#"{"type":"cancel"}"#,
            Says("bad-message"),
        ),
        picture(
            "a picture of another size",
            r#"{"type":"image","id":1,"mime":"image/png","size":3}"#,
            b"??",
            Says("error"),
        ),
        picture(
            "a drawing with scripts in it",
            r#"{"type":"image","id":1,"mime":"image/svg+xml","size":6}"#,
            b"<svg/>",
            Says("unsupported-type"),
        ),
        picture(
            "a page",
            r#"{"type":"image","id":1,"mime":"text/html","size":6}"#,
            b"<html>",
            Says("unsupported-type"),
        ),
        picture(
            "a drawing that is called a picture",
            r#"{"type":"image","id":1,"mime":"image/png","size":6}"#,
            b"<svg/>",
            Says("unsupported-type"),
        ),
        picture(
            "a PNG that is called a JPEG",
            r#"{"type":"image","id":1,"mime":"image/jpeg","size":8}"#,
            b"\x89PNG\r\n\x1a\n",
            Says("unsupported-type"),
        ),
        row("typing without partner", r#"{"type":"typing","on":true}"#, Says("not-paired")),
        Row::new(
            "what is no JSON object, three times",
            Door::Native,
            ["x", "[]", "42"].map(|text| frame(FIN | TEXT, text.as_bytes())).concat(),
            Closes(&[1008]),
        ),
        often("next 1,000 times", 1_000, r#"{"type":"next"}"#, Says("retryAfterMs")),
        often("10,000 messages", 10_000, &message("x"), Closes(&[4429])),
        often("10,000 unknown types", 10_000, r#"{"type":"x"}"#, Closes(&[4429])),
        often("5,000 times typing", 5_000, r#"{"type":"typing","on":true}"#, Says("not-paired")),
        often("4,500 goodbyes", 4_500, r#"{"type":"leave"}"#, Says(r#""idle""#)),
    ]);
    rows.extend(while_talking());
    rows
}

/// What a partner must not hear of.
fn while_talking() -> impl Iterator<Item = Row> {
    let text = |text: &str| format!(r#"{{"type":"message","text":"{text}"}}"#);
    let rows = [
        row("a text that is too long", text(&"x".repeat(20_001)), Says("too-long")),
        row("a text that is too long in bytes", text(&"é".repeat(10_001)), Says("too-long")),
        row("half a surrogate", text(r"\ud800"), Says("bad-message")),
        row("the other half", text(r"\udc00x"), Says("bad-message")),
        row("a line break that is not escaped", text("a\nb"), Says("bad-message")),
        row("a text from the last chat", r#"{"type":"message","chat":"gone","text":"x"}"#, Nothing),
        row("typing in the last chat", r#"{"type":"typing","chat":"gone","on":true}"#, Nothing),
        row("searching", r#"{"type":"find"}"#, Says("already-paired")),
        row("an id that is text", r#"{"type":"message","id":"1","text":"x"}"#, Says("bad-message")),
        row("a signal of no kind", r#"{"type":"signal","kind":"smoke"}"#, Says("bad-message")),
        row("no JSON", "x", Says("bad-message")),
        picture(
            "a picture that is too large",
            r#"{"type":"image","id":1,"mime":"image/png","size":60001}"#,
            &png_of(60_001),
            Says("too-large"),
        ),
        picture(
            "a picture of another size",
            r#"{"type":"image","id":1,"mime":"image/png","size":3}"#,
            b"??",
            Says("bad-message"),
        ),
        vast("a picture of 60,000 by 60,000", "image/png", &vast_png(), Says("pixels")),
        vast("a picture of 4,900 frames", "image/gif", &moving_gif(), Says("frames")),
        Row::new("a broken frame", Door::Talking, frame(FIN | 3, b""), Closes(&[1002])),
        Row::new("bad UTF-8", Door::Talking, frame(FIN | TEXT, b"\xff"), Closes(&[1007])),
    ];
    rows.into_iter().map(|row| Row {
        what: format!("{} (in a chat)", row.what),
        door: Door::Talking,
        ..row
    })
}

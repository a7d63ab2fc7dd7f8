//! The native dialect: JSON in text frames, a picture in a binary frame after its head.

use std::io::Write;

use anyhow::{Context, bail, ensure};

use super::{
    Dialect, News, Shared,
    websocket::{self, Fragments, Frame, Kind},
};
use crate::{link::Step, script::Line};

#[derive(Debug, Default)]
pub(crate) struct Native {
    open: bool,
    fragments: Fragments,
    /// The picture that was announced and not yet seen.
    announced: Option<u32>,
    /// Where a client that acknowledges is in its chat.
    position: Option<Box<Position>>,
}

#[derive(Debug, Default)]
struct Position {
    token: String,
    chat: String,
    received: u64,
}

/// The first of so many messages is acknowledged.
const ACKNOWLEDGED: u64 = 16;

const BEFORE: &[u8] = br#"{"type":"message","text":""#;
const AFTER: &[u8] = br#""}"#;

/// What pictures begin with: a JPEG that ends at once. What comes then is looked at by no server.
const JPEG: &[u8] = b"\xff\xd8\xff\xd9";

impl Dialect for Native {
    const HAS_LOBBY: bool = true;

    fn open(&mut self, shared: &Shared, out: &mut Vec<u8>) -> bool {
        websocket::handshake(shared.server, "/ws", out);
        false
    }

    fn read<'a>(
        &'a mut self,
        shared: &mut Shared,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> anyhow::Result<Step<News<'a>>> {
        if !self.open {
            return Ok(match websocket::read_answer(input)? {
                Step::Needs(bytes) => Step::Needs(bytes),
                Step::Took(bytes, ()) => {
                    self.open = true;
                    Step::Took(bytes, News::Ready)
                }
            });
        }
        let (bytes, frame) = match self.fragments.read(input)? {
            Step::Needs(bytes) => return Ok(Step::Needs(bytes)),
            Step::Took(bytes, None) => return Ok(Step::Took(bytes, News::Other)),
            Step::Took(bytes, Some(frame)) => (bytes, frame),
        };
        let news = match frame {
            Frame::Text(text) if !shared.pictures && text.starts_with(BEFORE) => {
                let line = text[BEFORE.len()..].strip_suffix(AFTER);
                if let Some(position) = &mut self.position {
                    position.received += 1;
                    if position.received % ACKNOWLEDGED == 1 {
                        position.acknowledge(out);
                    }
                }
                News::Line(line.context("a message arrived altered around its text")?)
            }
            Frame::Text(text) => {
                if shared.resumable {
                    self.position.get_or_insert_default().note(text);
                }
                read_event(shared, text, &mut self.announced)?
            }
            Frame::Binary(picture) => {
                let announced = self.announced.take().context("a picture came unannounced")?;
                let picture = picture.strip_prefix(JPEG).context("a picture is altered")?;
                let line = shared.script.read(picture)?;
                ensure!(announced == line.number, "{announced} was announced and {line:?} came");
                News::Line(picture)
            }
            Frame::Ping(payload) => {
                websocket::write_all(Kind::Pong, payload, out);
                News::Other
            }
            Frame::Pong => News::Other,
        };
        Ok(Step::Took(bytes, news))
    }

    fn find(out: &mut Vec<u8>) {
        websocket::write_all(Kind::Text, br#"{"type":"find"}"#, out);
    }

    fn find_nobody(member: usize, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let find = format!(r#"{{"type":"find","interests":["only {member}"]}}"#);
        websocket::write_all(Kind::Text, find.as_bytes(), out);
        Ok(())
    }

    fn announce(out: &mut Vec<u8>) -> anyhow::Result<()> {
        websocket::write_all(Kind::Text, br#"{"type":"hello","received":0}"#, out);
        Ok(())
    }

    fn claim(&self) -> Option<String> {
        let Position { token, chat, received } = self.position.as_deref()?;
        Some(format!(
            r#"{{"type":"hello","resume":"{token}","chat":"{chat}","received":{received}}}"#
        ))
    }

    fn resume(claim: &str, out: &mut Vec<u8>) {
        websocket::write_all(Kind::Text, claim.as_bytes(), out);
    }

    fn say(shared: &Shared, line: Line, out: &mut Vec<u8>) {
        let bytes = shared.script.bytes();
        if shared.pictures {
            websocket::write_all(Kind::Text, &head(line.number, bytes), out);
            websocket::write(Kind::Binary, JPEG.len() + bytes, out, |out| {
                out.extend_from_slice(JPEG);
                shared.script.write(line, out);
            });
            return;
        }
        websocket::write(Kind::Text, BEFORE.len() + bytes + AFTER.len(), out, |out| {
            out.extend_from_slice(BEFORE);
            shared.script.write(line, out);
            out.extend_from_slice(AFTER);
        });
    }
}

impl Position {
    /// Notes the token and the chat that the server names.
    fn note(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let value = |key| text.split_once(key)?.1.split('"').next().map(str::to_owned);
        if text.starts_with(r#"{"type":"welcome""#) {
            self.token = value(r#""resume":""#).unwrap_or_default();
        } else if text.starts_with(r#"{"type":"matched""#) {
            self.chat = value(r#""chat":""#).unwrap_or_default();
        }
    }

    fn acknowledge(&self, out: &mut Vec<u8>) {
        let ack = format!(r#"{{"type":"ack","received":{}}}"#, self.received);
        websocket::write_all(Kind::Text, ack.as_bytes(), out);
    }
}

fn read_event<'a>(
    shared: &Shared,
    text: &[u8],
    announced: &mut Option<u32>,
) -> anyhow::Result<News<'a>> {
    let kind =
        text.strip_prefix(br#"{"type":""#).and_then(|rest| rest.split(|b| *b == b'"').next());
    Ok(match kind {
        Some(b"matched") => News::Matched,
        Some(b"resumed") => News::Resumed,
        Some(b"left" | b"idle") => News::Parted,
        Some(b"welcome" | b"waiting" | b"delivered" | b"away" | b"back") => News::Other,
        Some(b"image") if shared.pictures => {
            let number = text.strip_prefix(br#"{"type":"image","id":"#).unwrap_or_default();
            let digits = number.split(|byte| *byte == b',').next().unwrap_or_default();
            let number = std::str::from_utf8(digits)?.parse()?;
            ensure!(text == head(number, shared.script.bytes()), "a picture's head is altered");
            *announced = Some(number);
            News::Other
        }
        _ => bail!("the server says {}", String::from_utf8_lossy(text)),
    })
}

/// What announces a picture. Pictures are few, so this may allocate.
fn head(number: u32, bytes: usize) -> Vec<u8> {
    let mut head = Vec::new();
    // Writing to a vector cannot fail.
    write!(
        head,
        r#"{{"type":"image","id":{number},"mime":"image/jpeg","size":{}}}"#,
        JPEG.len() + bytes
    )
    .ok();
    head
}

//! The Purrr.chat dialect: Socket.IO v5 on Engine.IO v4, over WebSocket from the start.

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    Dialect, News, Shared,
    websocket::{self, Fragments, Frame, Kind},
};
use crate::{link::Step, script::Line};

#[derive(Debug, Default)]
pub(crate) struct PurrrChat {
    stage: Stage,
    fragments: Fragments,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Upgrading,
    Greeting,
    Connecting,
    Connected,
}

/// Everyone is called the same, so that what a server puts around a message is the same too. The key is a point of the
/// curve that everybody knows: its generator.
const INTRODUCTION: &[u8] = br#"42["init_user",{"name":"load","publicKey":"BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU="}]"#;

const TEXT: [&[u8]; 2] =
    [br#"42["send_message",{"message":""#, br#"","image":null,"reply":null}]"#];

/// As the page sends a picture: sealed, as a string that holds JSON.
const PICTURE: [&[u8]; 2] = [
    br#"42["send_message",{"message":null,"image":"{\"ciphertext\":\""#,
    br#"\",\"iv\":\"AAAAAAAAAAAAAAAA\"}","reply":null}]"#,
];

impl Dialect for PurrrChat {
    const HAS_LOBBY: bool = true;

    fn open(&mut self, shared: &Shared, out: &mut Vec<u8>) -> bool {
        websocket::handshake(shared.server, "/socket.io/?EIO=4&transport=websocket", out);
        false
    }

    fn read<'a>(
        &'a mut self,
        shared: &mut Shared,
        input: &'a [u8],
        out: &mut Vec<u8>,
    ) -> anyhow::Result<Step<News<'a>>> {
        if self.stage == Stage::Upgrading {
            return Ok(match websocket::read_answer(input)? {
                Step::Needs(bytes) => Step::Needs(bytes),
                Step::Took(bytes, ()) => {
                    self.stage = Stage::Greeting;
                    Step::Took(bytes, News::Other)
                }
            });
        }
        let (bytes, frame) = match self.fragments.read(input)? {
            Step::Needs(bytes) => return Ok(Step::Needs(bytes)),
            Step::Took(bytes, None) => return Ok(Step::Took(bytes, News::Other)),
            Step::Took(bytes, Some(frame)) => (bytes, frame),
        };
        let news = match frame {
            Frame::Text(packet) => read_packet(&mut self.stage, shared, packet, out)?,
            Frame::Ping(payload) => {
                websocket::write_all(Kind::Pong, payload, out);
                News::Other
            }
            Frame::Pong => News::Other,
            Frame::Binary(_) => bail!("an attachment came that no client sent"),
        };
        Ok(Step::Took(bytes, news))
    }

    fn find(out: &mut Vec<u8>) {
        websocket::write_all(Kind::Text, br#"42["find_partner"]"#, out);
    }

    fn say(shared: &Shared, line: Line, out: &mut Vec<u8>) {
        let [before, after] = if shared.pictures { PICTURE } else { TEXT };
        let length = before.len() + shared.script.bytes() + after.len();
        websocket::write(Kind::Text, length, out, |out| {
            out.extend_from_slice(before);
            shared.script.write(line, out);
            out.extend_from_slice(after);
        });
    }
}

fn read_packet<'a>(
    stage: &mut Stage,
    shared: &mut Shared,
    packet: &'a [u8],
    out: &mut Vec<u8>,
) -> anyhow::Result<News<'a>> {
    match (*stage, packet) {
        (_, b"2") => websocket::write_all(Kind::Text, b"3", out),
        (Stage::Greeting, [b'0', ..]) => {
            *stage = Stage::Connecting;
            websocket::write_all(Kind::Text, b"40", out);
        }
        (Stage::Connecting, [b'4', b'0', ..]) => {
            *stage = Stage::Connected;
            websocket::write_all(Kind::Text, INTRODUCTION, out);
            return Ok(News::Ready);
        }
        (Stage::Connected, [b'4', b'2', event @ ..]) => return read_event(shared, event),
        _ => bail!("the server says {}", String::from_utf8_lossy(packet)),
    }
    Ok(News::Other)
}

fn read_event<'a>(shared: &mut Shared, event: &'a [u8]) -> anyhow::Result<News<'a>> {
    let name = event.strip_prefix(br#"[""#).and_then(|rest| rest.split(|b| *b == b'"').next());
    Ok(match name {
        Some(b"receive_message") => {
            if shared.envelope.is_none() {
                shared.envelope = Some(learn(shared, event)?);
            }
            let line = shared.envelope.as_ref().and_then(|[before, after]| {
                event.strip_prefix(&before[..])?.strip_suffix(&after[..])
            });
            News::Line(line.context("a message arrived altered around its text")?)
        }
        Some(b"matched") => News::Matched,
        Some(b"partner_disconnected") => News::Parted,
        Some(b"waiting" | b"hide_typing") => News::Other,
        _ => bail!("the server says {}", String::from_utf8_lossy(event)),
    })
}

/// Checks the first message field by field, since servers order them as they like, and returns what is around its line.
fn learn(shared: &Shared, event: &[u8]) -> anyhow::Result<[Vec<u8>; 2]> {
    let value: Value = serde_json::from_slice(event)?;
    let message = &value[1];
    let (said, other) = if shared.pictures { ("image", "body") } else { ("body", "image") };
    ensure!(
        message["from"] == "load"
            && message[other].is_null()
            && message.get("reply") == Some(&Value::Null),
        "the server says {}",
        String::from_utf8_lossy(event)
    );
    let said = message[said].as_str().context("a message came without what was said")?;
    let line = if shared.pictures {
        let picture: Value = serde_json::from_str(said)?;
        picture["ciphertext"].as_str().map(str::to_owned)
    } else {
        Some(said.to_owned())
    };
    let line = line.context("a picture came without what was in it")?;
    shared.script.read(line.as_bytes())?;
    let begin = event.windows(line.len()).position(|window| window == line.as_bytes());
    let begin = begin.context("a message came with escapes that it did not have")?;
    Ok([event[..begin].to_vec(), event[begin + line.len()..].to_vec()])
}

//! The client's side of a WebSocket (RFC 6455), as little of it as a load generator needs.

use std::{io::Write, net::SocketAddr};

use anyhow::{Context, bail, ensure};

use crate::link::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text = 1,
    Binary = 2,
    Pong = 10,
}

/// Any key will do: masks keep scripts from speaking to proxies, and here there is neither.
const MASK: [u8; 4] = [0x9d, 0x3c, 0x51, 0xe7];

pub(crate) fn handshake(server: SocketAddr, path: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    write!(
        out,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cHVycnIgbG9hZCB0ZXN0cw==\r\n\r\n"
    )
    .ok();
}

/// Reads the answer to a handshake.
pub(crate) fn read_answer(input: &[u8]) -> anyhow::Result<Step<()>> {
    let Some(end) = input.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(Step::Needs(input.len() + 1));
    };
    if !input.starts_with(b"HTTP/1.1 101 ") {
        bail!("the server answers {:?}", String::from_utf8_lossy(&input[..end]));
    }
    Ok(Step::Took(end + 4, ()))
}

/// The fragments of a message that has not come to its end.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    gathered: Vec<u8>,
    binary: bool,
    whole: bool,
}

impl Fragments {
    /// Reads one frame; `None` for a fragment that is not the last.
    pub(crate) fn read<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> anyhow::Result<Step<Option<Frame<'a>>>> {
        if self.whole {
            self.gathered.clear();
            self.whole = false;
        }
        let (bytes, first, payload) = match read(input)? {
            Step::Needs(bytes) => return Ok(Step::Needs(bytes)),
            Step::Took(bytes, (first, payload)) => (bytes, first, payload),
        };
        let frame = match first {
            0x81 => Some(Frame::Text(payload)),
            0x82 => Some(Frame::Binary(payload)),
            0x88 => {
                let (code, why) = payload.split_first_chunk().context("closed without a code")?;
                let code = u16::from_be_bytes(*code);
                bail!("the server closed with {code} {:?}", String::from_utf8_lossy(why));
            }
            0x89 => Some(Frame::Ping(payload)),
            0x8a => Some(Frame::Pong),
            0x00 | 0x01 | 0x02 | 0x80 => {
                ensure!((first & 0x0f == 0) != self.gathered.is_empty(), "fragments are mixed up");
                if first & 0x0f != 0 {
                    self.binary = first == 0x02;
                }
                self.gathered.extend_from_slice(payload);
                self.whole = first == 0x80;
                match (self.whole, self.binary) {
                    (false, _) => None,
                    (true, false) => Some(Frame::Text(&self.gathered)),
                    (true, true) => Some(Frame::Binary(&self.gathered)),
                }
            }
            _ => bail!("a frame begins with {first:#x}"),
        };
        Ok(Step::Took(bytes, frame))
    }
}

/// Reads the first byte of a frame and its payload, which servers send without a mask.
fn read(input: &[u8]) -> anyhow::Result<Step<(u8, &[u8])>> {
    let &[first, second, ref rest @ ..] = input else { return Ok(Step::Needs(2)) };
    ensure!(first & 0x70 == 0 && second & 0x80 == 0, "a frame begins with {first:#x} {second:#x}");
    let wide = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(length) = rest.get(..wide) else { return Ok(Step::Needs(2 + wide)) };
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let length = if wide == 0 { second.into() } else { length };
    let whole = 2 + wide + length;
    let Some(payload) = input.get(2 + wide..whole) else { return Ok(Step::Needs(whole)) };
    Ok(Step::Took(whole, (first, payload)))
}

/// Writes a frame whose payload of `length` bytes is written by `fill`.
pub(crate) fn write(kind: Kind, length: usize, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.reserve(14 + length);
    out.push(0x80 | kind as u8);
    match u16::try_from(length) {
        Ok(length @ ..126) => out.push(0x80 | length as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let begin = out.len();
    fill(out);
    debug_assert_eq!(out.len() - begin, length);
    for four in out[begin..].chunks_mut(4) {
        for (byte, mask) in four.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }
}

pub(crate) fn write_all(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    write(kind, payload.len(), out, |out| out.extend_from_slice(payload));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_any_length_is_masked_and_read_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut written = Vec::new();
            write_all(Kind::Binary, &payload, &mut written);
            // As a server would send it: without the mask bit, the mask, and what it did.
            let head = written.len() - length - 4;
            let mut sent = written[..head].to_vec();
            sent[1] &= 0x7f;
            assert_eq!(written[head..head + 4], MASK);
            sent.extend(written[head + 4..].iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
            let frame = Some(Frame::Binary(&payload));
            assert_eq!(Fragments::default().read(&sent).unwrap(), Step::Took(sent.len(), frame));
            for cut in [0, 1, head.min(2), sent.len() - 1] {
                let cut = cut.min(sent.len() - 1);
                let Step::Needs(bytes) = read(&sent[..cut]).unwrap() else { panic!("{cut}") };
                assert!(bytes > cut && bytes <= sent.len());
            }
        }
    }

    #[test]
    fn fragments_are_one_message_and_a_ping_may_come_between_them() {
        let mut fragments = Fragments::default();
        for _ in 0..2 {
            for (input, frame) in [
                (&b"\x01\x02on"[..], None),
                (b"\x89\x00", Some(Frame::Ping(b""))),
                (b"\x00\x00", None),
                (b"\x80\x01e", Some(Frame::Text(b"one"))),
                (b"\x82\x01x", Some(Frame::Binary(b"x"))),
            ] {
                assert_eq!(fragments.read(input).unwrap(), Step::Took(input.len(), frame));
            }
        }
        assert!(fragments.read(b"\x80\x01x").is_err());
    }

    #[test]
    fn a_refusal_and_a_close_are_told() {
        let refusal = read_answer(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err();
        assert!(refusal.to_string().contains("403"));
        let closed = Fragments::default().read(b"\x88\x06\x03\xf0slow").unwrap_err();
        assert_eq!(closed.to_string(), "the server closed with 1008 \"slow\"");
    }
}

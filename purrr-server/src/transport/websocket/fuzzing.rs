//! The target `frames`: the bytes of a client after the upgrade, and those that it is sent.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Socket,
    close_code::{CloseCode, check_close},
    event::{SocketError, SocketEvent},
    read::SMALL_FRAGMENT,
};
use crate::{limits::memory::MemoryBudget, transport::message::Message};

/// Checks the socket against a plain reader of RFC 6455, with the bytes at once and in pieces.
///
/// All give the same messages and the same close code. Messages that are written, in pieces as
/// well, are read as the same messages. The first byte of the input chooses the maximum payload,
/// and the next four the sizes of the pieces.
pub fn frames(data: &[u8]) {
    let Some((&[most, ref pieces @ ..], bytes)) = data.split_first_chunk::<5>() else { return };
    let most = [100, 1_000, 70_000][usize::from(most % 3)];
    let (whole, _) = read(bytes, &[], most);
    assert_eq!(whole, read_plainly(bytes, most), "read plainly");
    let (split, answers) = read(bytes, pieces, most);
    assert_eq!(split, whole, "in pieces of {pieces:?}");
    for answer in sent(&answers) {
        assert!(matches!(answer, (10, payload) if payload.len() <= 125), "nothing but pongs");
    }

    let messages: Vec<_> = whole
        .into_iter()
        .flatten()
        .filter_map(|event| match event {
            SocketEvent::Message(message) => Some(message).filter(|message| message.len() > 0),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = messages
        .iter()
        .map(|message| match message {
            Message::Binary(bytes) => (2, bytes.to_vec()),
            Message::Text(text) => (1, text.as_bytes().to_vec()),
        })
        .collect();
    assert_eq!(sent(&write(messages, pieces)), expected, "what was written");
}

type Outcome = Result<SocketEvent, CloseCode>;

/// A stream that reads and writes in pieces of these sizes, in turn. Without sizes, all at once.
struct Pieces<'a> {
    unread: &'a [u8],
    written: Vec<u8>,
    sizes: &'a [u8],
    turn: usize,
}

impl Pieces<'_> {
    fn next_size(&mut self) -> usize {
        let size = self.sizes.get(self.turn).map_or(usize::MAX, |size| usize::from(*size).max(1));
        self.turn = (self.turn + 1) % self.sizes.len().max(1);
        size
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.next_size().min(buffer.remaining()).min(self.unread.len());
        let (piece, rest) = self.unread.split_at(size);
        buffer.put_slice(piece);
        self.unread = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let size = self.next_size().min(bytes.len());
        self.written.extend_from_slice(&bytes[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn socket<'a>(bytes: &'a [u8], sizes: &'a [u8], most: usize) -> Socket<Pieces<'a>> {
    let pieces = Pieces { unread: bytes, written: Vec::new(), sizes, turn: 0 };
    Socket::on(pieces, BytesMut::new(), most, MemoryBudget::unlimited().reservation())
}

/// What the socket makes of these bytes, and what it answered of itself.
fn read(bytes: &[u8], sizes: &[u8], most: usize) -> (Vec<Outcome>, Vec<u8>) {
    let mut socket = socket(bytes, sizes, most);
    let mut cx = Context::from_waker(Waker::noop());
    let mut outcomes = Vec::new();
    while let Poll::Ready(Some(outcome)) = Pin::new(&mut socket).poll_next(&mut cx) {
        outcomes.push(outcome.map_err(|error| match error {
            SocketError::Violation(code) => code,
            SocketError::Io(error) => panic!("these bytes cannot fail: {error}"),
        }));
    }
    (outcomes, socket.into_stream().written)
}

fn write(messages: Vec<Message>, sizes: &[u8]) -> Vec<u8> {
    let mut socket = socket(&[], sizes, 0);
    let mut cx = Context::from_waker(Waker::noop());
    for message in messages {
        assert!(Pin::new(&mut socket).poll_ready(&mut cx).is_ready());
        Pin::new(&mut socket).start_send(message).expect("it takes messages");
    }
    assert!(matches!(Pin::new(&mut socket).poll_flush(&mut cx), Poll::Ready(Ok(()))));
    socket.into_stream().written
}

// ---- The plain reader ---------------------------------------------------------------------------

/// RFC 6455 for a server, with all the bytes at hand and no thought of cost.
fn read_plainly(mut bytes: &[u8], most: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut begun: Option<(u8, Vec<u8>)> = None;
    loop {
        let frame = match take_plainly(&mut bytes, most) {
            Ok(Some(frame)) => frame,
            Ok(None) => return outcomes,
            Err(code) => {
                outcomes.push(Err(code));
                return outcomes;
            }
        };
        let (first, payload) = frame;
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let (opcode, mut message) = match (opcode, begun.take()) {
            (8, _) => {
                outcomes.extend(check_close(&payload).err().map(Err));
                return outcomes;
            }
            (9 | 10, under_way) => {
                begun = under_way;
                outcomes.push(Ok(if opcode == 9 { SocketEvent::Ping } else { SocketEvent::Pong }));
                continue;
            }
            (0, Some(begun)) => begun,
            (1 | 2, None) => (opcode, Vec::new()),
            _ => {
                outcomes.push(Err(CloseCode::Protocol));
                return outcomes;
            }
        };
        message.extend_from_slice(&payload);
        if message.len() > most {
            outcomes.push(Err(CloseCode::Size));
            return outcomes;
        }
        if !last {
            let text = (opcode == 1).then(|| std::str::from_utf8(&message));
            if text.is_some_and(|text| text.is_err_and(|fault| fault.error_len().is_some())) {
                outcomes.push(Err(CloseCode::Invalid));
                return outcomes;
            }
            if first == 0 && payload.len() < SMALL_FRAGMENT {
                outcomes.push(Ok(match payload.len() {
                    0 => SocketEvent::EmptyFragment,
                    _ => SocketEvent::SmallFragment,
                }));
            }
            begun = Some((opcode, message));
            continue;
        }
        match (opcode, String::from_utf8(message)) {
            (1, Ok(text)) => outcomes.push(Ok(SocketEvent::Message(Message::Text(text.into())))),
            (1, Err(_)) => {
                outcomes.push(Err(CloseCode::Invalid));
                return outcomes;
            }
            (_, Ok(text)) => outcomes.push(Ok(SocketEvent::Message(Message::Binary(text.into())))),
            (_, Err(error)) => {
                outcomes.push(Ok(SocketEvent::Message(Message::Binary(error.into_bytes().into()))))
            }
        }
    }
}

/// The first byte and the payload of the next frame. `None` if it is not whole.
fn take_plainly(bytes: &mut &[u8], most: usize) -> Result<Option<(u8, Vec<u8>)>, CloseCode> {
    let &[first, second, ref rest @ ..] = *bytes else { return Ok(None) };
    let is_control = first & 0x08 != 0;
    let is_known = matches!(first & 0x0f, 0..=2 | 8..=10) && first & 0x70 == 0;
    let short = second & 0x7f;
    if !is_known || second & 0x80 == 0 || is_control && (first & 0x80 == 0 || short > 125) {
        return Err(CloseCode::Protocol);
    }
    let (length, rest) = match (short, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
        }
        (126 | 127, _) => return Ok(None),
        _ => (short.into(), rest),
    };
    if length > most as u64 {
        return Err(CloseCode::Size);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let Some((payload, rest)) = rest.split_at_checked(length as usize) else { return Ok(None) };
    *bytes = rest;
    let unmasked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Ok(Some((first, unmasked.collect())))
}

/// The messages that a server's frames carry: the opcode and the payload of each.
fn sent(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut continues = false;
    while let &[first, short, ref rest @ ..] = bytes {
        let (length, rest) = match short {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => {
                let length = rest.first_chunk().expect("a length has eight bytes");
                (u64::from_be_bytes(*length) as usize, &rest[8..])
            }
            _ => (usize::from(short), rest),
        };
        let (payload, rest) = rest.split_at(length);
        assert_eq!(continues, first & 0x0f == 0, "a continuation continues");
        match messages.last_mut().filter(|_| continues) {
            Some((_, message)) => message.extend_from_slice(payload),
            None => messages.push((first & 0x0f, payload.to_vec())),
        }
        continues = first & 0x80 == 0;
        bytes = rest;
    }
    assert!(!continues && bytes.is_empty(), "what is written is whole");
    messages
}

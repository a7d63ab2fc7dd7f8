//! The connection under a WebSocket: [`Wire`].

use std::{
    io,
    mem::{MaybeUninit, take},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at once. Whoever reads gets them piece by piece, which spares it a buffer of this size.
const AHEAD: usize = 16 * 1024;

/// The longest head of a frame: two bytes, eight of length, four of mask.
const HEAD_MAX: usize = 14;

/// A connection that remembers whether anything has moved on it, and hands on one frame at a time.
///
/// A picture takes minutes on a slow line, and nobody can answer a ping in the midst of it; its bytes are the sign of
/// life.
///
/// Whoever reads gets a frame's head alone, then its payload, and nothing of the next frame with it. Were there
/// something of a large frame in the reader's buffer when it makes room for the rest, as much would be left over in the
/// end, and would keep the whole buffer alive.
#[derive(Debug)]
pub(crate) struct Wire {
    io: TokioIo<Upgraded>,
    /// Read, and not handed on yet. Empty while nothing comes, so that it costs nothing.
    ahead: Bytes,
    frames: Frames,
    moved: bool,
    /// Something was written after there was no room for it.
    unblocked: bool,
    blocked: bool,
}

/// Where in a frame the reader is.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_MAX],
    /// How many bytes of the head have passed.
    passed: usize,
    /// How many bytes of the payload have not.
    left: u64,
}

impl Wire {
    pub(super) fn new(upgraded: Upgraded) -> Self {
        Self {
            io: TokioIo::new(upgraded),
            ahead: Bytes::new(),
            frames: Frames::default(),
            moved: false,
            unblocked: false,
            blocked: false,
        }
    }

    /// Whether anything has moved since this was last asked.
    pub(crate) fn take_moved(&mut self) -> bool {
        take(&mut self.moved)
    }

    /// Whether the other side has taken something, after it had not, since this was last asked.
    pub(crate) fn take_unblocked(&mut self) -> bool {
        take(&mut self.unblocked)
    }

    fn wrote<T>(&mut self, written: &Poll<io::Result<T>>) {
        // Room after there was none means that the other side has taken something.
        self.unblocked |= self.blocked && written.is_ready();
        self.moved |= self.unblocked;
        self.blocked = written.is_pending();
    }

    /// Hands on what was read ahead: a head, or some of a payload.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        loop {
            let count = self.frames.next_part(self.ahead.len().min(buffer.remaining()));
            let part = self.ahead.split_to(count);
            self.frames.pass(&part);
            buffer.put_slice(&part);
            // Of a head, the first part only tells how long the second is.
            if count == 0 || self.frames.passed == 0 {
                break;
            }
        }
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
    }
}

impl Frames {
    /// How many of the next `count` bytes belong to the same part of a frame.
    fn next_part(&self, count: usize) -> usize {
        let part = match self.left {
            0 => (self.head_size() - self.passed) as u64,
            left => left,
        };
        usize::try_from(part).map_or(count, |part| part.min(count))
    }

    /// These bytes, which belong to one part of a frame, pass.
    fn pass(&mut self, bytes: &[u8]) {
        if self.left > 0 {
            self.left -= bytes.len() as u64;
            return;
        }
        let end = self.passed + bytes.len();
        self.head[self.passed..end].copy_from_slice(bytes);
        self.passed = end;
        if end == self.head_size() {
            self.left = self.length();
            self.passed = 0;
        }
    }

    /// The size of the head, as far as can be told; two bytes tell.
    fn head_size(&self) -> usize {
        if self.passed < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    /// The length of the payload, when the head is whole.
    fn length(&self) -> u64 {
        let mut length = &self.head[2..];
        match self.head[1] & 0x7f {
            126 => length.get_u16().into(),
            127 => length.get_u64(),
            short => short.into(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            let mut ahead = [const { MaybeUninit::uninit() }; AHEAD];
            let mut ahead = ReadBuf::uninit(&mut ahead);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut ahead))?;
            this.moved |= !ahead.filled().is_empty();
            this.ahead = Bytes::copy_from_slice(ahead.filled());
        }
        this.hand_on(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts in which these bytes pass when at most `most` of them are there at once.
    fn parts(mut bytes: &[u8], most: usize) -> Vec<usize> {
        let (mut frames, mut parts) = (Frames::default(), Vec::new());
        while !bytes.is_empty() {
            let count = frames.next_part(bytes.len().min(most));
            frames.pass(&bytes[..count]);
            bytes = &bytes[count..];
            parts.push(count);
        }
        assert_eq!((frames.passed, frames.left), (0, 0), "it ends with a frame");
        parts
    }

    #[test]
    fn no_part_reaches_into_the_next_frame() {
        let frame = |head: &[u8], mask: usize, payload: usize| {
            [head, &vec![0xff; mask + payload][..]].concat()
        };
        let stream = [
            frame(&[0x81, 0x80 | 5], 4, 5),
            frame(&[0x8a, 0x80], 4, 0),
            frame(&[0x82, 0x80 | 126, 1, 0], 4, 256),
            frame(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0], 4, 65_536),
            frame(&[0x81, 1], 0, 1),
            frame(&[0x89, 0], 0, 0),
        ]
        .concat();
        let whole = [2, 4, 5, 2, 4, 2, 6, 256, 2, 12, 65_536, 2, 1, 2];
        assert_eq!(parts(&stream, usize::MAX), whole);
        assert_eq!(parts(&stream, 1), vec![1; stream.len()]);
        for most in 2..40 {
            let cut = whole.iter().map(|part| part.div_ceil(most)).sum::<usize>();
            assert_eq!(parts(&stream, most).len(), cut, "{most} at once");
        }
    }
}

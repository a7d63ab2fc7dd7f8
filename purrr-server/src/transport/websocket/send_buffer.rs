//! The bytes that a socket has to write, in their order: [`SendBuffer`].
//!
//! Queue with [`send`](SendBuffer::send) and [`pong`](SendBuffer::pong). Then, while
//! [`refill`](SendBuffer::refill) returns true, write with
//! [`poll_write`](SendBuffer::poll_write). While it [`is_full`](SendBuffer::is_full), write before
//! queueing more.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice},
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::frame::write_header;

/// Bytes to write: `parts`, then `tail`. After them a pong, and the rest of a fragmented message.
///
/// Holds nothing while it is empty. Worst case: [`WRITE_BUFFER`] and one message, whose bytes are
/// shared with the sender. That message goes in fragments, so that pongs can go between them.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    /// Large payloads, which are not copied, and the bytes between them.
    parts: VecDeque<Bytes>,
    /// Headers and small payloads, one after the other.
    tail: Vec<u8>,
    /// Bytes of `tail` that are written.
    written: usize,
    /// Bytes of `parts` and `tail` that are not written.
    length: usize,
    /// The rest of a fragmented message and the opcode of its next fragment.
    fragmented: Option<(OpCode, Bytes)>,
    /// The payload of a pong, which goes out as soon as there is room.
    pong: Option<Bytes>,
}

/// Initial capacity of `tail` while something is written.
const TAIL_CAPACITY: usize = 1_000;

/// Maximum capacity of a `tail` that is kept for the next socket of the thread.
const MAX_SPARE: usize = 4 * TAIL_CAPACITY;

/// Bytes above which the buffer is full. One larger message is allowed.
const WRITE_BUFFER: usize = 16 * 1024;

/// Bytes from which a payload is sent without copying it.
const LARGE: usize = 4 * 1024;

/// Bytes of one fragment. Between two fragments a ping can be answered.
const FRAGMENT: usize = 64 * 1024;

/// Fragments that are handed to the system at once.
const FRAGMENTS: usize = 4;

/// Slices handed to the system at once: header and payload of each fragment, and a little more.
const SLICES: usize = 2 * FRAGMENTS + 2;

thread_local! {
    /// The `tail` of a buffer that has nothing to write.
    static SPARE: Cell<Vec<u8>> = Cell::default();
}

impl SendBuffer {
    /// Queues a message, a ping or a close. A long message goes in fragments, and until they are
    /// written the buffer is full.
    pub(super) fn send(&mut self, opcode: OpCode, payload: Bytes) {
        if payload.len() > FRAGMENT {
            self.fragmented = Some((opcode, payload));
        } else {
            self.push(opcode, true, payload);
        }
    }

    /// Queues the pong for a ping. A client that does not read is owed only the last one.
    pub(super) fn pong(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    /// Returns true if a pong waits for room.
    pub(super) const fn has_pong(&self) -> bool {
        self.pong.is_some()
    }

    /// Returns true if something must be written before more is queued.
    pub(super) const fn is_full(&self) -> bool {
        self.fragmented.is_some() || self.length >= WRITE_BUFFER
    }

    /// Drops the rest of a fragmented message and the pong, so that a close can follow at once.
    pub(super) fn abandon(&mut self) {
        (self.fragmented, self.pong) = (None, None);
    }

    /// Queues the pong and the next fragments once all before is written.
    ///
    /// Returns true if there is anything to write.
    pub(super) fn refill(&mut self) -> bool {
        if self.length == 0 {
            self.queue_waiting();
        }
        self.length > 0
    }

    fn queue_waiting(&mut self) {
        if let Some(payload) = self.pong.take() {
            self.push(OpCode::Control(Control::Pong), true, payload);
        }
        for _ in 0..FRAGMENTS {
            let Some((opcode, mut rest)) = self.fragmented.take() else { return };
            let fragment = rest.split_to(rest.len().min(FRAGMENT));
            self.push(opcode, rest.is_empty(), fragment);
            self.fragmented = (!rest.is_empty()).then_some((OpCode::Data(Data::Continue), rest));
        }
    }

    fn push(&mut self, opcode: OpCode, is_final: bool, payload: Bytes) {
        let small = payload.len() < LARGE;
        // The header of a large payload becomes a part, which must not keep spare capacity.
        if small && self.tail.capacity() == 0 {
            self.tail = SPARE.take();
            self.tail.reserve(TAIL_CAPACITY);
        }
        let before = self.tail.len();
        write_header(opcode, is_final, payload.len(), &mut self.tail);
        if small {
            self.tail.extend_from_slice(&payload);
            self.length += self.tail.len() - before;
        } else {
            self.length += self.tail.len() - before + payload.len();
            let mut tail = Bytes::from(take(&mut self.tail));
            tail.advance(take(&mut self.written));
            self.parts.extend([tail, payload]);
        }
    }

    /// Writes once, and returns how many bytes the stream has taken.
    pub(super) fn poll_write(
        &mut self,
        stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let tail = &self.tail[self.written..];
        let written = if self.parts.is_empty() {
            ready!(stream.poll_write(cx, tail))?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let parts = self.parts.iter().map(|part| &part[..]).chain([tail]);
            let filled =
                slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part));
            let filled = filled.count();
            ready!(stream.poll_write_vectored(cx, &slices[..filled]))?
        };
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        self.length -= written;
        if self.length == 0 {
            return self.clear();
        }
        while let Some(part) = self.parts.front_mut() {
            if written < part.len() {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.parts.pop_front();
        }
        self.written += written;
    }

    /// Releases the buffers of an idle connection.
    fn clear(&mut self) {
        let mut tail = take(&mut self.tail);
        if (1..=MAX_SPARE).contains(&tail.capacity()) {
            tail.clear();
            SPARE.set(tail);
        }
        self.written = 0;
        if self.parts.capacity() > 0 {
            self.parts = VecDeque::new();
        }
    }
}

//! What a socket has to write, in the order in which it goes out: [`Outbox`].

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

use super::frame::{Opcode, write_head};

/// Bytes on their way out, in order: the parts and then the tail; and then an answer to a ping, and the rest of a message.
///
/// In the worst case [`WRITE_BUFFER`] and one message, which it shares. That goes in fragments, between which a client's ping
/// is answered.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Large payloads, shared with whoever else holds them, and what goes between them.
    parts: VecDeque<Bytes>,
    /// Heads and small payloads, one after the other.
    tail: Vec<u8>,
    /// So many bytes of the tail are written.
    written: usize,
    /// Bytes that are not.
    length: usize,
    /// What is left of a message that goes out in fragments, and the opcode of the next one.
    outgoing: Option<(Opcode, Bytes)>,
    /// An answer that is due as soon as there is room for it.
    pong: Option<Bytes>,
}

/// Room for what goes out together to begin with, as long as it takes to write it, and the most that is kept of it for the
/// next socket that writes.
const GATHERED: usize = 1_000;
const KEPT: usize = 4 * GATHERED;

/// How much may be on its way out before the socket asks for patience.
const WRITE_BUFFER: usize = 16 * 1024;

/// From this many bytes on a payload is not copied to be sent.
const LARGE: usize = 4 * 1024;

/// Bytes of a message that go into one frame. Between two of them a ping can be answered.
const FRAGMENT: usize = 64 * 1024;

/// Fragments that are handed to the system at once.
const FRAGMENTS: usize = 4;

/// Parts handed to the system at once: of each fragment its head and its payload, and a little more.
const VECTORS: usize = 2 * FRAGMENTS + 2;

thread_local! {
    /// The tail of an outbox that has nothing to write.
    static SPARE: Cell<Vec<u8>> = Cell::default();
}

impl Outbox {
    /// Adds a message, or whatever else a frame of its own holds. A long one goes in fragments, and is the last one until
    /// they have gone.
    pub(super) fn send(&mut self, opcode: Opcode, payload: Bytes) {
        if payload.len() > FRAGMENT {
            self.outgoing = Some((opcode, payload));
        } else {
            self.push(opcode, true, payload);
        }
    }

    /// Adds the answer to a ping, as soon as there is room for it. Whoever asks without reading the answers is answered once.
    pub(super) fn answer(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    pub(super) const fn has_answer(&self) -> bool {
        self.pong.is_some()
    }

    /// Whether something is to be written before anything is added.
    pub(super) const fn is_full(&self) -> bool {
        self.outgoing.is_some() || self.length >= WRITE_BUFFER
    }

    /// Gives up the message that goes out in fragments, and the answer.
    pub(super) fn abandon(&mut self) {
        (self.outgoing, self.pong) = (None, None);
    }

    /// Has what is due next ready to be written, and says whether there is anything.
    pub(super) fn refill(&mut self) -> bool {
        if self.length == 0 {
            self.take_due();
        }
        self.length > 0
    }

    fn take_due(&mut self) {
        if let Some(payload) = self.pong.take() {
            self.push(Opcode::Pong, true, payload);
        }
        for _ in 0..FRAGMENTS {
            let Some((opcode, mut rest)) = self.outgoing.take() else { return };
            let fragment = rest.split_to(rest.len().min(FRAGMENT));
            self.push(opcode, rest.is_empty(), fragment);
            self.outgoing = (!rest.is_empty()).then_some((Opcode::Continuation, rest));
        }
    }

    fn push(&mut self, opcode: Opcode, last: bool, payload: Bytes) {
        let small = payload.len() < LARGE;
        // The head of a large payload keeps no more room than it needs.
        if small && self.tail.capacity() == 0 {
            self.tail = SPARE.take();
            self.tail.reserve(GATHERED);
        }
        let before = self.tail.len();
        write_head(opcode, last, payload.len(), &mut self.tail);
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

    pub(super) fn poll_write(
        &mut self,
        wire: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let tail = &self.tail[self.written..];
        let written = if self.parts.is_empty() {
            ready!(wire.poll_write(cx, tail))?
        } else {
            let mut slices = [IoSlice::new(&[]); VECTORS];
            let parts = self.parts.iter().map(|part| &part[..]).chain([tail]);
            let filled =
                slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part));
            let filled = filled.count();
            ready!(wire.poll_write_vectored(cx, &slices[..filled]))?
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

    /// What is idle holds nothing.
    fn clear(&mut self) {
        let mut tail = take(&mut self.tail);
        if (1..=KEPT).contains(&tail.capacity()) {
            tail.clear();
            SPARE.set(tail);
        }
        self.written = 0;
        if self.parts.capacity() > 0 {
            self.parts = VecDeque::new();
        }
    }
}

//! The body of the answer to a poll: [`Answer`].

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::HttpBody;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::{outbound::Batch, packet::Outgoing, payload::SEPARATOR, polling::Polling};
use crate::limits::memory::Reservation;

/// Packets as a body, which is written piece by piece and never built whole.
///
/// Worst case: the packets, and one piece of [`PIECE`] bytes and a small packet.
pub(super) struct Answer {
    pieces: Pieces,
    /// Moved into the last piece, so that it lasts until the connection has taken that.
    turn: Option<Turn>,
    /// Set once a piece was asked for. The next one is asked for when the client has taken some.
    begun: bool,
}

/// The one answer that a session may have under way. Dropping it lets the next poll be answered.
struct Turn {
    polling: Arc<Polling>,
    _reservation: Option<Box<Reservation>>,
}

/// The last piece of an answer.
struct LastPiece {
    bytes: Bytes,
    _turn: Turn,
}

/// An iterator over the pieces of a body.
struct Pieces {
    packets: VecDeque<Outgoing>,
    /// Set if a separator must come before the first packet.
    separator_due: bool,
    /// Bytes of the first packet that were returned already.
    taken: usize,
    /// Bytes of the body that are still to come.
    remaining: usize,
}

/// Bytes from which a text packet has pieces of its own. A multiple of 3, for Base64.
const PIECE: usize = 12 * 1024;

/// Bytes of a text packet that are one piece. It is sliced and not copied.
///
/// Each piece after the first shows progress of the client, so at the minimum rate of 8 KiB/s one
/// must be taken within [`Limits::stall`](purrr_core::Limits::stall).
const SLICE: usize = 32 * 1024;

impl Answer {
    /// Creates the answer to a session's poll.
    pub(super) fn new(polling: Arc<Polling>, batch: Batch) -> Self {
        let Batch { packets, reservation } = batch;
        Self {
            pieces: Pieces::new(packets),
            turn: Some(Turn { polling, _reservation: reservation }),
            begun: false,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.begun
            && let Some(turn) = &this.turn
        {
            turn.polling.handle_answer_progress();
        }
        this.begun = true;
        let Some(bytes) = this.pieces.next() else { return Poll::Ready(None) };
        let piece = match this.turn.take_if(|_| this.pieces.remaining == 0) {
            Some(turn) => Bytes::from_owner(LastPiece { bytes, _turn: turn }),
            None => bytes,
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.remaining as u64)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.polling.handle_answer_end();
    }
}

impl AsRef<[u8]> for LastPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Pieces {
    fn new(packets: VecDeque<Outgoing>) -> Self {
        let length = |packet: &Outgoing| match packet {
            Outgoing::Text(text) => text.len(),
            Outgoing::Binary(bytes) => 1 + bytes.len().div_ceil(3) * 4,
        };
        let separators = packets.len().saturating_sub(1);
        let remaining = packets.iter().map(length).sum::<usize>() + separators;
        Self { packets, separator_due: false, taken: 0, remaining }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = String::new();
        while piece.len() < PIECE
            && let Some(packet) = self.packets.front()
        {
            if self.separator_due {
                piece.push(SEPARATOR);
                self.separator_due = false;
            }
            match packet {
                // Not copied if it is large or the whole body.
                Outgoing::Text(text) if text.len() >= PIECE || text.len() == self.remaining => {
                    if !piece.is_empty() {
                        break;
                    }
                    let end = text.len().min(self.taken + SLICE);
                    let slice = text.as_bytes().slice(self.taken..end);
                    self.taken = end;
                    if end == text.len() {
                        self.packets.pop_front();
                        (self.taken, self.separator_due) = (0, true);
                    }
                    self.remaining -= slice.len();
                    return Some(slice);
                }
                Outgoing::Text(text) => piece.push_str(text),
                Outgoing::Binary(bytes) => {
                    if self.taken == 0 {
                        piece.push('b');
                    }
                    let rest = &bytes[self.taken..];
                    let part = &rest[..rest.len().min(PIECE)];
                    BASE64_STANDARD.encode_string(part, &mut piece);
                    if part.len() < rest.len() {
                        self.taken += part.len();
                        break;
                    }
                    self.taken = 0;
                }
            }
            self.packets.pop_front();
            self.separator_due = true;
        }
        self.remaining -= piece.len();
        (!piece.is_empty()).then(|| piece.into())
    }
}

/// Joins packets into one body.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn join(packets: VecDeque<Outgoing>) -> String {
    let pieces: Vec<_> = Pieces::new(packets).collect();
    String::from_utf8(pieces.concat()).expect("each piece is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_packets_joined_by_separators() {
        let large = "x".repeat(3 * PIECE);
        let bytes: Vec<u8> = (0..3 * PIECE + 1).map(|at| at as u8).collect();
        let encoded = format!("b{}", BASE64_STANDARD.encode(&bytes));
        let texts = ["4a", large.as_str(), "4b", &large, &large, "4c"];
        let mut packets: VecDeque<_> =
            texts.iter().map(|text| Outgoing::Text((*text).into())).collect();
        let expected = format!("{}\u{1e}{encoded}\u{1e}b", texts.join("\u{1e}"));
        packets.push_back(Outgoing::Binary(bytes.into()));
        packets.push_back(Outgoing::Binary(Bytes::new()));
        let pieces = Pieces::new(packets.clone());
        assert_eq!(pieces.remaining, expected.len());
        let longest = pieces.map(|piece| piece.len()).max();
        assert_eq!(longest, Some(SLICE), "no packets are joined beyond a piece");
        assert_eq!(join(packets), expected);
        for one in ["4a", &large] {
            assert_eq!(join([Outgoing::Text(one.into())].into()), one);
        }
    }
}

//! What waits for the polls of a session: [`Outbound`].

use std::{
    collections::VecDeque,
    fmt,
    mem::{replace, take},
};

use tokio::sync::oneshot;

use super::packet::Outgoing;
use crate::limits::memory::{MemoryBudget, Reservation, SMALL_MESSAGE};

/// Bytes that may wait for the next poll before the session is blocked. One larger packet may.
const MAX_OUTBOUND: usize = 1024 * 1024;

/// Packets for the client, and the request that takes them.
///
/// Call [`has_room`](Self::has_room) before [`push`](Self::push), and [`answer`](Self::answer)
/// whenever one of the two has come. An answer is under way until
/// [`handle_answer_end`](Self::handle_answer_end).
///
/// Worst case: twice [`MAX_OUTBOUND`] or one larger packet: the packets that wait, and those of the
/// one answer under way. All but [`SMALL_MESSAGE`] bytes of each is reserved in the memory budget.
#[derive(Default)]
pub(super) struct Outbound {
    packets: VecDeque<Outgoing>,
    bytes: usize,
    /// Bytes of the packets that are small, so that they reserve nothing themselves.
    small_bytes: usize,
    /// Pays for small packets beyond [`SMALL_MESSAGE`] bytes. Boxed, since few sessions have any.
    reservation: Option<Box<Reservation>>,
    /// The request that waits for something to send.
    poll: Option<oneshot::Sender<Reply>>,
    /// Set until the client has taken the last answer with packets, or its connection has ended.
    answering: bool,
    /// Set when the client has taken part of the answer under way.
    progress: bool,
}

/// The answer to a poll.
pub(super) enum Reply {
    Packets(Batch),
    /// One packet of the transport's own.
    Control(&'static str),
}

/// The packets of one answer, and what pays for the small ones.
pub(super) struct Batch {
    pub(super) packets: VecDeque<Outgoing>,
    pub(super) reservation: Option<Box<Reservation>>,
}

/// What became of an answer.
pub(super) enum Answered {
    /// No poll waits, or there is nothing to send, or another answer is under way.
    None,
    Taken,
    /// The client has given up the request.
    GivenUp,
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns true if one more packet may be queued, and reserves for it.
    pub(super) fn has_room(&mut self, budget: &MemoryBudget) -> bool {
        if self.bytes >= MAX_OUTBOUND {
            return false;
        }
        if self.small_bytes < SMALL_MESSAGE {
            return true;
        }
        let reservation = self.reservation.get_or_insert_with(|| Box::new(budget.reservation()));
        // The budget is asked once for many packets.
        reservation.bytes() > self.small_bytes
            || reservation.extend_to(self.small_bytes + SMALL_MESSAGE)
    }

    /// Queues a packet for the client.
    pub(super) fn push(&mut self, packet: Outgoing) {
        let length = packet.len();
        self.bytes += length;
        if length <= SMALL_MESSAGE {
            self.small_bytes += length;
        }
        self.packets.push_back(packet);
    }

    /// Begins a poll. The receiver fails if the session ends first.
    pub(super) fn poll(&mut self) -> oneshot::Receiver<Reply> {
        let (answer, answered) = oneshot::channel();
        self.poll = Some(answer);
        answered
    }

    pub(super) const fn has_poll(&self) -> bool {
        self.poll.is_some()
    }

    /// Takes the waiting poll out.
    pub(super) const fn take_poll(&mut self) -> Option<oneshot::Sender<Reply>> {
        self.poll.take()
    }

    /// Answers the waiting poll, if there is something to send or `releases` is true.
    ///
    /// Only when the client has taken the answer before: otherwise it could have the server hold
    /// any number of answers.
    pub(super) fn answer(&mut self, releases: bool) -> Answered {
        if self.answering || (self.packets.is_empty() && !releases) {
            return Answered::None;
        }
        let Some(poll) = self.poll.take() else { return Answered::None };
        let reply = if self.packets.is_empty() {
            Reply::Control("6")
        } else {
            self.answering = true;
            (self.bytes, self.small_bytes) = (0, 0);
            let (packets, reservation) = (take(&mut self.packets), self.reservation.take());
            Reply::Packets(Batch { packets, reservation })
        };
        match poll.send(reply) {
            Ok(()) => Answered::Taken,
            Err(_) => Answered::GivenUp,
        }
    }

    /// Notes that the client has taken part of the answer under way.
    pub(super) const fn handle_progress(&mut self) {
        self.progress = true;
    }

    /// Returns true if the client has taken part of an answer since the last call.
    pub(super) const fn take_progress(&mut self) -> bool {
        replace(&mut self.progress, false)
    }

    /// Notes that the client has taken an answer, or never will.
    pub(super) const fn handle_answer_end(&mut self) {
        self.answering = false;
    }

    /// Takes the packets that no poll has taken. [`release`](Self::release) frees what pays for
    /// them.
    pub(super) fn take_packets(&mut self) -> VecDeque<Outgoing> {
        take(&mut self.packets)
    }

    pub(super) fn release(&mut self) {
        self.reservation = None;
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

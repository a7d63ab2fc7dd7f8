//! What a client has of what it was sent: [`Counting`].

use std::collections::VecDeque;

use bytestring::ByteString;
use purrr_core::model::{ChatId, ResumeToken};

use super::{chat::Chat, lost_chats::LostChats, offset::Offset};
use crate::{limits::memory::MemoryBudget, transport::engineio::Outgoing};

/// Frames that may be unproven before a ping of their own is sent. Below `--queue-items`, which
/// they fill meanwhile.
const MAX_UNPROVEN: u64 = 64;

/// Bytes that may be unproven before a ping of their own is sent.
const MAX_UNPROVEN_BYTES: usize = 256 * 1024;

/// Counts the frames that a client was sent, and which of them it has.
///
/// The client acknowledges nothing. But it answers pings in order, so a pong proves that all before
/// its ping has arrived. Call [`handle_flushed`](Self::handle_flushed) once everything is written,
/// and [`poll_ack`](Self::poll_ack) after reading.
#[derive(Debug)]
pub(super) struct Counting {
    /// The position of the client once it has all that it was sent.
    position: Offset,
    acknowledged: u64,
    /// The number of frames that are written, so that a later ping goes behind them.
    written: u64,
    /// Bytes since the last mark.
    bytes: usize,
    /// What the pong to a ping will prove.
    mark: Option<Mark>,
    /// The numbers of the frames, counted from 1, that are messages and not acknowledged.
    messages: VecDeque<u64>,
    /// The token of this connection, once there is one.
    pub(super) next: Option<ResumeToken>,
    pub(super) lost: LostChats,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    ping: u64,
    received: u64,
}

impl Counting {
    pub(super) fn new(position: Offset, lost: LostChats) -> Self {
        let received = position.received;
        Self {
            position,
            acknowledged: received,
            written: received,
            bytes: 0,
            mark: None,
            messages: VecDeque::new(),
            next: position.token,
            lost,
        }
    }

    /// Notes that a chat begins.
    pub(super) fn handle_matched(&mut self, chat: ChatId) {
        (self.position.chat, self.position.received) = (chat, 0);
        (self.acknowledged, self.written, self.mark) = (0, 0, None);
        self.messages.clear();
    }

    /// Writes the position into the last arguments of the events of one frame or of another event.
    ///
    /// All but the last of them bear the position before: a client that lacks one of them is sent
    /// them all again.
    pub(super) fn stamp(
        &mut self,
        packets: &mut VecDeque<Outgoing>,
        first: usize,
        counts: bool,
        budget: &MemoryBudget,
    ) {
        let before = self.position;
        self.position.received += u64::from(counts);
        let is_event = |packet: &Outgoing| match packet {
            Outgoing::Text(text) => text.starts_with("42[") || text.starts_with("451-["),
            Outgoing::Binary(_) => false,
        };
        let mut position = self.position;
        for packet in packets.range_mut(first..).rev() {
            self.bytes += packet.len();
            if is_event(packet)
                && let Outgoing::Text(text) = packet
                && let Some(array) = text.trim_end().strip_suffix(']')
            {
                let stamped: ByteString = format!("{array},\"{position}\"]").into();
                *packet = Outgoing::Text(stamped).held_in(budget);
                position = before;
            }
        }
    }

    /// Notes that the last frame was a message.
    pub(super) fn note_message(&mut self) {
        self.messages.push_back(self.position.received);
    }

    /// Keeps the chat for the client's next connection, if its budget pays for that.
    pub(super) fn keep(&mut self, chat: Box<Chat>, budget: &MemoryBudget) {
        let Some(token) = self.next else { return };
        self.lost.insert(token, chat, std::mem::take(&mut self.messages), budget);
    }

    /// Notes that everything was written, after this many pings. Returns true if one more is due.
    pub(super) fn handle_flushed(&mut self, pings: u64) -> bool {
        self.written = self.position.received;
        let unproven = self.written - self.acknowledged;
        if unproven == 0 {
            self.bytes = 0;
        }
        if unproven == 0 || self.mark.is_some_and(|mark| mark.ping <= pings) {
            return false;
        }
        let is_due = unproven >= MAX_UNPROVEN || self.bytes >= MAX_UNPROVEN_BYTES;
        if is_due || self.mark.is_none() {
            self.mark = Some(Mark { ping: pings + 1, received: self.written });
            self.bytes = 0;
        }
        is_due
    }

    /// Returns the chat, and how many of its frames the client is known to have, if that is new.
    pub(super) fn poll_ack(
        &mut self,
        is_answered: impl FnOnce(u64) -> bool,
        pings: u64,
    ) -> Option<(ChatId, u64)> {
        let Mark { ping, received } = self.mark?;
        if !is_answered(ping) {
            return None;
        }
        self.acknowledged = received;
        let proven = self.messages.partition_point(|number| *number <= received);
        self.messages.drain(..proven);
        let unproven = self.written > received;
        self.mark = unproven.then_some(Mark { ping: pings + 1, received: self.written });
        Some((self.position.chat, received))
    }
}

//! What a session's client has not been told yet: [`Outbox`].

use std::collections::VecDeque;

use crate::model::event::Event;

/// Events in order, then delivery receipts.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: VecDeque<Event>,
    /// Ids of own messages that the partner has not acknowledged, oldest first.
    unacknowledged: VecDeque<u64>,
    /// How many of them have been acknowledged and wait to be told.
    receipts: u64,
}

impl Outbox {
    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Returns the next event, or the next receipt if there is no event.
    pub(super) fn poll(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            if self.events.is_empty() {
                // A session has no events of its own most of its life, so it keeps no capacity for
                // them.
                self.events = VecDeque::new();
            }
            return Some(event);
        }
        if self.receipts == 0 {
            return None;
        }
        self.receipts -= 1;
        self.unacknowledged.pop_front().map(|id| Event::Delivered { id })
    }

    /// Returns true if [`poll`](Self::poll) has something.
    pub(super) fn is_ready(&self) -> bool {
        self.receipts > 0 || !self.events.is_empty()
    }

    /// Returns how many events wait, without receipts.
    pub(super) fn backlog(&self) -> usize {
        self.events.len()
    }

    /// Returns true if the client has not been told of its partner yet.
    pub(super) fn has_matched(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Matched { .. }))
    }

    /// Returns how many own messages are not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Notes a message of this id as sent and not yet acknowledged.
    pub(super) fn await_receipt(&mut self, id: u64) {
        self.unacknowledged.push_back(id);
    }

    /// Counts so many more messages as acknowledged, oldest first.
    pub(super) const fn add_receipts(&mut self, messages: u64) {
        self.receipts += messages;
    }

    /// Drops the events, which a lost transport did not take. Receipts stay.
    pub(super) fn drop_events(&mut self) {
        self.events = VecDeque::new();
    }

    /// Puts the events of another outbox first.
    pub(super) fn precede_with(&mut self, mut first: Self) {
        first.events.append(&mut self.events);
        self.events = first.events;
    }

    /// Takes the receipts that wait to be told. Returns the last of the ids.
    pub(super) fn take_receipts(&mut self) -> Option<u64> {
        let acknowledged =
            usize::try_from(std::mem::take(&mut self.receipts)).unwrap_or(usize::MAX);
        self.unacknowledged.drain(..acknowledged.min(self.unacknowledged.len())).next_back()
    }

    /// Drops everything that belonged to the last chat but its events.
    pub(super) fn end_chat(&mut self) {
        self.unacknowledged = VecDeque::new();
        self.receipts = 0;
    }
}

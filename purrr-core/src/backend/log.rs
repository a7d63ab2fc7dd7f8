//! Which frames of one direction of a chat are kept until the receiver's client has them: [`Log`].

use std::collections::VecDeque;

use crate::model::profile::Hello;

/// Positions in the frames of one direction of a chat, which are numbered from 0.
///
/// The queue holds the frames from `first` on: those that were read and not acknowledged, then
/// those that were not read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Log {
    /// The number of the first frame that is held.
    pub(super) first: u64,
    /// How many of the held frames were read.
    pub(super) read: usize,
}

/// The numbers of messages that were freed before they were acknowledged, in order. Each is owed a
/// receipt.
#[derive(Debug, Default)]
pub(crate) struct OwedReceipts(VecDeque<u64>);

/// What a side is told of its partner's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It has dropped.
    Away,
    /// It is there again. Contains how the partner introduces itself now.
    Back(Box<Hello>),
}

impl Log {
    /// Makes every held frame unread. Returns how many frames from number `received` on are gone.
    pub(super) const fn rewind(&mut self, received: u64) -> u64 {
        self.read = 0;
        self.first.saturating_sub(received)
    }
}

impl OwedReceipts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the receipt of the message of this number.
    pub(super) fn push(&mut self, number: u64) {
        self.0.push_back(number);
    }

    /// Takes the receipts of the messages before number `received`.
    pub(super) fn take(&mut self, received: u64) -> u64 {
        let owed = self.0.partition_point(|number| *number < received);
        self.0.drain(..owed);
        owed as u64
    }
}

//! Counters of a hub: [`Stats`].

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::problem::Code;

/// Counters of a hub since it was built. All but `detached` only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions begun, and calls of [`Hub::pair`](crate::Hub::pair).
    pub arrivals: u64,
    /// Matched peers: two for each chat.
    pub matches: u64,
    /// Frames sent to partners.
    pub frames: u64,
    /// Bytes of the contents of those frames.
    pub bytes: u64,
    /// Blocks stored.
    pub blocks: u64,
    /// Sessions without a connection now, which their clients may resume.
    pub detached: u64,
    /// Sessions that were resumed over another connection.
    pub resumed: u64,
    /// Sessions that ended because their client did not return in time.
    pub expired: u64,
    /// Errors sent to clients, by code.
    pub refused: Vec<(Code, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) arrivals: Counter,
    pub(crate) matches: Counter,
    pub(crate) blocks: Counter,
    pub(crate) resumed: Counter,
    pub(crate) expired: Counter,
    frames: Counter,
    bytes: Counter,
    refused: [Counter; Code::ALL.len()],
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counters {
    pub(crate) fn count_frame(&self, weight: usize) {
        self.frames.add(1);
        self.bytes.add(weight as u64);
    }

    pub(crate) fn count_refused(&self, code: Code) {
        self.refused[code as usize].add(1);
    }

    pub(crate) fn read(&self, detached: usize) -> Stats {
        let refused = Code::ALL.into_iter().map(|code| (code, self.refused[code as usize].read()));
        Stats {
            arrivals: self.arrivals.read(),
            matches: self.matches.read(),
            frames: self.frames.read(),
            bytes: self.bytes.read(),
            blocks: self.blocks.read(),
            detached: detached as u64,
            resumed: self.resumed.read(),
            expired: self.expired.read(),
            refused: refused.collect(),
        }
    }
}

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! What a hub has done: [`Stats`].

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::problem::Code;

/// What a hub has done since it was built. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions begun, and [`Chat`](crate::Chat)s asked for.
    pub arrivals: u64,
    /// Times that a peer was matched: two for each pair.
    pub matches: u64,
    /// Frames that peers sent to their partners.
    pub frames: u64,
    /// Bytes of those frames' contents.
    pub bytes: u64,
    /// Partners that were blocked.
    pub blocks: u64,
    /// What was refused, by code.
    pub refused: Vec<(Code, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) arrivals: Counter,
    pub(crate) matches: Counter,
    pub(crate) blocks: Counter,
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

    pub(crate) fn read(&self) -> Stats {
        let refused = Code::ALL.into_iter().map(|code| (code, self.refused[code as usize].read()));
        Stats {
            arrivals: self.arrivals.read(),
            matches: self.matches.read(),
            frames: self.frames.read(),
            bytes: self.bytes.read(),
            blocks: self.blocks.read(),
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

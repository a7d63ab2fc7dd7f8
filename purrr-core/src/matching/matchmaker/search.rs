//! One search of a [`Matchmaker`]: random probes, a scan of the buckets, and the best match of what they found.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    iter, mem,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::FixedState;
use slotmap::{Key, SlotMap};

use super::{Matchmaker, PlaceKey, Waiting};
use crate::matching::{bucket::Bucket, queue::WaitQueue, rule::Choice};

/// The entries of each bucket that the first search of a place visits.
pub(super) const INITIAL_SCAN: usize = 16;

/// The entries of each bucket that a resumed or widened search visits.
pub(super) const RESUMED_SCAN: usize = 256;

/// The time after which a search resumes where it stopped.
pub(super) const RESUME_AFTER: Duration = Duration::from_millis(100);

/// The random draws that come before the scan, for rules that choose at random.
pub(super) const RANDOM_PROBES: usize = 8;

/// A waiting place found in the buckets of one kind. The greatest candidate is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// The number of these buckets that it is queued in.
    shared: usize,
    /// Among equals the least is tried first.
    tie: Reverse<u64>,
    key: Reverse<PlaceKey>,
}

/// The outcome of a search that found no partner.
#[derive(Default)]
pub(super) struct NoMatch {
    /// The slot of each bucket at which the search resumes.
    pub(super) cursors: Vec<u64>,
    /// Some entries were not visited.
    pub(super) truncated: bool,
    /// The earliest time at which a candidate need not be avoided any longer.
    pub(super) relaxes_at: Option<Duration>,
}

/// Whether two waiting places may be paired.
enum Verdict {
    Fits,
    NotBefore(Duration),
    Never,
}

/// A search under way: what it reads of the machine, and what it has found so far.
struct Search<'a, S> {
    now: Duration,
    seeker: &'a Waiting<S>,
    depth: usize,
    waiting: &'a SlotMap<PlaceKey, Waiting<S>>,
    queues: &'a HashMap<Bucket, WaitQueue<PlaceKey>, FixedState>,
    random: &'a mut fastrand::Rng,
    candidates: &'a mut Vec<Candidate>,
    table: &'a mut Vec<usize>,
    no_match: NoMatch,
}

impl<S> Matchmaker<S> {
    /// Goes through the buckets kind by kind, best first, and returns the best match of the first kind that has one.
    pub(super) fn find_partner(
        &mut self,
        now: Duration,
        key: PlaceKey,
        buckets: &[Bucket],
        depth: usize,
    ) -> Result<PlaceKey, NoMatch> {
        let Self { waiting, queues, random, candidates, table, .. } = self;
        let no_match = NoMatch::default();
        let Some(seeker) = waiting.get(key) else { return Err(no_match) };
        let mut search =
            Search { now, seeker, depth, waiting, queues, random, candidates, table, no_match };
        for kind in buckets.chunk_by(|a, b| a.kind() == b.kind()) {
            if let Some(found) = search.probe_random(kind) {
                return Ok(found);
            }
            search.scan_buckets(kind);
            if let Some(found) = search.best_match() {
                return Ok(found);
            }
        }
        Err(search.no_match)
    }
}

impl<S> Search<'_, S> {
    /// Draws a few entries of a kind's only bucket, if the rule chooses at random.
    fn probe_random(&mut self, kind: &[Bucket]) -> Option<PlaceKey> {
        let [bucket] = kind else { return None };
        if self.seeker.rule.choice() != Choice::Random {
            return None;
        }
        let queue = self.queues.get(bucket)?;
        (0..RANDOM_PROBES).find_map(|_| {
            let drawn = queue.draw(self.random)?;
            let fits = drawn.person != self.seeker.ticket.person && self.fits(drawn.key);
            fits.then_some(drawn.key)
        })
    }

    /// Visits the next entries of each bucket of a kind, and collects those of other persons as candidates.
    fn scan_buckets(&mut self, kind: &[Bucket]) {
        let at_random = self.seeker.rule.choice() == Choice::Random;
        self.candidates.clear();
        for bucket in kind {
            let slot = self.seeker.slots.iter().find(|slot| slot.bucket == *bucket);
            let mut cursor = slot.map_or(0, |slot| slot.cursor);
            if let Some(queue) = self.queues.get(bucket) {
                let mut entries = queue.from(cursor);
                for (number, entry) in entries.by_ref().take(self.depth) {
                    cursor = number + 1;
                    if entry.person != self.seeker.ticket.person {
                        let tie = if at_random { self.random.u64(..) } else { entry.since };
                        self.candidates.push(Candidate::new(entry.key, tie));
                    }
                }
                self.no_match.truncated |= entries.next().is_some();
            }
            self.no_match.cursors.push(cursor);
        }
        if kind.len() > 1 {
            count_shared(self.candidates, self.table);
        }
    }

    /// Returns the greatest candidate that fits.
    fn best_match(&mut self) -> Option<PlaceKey> {
        // The greatest one fits nearly always, so a heap is cheaper than sorting.
        let mut heap = BinaryHeap::from(mem::take(self.candidates));
        let found = iter::from_fn(|| heap.pop()).find(|candidate| self.fits(candidate.key.0));
        *self.candidates = heap.into_vec();
        Some(found?.key.0)
    }

    /// Returns true if the two may be paired now. Notes when they may, if that is later.
    fn fits(&mut self, candidate: PlaceKey) -> bool {
        let Some(other) = self.waiting.get(candidate) else { return false };
        match judge(self.now, self.seeker, other) {
            Verdict::Fits => true,
            Verdict::NotBefore(time) => {
                let earliest = self.no_match.relaxes_at.map_or(time, |known| known.min(time));
                self.no_match.relaxes_at = Some(earliest);
                false
            }
            Verdict::Never => false,
        }
    }
}

impl Candidate {
    const fn new(key: PlaceKey, tie: u64) -> Self {
        Self { shared: 1, tie: Reverse(tie), key: Reverse(key) }
    }
}

/// Deduplicates candidates and counts the buckets that each one shares. `table` is kept for its capacity.
///
/// Sorting and deduplicating instead costs 24 % more instructions per pair in `interests` of `benches/pairing.rs`
/// (30,100 against 24,300 with 2,000 waiting, counted by callgrind).
fn count_shared(candidates: &mut Vec<Candidate>, table: &mut Vec<usize>) {
    const FREE: usize = usize::MAX;
    // Open addressing, at most half full. Slot map indices are dense, so they need no hash to spread.
    let size = (2 * candidates.len()).next_power_of_two();
    table.clear();
    table.resize(size, FREE);
    let mut distinct = 0;
    for index in 0..candidates.len() {
        let candidate = candidates[index];
        let mut slot = candidate.key.0.data().as_ffi() as usize % size;
        while table[slot] != FREE && candidates[table[slot]].key != candidate.key {
            slot = (slot + 1) % size;
        }
        if table[slot] == FREE {
            table[slot] = distinct;
            candidates[distinct] = candidate;
            distinct += 1;
        } else {
            candidates[table[slot]].shared += 1;
        }
    }
    candidates.truncate(distinct);
}

fn judge<S>(now: Duration, a: &Waiting<S>, b: &Waiting<S>) -> Verdict {
    // A rule that both share is asked once.
    let accepted = a.ticket.may_meet(&b.ticket)
        && a.rule.accepts(&a.ticket, &b.ticket)
        && (Arc::ptr_eq(&a.rule, &b.rule) || b.rule.accepts(&b.ticket, &a.ticket));
    if !accepted {
        return Verdict::Never;
    }
    let relaxes_at = [a, b].map(|it| it.since.saturating_add(it.ticket.exclusions.relax_after));
    match relaxes_at[0].max(relaxes_at[1]) {
        relaxes_at if relaxes_at > now && a.ticket.has_met(&b.ticket) => {
            Verdict::NotBefore(relaxes_at)
        }
        _ => Verdict::Fits,
    }
}

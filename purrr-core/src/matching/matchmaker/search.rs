//! One search of a [`Matchmaker`]: random probes, a scan of the buckets, and the best match of what
//! they found.

use std::{cmp::Reverse, collections::BinaryHeap, mem, sync::Arc, time::Duration};

use slotmap::Key;

use super::{CROWDED, Matchmaker, PlaceKey, Slot, Waiting, nanos};
use crate::{
    matching::{
        arena::Arena,
        bucket::Bucket,
        queue::{ScanBounds, WaitQueue},
        rule::Choice,
        sharded_map::ShardedMap,
    },
    model::ids::OriginKey,
};

/// The most entries that a search visits.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanBudget {
    pub(super) per_bucket: usize,
    /// Of all buckets together.
    pub(super) total: usize,
}

/// The budget of a place's first search.
pub(super) const INITIAL_SCAN: ScanBudget = ScanBudget { per_bucket: 16, total: 128 };

/// The budget of a resumed or widened search.
pub(super) const RESUMED_SCAN: ScanBudget = ScanBudget { per_bucket: 256, total: 256 };

/// The most runs of tombstones that any search skips.
const HOPS: usize = 1_024;

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
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NoMatch {
    /// The number of visited entries.
    pub(super) visits: usize,
    /// Some entries were not visited.
    pub(super) truncated: bool,
    /// The earliest time at which a candidate need not be avoided any longer.
    pub(super) relaxes_at: Option<Duration>,
}

/// The rank of a candidate among equally good ones, best first.
///
/// Otherwise the peers of one address could meet nearly every other peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OriginRank {
    /// Another origin than the seeker's, or an unknown one.
    Other,
    /// Another origin, with many waiting places.
    Crowded,
    Same,
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
    /// Whether the seeker's origin has many waiting places.
    is_crowded: bool,
    waited: u64,
    budget: ScanBudget,
    hops: usize,
    waiting: &'a Arena<PlaceKey, Waiting<S>>,
    queues: &'a ShardedMap<Bucket, WaitQueue<PlaceKey>>,
    origins: &'a ShardedMap<OriginKey, u32>,
    random: &'a mut fastrand::Rng,
    candidates: &'a mut Vec<Candidate>,
    table: &'a mut Vec<u32>,
    cursors: &'a mut Vec<u64>,
    no_match: NoMatch,
}

impl<S> Matchmaker<S> {
    /// Goes through the buckets kind by kind, best first, and returns the best match of the first
    /// kind that has one.
    ///
    /// If there is none, `cursors` are where the search resumes.
    pub(super) fn find_partner(
        &mut self,
        now: Duration,
        key: PlaceKey,
        budget: ScanBudget,
    ) -> Result<PlaceKey, NoMatch> {
        let Self { waiting, queues, origins, random, candidates, table, cursors, .. } = self;
        let no_match = NoMatch::default();
        cursors.clear();
        let Some(seeker) = waiting.get(key) else { return Err(no_match) };
        let waited = nanos(now.saturating_sub(seeker.since));
        let mut search = Search {
            now,
            seeker,
            is_crowded: is_crowded(origins, seeker.ticket.origin),
            waited,
            budget,
            hops: HOPS,
            waiting,
            queues,
            origins,
            random,
            candidates,
            table,
            cursors,
            no_match,
        };
        for kind in seeker.looks().chunk_by(|a, b| a.bucket.kind() == b.bucket.kind()) {
            let probed = search.probe_random(kind);
            if let Some((found, OriginRank::Other)) = probed {
                return Ok(found);
            }
            search.scan_buckets(kind);
            let scanned = search.best_match();
            let found = [probed, scanned].into_iter().flatten().min_by_key(|(_, it)| *it);
            if let Some((found, _)) = found {
                return Ok(found);
            }
        }
        Err(search.no_match)
    }
}

impl<S> Search<'_, S> {
    /// Draws a few entries of a kind's only bucket, if the rule chooses at random.
    fn probe_random(&mut self, kind: &[Slot]) -> Option<(PlaceKey, OriginRank)> {
        if self.seeker.rule.choice() != Choice::Random {
            return None;
        }
        let mut active = kind.iter().filter(|slot| slot.is_active(self.waited));
        let (Some(slot), None) = (active.next(), active.next()) else { return None };
        let queue = self.queues.get(&slot.bucket)?;
        let mut found: Option<(PlaceKey, OriginRank)> = None;
        for _ in 0..RANDOM_PROBES {
            let Some(drawn) = queue.draw(self.random) else { break };
            if drawn.person == self.seeker.ticket.person {
                continue;
            }
            let Some(rank) = self.rank_if_fitting(drawn.key) else { continue };
            if found.is_none_or(|(_, known)| rank < known) {
                found = Some((drawn.key, rank));
            }
            if rank == OriginRank::Other {
                break;
            }
        }
        found
    }

    /// Visits the next entries of each active bucket of a kind, and collects those of other persons
    /// as candidates.
    ///
    /// The buckets share what is left of the budget equally, and what one of them cannot use goes
    /// to those before it.
    fn scan_buckets(&mut self, kind: &[Slot]) {
        let at_random = self.seeker.rule.choice() == Choice::Random;
        self.candidates.clear();
        let active = || kind.iter().filter(|slot| slot.is_active(self.waited));
        let (buckets, left) = (active().count(), self.budget.total - self.no_match.visits);
        // Mostly there is enough for all of them, and nothing is to be shared.
        let fair_share = (buckets.saturating_mul(self.budget.per_bucket) > left)
            .then(|| (left / buckets).max(1));
        let needs = |slot: &Slot| {
            let queue = fair_share.and_then(|most| Some((most, self.queues.get(&slot.bucket)?)));
            queue.map_or(0, |(most, queue)| queue.remaining(slot.search_from()).min(most))
        };
        // What the buckets behind will need.
        let mut reserved: usize = active().map(needs).sum();
        for slot in kind {
            if slot.is_active(self.waited) {
                reserved -= needs(slot);
            }
            let mut cursor = slot.search_from();
            if slot.is_active(self.waited)
                && let Some(queue) = self.queues.get(&slot.bucket)
            {
                let left = self.budget.total - self.no_match.visits;
                let share = left.saturating_sub(reserved).min(self.budget.per_bucket);
                let bounds = ScanBounds { visits: share, hops: self.hops };
                let end = queue.scan(cursor, bounds, |entry| {
                    if entry.person != self.seeker.ticket.person {
                        let tie = if at_random { self.random.u64(..) } else { entry.since };
                        self.candidates.push(Candidate::new(entry.key, tie));
                    }
                });
                (cursor, self.hops) = (end.cursor, end.hops);
                self.no_match.visits += end.visits;
                self.no_match.truncated |= !end.is_over;
            }
            self.cursors.push(cursor);
        }
        if buckets > 1 {
            count_shared(self.candidates, self.table);
        }
    }

    /// Returns the candidate that fits, shares most buckets and has the best rank among those.
    fn best_match(&mut self) -> Option<(PlaceKey, OriginRank)> {
        // The greatest one fits nearly always. Only if it does not, the others are put in order.
        let mut unordered = mem::take(self.candidates);
        let mut heap = BinaryHeap::new();
        let mut next = take_greatest(&mut unordered);
        let mut found: Option<(Candidate, OriginRank)> = None;
        while let Some(candidate) = next {
            if found.is_some_and(|(known, _)| known.shared > candidate.shared) {
                break;
            }
            if let Some(rank) = self.rank_if_fitting(candidate.key.0) {
                if found.is_none_or(|(_, known)| rank < known) {
                    found = Some((candidate, rank));
                }
                if rank == OriginRank::Other {
                    break;
                }
            }
            if !unordered.is_empty() {
                heap = BinaryHeap::from(mem::take(&mut unordered));
            }
            next = heap.pop();
        }
        *self.candidates = if heap.capacity() > 0 { heap.into_vec() } else { unordered };
        found.map(|(candidate, rank)| (candidate.key.0, rank))
    }

    /// Returns the rank of a candidate if the two may be paired now. Notes when they may, if that
    /// is later.
    fn rank_if_fitting(&mut self, candidate: PlaceKey) -> Option<OriginRank> {
        let other = self.waiting.get(candidate)?;
        let rank = self.rank(other.ticket.origin);
        // Otherwise the peers of a crowded origin, which always wait, would meet nearly every peer
        // that arrives.
        let is_avoided =
            rank == OriginRank::Crowded || (self.is_crowded && rank != OriginRank::Same);
        match judge(self.now, self.seeker, other, is_avoided) {
            Verdict::Fits => Some(rank),
            Verdict::NotBefore(time) => {
                let earliest = self.no_match.relaxes_at.map_or(time, |known| known.min(time));
                self.no_match.relaxes_at = Some(earliest);
                None
            }
            Verdict::Never => None,
        }
    }

    fn rank(&self, origin: OriginKey) -> OriginRank {
        if origin == OriginKey::NONE {
            OriginRank::Other
        } else if origin == self.seeker.ticket.origin {
            OriginRank::Same
        } else if is_crowded(self.origins, origin) {
            OriginRank::Crowded
        } else {
            OriginRank::Other
        }
    }
}

fn is_crowded(origins: &ShardedMap<OriginKey, u32>, origin: OriginKey) -> bool {
    origin != OriginKey::NONE && origins.get(&origin).is_some_and(|places| *places > CROWDED)
}

impl Candidate {
    const fn new(key: PlaceKey, tie: u64) -> Self {
        Self { shared: 1, tie: Reverse(tie), key: Reverse(key) }
    }

    /// Returns true if this one is greater. Takes a third of the instructions of the derived order.
    fn is_before(&self, other: &Self) -> bool {
        let (Reverse(tie), Reverse(known)) = (self.tie, other.tie);
        self.shared > other.shared
            || self.shared == other.shared && (tie < known || tie == known && self.key > other.key)
    }
}

/// Removes the greatest candidate, and leaves the others in any order.
fn take_greatest(candidates: &mut Vec<Candidate>) -> Option<Candidate> {
    let mut greatest = 0;
    for index in 1..candidates.len() {
        if candidates[index].is_before(&candidates[greatest]) {
            greatest = index;
        }
    }
    (!candidates.is_empty()).then(|| candidates.swap_remove(greatest))
}

/// Deduplicates candidates and counts the buckets that each one shares. `table` is kept for its
/// capacity.
///
/// Sorting and deduplicating instead costs 24 % more instructions per pair in `interests` of
/// `benches/pairing.rs` (30,100 against 24,300 with 2,000 waiting, counted by callgrind).
fn count_shared(candidates: &mut Vec<Candidate>, table: &mut Vec<u32>) {
    const FREE: u32 = u32::MAX;
    // Open addressing, at most half full. Slot map indices are dense, so they need no hash to
    // spread.
    let size = (2 * candidates.len()).next_power_of_two();
    table.clear();
    table.resize(size, FREE);
    let mut distinct = 0;
    for index in 0..candidates.len() {
        let candidate = candidates[index];
        let mut slot = candidate.key.0.data().as_ffi() as usize & (size - 1);
        loop {
            let known = table[slot];
            if known == FREE {
                table[slot] = distinct as u32;
                candidates[distinct] = candidate;
                distinct += 1;
                break;
            }
            let known = &mut candidates[known as usize];
            if known.key == candidate.key {
                known.shared += 1;
                break;
            }
            slot = (slot + 1) & (size - 1);
        }
    }
    candidates.truncate(distinct);
}

/// Returns whether two may be paired. One that is avoided is a partner only after both have waited.
fn judge<S>(now: Duration, a: &Waiting<S>, b: &Waiting<S>, is_avoided: bool) -> Verdict {
    // A rule that both share is asked once.
    let accepted = a.ticket.may_meet(&b.ticket)
        && a.rule.accepts(&a.ticket, &b.ticket)
        && (Arc::ptr_eq(&a.rule, &b.rule) || b.rule.accepts(&b.ticket, &a.ticket));
    if !accepted {
        return Verdict::Never;
    }
    let relaxes_at = [a, b].map(|it| it.since.saturating_add(it.ticket.exclusions.relax_after));
    match relaxes_at[0].max(relaxes_at[1]) {
        relaxes_at if relaxes_at > now && (is_avoided || a.ticket.has_met(&b.ticket)) => {
            Verdict::NotBefore(relaxes_at)
        }
        _ => Verdict::Fits,
    }
}

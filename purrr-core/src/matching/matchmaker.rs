//! The waiting room and the pairs, as a pure machine: [`Matchmaker`].
//!
//! It does no I/O, takes no lock, reads no clock and draws no entropy: what happens comes in through `handle_*`, with
//! the time it happened at, and what follows is drained with [`poll_match`](Matchmaker::poll_match) until that is
//! `None`. [`poll_timeout`](Matchmaker::poll_timeout) tells when time alone will change something. Whoever owns a
//! matchmaker adds the lock, the clock and the channels; [`MemoryLobby`](crate::backend::MemoryLobby) is such an owner.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use purrr_core::{Anyone, matching::Matchmaker, model::{PeerId, Ticket}};
//!
//! let mut machine = Matchmaker::new(0);
//! let enter = |machine: &mut Matchmaker<&'static str>, peer, seat| {
//!     let ticket = Arc::new(Ticket::new(PeerId::from_bits(peer)));
//!     machine.handle_enter(Duration::ZERO, ticket, Arc::new(Anyone), seat)
//! };
//! enter(&mut machine, 1, "ann")?;
//! assert!(machine.poll_match().is_none());
//! enter(&mut machine, 2, "bob")?;
//! let made = machine.poll_match().expect("two who fit");
//! assert_eq!(made.sides.map(|side| side.seat), ["ann", "bob"]);
//! # Ok::<(), purrr_core::matching::AlreadyHere>(())
//! ```

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, VecDeque, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hasher},
    iter, mem,
    sync::Arc,
    time::Duration,
};

use slotmap::{Key, SlotMap, new_key_type};

use super::queue::{self as line, Line};
use crate::{
    matching::{
        bucket::Bucket,
        rule::{Choice, Pairing, buckets_of},
    },
    model::{census::Census, ids::PeerId, ticket::Ticket},
};

new_key_type! {
    /// Names a place in the waiting room. Never names another one later.
    pub struct PlaceKey;
    /// Names a pair. Never names another one later.
    pub struct PairKey;
}

/// Who waits and who is paired.
///
/// Times are durations since any fixed start of the owner's choosing. `S` is whatever the owner wants to have handed
/// back when a peer is matched, such as the way to tell it.
///
/// # Whom a peer is matched with
///
/// With somebody who looks in a bucket that it looks in, both rules accept and [`Ticket::may_meet`] allows. Its buckets
/// are gone through kind by kind, best first; within a kind whoever shares most of them is taken, and among equals the
/// rule [chooses](Pairing::choice). Who met lately is passed by until both have waited for their
/// [`Exclusions::relax_after`](crate::model::Exclusions::relax_after).
///
/// # What it costs
///
/// Coming, going and being matched cost the same however many wait: of each bucket, at most 16 are looked at, those at
/// its front. If all of these are refused, the search goes on through the next 256 every 100 ms. So with somebody
/// acceptable among n in the same bucket, a peer waits at most ⌈(n - 16) / 256⌉ × 100 ms, and not at all among 16. A
/// search begins anew, and takes that long once more, when somebody it had to avoid need not be avoided any longer.
///
/// A place with five interests takes at most 1 KiB, its ticket included, and 1.2 KiB if nobody shares any of them (measured
/// by `benches/memory.rs`).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Matchmaker<S> {
    waiting: SlotMap<PlaceKey, Waiting<S>>,
    pairs: SlotMap<PairKey, [PeerId; 2]>,
    peers: HashMap<PeerId, Whereabouts, Seeded>,
    lines: HashMap<Bucket, Line<PlaceKey>, Seeded>,
    /// When whose search goes on.
    alarms: BTreeSet<(Duration, PlaceKey)>,
    made: VecDeque<Made<S>>,
    random: fastrand::Rng,
    /// Room for the search under way.
    candidates: Vec<Candidate>,
    table: Vec<usize>,
}

/// A pair that was just made.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[must_use = "both sides have to be told"]
pub struct Made<S> {
    /// Names the pair until it is ended with [`Matchmaker::handle_part`].
    pub pair: PairKey,
    /// Both peers; the one that waited longer comes first.
    pub sides: [Side<S>; 2],
}

/// One of the two in a pair that was just made.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Side<S> {
    /// What the peer entered with.
    pub ticket: Arc<Ticket>,
    /// What the owner gave along.
    pub seat: S,
}

/// The peer waits or chats already; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer waits or chats already")]
#[non_exhaustive]
pub struct AlreadyHere;

/// How many of each bucket are looked at when somebody comes.
const FIRST_LOOK: usize = 16;

/// How many of each bucket are looked at when a search goes on or widens, and how long after the last look it goes on.
const LATER_LOOK: usize = 256;
const PAUSE: Duration = Duration::from_millis(100);

/// How often somebody is drawn at random before those who have waited longest are gone through.
const DRAWS: usize = 8;

/// How many searches go on at one time, so that nobody else waits long for the machine.
const SEARCHES: usize = 64;

#[derive(Clone, Copy, Debug)]
enum Whereabouts {
    Waiting,
    Paired,
}

#[cfg_attr(test, derive(Clone))]
struct Waiting<S> {
    ticket: Arc<Ticket>,
    rule: Arc<dyn Pairing>,
    since: Duration,
    spots: Vec<Spot>,
    /// When the search goes on.
    alarm: Option<Duration>,
    /// When it begins anew, because somebody need not be avoided any longer.
    relaxes: Option<Duration>,
    seat: S,
}

/// Where a place stands in one line.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Spot {
    bucket: Bucket,
    number: u64,
    /// Everybody before this spot was looked at.
    seen: u64,
}

/// Somebody in the buckets that are being gone through. The greatest is taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// How many of these buckets it stands in.
    shared: usize,
    /// Among equals the least is taken.
    tie: Reverse<u64>,
    key: Reverse<PlaceKey>,
}

impl Candidate {
    const fn new(key: PlaceKey, tie: u64) -> Self {
        Self { shared: 1, tie: Reverse(tie), key: Reverse(key) }
    }
}

/// What a search came to that found nobody.
#[derive(Default)]
struct Missed {
    /// How far the line of each bucket was gone through.
    seen: Vec<u64>,
    /// There are more to look at.
    unfinished: bool,
    /// When somebody who is avoided now need not be any longer.
    relaxes: Option<Duration>,
}

/// What speaks for or against two candidates.
enum Verdict {
    Fits,
    NotBefore(Duration),
    Never,
}

impl<S> Matchmaker<S> {
    /// An empty waiting room. `seed` decides all that is left to chance, and keeps those who choose interests from
    /// aiming at the hash table's weak spots.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: SlotMap::with_key(),
            pairs: SlotMap::with_key(),
            peers: HashMap::with_hasher(Seeded(seed)),
            lines: HashMap::with_hasher(Seeded(seed)),
            alarms: BTreeSet::new(),
            made: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            candidates: Vec::new(),
            table: Vec::new(),
        }
    }

    /// A peer comes in. It may be matched at once: drain [`poll_match`](Self::poll_match).
    ///
    /// A peer that has [waited](Ticket::waited) before searches as widely, and counts as old, as if it had never been
    /// away; but no longer than since time zero, so an owner's clock had better begin late.
    ///
    /// # Errors
    ///
    /// [`AlreadyHere`] if the peer waits or is paired.
    pub fn handle_enter(
        &mut self,
        now: Duration,
        ticket: Arc<Ticket>,
        rule: Arc<dyn Pairing>,
        seat: S,
    ) -> Result<PlaceKey, AlreadyHere> {
        match self.peers.entry(ticket.peer) {
            Entry::Occupied(_) => return Err(AlreadyHere),
            Entry::Vacant(entry) => entry.insert(Whereabouts::Waiting),
        };
        let since = now.saturating_sub(ticket.waited);
        let spots = Vec::new();
        let place = Waiting { ticket, rule, since, spots, alarm: None, relaxes: None, seat };
        let key = self.waiting.insert(place);
        self.look(now, key, FIRST_LOOK);
        Ok(key)
    }

    /// A peer stops waiting. If it has been matched or has left, nothing happens.
    pub fn handle_leave(&mut self, key: PlaceKey) {
        if let Some(place) = self.take(key) {
            self.peers.remove(&place.ticket.peer);
        }
    }

    /// One of a pair parts, which ends the pair for both. If it is over already, nothing happens.
    pub fn handle_part(&mut self, pair: PairKey) {
        for peer in self.pairs.remove(pair).into_iter().flatten() {
            self.peers.remove(&peer);
        }
    }

    /// Time has passed: searches go on. With many of them due, some stay so: see [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Duration) {
        for _ in 0..SEARCHES {
            match self.alarms.first() {
                Some(&(due, key)) if due <= now => {
                    self.alarms.pop_first();
                    self.go_on(now, key);
                }
                _ => return,
            }
        }
    }

    /// The next pair that was made and that nobody has been told of.
    pub fn poll_match(&mut self) -> Option<Made<S>> {
        self.made.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.alarms.first().map(|(due, _)| *due)
    }

    /// When it is due for this one place, which only [`handle_timeout`](Self::handle_timeout) changes.
    #[must_use]
    pub fn poll_timeout_of(&self, place: PlaceKey) -> Option<Duration> {
        self.waiting.get(place)?.alarm
    }

    /// How many wait, and how many pairs there are.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::new(self.waiting.len() as u64, self.pairs.len() as u64)
    }

    fn go_on(&mut self, now: Duration, key: PlaceKey) {
        let Some(place) = self.waiting.get_mut(key) else { return };
        place.alarm = None;
        if place.relaxes.is_some_and(|relaxes| relaxes <= now) {
            place.relaxes = None;
            place.spots.iter_mut().for_each(|spot| spot.seen = 0);
        }
        self.look(now, key, LATER_LOOK);
    }

    /// Looks for a partner in the buckets of the hour, and where there is none, stands in them.
    fn look(&mut self, now: Duration, key: PlaceKey, depth: usize) {
        let Some(seeker) = self.waiting.get(key) else { return };
        let waited = now.saturating_sub(seeker.since);
        let buckets = buckets_of(&*seeker.rule, &seeker.ticket, waited);
        match self.find_partner(now, key, &buckets, depth) {
            Ok(partner) => self.pair(key, partner),
            Err(missed) => self.stand(now, key, &buckets, &missed),
        }
    }

    fn find_partner(
        &mut self,
        now: Duration,
        key: PlaceKey,
        buckets: &[Bucket],
        depth: usize,
    ) -> Result<PlaceKey, Missed> {
        let mut missed = Missed::default();
        let Some(seeker) = self.waiting.get(key) else { return Err(missed) };
        let random = seeker.rule.choice() == Choice::Random;
        let mut fits = |candidate| {
            let Some(other) = self.waiting.get(candidate) else { return false };
            match judge(now, seeker, other) {
                Verdict::Fits => true,
                Verdict::NotBefore(time) => {
                    let earliest = missed.relaxes.map_or(time, |relaxes| relaxes.min(time));
                    missed.relaxes = Some(earliest);
                    false
                }
                Verdict::Never => false,
            }
        };
        for kind in buckets.chunk_by(|a, b| a.kind() == b.kind()) {
            if let ([bucket], true) = (kind, random)
                && let Some(line) = self.lines.get(bucket)
            {
                let drawn = (0..DRAWS)
                    .filter_map(|_| line.draw(&mut self.random))
                    .filter(|entry| entry.person != seeker.ticket.person)
                    .find(|entry| fits(entry.key));
                if let Some(entry) = drawn {
                    return Ok(entry.key);
                }
            }
            self.candidates.clear();
            for bucket in kind {
                let spot = seeker.spots.iter().find(|spot| spot.bucket == *bucket);
                let mut seen = spot.map_or(0, |spot| spot.seen);
                if let Some(line) = self.lines.get(bucket) {
                    let mut line = line.from(seen);
                    for (spot, entry) in line.by_ref().take(depth) {
                        seen = spot + 1;
                        if entry.person != seeker.ticket.person {
                            let tie = if random { self.random.u64(..) } else { entry.since };
                            self.candidates.push(Candidate::new(entry.key, tie));
                        }
                    }
                    missed.unfinished |= line.next().is_some();
                }
                missed.seen.push(seen);
            }
            if kind.len() > 1 {
                count_shared(&mut self.candidates, &mut self.table);
            }
            // Mostly the first one fits, so a heap beats sorting them.
            let mut best = BinaryHeap::from(mem::take(&mut self.candidates));
            let found = iter::from_fn(|| best.pop()).find(|candidate| fits(candidate.key.0));
            self.candidates = best.into_vec();
            if let Some(candidate) = found {
                return Ok(candidate.key.0);
            }
        }
        Err(missed)
    }

    fn pair(&mut self, a: PlaceKey, b: PlaceKey) {
        let (Some(a), Some(b)) = (self.take(a), self.take(b)) else {
            unreachable!("both were found in the waiting room a moment ago");
        };
        let (first, second) = if a.since < b.since { (a, b) } else { (b, a) };
        let sides = [first, second].map(|place| Side { ticket: place.ticket, seat: place.seat });
        let peers = [sides[0].ticket.peer, sides[1].ticket.peer];
        let pair = self.pairs.insert(peers);
        for peer in peers {
            self.peers.insert(peer, Whereabouts::Paired);
        }
        self.made.push_back(Made { pair, sides });
    }

    fn stand(&mut self, now: Duration, key: PlaceKey, buckets: &[Bucket], missed: &Missed) {
        let Some(place) = self.waiting.get_mut(key) else { return };
        let since = place.since.as_nanos() as u64;
        let entry = line::Entry { key, person: place.ticket.person, since };
        place.spots.reserve_exact(buckets.len().saturating_sub(place.spots.len()));
        for (bucket, seen) in buckets.iter().zip(&missed.seen) {
            if let Some(spot) = place.spots.iter_mut().find(|spot| spot.bucket == *bucket) {
                spot.seen = *seen;
            } else {
                let number = self.lines.entry(*bucket).or_default().join(entry);
                place.spots.push(Spot { bucket: *bucket, number, seen: *seen });
            }
        }
        let schedule = place.rule.widen_at();
        let waited = now.saturating_sub(place.since);
        let widens = schedule.get(schedule.partition_point(|due| *due <= waited));
        let widens = widens.map(|due| place.since.saturating_add(*due));
        place.relaxes = [place.relaxes, missed.relaxes].into_iter().flatten().min();
        let goes_on = missed.unfinished.then(|| now.saturating_add(PAUSE));
        place.alarm = [place.relaxes, widens, goes_on].into_iter().flatten().min();
        if let Some(due) = place.alarm {
            self.alarms.insert((due, key));
        }
    }

    /// Takes a place out of the room, its lines and its alarm.
    fn take(&mut self, key: PlaceKey) -> Option<Waiting<S>> {
        let place = self.waiting.remove(key)?;
        if let Some(due) = place.alarm {
            self.alarms.remove(&(due, key));
        }
        for spot in &place.spots {
            let Entry::Occupied(mut line) = self.lines.entry(spot.bucket) else { continue };
            let moves = line.get_mut().leave(spot.number);
            for moved in &moves {
                let Some(place) = self.waiting.get_mut(moved.key) else { continue };
                for stood in place.spots.iter_mut().filter(|stood| stood.bucket == spot.bucket) {
                    stood.number = moved.to;
                    stood.seen = line::after_moves(&moves, stood.seen);
                }
            }
            if line.get().is_empty() {
                line.remove();
            }
        }
        Some(place)
    }
}

/// Makes one of those who stand in several of the buckets, and counts in how many. `table` is room to do so.
fn count_shared(candidates: &mut Vec<Candidate>, table: &mut Vec<usize>) {
    const FREE: usize = usize::MAX;
    // Open addressing, at most half full; places are numbered, so they need no hash to be spread.
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
    // One rule for both is asked once.
    let accepted = a.ticket.may_meet(&b.ticket)
        && a.rule.accepts(&a.ticket, &b.ticket)
        && (Arc::ptr_eq(&a.rule, &b.rule) || b.rule.accepts(&b.ticket, &a.ticket));
    if !accepted {
        return Verdict::Never;
    }
    let relaxes = [a, b].map(|it| it.since.saturating_add(it.ticket.exclusions.relax_after));
    match relaxes[0].max(relaxes[1]) {
        relaxes if relaxes > now && a.ticket.has_met(&b.ticket) => Verdict::NotBefore(relaxes),
        _ => Verdict::Fits,
    }
}

impl<S> fmt::Debug for Waiting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("peer", &self.ticket.peer)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// Hashes keys that are hashes or random ids already: one folded multiplication with a secret seed.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

#[derive(Debug)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // An odd constant with its bits well spread: the golden ratio's.
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }
}

#[cfg(test)]
mod exploration;

#[cfg(test)]
mod worlds;

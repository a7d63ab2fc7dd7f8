//! The lobby's state machine: [`Matchmaker`].
//!
//! # Contract of use
//!
//! The machine does no I/O, takes no lock, reads no clock and draws no entropy. Its owner supplies the time and a seed.
//!
//! | call | when |
//! |---|---|
//! | [`handle_enter`](Matchmaker::handle_enter) | a peer starts to wait |
//! | [`handle_leave`](Matchmaker::handle_leave) | a peer stops waiting |
//! | [`handle_part`](Matchmaker::handle_part) | a pair ends |
//! | [`handle_timeout`](Matchmaker::handle_timeout) | at the time that `poll_timeout` names |
//!
//! After `handle_enter` and `handle_timeout`, drain [`poll_match`](Matchmaker::poll_match) until it returns `None`. Then
//! ask [`poll_timeout`](Matchmaker::poll_timeout) when to call `handle_timeout`. An owner adds the lock, the clock and the
//! channels; [`MemoryLobby`](crate::backend::MemoryLobby) is such an owner.
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
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    fmt,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::FixedState;
use slotmap::{SlotMap, new_key_type};

use self::search::{Candidate, INITIAL_SCAN, NoMatch, RESUME_AFTER, RESUMED_SCAN};
use super::queue::{self, WaitQueue};
use crate::{
    matching::{
        bucket::Bucket,
        rule::{Pairing, buckets_of},
    },
    model::{census::Census, ids::PeerId, ticket::Ticket},
};

mod search;

new_key_type! {
    /// Names a waiting place. Never reused.
    pub struct PlaceKey;
    /// Names a pair. Never reused.
    pub struct PairKey;
}

/// Matches waiting peers and keeps the pairs until they end.
///
/// Times are durations since a fixed start of the owner's choosing. `S` is handed back when a peer is matched, such as the
/// channel to tell it through.
///
/// # Partner selection
///
/// Two peers can meet if they share a bucket, both rules accept and [`Ticket::may_meet`] allows. A search goes through
/// the peer's buckets kind by kind, best first. Within a kind the candidate that shares most buckets wins; among equals
/// the rule's [`choice`](Pairing::choice) decides. A recent partner is skipped until both have waited for their
/// [`Exclusions::relax_after`](crate::model::Exclusions::relax_after).
///
/// # Cost
///
/// Entering, leaving and matching take the same time however many peers wait. A search visits the 16 entries at the front
/// of each bucket. If all of them are refused, it visits the next 256 every 100 ms. With an acceptable partner among n
/// entries of one bucket, a peer therefore waits at most ⌈(n - 16) / 256⌉ × 100 ms, and not at all if n is at most 16. A
/// search starts over, and may take as long again, when a recent partner need not be avoided any longer.
///
/// Worst case: 1 KiB for a place with five interests, ticket included, and 1.2 KiB if no other place shares any of them
/// (measured by `benches/memory.rs`).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Matchmaker<S> {
    waiting: SlotMap<PlaceKey, Waiting<S>>,
    pairs: SlotMap<PairKey, [PeerId; 2]>,
    peers: HashMap<PeerId, PeerState, FixedState>,
    queues: HashMap<Bucket, WaitQueue<PlaceKey>, FixedState>,
    /// The next search of each waiting place that has one ahead.
    timeouts: BTreeSet<(Duration, PlaceKey)>,
    made: VecDeque<Made<S>>,
    random: fastrand::Rng,
    /// The candidates of the search under way. Kept for its capacity.
    candidates: Vec<Candidate>,
    /// The hash table that deduplicates them. Kept for its capacity.
    table: Vec<usize>,
}

/// A new pair.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[must_use = "both sides have to be told"]
pub struct Made<S> {
    /// The pair's name until [`Matchmaker::handle_part`] ends it.
    pub pair: PairKey,
    /// Both peers; the one that waited longer comes first.
    pub sides: [Side<S>; 2],
}

/// One of the two peers of a new pair.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Side<S> {
    /// The ticket that the peer entered with.
    pub ticket: Arc<Ticket>,
    /// The value that the owner passed to [`Matchmaker::handle_enter`].
    pub seat: S,
}

/// An error for a peer that waits or chats already. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer is waiting or chatting already")]
#[non_exhaustive]
pub struct AlreadyHere;

/// The number of searches that one timeout resumes. Bounds the time that the owner's lock is held.
const SEARCHES_PER_TIMEOUT: usize = 64;

#[derive(Clone, Copy, Debug)]
enum PeerState {
    Waiting,
    Paired,
}

#[cfg_attr(test, derive(Clone))]
struct Waiting<S> {
    ticket: Arc<Ticket>,
    rule: Arc<dyn Pairing>,
    since: Duration,
    slots: Vec<Slot>,
    /// The time of the next search, as in [`Matchmaker::timeouts`].
    timeout: Option<Duration>,
    /// The time at which a recent partner need not be avoided any longer, so that the search starts over.
    relaxes_at: Option<Duration>,
    seat: S,
}

/// A place's slot in the queue of one bucket.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Slot {
    bucket: Bucket,
    number: u64,
    /// The slot at which the search of this queue resumes. All entries before it were visited.
    cursor: u64,
}

impl<S> Matchmaker<S> {
    /// Creates an empty lobby.
    ///
    /// `seed` decides every random choice. It also seeds the hash tables, so that clients cannot choose interests that
    /// collide there: it must not be known to them.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: SlotMap::with_key(),
            pairs: SlotMap::with_key(),
            peers: HashMap::with_hasher(FixedState::with_seed(seed)),
            queues: HashMap::with_hasher(FixedState::with_seed(seed)),
            timeouts: BTreeSet::new(),
            made: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            candidates: Vec::new(),
            table: Vec::new(),
        }
    }

    /// Adds a waiting peer and searches for its partner. Drain [`poll_match`](Self::poll_match) afterwards.
    ///
    /// A peer that has [waited](Ticket::waited) before counts as waiting since then, but not since before time zero. An
    /// owner's clock should therefore start late.
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
            Entry::Vacant(entry) => entry.insert(PeerState::Waiting),
        };
        let since = now.saturating_sub(ticket.waited);
        let slots = Vec::new();
        let place = Waiting { ticket, rule, since, slots, timeout: None, relaxes_at: None, seat };
        let key = self.waiting.insert(place);
        self.search(now, key, INITIAL_SCAN);
        Ok(key)
    }

    /// Removes a waiting peer. Does nothing if it was matched or has left.
    pub fn handle_leave(&mut self, key: PlaceKey) {
        if let Some(place) = self.remove(key) {
            self.peers.remove(&place.ticket.peer);
        }
    }

    /// Ends a pair for both peers. Does nothing if it has ended already.
    pub fn handle_part(&mut self, pair: PairKey) {
        for peer in self.pairs.remove(pair).into_iter().flatten() {
            self.peers.remove(&peer);
        }
    }

    /// Resumes the searches that are due. Drain [`poll_match`](Self::poll_match) afterwards.
    ///
    /// At most 64 searches are resumed. If more are due, [`poll_timeout`](Self::poll_timeout) stays in the past.
    pub fn handle_timeout(&mut self, now: Duration) {
        for _ in 0..SEARCHES_PER_TIMEOUT {
            match self.timeouts.first() {
                Some(&(due, key)) if due <= now => {
                    self.timeouts.pop_first();
                    self.resume_search(now, key);
                }
                _ => return,
            }
        }
    }

    /// Returns the next new pair, whose peers have to be told.
    pub fn poll_match(&mut self) -> Option<Made<S>> {
        self.made.pop_front()
    }

    /// Returns the time at which [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timeouts.first().map(|(due, _)| *due)
    }

    /// Returns the time of this place's next search. Only [`handle_timeout`](Self::handle_timeout) changes it.
    #[must_use]
    pub fn poll_timeout_of(&self, place: PlaceKey) -> Option<Duration> {
        self.waiting.get(place)?.timeout
    }

    /// Counts waiting peers and pairs.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::new(self.waiting.len() as u64, self.pairs.len() as u64)
    }

    fn resume_search(&mut self, now: Duration, key: PlaceKey) {
        let Some(place) = self.waiting.get_mut(key) else { return };
        place.timeout = None;
        if place.relaxes_at.is_some_and(|relaxes_at| relaxes_at <= now) {
            place.relaxes_at = None;
            place.slots.iter_mut().for_each(|slot| slot.cursor = 0);
        }
        self.search(now, key, RESUMED_SCAN);
    }

    /// Searches the buckets of the place's current widening step, and queues it in them if it found no partner.
    fn search(&mut self, now: Duration, key: PlaceKey, depth: usize) {
        let Some(seeker) = self.waiting.get(key) else { return };
        let waited = now.saturating_sub(seeker.since);
        let buckets = buckets_of(&*seeker.rule, &seeker.ticket, waited);
        match self.find_partner(now, key, &buckets, depth) {
            Ok(partner) => self.pair(key, partner),
            Err(no_match) => self.enqueue(now, key, &buckets, &no_match),
        }
    }

    fn pair(&mut self, a: PlaceKey, b: PlaceKey) {
        let (Some(a), Some(b)) = (self.remove(a), self.remove(b)) else {
            unreachable!("the search has just found both of them waiting");
        };
        let (first, second) = if a.since < b.since { (a, b) } else { (b, a) };
        let sides = [first, second].map(|place| Side { ticket: place.ticket, seat: place.seat });
        let peers = [sides[0].ticket.peer, sides[1].ticket.peer];
        let pair = self.pairs.insert(peers);
        for peer in peers {
            self.peers.insert(peer, PeerState::Paired);
        }
        self.made.push_back(Made { pair, sides });
    }

    /// Queues a place in buckets where it is not queued yet, keeps its cursors, and schedules its next search.
    fn enqueue(&mut self, now: Duration, key: PlaceKey, buckets: &[Bucket], no_match: &NoMatch) {
        let Some(place) = self.waiting.get_mut(key) else { return };
        let since = place.since.as_nanos() as u64;
        let entry = queue::Entry { key, person: place.ticket.person, since };
        place.slots.reserve_exact(buckets.len().saturating_sub(place.slots.len()));
        for (bucket, cursor) in buckets.iter().zip(&no_match.cursors) {
            if let Some(slot) = place.slots.iter_mut().find(|slot| slot.bucket == *bucket) {
                slot.cursor = *cursor;
            } else {
                let number = self.queues.entry(*bucket).or_default().join(entry);
                place.slots.push(Slot { bucket: *bucket, number, cursor: *cursor });
            }
        }
        let schedule = place.rule.widen_at();
        let waited = now.saturating_sub(place.since);
        let widens = schedule.get(schedule.partition_point(|due| *due <= waited));
        let widens_at = widens.map(|due| place.since.saturating_add(*due));
        place.relaxes_at = [place.relaxes_at, no_match.relaxes_at].into_iter().flatten().min();
        let resumes_at = no_match.truncated.then(|| now.saturating_add(RESUME_AFTER));
        place.timeout = [place.relaxes_at, widens_at, resumes_at].into_iter().flatten().min();
        if let Some(due) = place.timeout {
            self.timeouts.insert((due, key));
        }
    }

    /// Removes a place, its slots and its timeout.
    fn remove(&mut self, key: PlaceKey) -> Option<Waiting<S>> {
        let place = self.waiting.remove(key)?;
        if let Some(due) = place.timeout {
            self.timeouts.remove(&(due, key));
        }
        for slot in &place.slots {
            let Entry::Occupied(mut queue) = self.queues.entry(slot.bucket) else { continue };
            let moves = queue.get_mut().leave(slot.number);
            for moved in &moves {
                let Some(place) = self.waiting.get_mut(moved.key) else { continue };
                for other in place.slots.iter_mut().filter(|other| other.bucket == slot.bucket) {
                    other.number = moved.to;
                    other.cursor = queue::renumber(&moves, other.cursor);
                }
            }
            if queue.get().is_empty() {
                queue.remove();
            }
        }
        Some(place)
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

#[cfg(test)]
mod exploration;

#[cfg(test)]
mod worlds;

//! The lobby's state machine: [`Matchmaker`].
//!
//! # Contract of use
//!
//! The machine does no I/O, takes no lock, reads no clock and draws no entropy. Its owner supplies
//! the time and a seed.
//!
//! | call | when |
//! |---|---|
//! | [`handle_enter`](Matchmaker::handle_enter) | a peer starts to wait |
//! | [`handle_leave`](Matchmaker::handle_leave) | a peer stops waiting |
//! | [`handle_part`](Matchmaker::handle_part) | a pair ends |
//! | [`handle_timeout`](Matchmaker::handle_timeout) | at the time that `poll_timeout` names |
//!
//! `handle_enter` takes a [`Request`]. Build it before the lock is taken: it calls the rule and
//! hashes the interests. After `handle_enter` and `handle_timeout`, drain
//! [`poll_match`](Matchmaker::poll_match) until it returns `None`. Then ask
//! [`poll_timeout`](Matchmaker::poll_timeout) when to call `handle_timeout`. An owner adds the
//! lock, the clock and the channels; [`MemoryLobby`](crate::backend::MemoryLobby) is such an owner.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use purrr_core::{Anyone, matching::{Matchmaker, Request}, model::{PeerId, Ticket}};
//!
//! let mut machine = Matchmaker::new(0);
//! let enter = |machine: &mut Matchmaker<&'static str>, peer, seat| {
//!     let ticket = Arc::new(Ticket::new(PeerId::from_bits(peer)));
//!     machine.handle_enter(Duration::ZERO, Request::new(ticket, Arc::new(Anyone)), seat)
//! };
//! enter(&mut machine, 1, "ann")?;
//! assert!(machine.poll_match().is_none());
//! enter(&mut machine, 2, "bob")?;
//! let made = machine.poll_match().expect("two who fit");
//! assert_eq!(made.sides.map(|side| side.seat), ["ann", "bob"]);
//! # Ok::<(), purrr_core::matching::EnterError>(())
//! ```

use std::{
    collections::{BTreeSet, VecDeque, hash_map::Entry},
    fmt,
    hash::Hash,
    iter,
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use slotmap::new_key_type;

use self::search::{Candidate, INITIAL_SCAN, NoMatch, RESUME_AFTER, RESUMED_SCAN, ScanBudget};
use super::queue::{self, WaitQueue};
use crate::{
    matching::{
        arena::Arena,
        bucket::Bucket,
        rule::{Pairing, buckets_of, note_step, stands_of, steps_from_last, widening_buckets_of},
        sharded_map::ShardedMap,
    },
    model::{
        census::Census,
        ids::{OriginKey, PeerId, PersonId},
        ticket::Ticket,
    },
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
/// Times are durations since a fixed start of the owner's choosing. `S` is handed back when a peer
/// is matched, such as the channel to tell it through.
///
/// # Partner selection
///
/// Two peers can meet if one looks in a bucket where the other
/// [stands](Pairing::stands_in), both rules accept and [`Ticket::may_meet`] allows. A
/// search goes through the peer's buckets kind by kind, best first. Within a kind the candidate
/// that shares most buckets wins; among equals partners of another origin come first, and then the
/// rule's [`choice`](Pairing::choice) decides. A recent partner is skipped until both have
/// waited for their [`Exclusions::relax_after`](crate::model::Exclusions::relax_after). So is a
/// partner of another origin, if either origin has more than 4 waiting places.
///
/// # Cost
///
/// The work of one call does not grow with the number of waiting peers, nor with the number of
/// their tags beyond one index entry for each. The first search visits at most 16 entries of each
/// bucket and 128 of all buckets together, those that it refuses included. If it finds no partner,
/// it visits the next 256 of all buckets every 100 ms. Each search makes at most 8 random probes
/// for each kind of one bucket. A timeout resumes searches until they have visited 2,048 entries.
///
/// With n entries in all buckets of a peer together, an acceptable partner among them is therefore
/// found within ⌈(n - 16) / 256⌉ × 100 ms, and at once if n is at most 16. A search starts over,
/// and may take as long again, when a partner need not be avoided any longer.
///
/// Worst case: 1.1 KiB for a place with five interests, ticket included, and 1.25 KiB if no other
/// place shares any of them (measured by `benches/memory.rs`).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Matchmaker<S> {
    waiting: Arena<PlaceKey, Waiting<S>>,
    pairs: Arena<PairKey, [PeerId; 2]>,
    /// The peers that wait or are paired.
    peers: ShardedMap<PeerId, ()>,
    queues: ShardedMap<Bucket, WaitQueue<PlaceKey>>,
    limits: PlaceLimits,
    /// The number of waiting places of each person, if that is limited.
    persons: ShardedMap<PersonId, u32>,
    /// The number of waiting places of each origin.
    origins: ShardedMap<OriginKey, u32>,
    /// The next search of each waiting place that has one ahead.
    timeouts: BTreeSet<(Duration, PlaceKey)>,
    made: VecDeque<Made<S>>,
    random: fastrand::Rng,
    /// The candidates of the search under way. Kept for its capacity.
    candidates: Vec<Candidate>,
    /// The hash table that deduplicates them. Kept for its capacity.
    table: Vec<u32>,
    /// The slot of each bucket at which the search under way resumes, in the order of the place's
    /// slots. Kept for its capacity.
    cursors: Vec<u64>,
}

/// A new pair.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[must_use = "both sides have to be told"]
#[non_exhaustive]
pub struct Made<S> {
    /// The pair's name until [`Matchmaker::handle_part`] ends it.
    pub pair: PairKey,
    /// Both peers; the one that waited longer comes first.
    pub sides: [Side<S>; 2],
}

/// One of the two peers of a new pair.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[non_exhaustive]
pub struct Side<S> {
    /// The ticket that the peer entered with.
    pub ticket: Arc<Ticket>,
    /// The value that the owner passed to [`Matchmaker::handle_enter`].
    pub seat: S,
}

/// What a peer that has left held in its place.
#[derive(Debug)]
pub struct Departed<S> {
    _place: Waiting<S>,
}

/// A ticket with its rule and the buckets of its whole wait.
#[derive(Clone, Debug)]
pub struct Request {
    ticket: Arc<Ticket>,
    rule: Arc<dyn Pairing>,
    /// All buckets: those to look in, in the order of the last widening step, and then those only
    /// to stand in.
    slots: Box<[Slot]>,
    /// The number of slots to look in.
    looks: u32,
}

/// The maximum numbers of waiting places. 0 disables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaceLimits {
    /// Waiting places of one person.
    pub per_person: u32,
    /// Waiting places of one [origin](Ticket::origin).
    pub per_origin: u32,
}

/// The reason for which a peer was not added. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The peer waits or chats already.
    #[error("the peer is waiting or chatting already")]
    AlreadyHere,
    /// The person has as many waiting places as [`PlaceLimits::per_person`].
    #[error("limit of waiting places per person reached")]
    PersonLimit,
    /// The origin has as many waiting places as [`PlaceLimits::per_origin`].
    #[error("limit of waiting places per address reached")]
    OriginLimit,
}

/// The entries that the searches of one timeout visit. Bounds the time that the owner's lock is
/// held.
const TIMEOUT_BUDGET: usize = 2_048;

/// The searches that one timeout resumes. Bounds the matches that the owner announces.
const SEARCHES_PER_TIMEOUT: usize = 64;

/// The waiting places of an origin above which other origins avoid it for a while.
const CROWDED: u32 = 4;

#[cfg_attr(test, derive(Clone))]
struct Waiting<S> {
    ticket: Arc<Ticket>,
    rule: Arc<dyn Pairing>,
    since: Duration,
    slots: Box<[Slot]>,
    /// The number of slots to look in, which come first.
    looks: u32,
    /// The time of the next search, as in [`Matchmaker::timeouts`].
    timeout: Option<Duration>,
    /// The time at which a recent partner need not be avoided any longer, so that the search starts
    /// over.
    relaxes_at: Option<Duration>,
    seat: S,
}

/// A place's slot in the queue of one bucket.
#[derive(Clone, Debug)]
struct Slot {
    bucket: Bucket,
    /// The slot's number, once the place is queued in this bucket. [`LOOKING`] if it only looks.
    number: Option<NonZeroU64>,
    /// If numbered, the slot at which the search resumes: all entries before it were visited. If
    /// not, the wait in nanoseconds after which this bucket is searched, with [`LOOKS_ONLY`].
    cursor: u64,
}

/// The bit of a wait that marks a bucket to look in without standing there.
const LOOKS_ONLY: u64 = 1 << 63;

/// The number of a place in a bucket where it does not stand.
const LOOKING: NonZeroU64 = NonZeroU64::MAX;

impl Slot {
    fn new(bucket: Bucket, due: Duration, looks_only: bool) -> Self {
        let due = nanos(due) & !LOOKS_ONLY;
        Self { bucket, number: None, cursor: if looks_only { due | LOOKS_ONLY } else { due } }
    }

    /// Returns true if a place that has waited for this long searches this bucket or stands in it.
    const fn is_active(&self, waited: u64) -> bool {
        self.number.is_some() || self.due() <= waited
    }

    /// Returns the wait after which the slot is active. Only for a slot without a number.
    const fn due(&self) -> u64 {
        self.cursor & !LOOKS_ONLY
    }

    /// Returns the slot from which to search.
    const fn search_from(&self) -> u64 {
        if self.number.is_some() { self.cursor } else { 0 }
    }
}

impl Request {
    /// Asks the rule for the buckets of every widening step.
    #[must_use]
    pub fn new(ticket: Arc<Ticket>, rule: Arc<dyn Pairing>) -> Self {
        let looks = widening_buckets_of(&*rule, &ticket);
        let mut stands: Vec<(Bucket, Duration)> = Vec::new();
        let mut differ = false;
        for due in steps_from_last(rule.widen_at()) {
            let stands_in = stands_of(&*rule, &ticket, due);
            differ |= stands_in.is_some();
            if differ {
                let step = stands_in.unwrap_or_else(|| buckets_of(&*rule, &ticket, due));
                note_step(&mut stands, &step, due);
            }
        }
        let count = u32::try_from(looks.len()).unwrap_or(u32::MAX);
        let of = |looks_only: bool| move |(bucket, due)| Slot::new(bucket, due, looks_only);
        let slots = if differ {
            let looks_only = looks.iter().map(|look| of(!stands.contains(look))(*look));
            let stands_only = stands.iter().filter(|stand| !looks.contains(stand)).copied();
            looks_only.chain(stands_only.map(of(false))).collect()
        } else {
            looks.into_iter().map(of(false)).collect()
        };
        Self { ticket, rule, slots, looks: count }
    }
}

impl<S> Matchmaker<S> {
    /// Creates an empty lobby.
    ///
    /// `seed` decides every random choice. It also seeds the hash tables, so that clients cannot
    /// choose interests that collide there: it must not be known to them.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: Arena::new(),
            pairs: Arena::new(),
            peers: ShardedMap::with_seed(seed),
            queues: ShardedMap::with_seed(seed),
            limits: PlaceLimits::default(),
            persons: ShardedMap::with_seed(seed),
            origins: ShardedMap::with_seed(seed),
            timeouts: BTreeSet::new(),
            made: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            candidates: Vec::new(),
            table: Vec::new(),
            cursors: Vec::new(),
        }
    }

    /// Sets the limits of waiting places. Must be called before the first peer enters.
    #[must_use]
    pub const fn with_limits(mut self, limits: PlaceLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a waiting peer and searches for its partner. Drain [`poll_match`](Self::poll_match)
    /// afterwards.
    ///
    /// A peer that has [waited](Ticket::waited) before counts as waiting since then, but not since
    /// before time zero. An owner's clock should therefore start late.
    ///
    /// # Errors
    ///
    /// [`EnterError`] if the peer waits or is paired, or if a limit of waiting places is reached.
    pub fn handle_enter(
        &mut self,
        now: Duration,
        Request { ticket, rule, slots, looks }: Request,
        seat: S,
    ) -> Result<PlaceKey, EnterError> {
        if self.peers.insert(ticket.peer, ()).is_some() {
            return Err(EnterError::AlreadyHere);
        }
        if let Err(limit) = self.count_in(&ticket) {
            self.peers.remove(&ticket.peer);
            return Err(limit);
        }
        let since = now.saturating_sub(ticket.waited);
        let (timeout, relaxes_at) = (None, None);
        let place = Waiting { ticket, rule, since, slots, looks, timeout, relaxes_at, seat };
        let key = self.waiting.insert(place);
        self.search(now, key, INITIAL_SCAN);
        Ok(key)
    }

    /// Counts a waiting place of its person and its origin, if their limits allow.
    fn count_in(&mut self, ticket: &Ticket) -> Result<(), EnterError> {
        let PlaceLimits { per_person, per_origin } = self.limits;
        let reached =
            |count: Option<&u32>, limit| limit > 0 && count.is_some_and(|it| *it >= limit);
        if reached(self.persons.get(&ticket.person), per_person) {
            return Err(EnterError::PersonLimit);
        }
        if ticket.origin != OriginKey::NONE {
            if reached(self.origins.get(&ticket.origin), per_origin) {
                return Err(EnterError::OriginLimit);
            }
            *self.origins.entry(ticket.origin).or_default() += 1;
        }
        if per_person > 0 {
            *self.persons.entry(ticket.person).or_default() += 1;
        }
        Ok(())
    }

    fn count_out(&mut self, ticket: &Ticket) {
        if ticket.origin != OriginKey::NONE {
            decrement(&mut self.origins, ticket.origin);
        }
        if self.limits.per_person > 0 {
            decrement(&mut self.persons, ticket.person);
        }
    }

    /// Removes a waiting peer. Does nothing if it was matched or has left.
    ///
    /// Returns what it held. To free that takes longer than all the rest, so an owner drops it after
    /// its lock.
    pub fn handle_leave(&mut self, key: PlaceKey) -> Option<Departed<S>> {
        let place = self.remove(key)?;
        self.peers.remove(&place.ticket.peer);
        Some(Departed { _place: place })
    }

    /// Ends a pair for both peers. Does nothing if it has ended already.
    pub fn handle_part(&mut self, pair: PairKey) {
        for peer in self.pairs.remove(pair).into_iter().flatten() {
            self.peers.remove(&peer);
        }
    }

    /// Resumes the searches that are due. Drain [`poll_match`](Self::poll_match) afterwards.
    ///
    /// Resumes at most 64 searches, and none after they have visited 2,048 entries together. If
    /// more are due, [`poll_timeout`](Self::poll_timeout) stays in the past.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut visits = 0;
        for _ in 0..SEARCHES_PER_TIMEOUT {
            match self.timeouts.first() {
                Some(&(due, key)) if due <= now && visits < TIMEOUT_BUDGET => {
                    self.timeouts.pop_first();
                    visits += self.resume_search(now, key);
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

    /// Returns the time of this place's next search. Only [`handle_timeout`](Self::handle_timeout)
    /// changes it.
    #[must_use]
    pub fn poll_timeout_of(&self, place: PlaceKey) -> Option<Duration> {
        self.waiting.get(place)?.timeout
    }

    /// Counts waiting peers and pairs.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::new(self.waiting.len() as u64, self.pairs.len() as u64)
    }

    /// Returns the number of visited entries.
    fn resume_search(&mut self, now: Duration, key: PlaceKey) -> usize {
        let Some(place) = self.waiting.get_mut(key) else { return 0 };
        place.timeout = None;
        if place.relaxes_at.is_some_and(|relaxes_at| relaxes_at <= now) {
            place.relaxes_at = None;
            let queued = place.slots.iter_mut().filter(|slot| slot.number.is_some());
            queued.for_each(|slot| slot.cursor = 0);
        }
        self.search(now, key, RESUMED_SCAN)
    }

    /// Searches the buckets of the place's current widening step, and queues it in them if it found
    /// no partner.
    ///
    /// Returns the number of visited entries.
    fn search(&mut self, now: Duration, key: PlaceKey, budget: ScanBudget) -> usize {
        match self.find_partner(now, key, budget) {
            Ok(partner) => {
                self.pair(key, partner);
                budget.total
            }
            Err(no_match) => {
                self.enqueue(now, key, no_match);
                no_match.visits
            }
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
        self.made.push_back(Made { pair, sides });
    }

    /// Queues a place in buckets where it is not queued yet, keeps its cursors, and schedules its
    /// next search.
    fn enqueue(&mut self, now: Duration, key: PlaceKey, no_match: NoMatch) {
        let Some(place) = self.waiting.get_mut(key) else { return };
        let waited = nanos(now.saturating_sub(place.since));
        let entry = queue::Entry { key, person: place.ticket.person, since: nanos(place.since) };
        let mut widens = None;
        // Slots only to stand in have no cursor.
        let cursors = self.cursors.iter().copied().chain(iter::repeat(0));
        for (slot, cursor) in place.slots.iter_mut().zip(cursors) {
            if !slot.is_active(waited) {
                widens = Some(widens.map_or(slot.due(), |widens| slot.due().min(widens)));
                continue;
            }
            if slot.number.is_none() {
                slot.number = if slot.cursor & LOOKS_ONLY == 0 {
                    NonZeroU64::new(self.queues.entry(slot.bucket).or_default().join(entry))
                } else {
                    Some(LOOKING)
                };
            }
            slot.cursor = cursor;
        }
        let widens_at = widens.map(|due| place.since.saturating_add(Duration::from_nanos(due)));
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
            let Some(number) = slot.number.filter(|it| *it != LOOKING) else { continue };
            let Entry::Occupied(mut queue) = self.queues.entry(slot.bucket) else { continue };
            queue.get_mut().leave(number.get());
            if queue.get().is_empty() {
                queue.remove();
            }
        }
        self.count_out(&place.ticket);
        Some(place)
    }
}

impl<S> Waiting<S> {
    /// Returns the slots to look in.
    fn looks(&self) -> &[Slot] {
        &self.slots[..self.looks as usize]
    }
}

/// Converts to nanoseconds. Saturates after 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Decrements a count, and removes it at zero.
fn decrement<K: Eq + Hash>(counts: &mut ShardedMap<K, u32>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
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

//! The waiting room and the pairs, as a pure machine: [`Matchmaker`].
//!
//! It does no I/O, takes no lock, reads no clock and draws no entropy: what happens comes in through `handle_*`, with
//! the time it happened at, and what follows is drained with [`poll_match`](Matchmaker::poll_match) until that is
//! `None`. [`poll_timeout`](Matchmaker::poll_timeout) tells when time alone will change something. Whoever owns a
//! matchmaker adds the lock, the clock and the channels; [`MemoryLobby`](crate::MemoryLobby) is such an owner.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use purrr_core::{Anyone, PeerId, Ticket, matchmaker::Matchmaker};
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
//! # Ok::<(), purrr_core::matchmaker::AlreadyHere>(())
//! ```

mod line;

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use line::Line;
use slotmap::{SlotMap, new_key_type};

use crate::{
    lobby::{Census, PeerId, Ticket},
    pairing::{Bucket, Pairing},
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
#[derive(Debug)]
pub struct Matchmaker<S> {
    waiting: SlotMap<PlaceKey, Waiting<S>>,
    pairs: SlotMap<PairKey, [PeerId; 2]>,
    peers: HashMap<PeerId, Whereabouts, Seeded>,
    lines: HashMap<Bucket, Line<PlaceKey>, Seeded>,
    /// When whose search widens.
    alarms: BTreeSet<(Duration, PlaceKey)>,
    made: VecDeque<Made<S>>,
}

/// A pair that was just made.
#[derive(Debug)]
#[must_use = "both sides have to be told"]
pub struct Made<S> {
    /// Names the pair until it is ended with [`Matchmaker::handle_part`].
    pub pair: PairKey,
    /// Both peers; the one that waited longer comes first.
    pub sides: [Side<S>; 2],
}

/// One of the two in a pair that was just made.
#[derive(Debug)]
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

#[derive(Clone, Copy, Debug)]
enum Whereabouts {
    Waiting,
    Paired,
}

struct Waiting<S> {
    ticket: Arc<Ticket>,
    rule: Arc<dyn Pairing>,
    since: Duration,
    /// How many of the rule's widenings have passed.
    widened: usize,
    /// Where it stands.
    spots: Vec<(Bucket, u64)>,
    seat: S,
}

impl<S> Matchmaker<S> {
    /// An empty waiting room. `seed` keeps those who choose interests from aiming at the hash table's weak spots.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: SlotMap::with_key(),
            pairs: SlotMap::with_key(),
            peers: HashMap::with_hasher(Seeded(seed)),
            lines: HashMap::with_hasher(Seeded(seed)),
            alarms: BTreeSet::new(),
            made: VecDeque::new(),
        }
    }

    /// A peer comes in. It may be matched at once: drain [`poll_match`](Self::poll_match).
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
        let spots = Vec::new();
        let key =
            self.waiting.insert(Waiting { ticket, rule, since: now, widened: 0, spots, seat });
        self.look(now, key);
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

    /// Time has passed: searches widen.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(&(due, key)) = self.alarms.first() {
            if due > now {
                return;
            }
            self.alarms.pop_first();
            self.look(now, key);
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

    /// How many wait, and how many pairs there are.
    #[must_use]
    pub fn census(&self) -> Census {
        Census::new(self.waiting.len() as u64, self.pairs.len() as u64)
    }

    /// Looks for a partner in the buckets of the hour, and where there is none, stands in them.
    fn look(&mut self, now: Duration, key: PlaceKey) {
        let Some(seeker) = self.waiting.get(key) else { return };
        let waited = now.saturating_sub(seeker.since);
        let buckets = seeker.rule.buckets(&seeker.ticket, waited);
        if let Some(partner) = self.find_partner(key, seeker, &buckets) {
            self.pair(partner, key);
        } else {
            self.stand(waited, key, &buckets);
        }
    }

    fn find_partner(
        &self,
        key: PlaceKey,
        seeker: &Waiting<S>,
        buckets: &[Bucket],
    ) -> Option<PlaceKey> {
        buckets.iter().filter_map(|bucket| self.lines.get(bucket)).flat_map(Line::iter).find(
            |other| {
                *other != key && self.waiting.get(*other).is_some_and(|other| fits(seeker, other))
            },
        )
    }

    fn pair(&mut self, first: PlaceKey, second: PlaceKey) {
        let (Some(first), Some(second)) = (self.take(first), self.take(second)) else {
            unreachable!("both were found in the waiting room a moment ago");
        };
        let sides = [first, second].map(|place| Side { ticket: place.ticket, seat: place.seat });
        let peers = [sides[0].ticket.peer, sides[1].ticket.peer];
        let pair = self.pairs.insert(peers);
        for peer in peers {
            self.peers.insert(peer, Whereabouts::Paired);
        }
        self.made.push_back(Made { pair, sides });
    }

    fn stand(&mut self, waited: Duration, key: PlaceKey, buckets: &[Bucket]) {
        let Some(place) = self.waiting.get_mut(key) else { return };
        for bucket in buckets {
            if !place.spots.iter().any(|(stood, _)| stood == bucket) {
                place.spots.push((*bucket, self.lines.entry(*bucket).or_default().join(key)));
            }
        }
        let schedule = place.rule.widen_at();
        place.widened = schedule.partition_point(|due| *due <= waited);
        if let Some(due) = schedule.get(place.widened) {
            self.alarms.insert((place.since.saturating_add(*due), key));
        }
    }

    /// Takes a place out of the room, its lines and its alarm.
    fn take(&mut self, key: PlaceKey) -> Option<Waiting<S>> {
        let place = self.waiting.remove(key)?;
        if let Some(due) = place.rule.widen_at().get(place.widened) {
            self.alarms.remove(&(place.since.saturating_add(*due), key));
        }
        for (bucket, spot) in &place.spots {
            let Entry::Occupied(mut line) = self.lines.entry(*bucket) else { continue };
            for (moved, spot) in line.get_mut().leave(*spot) {
                let moved =
                    self.waiting.get_mut(moved).map_or(&mut [][..], |place| &mut place.spots);
                moved
                    .iter_mut()
                    .filter(|(stood, _)| stood == bucket)
                    .for_each(|stood| stood.1 = spot);
            }
            if line.get().is_empty() {
                line.remove();
            }
        }
        Some(place)
    }
}

/// Both rules have to accept.
fn fits<S>(a: &Waiting<S>, b: &Waiting<S>) -> bool {
    a.rule.accepts(&a.ticket, &b.ticket)
        && (Arc::ptr_eq(&a.rule, &b.rule) || b.rule.accepts(&b.ticket, &a.ticket))
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

//! Those who look in one bucket: [`Line`].

use std::{collections::VecDeque, mem, slice};

use crate::lobby::PersonId;

/// A queue from which anybody can step out in constant time.
///
/// Spots are numbered from front to end. Most lines have one in them, and that one takes no room of its own.
#[derive(Debug, Default)]
pub(super) enum Line<K> {
    #[default]
    Empty,
    /// In the middle, in a spot that is taken.
    One(Spot<K>),
    Many(Box<Queue<K>>),
}

/// Who stands in a line, with what must be known of them to pass them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) person: PersonId,
    /// Since when the peer has waited, in nanoseconds.
    pub(super) since: u64,
}

/// Stepping out leaves a gap; gaps at the front go at once and the rest when they outnumber those who wait.
#[derive(Debug)]
pub(super) struct Queue<K> {
    spots: VecDeque<Spot<K>>,
    /// The number of the spot at the front.
    first: u64,
    occupied: usize,
}

/// Gaps side by side make a run, which is passed by in one step however long it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot<K> {
    Taken(Entry<K>),
    Gap {
        /// At the first gap of a run its length, and at the others no more than is left of it.
        ahead: usize,
        /// At the last gap of a run its length.
        behind: usize,
    },
}

/// Those in some spots, from front to end.
#[derive(Debug)]
struct Entries<'a, K> {
    spots: &'a [Spot<K>],
    /// What comes after `spots`.
    rest: &'a [Spot<K>],
    number: u64,
}

/// The number of a line's first spot: far from both ends, since a line grows at either.
const MIDDLE: u64 = 1 << 62;

impl<K: Copy> Line<K> {
    /// Stands at the end, or at the front if it has waited longer than whoever stands there. Returns the spot's number.
    pub(super) fn join(&mut self, entry: Entry<K>) -> u64 {
        match self {
            Self::Empty => {
                *self = Self::One(Spot::Taken(entry));
                MIDDLE
            }
            Self::One(only) => {
                let spots = VecDeque::from([*only]);
                let mut queue = Queue { spots, first: MIDDLE, occupied: 1 };
                let spot = queue.join(entry);
                *self = Self::Many(Box::new(queue));
                spot
            }
            Self::Many(queue) => queue.join(entry),
        }
    }

    /// Steps out of a spot. Returns those whose spots have new numbers since, which is rarely anybody.
    pub(super) fn leave(&mut self, spot: u64) -> Vec<(K, u64)> {
        match self {
            Self::One(_) if spot == MIDDLE => {
                *self = Self::Empty;
                Vec::new()
            }
            Self::Empty | Self::One(..) => Vec::new(),
            Self::Many(queue) => queue.leave(spot),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::One(..) => false,
            Self::Many(queue) => queue.occupied == 0,
        }
    }

    /// Everybody at or behind a spot, with their spots.
    pub(super) fn from(&self, spot: u64) -> impl Iterator<Item = (u64, Entry<K>)> {
        let (number, (spots, rest)) = match self {
            Self::Empty => (spot, Default::default()),
            Self::One(only) => (MIDDLE, (slice::from_ref(only), Default::default())),
            Self::Many(queue) => (queue.first, queue.spots.as_slices()),
        };
        let mut entries = Entries { spots, rest, number };
        entries.pass(usize::try_from(spot.saturating_sub(number)).unwrap_or(usize::MAX));
        entries
    }

    /// Anybody, all with the same chance.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Option<Entry<K>> {
        match self {
            Self::Empty => None,
            Self::One(only) => only.entry(),
            Self::Many(queue) => queue.draw(random),
        }
    }
}

impl<K: Copy> Queue<K> {
    fn join(&mut self, entry: Entry<K>) -> u64 {
        self.occupied += 1;
        // The spot at the front is never a gap.
        let front = self.spots.front().and_then(Spot::entry);
        if front.is_some_and(|front| entry.since < front.since) {
            self.first -= 1;
            self.spots.push_front(Spot::Taken(entry));
            return self.first;
        }
        let spot = self.first + self.spots.len() as u64;
        self.spots.push_back(Spot::Taken(entry));
        spot
    }

    fn leave(&mut self, spot: u64) -> Vec<(K, u64)> {
        let index = usize::try_from(spot - self.first).unwrap_or(usize::MAX);
        if let Some(Spot::Taken(_)) = self.spots.get(index) {
            self.occupied -= 1;
            self.open_gap(index);
        }
        if let Some(Spot::Gap { ahead, .. }) = self.spots.front().copied() {
            self.spots.drain(..ahead);
            self.first += ahead as u64;
        }
        if self.spots.len() > 2 * self.occupied + 16 { self.close_ranks() } else { Vec::new() }
    }

    /// Makes one run of a new gap and of those on its sides.
    fn open_gap(&mut self, index: usize) {
        let behind = match index.checked_sub(1).map(|index| self.spots[index]) {
            Some(Spot::Gap { behind, .. }) => behind,
            _ => 0,
        };
        let ahead = match self.spots.get(index + 1) {
            Some(Spot::Gap { ahead, .. }) => *ahead,
            _ => 0,
        };
        let length = behind + 1 + ahead;
        self.spots[index] = Spot::Gap { ahead: ahead + 1, behind: behind + 1 };
        if behind > 0 {
            self.spots[index - behind] = Spot::Gap { ahead: length, behind: 1 };
        }
        if ahead > 0 {
            self.spots[index + ahead] = Spot::Gap { ahead: 1, behind: length };
        }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> Option<Entry<K>> {
        if self.occupied == 0 {
            return None;
        }
        loop {
            // Hardly more than every second spot is a gap, see `leave`.
            if let Spot::Taken(entry) = self.spots[random.usize(..self.spots.len())] {
                return Some(entry);
            }
        }
    }

    fn close_ranks(&mut self) -> Vec<(K, u64)> {
        self.first += self.spots.len() as u64;
        self.spots.retain(|spot| matches!(spot, Spot::Taken(_)));
        self.spots.shrink_to(2 * self.occupied);
        let spots = self.first..;
        let entries = self.spots.iter().filter_map(Spot::entry);
        spots.zip(entries).map(|(spot, entry)| (entry.key, spot)).collect()
    }
}

impl<K: Copy> Spot<K> {
    const fn entry(&self) -> Option<Entry<K>> {
        match self {
            Self::Taken(entry) => Some(*entry),
            Self::Gap { .. } => None,
        }
    }
}

impl<K> Entries<'_, K> {
    fn pass(&mut self, spots: usize) {
        self.number += spots as u64;
        match self.spots.get(spots..) {
            Some(spots) => self.spots = spots,
            None => {
                let spots = spots - self.spots.len();
                self.spots = mem::take(&mut self.rest).get(spots..).unwrap_or_default();
            }
        }
    }
}

impl<K: Copy> Iterator for Entries<'_, K> {
    type Item = (u64, Entry<K>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.spots.is_empty() {
                self.spots = mem::take(&mut self.rest);
            }
            match *self.spots.first()? {
                Spot::Taken(entry) => {
                    let number = self.number;
                    self.pass(1);
                    return Some((number, entry));
                }
                Spot::Gap { ahead, .. } => self.pass(ahead),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn entry(key: usize, since: u64) -> Entry<usize> {
        Entry { key, person: PersonId::from_bits(0), since }
    }

    proptest! {
        /// Against the plainest thing that does the same.
        #[test]
        fn order_and_numbers_survive_any_leaving(steps in prop::collection::vec(0_usize..60, 1..400)) {
            let mut line = Line::default();
            let mut plain: Vec<(usize, u64)> = Vec::new();
            for (key, step) in steps.into_iter().enumerate() {
                if step == 29 {
                    // Somebody who has waited longer than all the rest.
                    plain.insert(0, (key, line.join(entry(key, 400 - key as u64))));
                } else if step < 30 || plain.is_empty() {
                    plain.push((key, line.join(entry(key, 1_000))));
                } else {
                    let (_, spot) = plain.remove(step % plain.len());
                    for (moved, spot) in line.leave(spot) {
                        plain.iter_mut().filter(|(key, _)| *key == moved).for_each(|entry| entry.1 = spot);
                    }
                }
                let there: Vec<_> = line.from(0).map(|(spot, entry)| (entry.key, spot)).collect();
                prop_assert_eq!(&there, &plain);
                prop_assert_eq!(line.is_empty(), plain.is_empty());
                if let Some((_, spot)) = plain.get(step % plain.len().max(1)) {
                    let behind = plain.iter().filter(|(_, other)| other >= spot).count();
                    prop_assert_eq!(line.from(*spot).count(), behind);
                }
                if let Line::Many(queue) = &line {
                    prop_assert!(queue.spots.len() <= 2 * plain.len() + 16);
                }
            }
        }
    }

    #[test]
    fn gaps_take_no_time() {
        // Back to front, front to back, and every second one first: however gaps come about, they become one.
        let orders: [fn(u64) -> u64; 3] =
            [|n| 998 - n, |n| n + 1, |n| if n < 499 { 2 * n + 2 } else { 2 * (n - 499) + 1 }];
        for order in orders {
            let mut line = Line::default();
            let spots: Vec<u64> = (0..2_000).map(|key| line.join(entry(key, 0))).collect();
            for gone in (0..998).map(order) {
                line.leave(spots[gone as usize]);
            }
            let Line::Many(queue) = &line else { panic!("{line:?}") };
            let (spots, rest) = queue.spots.as_slices();
            let mut entries = Entries { spots, rest, number: 0 };
            assert_eq!(entries.next().map(|(_, entry)| entry.key), Some(0));
            assert!(matches!(entries.spots[0], Spot::Gap { ahead: 998, .. }), "{entries:?}");
        }
        assert_eq!(size_of::<Spot<crate::matchmaker::PlaceKey>>(), 24);
        assert_eq!(size_of::<Line<crate::matchmaker::PlaceKey>>(), 32);
    }

    #[test]
    fn everybody_is_drawn_as_often() {
        const PEOPLE: usize = 20;
        const DRAWS: usize = 40_000;
        let mut line = Line::default();
        let spots: Vec<u64> = (0..2 * PEOPLE).map(|key| line.join(entry(key, 0))).collect();
        // Gaps of all lengths.
        for gone in (0..2 * PEOPLE).filter(|key| (key * key) % 4 == 1) {
            line.leave(spots[gone]);
        }
        let mut random = fastrand::Rng::with_seed(1);
        let mut drawn = [0_usize; 2 * PEOPLE];
        for _ in 0..DRAWS {
            drawn[line.draw(&mut random).unwrap().key] += 1;
        }
        let expected = (DRAWS / PEOPLE) as f64;
        let there: Vec<f64> = line.from(0).map(|(_, entry)| drawn[entry.key] as f64).collect();
        assert_eq!(there.len(), PEOPLE);
        let chi_square: f64 = there.iter().map(|drawn| (drawn - expected).powi(2) / expected).sum();
        // 19 degrees of freedom: one in a thousand honest draws is above this, and the seed is fixed.
        assert!(chi_square < 43.8, "{chi_square}");
    }
}

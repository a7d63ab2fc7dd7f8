//! Those who look in one bucket: [`Line`].

use std::collections::VecDeque;

use crate::model::ids::PersonId;

/// A queue from which anybody can step out in constant time.
///
/// Spots are numbered from front to end. Most lines have one in them, and that one takes no room of its own.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum Line<K> {
    #[default]
    Empty,
    /// In the middle.
    One(Entry<K>),
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

#[derive(Clone, Copy, Debug)]
enum Place<K> {
    Taken(Entry<K>),
    /// At least so many places from here on, or up to here, are gaps. Where a row of gaps begins or ends, it is all.
    Gap {
        ahead: usize,
        behind: usize,
    },
}

/// Who stands where, when all have closed ranks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved<K> {
    pub(super) key: K,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Stepping out leaves a gap; gaps at the front go at once and the rest when they outnumber those who wait.
///
/// Until then they are passed by in one go, however long they are, or somebody at the front whom nobody wants would have
/// everybody who comes walk along the gap behind.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Queue<K> {
    spots: VecDeque<Place<K>>,
    /// The number of the spot at the front.
    first: u64,
    occupied: usize,
}

/// The number of a line's first spot: far from both ends, since a line grows at either.
const MIDDLE: u64 = 1 << 62;

impl<K: Copy> Line<K> {
    /// Stands at the end, or at the front if it has waited longer than whoever stands there. Returns the spot's number.
    pub(super) fn join(&mut self, entry: Entry<K>) -> u64 {
        match self {
            Self::Empty => {
                *self = Self::One(entry);
                MIDDLE
            }
            Self::One(only) => {
                let spots = VecDeque::from([Place::Taken(*only)]);
                let mut queue = Queue { spots, first: MIDDLE, occupied: 1 };
                let spot = queue.join(entry);
                *self = Self::Many(Box::new(queue));
                spot
            }
            Self::Many(queue) => queue.join(entry),
        }
    }

    /// Steps out of a spot. Returns those whose spots have new numbers since, which is all or nobody, and rarely all.
    pub(super) fn leave(&mut self, spot: u64) -> Vec<Moved<K>> {
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
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(entry) => ((MIDDLE >= spot).then_some((MIDDLE, *entry)), None),
            Self::Many(queue) => (None, Some(queue.from(spot))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Anybody, all with the same chance.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Option<Entry<K>> {
        match self {
            Self::Empty => None,
            Self::One(entry) => Some(*entry),
            Self::Many(queue) => queue.draw(random),
        }
    }
}

impl<K: Copy> Queue<K> {
    fn join(&mut self, entry: Entry<K>) -> u64 {
        self.occupied += 1;
        // The spot at the front is never a gap.
        if let Some(Place::Taken(front)) = self.spots.front()
            && entry.since < front.since
        {
            self.first -= 1;
            self.spots.push_front(Place::Taken(entry));
            return self.first;
        }
        let spot = self.first + self.spots.len() as u64;
        self.spots.push_back(Place::Taken(entry));
        spot
    }

    fn leave(&mut self, spot: u64) -> Vec<Moved<K>> {
        let index = usize::try_from(spot - self.first).unwrap_or(usize::MAX);
        if let Some(Place::Taken(_)) = self.spots.get(index) {
            self.open_gap(index);
            self.occupied -= 1;
        }
        while let Some(Place::Gap { .. }) = self.spots.front() {
            self.spots.pop_front();
            self.first += 1;
        }
        if self.spots.len() > 2 * self.occupied + 16 { self.close_ranks() } else { Vec::new() }
    }

    /// Makes a gap of a place, and one row of it and the gaps on either side.
    fn open_gap(&mut self, index: usize) {
        let before = match index.checked_sub(1).map(|index| self.spots[index]) {
            Some(Place::Gap { behind, .. }) => behind,
            Some(Place::Taken(_)) | None => 0,
        };
        let after = match self.spots.get(index + 1) {
            Some(Place::Gap { ahead, .. }) => *ahead,
            Some(Place::Taken(_)) | None => 0,
        };
        self.spots[index] = Place::Gap { ahead: 1 + after, behind: 1 + before };
        if let Place::Gap { ahead, .. } = &mut self.spots[index - before] {
            *ahead = before + 1 + after;
        }
        if let Place::Gap { behind, .. } = &mut self.spots[index + after] {
            *behind = before + 1 + after;
        }
    }

    fn from(&self, spot: u64) -> impl Iterator<Item = (u64, Entry<K>)> {
        let mut index = usize::try_from(spot.saturating_sub(self.first)).unwrap_or(usize::MAX);
        std::iter::from_fn(move || {
            loop {
                match self.spots.get(index)? {
                    Place::Gap { ahead, .. } => index += ahead,
                    Place::Taken(entry) => {
                        index += 1;
                        return Some((self.first + index as u64 - 1, *entry));
                    }
                }
            }
        })
    }

    fn draw(&self, random: &mut fastrand::Rng) -> Option<Entry<K>> {
        if self.occupied == 0 {
            return None;
        }
        loop {
            // Hardly more than every second spot is a gap, see `leave`.
            if let Place::Taken(entry) = self.spots[random.usize(..self.spots.len())] {
                return Some(entry);
            }
        }
    }

    fn close_ranks(&mut self) -> Vec<Moved<K>> {
        let first = self.first + self.spots.len() as u64;
        let moves = (first..).zip(self.from(0));
        let moves = moves.map(|(to, (from, entry))| Moved { key: entry.key, from, to }).collect();
        self.first = first;
        self.spots.retain(|place| matches!(place, Place::Taken(_)));
        self.spots.shrink_to(2 * self.occupied);
        moves
    }
}

/// What a spot's number has become: as many stand before it as before.
pub(super) fn after_moves<K>(moves: &[Moved<K>], spot: u64) -> u64 {
    let before = moves.partition_point(|moved| moved.from < spot);
    moves.first().map_or(spot, |front| front.to + before as u64)
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
                    let looked_at = plain.get(step % plain.len().max(1)).map(|(key, _)| *key);
                    let number = |plain: &[(usize, u64)]| plain.iter().find(|it| Some(it.0) == looked_at).map(|it| it.1);
                    let before = number(&plain);
                    let moves = line.leave(spot);
                    for moved in &moves {
                        plain.iter_mut().filter(|(key, _)| *key == moved.key).for_each(|entry| entry.1 = moved.to);
                    }
                    prop_assert_eq!(before.map(|before| after_moves(&moves, before)), number(&plain));
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
                    prop_assert_eq!(passed_by(queue), gaps(queue));
                }
            }
        }
    }

    /// The length of each row of gaps, by walking along it.
    fn gaps(queue: &Queue<usize>) -> Vec<usize> {
        let kinds: Vec<bool> =
            queue.spots.iter().map(|place| matches!(place, Place::Gap { .. })).collect();
        kinds.chunk_by(|a, b| a == b).filter(|row| row[0]).map(<[bool]>::len).collect()
    }

    /// How far whoever goes along the line jumps, each time it comes to a gap.
    fn passed_by(queue: &Queue<usize>) -> Vec<usize> {
        let mut jumps = Vec::new();
        let mut index = 0;
        while let Some(place) = queue.spots.get(index) {
            index += match place {
                Place::Taken(_) => 1,
                Place::Gap { ahead, .. } => {
                    jumps.push(*ahead);
                    *ahead
                }
            };
        }
        jumps
    }

    #[test]
    fn a_gap_takes_no_more_room_than_who_stood_there() {
        type Key = slotmap::DefaultKey;
        assert_eq!(size_of::<Place<Key>>(), size_of::<Entry<Key>>());
        assert_eq!(size_of::<Line<Key>>(), size_of::<Entry<Key>>() + 8);
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

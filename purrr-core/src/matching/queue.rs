//! The queue of one bucket: [`WaitQueue`].

use std::collections::VecDeque;

use crate::model::ids::PersonId;

/// A FIFO queue with stable slot numbers, from which any entry leaves in O(1).
///
/// Slots are numbered from front to back. Most queues hold one entry; such a queue allocates nothing.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum WaitQueue<K> {
    #[default]
    Empty,
    /// One entry, in slot [`MIDDLE`].
    One(Entry<K>),
    Many(Box<Slots<K>>),
}

/// One waiting ticket, with what a scan must know to pass it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) person: PersonId,
    /// The time at which the wait began, in nanoseconds.
    pub(super) since: u64,
}

#[derive(Clone, Copy, Debug)]
enum Slot<K> {
    Taken(Entry<K>),
    /// An empty slot within a run of empty slots.
    ///
    /// At the first slot of a run `ahead` is the run's length, at the last slot `behind` is. In between both are lower
    /// bounds.
    Tombstone {
        ahead: usize,
        behind: usize,
    },
}

/// The new slot number of an entry after compaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renumbered<K> {
    pub(super) key: K,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The slots of a queue with more than one entry.
///
/// Removal leaves a tombstone. Runs of tombstones store their length at both ends, so that a scan skips a run in O(1).
/// Without the skip, one unmatchable entry at the front would make every scan O(removed). The queue is compacted when
/// tombstones outnumber entries.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Slots<K> {
    slots: VecDeque<Slot<K>>,
    /// The number of the slot at the front.
    first: u64,
    occupied: usize,
}

/// The number of a queue's first slot. Far from both ends of the range, since a queue grows at either.
const MIDDLE: u64 = 1 << 62;

impl<K: Copy> WaitQueue<K> {
    /// Adds an entry and returns its slot number.
    ///
    /// The entry joins at the back, or at the front if it has waited longer than the front entry.
    pub(super) fn join(&mut self, entry: Entry<K>) -> u64 {
        match self {
            Self::Empty => {
                *self = Self::One(entry);
                MIDDLE
            }
            Self::One(only) => {
                let slots = VecDeque::from([Slot::Taken(*only)]);
                let mut slots = Slots { slots, first: MIDDLE, occupied: 1 };
                let slot = slots.join(entry);
                *self = Self::Many(Box::new(slots));
                slot
            }
            Self::Many(slots) => slots.join(entry),
        }
    }

    /// Empties a slot. Returns the new numbers of all entries if the queue was compacted, else nothing.
    pub(super) fn leave(&mut self, slot: u64) -> Vec<Renumbered<K>> {
        match self {
            Self::One(_) if slot == MIDDLE => {
                *self = Self::Empty;
                Vec::new()
            }
            Self::Empty | Self::One(..) => Vec::new(),
            Self::Many(slots) => slots.leave(slot),
        }
    }

    /// Returns true if the queue has no entries.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::One(..) => false,
            Self::Many(slots) => slots.occupied == 0,
        }
    }

    /// Returns the entries at or behind a slot, each with its slot number.
    pub(super) fn from(&self, slot: u64) -> impl Iterator<Item = (u64, Entry<K>)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(entry) => ((MIDDLE >= slot).then_some((MIDDLE, *entry)), None),
            Self::Many(slots) => (None, Some(slots.from(slot))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Draws an entry uniformly at random.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Option<Entry<K>> {
        match self {
            Self::Empty => None,
            Self::One(entry) => Some(*entry),
            Self::Many(slots) => slots.draw(random),
        }
    }
}

impl<K: Copy> Slots<K> {
    fn join(&mut self, entry: Entry<K>) -> u64 {
        self.occupied += 1;
        // The front slot is never a tombstone: `leave` pops them.
        if let Some(Slot::Taken(front)) = self.slots.front()
            && entry.since < front.since
        {
            self.first -= 1;
            self.slots.push_front(Slot::Taken(entry));
            return self.first;
        }
        let slot = self.first + self.slots.len() as u64;
        self.slots.push_back(Slot::Taken(entry));
        slot
    }

    fn leave(&mut self, slot: u64) -> Vec<Renumbered<K>> {
        let index = usize::try_from(slot - self.first).unwrap_or(usize::MAX);
        if let Some(Slot::Taken(_)) = self.slots.get(index) {
            self.bury(index);
            self.occupied -= 1;
        }
        while let Some(Slot::Tombstone { .. }) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.len() > 2 * self.occupied + 16 { self.compact() } else { Vec::new() }
    }

    /// Replaces an entry with a tombstone and merges it with the runs on either side.
    fn bury(&mut self, index: usize) {
        let before = match index.checked_sub(1).map(|index| self.slots[index]) {
            Some(Slot::Tombstone { behind, .. }) => behind,
            Some(Slot::Taken(_)) | None => 0,
        };
        let after = match self.slots.get(index + 1) {
            Some(Slot::Tombstone { ahead, .. }) => *ahead,
            Some(Slot::Taken(_)) | None => 0,
        };
        self.slots[index] = Slot::Tombstone { ahead: 1 + after, behind: 1 + before };
        if let Slot::Tombstone { ahead, .. } = &mut self.slots[index - before] {
            *ahead = before + 1 + after;
        }
        if let Slot::Tombstone { behind, .. } = &mut self.slots[index + after] {
            *behind = before + 1 + after;
        }
    }

    fn from(&self, slot: u64) -> impl Iterator<Item = (u64, Entry<K>)> {
        let mut index = usize::try_from(slot.saturating_sub(self.first)).unwrap_or(usize::MAX);
        std::iter::from_fn(move || {
            loop {
                match self.slots.get(index)? {
                    Slot::Tombstone { ahead, .. } => index += ahead,
                    Slot::Taken(entry) => {
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
            // About every second slot is taken, or `leave` would have compacted the queue.
            if let Slot::Taken(entry) = self.slots[random.usize(..self.slots.len())] {
                return Some(entry);
            }
        }
    }

    fn compact(&mut self) -> Vec<Renumbered<K>> {
        let first = self.first + self.slots.len() as u64;
        let moves = (first..).zip(self.from(0));
        let moves =
            moves.map(|(to, (from, entry))| Renumbered { key: entry.key, from, to }).collect();
        self.first = first;
        self.slots.retain(|slot| matches!(slot, Slot::Taken(_)));
        self.slots.shrink_to(2 * self.occupied);
        moves
    }
}

/// Returns what a slot number has become after compaction: as many entries lie before it as before.
pub(super) fn renumber<K>(moves: &[Renumbered<K>], slot: u64) -> u64 {
    let before = moves.partition_point(|moved| moved.from < slot);
    moves.first().map_or(slot, |front| front.to + before as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn entry(key: usize, since: u64) -> Entry<usize> {
        Entry { key, person: PersonId::from_bits(0), since }
    }

    proptest! {
        /// Compares the queue with a plain `Vec` that does the same.
        #[test]
        fn order_and_numbers_survive_removal(steps in prop::collection::vec(0_usize..60, 1..400)) {
            let mut queue = WaitQueue::default();
            let mut plain: Vec<(usize, u64)> = Vec::new();
            for (key, step) in steps.into_iter().enumerate() {
                if step == 29 {
                    // An entry that has waited longer than all others.
                    plain.insert(0, (key, queue.join(entry(key, 400 - key as u64))));
                } else if step < 30 || plain.is_empty() {
                    plain.push((key, queue.join(entry(key, 1_000))));
                } else {
                    let (_, slot) = plain.remove(step % plain.len());
                    let looked_at = plain.get(step % plain.len().max(1)).map(|(key, _)| *key);
                    let number = |plain: &[(usize, u64)]| {
                        plain.iter().find(|it| Some(it.0) == looked_at).map(|it| it.1)
                    };
                    let before = number(&plain);
                    let moves = queue.leave(slot);
                    for moved in &moves {
                        let entries = plain.iter_mut().filter(|(key, _)| *key == moved.key);
                        entries.for_each(|entry| entry.1 = moved.to);
                    }
                    prop_assert_eq!(
                        before.map(|before| renumber(&moves, before)),
                        number(&plain)
                    );
                }
                let there: Vec<_> =
                    queue.from(0).map(|(slot, entry)| (entry.key, slot)).collect();
                prop_assert_eq!(&there, &plain);
                prop_assert_eq!(queue.is_empty(), plain.is_empty());
                if let Some((_, slot)) = plain.get(step % plain.len().max(1)) {
                    let behind = plain.iter().filter(|(_, other)| other >= slot).count();
                    prop_assert_eq!(queue.from(*slot).count(), behind);
                }
                if let WaitQueue::Many(slots) = &queue {
                    prop_assert!(slots.slots.len() <= 2 * plain.len() + 16);
                    prop_assert_eq!(skipped(slots), runs(slots));
                }
            }
        }
    }

    /// The length of each run of tombstones, counted slot by slot.
    fn runs(slots: &Slots<usize>) -> Vec<usize> {
        let kinds: Vec<bool> =
            slots.slots.iter().map(|slot| matches!(slot, Slot::Tombstone { .. })).collect();
        kinds.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect()
    }

    /// The length of each skip that a scan from the front makes.
    fn skipped(slots: &Slots<usize>) -> Vec<usize> {
        let mut skips = Vec::new();
        let mut index = 0;
        while let Some(slot) = slots.slots.get(index) {
            index += match slot {
                Slot::Taken(_) => 1,
                Slot::Tombstone { ahead, .. } => {
                    skips.push(*ahead);
                    *ahead
                }
            };
        }
        skips
    }

    #[test]
    fn tombstone_is_as_small_as_an_entry() {
        type Key = slotmap::DefaultKey;
        assert_eq!(size_of::<Slot<Key>>(), size_of::<Entry<Key>>());
        assert_eq!(size_of::<WaitQueue<Key>>(), size_of::<Entry<Key>>() + 8);
    }

    #[test]
    fn random_draw_is_uniform() {
        const PEOPLE: usize = 20;
        const DRAWS: usize = 40_000;
        let mut queue = WaitQueue::default();
        let slots: Vec<u64> = (0..2 * PEOPLE).map(|key| queue.join(entry(key, 0))).collect();
        // Runs of tombstones of all lengths.
        for gone in (0..2 * PEOPLE).filter(|key| (key * key) % 4 == 1) {
            queue.leave(slots[gone]);
        }
        let mut random = fastrand::Rng::with_seed(1);
        let mut drawn = [0_usize; 2 * PEOPLE];
        for _ in 0..DRAWS {
            drawn[queue.draw(&mut random).unwrap().key] += 1;
        }
        let expected = (DRAWS / PEOPLE) as f64;
        let there: Vec<f64> = queue.from(0).map(|(_, entry)| drawn[entry.key] as f64).collect();
        assert_eq!(there.len(), PEOPLE);
        let chi_square: f64 = there.iter().map(|drawn| (drawn - expected).powi(2) / expected).sum();
        // 19 degrees of freedom: one honest run in a thousand is above this. The seed is fixed.
        assert!(chi_square < 43.8, "{chi_square}");
    }
}

//! The queue of one bucket: [`WaitQueue`].

use crate::{matching::block_deque::BlockDeque, model::ids::PersonId};

/// A FIFO queue with stable slot numbers, from which any entry leaves in O(log n).
///
/// Slot numbers ascend from front to back and never change. Most queues hold one entry; such a
/// queue allocates nothing.
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

/// Bounds a scan of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanBounds {
    /// The entries that are visited at most.
    pub(super) visits: usize,
    /// The tombstones, or runs of them, that are skipped at most.
    pub(super) hops: usize,
}

/// Where a scan of a queue ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanEnd {
    /// The slot at which another scan continues after this one.
    pub(super) cursor: u64,
    /// The number of visited entries.
    pub(super) visits: usize,
    /// The hops that are left.
    pub(super) hops: usize,
    /// Whether no slot is left to visit.
    pub(super) is_over: bool,
}

/// The slots of a queue with more than one entry.
///
/// Removal leaves a tombstone. Runs of tombstones store their length at both ends, so that a scan
/// from the front skips a run in O(1). Without the skip, one unmatchable entry at the front would
/// make every scan O(removed).
///
/// When tombstones outnumber entries, the queue is compacted in small steps, one at each removal. A
/// step moves the front of the second part to the back of the first and drops tombstones. So a
/// removal does a bounded amount of work, and at most 3 slots are held for each entry, plus 32.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Slots<K> {
    /// Slots with ascending numbers. The first part is empty unless the queue is being compacted.
    parts: [BlockDeque<Slot<K>>; 2],
    /// The number of the next slot at the back.
    next: u64,
    occupied: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot<K> {
    number: u64,
    state: State<K>,
}

#[derive(Clone, Copy, Debug)]
enum State<K> {
    Taken(Entry<K>),
    /// An empty slot within a run of empty slots.
    ///
    /// At the first slot of a run `ahead` is the run's length, at the last slot `behind` is. In
    /// between both are lower bounds.
    Tombstone {
        ahead: usize,
        behind: usize,
    },
}

/// The number of a queue's first slot. Far from both ends of the range, since a queue grows at
/// either.
const MIDDLE: u64 = 1 << 62;

/// Slots, or runs of tombstones, that one removal moves or drops while the queue is compacted.
const COMPACTION_STEP: usize = 8;

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
                let mut slots = Slots::new(*only);
                let number = slots.join(entry);
                *self = Self::Many(Box::new(slots));
                number
            }
            Self::Many(slots) => slots.join(entry),
        }
    }

    /// Empties a slot.
    pub(super) fn leave(&mut self, number: u64) {
        match self {
            Self::One(_) if number == MIDDLE => *self = Self::Empty,
            Self::Empty | Self::One(..) => {}
            Self::Many(slots) => slots.leave(number),
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

    /// Returns the number of slots that are held, tombstones included.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(slots) => slots.len(),
        }
    }

    /// Returns an upper bound on the entries at or behind a slot.
    pub(super) fn remaining(&self, from: u64) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => usize::from(from <= MIDDLE),
            Self::Many(slots) => {
                let numbers = usize::try_from(slots.next.saturating_sub(from));
                slots.len().min(numbers.unwrap_or(usize::MAX))
            }
        }
    }

    /// Visits the entries at or behind a slot, from front to back.
    pub(super) fn scan(
        &self,
        from: u64,
        ScanBounds { visits, hops }: ScanBounds,
        mut visit: impl FnMut(Entry<K>),
    ) -> ScanEnd {
        match self {
            Self::Many(slots) => slots.scan(from, ScanBounds { visits, hops }, visit),
            Self::One(entry) if from <= MIDDLE && visits > 0 => {
                visit(*entry);
                ScanEnd { cursor: MIDDLE + 1, visits: 1, hops, is_over: true }
            }
            Self::Empty | Self::One(_) => {
                ScanEnd { cursor: from, visits: 0, hops, is_over: self.remaining(from) == 0 }
            }
        }
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
    fn new(only: Entry<K>) -> Self {
        let slot = Slot { number: MIDDLE, state: State::Taken(only) };
        let mut slots = BlockDeque::new();
        slots.push_back(slot);
        Self { parts: [BlockDeque::new(), slots], next: MIDDLE + 1, occupied: 1 }
    }

    fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }

    /// Returns the position of the first slot with this number or a greater one.
    fn position(&self, number: u64) -> (usize, usize) {
        let part = usize::from(self.parts[0].back().is_none_or(|last| last.number < number));
        let slots = &self.parts[part];
        let (Some(first), Some(last)) = (slots.front(), slots.back()) else { return (part, 0) };
        // Numbers are consecutive but for gaps that compaction left, so the distances from both
        // ends bound the index. Mostly they leave nothing to search.
        let distance =
            |from: u64, to: u64| usize::try_from(to - from.min(to)).unwrap_or(usize::MAX);
        let mut start = (slots.len() - 1).saturating_sub(distance(number, last.number));
        let mut end = slots.len().min(distance(first.number, number));
        while start < end {
            let middle = start.midpoint(end);
            if slots[middle].number < number {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        (part, start)
    }

    /// Visits the entries at or behind a slot.
    ///
    /// The loop is over slices: over `VecDeque`'s iterator it took 45 instructions per entry, and it
    /// is most of a search by interests.
    fn scan(&self, from: u64, bounds: ScanBounds, mut visit: impl FnMut(Entry<K>)) -> ScanEnd {
        let (mut part, mut index) = self.position(from);
        let mut end = ScanEnd { cursor: from, visits: 0, hops: bounds.hops, is_over: false };
        while let Some(slots) = self.parts.get(part).map(|slots| slots.slice_at(index)) {
            if slots.is_empty() {
                (part, index) = (part + 1, 0);
                continue;
            }
            let mut at = 0;
            while let Some(slot) = slots.get(at) {
                match slot.state {
                    _ if end.visits == bounds.visits => return end,
                    State::Taken(entry) => {
                        visit(entry);
                        end.visits += 1;
                        end.cursor = slot.number + 1;
                        at += 1;
                    }
                    State::Tombstone { ahead, .. } => {
                        end.cursor = slot.number;
                        if end.hops == 0 {
                            return end;
                        }
                        end.hops -= 1;
                        at += ahead;
                    }
                }
            }
            // A run of tombstones may reach beyond these slots.
            index += at;
        }
        if end.visits < bounds.visits {
            end.cursor = end.cursor.max(self.next);
        }
        ScanEnd { is_over: true, ..end }
    }

    fn front_part(&mut self) -> &mut BlockDeque<Slot<K>> {
        let part = usize::from(self.parts[0].is_empty());
        &mut self.parts[part]
    }

    fn join(&mut self, entry: Entry<K>) -> u64 {
        self.occupied += 1;
        let state = State::Taken(entry);
        // The front slot is never a tombstone: `leave` drops them.
        if let Some(Slot { number, state: State::Taken(front) }) = self.front_part().front()
            && entry.since < front.since
        {
            let number = number - 1;
            self.front_part().push_front(Slot { number, state });
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.parts[1].push_back(Slot { number, state });
        number
    }

    fn leave(&mut self, number: u64) {
        let (part, index) = self.position(number);
        let slots = &mut self.parts[part];
        if let Some(Slot { number: found, state: State::Taken(_) }) = slots.get(index)
            && *found == number
        {
            bury(slots, index);
            self.occupied -= 1;
        }
        self.drop_front_tombstones();
        if !self.parts[0].is_empty() || self.len() > 2 * self.occupied + 16 {
            self.compact_step();
            self.drop_front_tombstones();
        }
    }

    /// Drops the run of tombstones at the front, if there is one. A part that becomes empty may
    /// expose another.
    fn drop_front_tombstones(&mut self) {
        for part in &mut self.parts {
            if let Some(Slot { state: State::Tombstone { ahead, .. }, .. }) = part.front() {
                let ahead = *ahead;
                part.drop_front(ahead);
            }
            if !part.is_empty() {
                break;
            }
        }
    }

    fn compact_step(&mut self) {
        let [compacted, rest] = &mut self.parts;
        for _ in 0..COMPACTION_STEP {
            match rest.front() {
                Some(Slot { state: State::Tombstone { ahead, .. }, .. }) => {
                    let ahead = *ahead;
                    rest.drop_front(ahead);
                }
                Some(slot) => {
                    compacted.push_back(*slot);
                    rest.drop_front(1);
                }
                None => break,
            }
        }
        if rest.is_empty() {
            *rest = std::mem::replace(compacted, BlockDeque::new());
        }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> Option<Entry<K>> {
        if self.occupied == 0 {
            return None;
        }
        let (first, all) = (self.parts[0].len(), self.len());
        loop {
            // At least every third slot is taken, see `Slots`.
            let index = random.usize(..all);
            let slot = match index.checked_sub(first) {
                None => self.parts[0].get(index),
                Some(index) => self.parts[1].get(index),
            };
            if let Some(Slot { state: State::Taken(entry), .. }) = slot {
                return Some(*entry);
            }
        }
    }
}

/// Replaces an entry with a tombstone and merges it with the runs on either side.
fn bury<K: Copy>(slots: &mut BlockDeque<Slot<K>>, index: usize) {
    let before = match index.checked_sub(1).map(|index| slots[index].state) {
        Some(State::Tombstone { behind, .. }) => behind,
        Some(State::Taken(_)) | None => 0,
    };
    let after = match slots.get(index + 1).map(|slot| slot.state) {
        Some(State::Tombstone { ahead, .. }) => ahead,
        Some(State::Taken(_)) | None => 0,
    };
    slots[index].state = State::Tombstone { ahead: 1 + after, behind: 1 + before };
    if let State::Tombstone { ahead, .. } = &mut slots[index - before].state {
        *ahead = before + 1 + after;
    }
    if let State::Tombstone { behind, .. } = &mut slots[index + after].state {
        *behind = before + 1 + after;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const fn entry(key: usize, since: u64) -> Entry<usize> {
        Entry { key, person: PersonId::from_bits(0), since }
    }

    const NO_BOUNDS: ScanBounds = ScanBounds { visits: usize::MAX, hops: usize::MAX };

    /// All entries at or behind a slot, with their slot numbers.
    fn all(queue: &WaitQueue<usize>, from: u64) -> Vec<(usize, u64)> {
        let mut keys = Vec::new();
        let whole = queue.scan(from, NO_BOUNDS, |entry| keys.push(entry.key));
        assert!(whole.is_over && whole.visits == keys.len());
        // Visited one by one, each ends the scan right behind its slot.
        let (mut slots, mut from) = (Vec::new(), from);
        for _ in &keys {
            let end = queue.scan(from, ScanBounds { visits: 1, ..NO_BOUNDS }, |_| ());
            slots.push(end.cursor - 1);
            from = end.cursor;
        }
        assert_eq!(queue.scan(from, NO_BOUNDS, |_| ()).visits, 0);
        keys.into_iter().zip(slots).collect()
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
                    queue.leave(slot);
                }
                prop_assert_eq!(&all(&queue, 0), &plain);
                prop_assert_eq!(queue.is_empty(), plain.is_empty());
                if let Some((_, slot)) = plain.get(step % plain.len().max(1)) {
                    let behind = plain.iter().filter(|(_, other)| other >= slot).count();
                    prop_assert_eq!(all(&queue, *slot).len(), behind);
                    // Cut short after any number of hops, a scan continues where it stopped.
                    let (mut found, mut from) = (0, 0);
                    while from < u64::MAX {
                        let bounds = ScanBounds { hops: 1 + step % 3, ..NO_BOUNDS };
                        let end = queue.scan(from, bounds, |_| found += 1);
                        from = if end.is_over { u64::MAX } else { end.cursor };
                    }
                    prop_assert_eq!(found, plain.len());
                }
                if let WaitQueue::Many(slots) = &queue {
                    prop_assert!(slots.len() <= 3 * plain.len() + 32);
                    for part in &slots.parts {
                        prop_assert_eq!(skipped(part), runs(part));
                    }
                }
            }
        }
    }

    /// The length of each run of tombstones, counted slot by slot.
    fn runs(slots: &BlockDeque<Slot<usize>>) -> Vec<usize> {
        let slots = (0..slots.len()).map(|index| slots[index]);
        let kinds: Vec<bool> =
            slots.map(|slot| matches!(slot.state, State::Tombstone { .. })).collect();
        kinds.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect()
    }

    /// The length of each skip that a scan from the front makes.
    fn skipped(slots: &BlockDeque<Slot<usize>>) -> Vec<usize> {
        let mut skips = Vec::new();
        let mut index = 0;
        while let Some(slot) = slots.get(index) {
            index += match slot.state {
                State::Taken(_) => 1,
                State::Tombstone { ahead, .. } => {
                    skips.push(ahead);
                    ahead
                }
            };
        }
        skips
    }

    /// Joins and removals of any kind, each followed by a check of the slots that are held.
    #[test]
    fn compaction_keeps_up_with_removal() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut queue, mut present) = (WaitQueue::default(), VecDeque::new());
            for key in 0..20_000 {
                present.push_back(queue.join(entry(key, 0)));
                // Grows for a while, then shrinks from the front, the back or anywhere.
                while present.len() > 1 && (key / 2_000) % 2 == 1 && random.u32(..3) > 0 {
                    let index = match seed % 3 {
                        0 => 1,
                        1 => present.len() - 1,
                        _ => random.usize(..present.len()),
                    };
                    queue.leave(present.remove(index).unwrap());
                    if let WaitQueue::Many(slots) = &queue {
                        assert!(slots.len() <= 3 * present.len() + 32, "{seed} {key}");
                    }
                }
            }
        }
    }

    #[test]
    fn tombstone_is_as_small_as_an_entry() {
        type Key = slotmap::DefaultKey;
        assert_eq!(size_of::<Slot<Key>>(), size_of::<Entry<Key>>() + 8);
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
        let there: Vec<f64> = all(&queue, 0).iter().map(|(key, _)| drawn[*key] as f64).collect();
        assert_eq!(there.len(), PEOPLE);
        let chi_square: f64 = there.iter().map(|drawn| (drawn - expected).powi(2) / expected).sum();
        // 19 degrees of freedom: one honest run in a thousand is above this. The seed is fixed.
        assert!(chi_square < 43.8, "{chi_square}");
    }
}

//! A double-ended queue that grows without moving what is in it: [`BlockDeque`].

use std::{
    collections::VecDeque,
    ops::{Index, IndexMut},
};

/// A `VecDeque` of blocks, so that no call takes longer the more is in it.
///
/// `VecDeque` itself moves everything when it grows: 32 MB for a queue of a million, which takes
/// milliseconds under the lobby's lock. Values are `Copy`, so that dropping them takes no time.
#[derive(Clone, Debug)]
pub(super) struct BlockDeque<T> {
    /// The first block. Full if there are others, or drained from the front.
    first: VecDeque<T>,
    /// The other blocks. All but the last one are full.
    rest: VecDeque<VecDeque<T>>,
    len: usize,
}

/// The values of a full block.
const BLOCK: usize = 1_024;

impl<T: Copy> BlockDeque<T> {
    pub(super) const fn new() -> Self {
        Self { first: VecDeque::new(), rest: VecDeque::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.front()
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.rest.back().unwrap_or(&self.first).back()
    }

    pub(super) fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(self.first.len()) {
            None => self.first.get(index),
            Some(behind) => self.rest.get(behind / BLOCK)?.get(behind % BLOCK),
        }
    }

    pub(super) fn push_back(&mut self, value: T) {
        self.len += 1;
        let last = self.rest.back_mut().unwrap_or(&mut self.first);
        if last.len() < BLOCK {
            last.push_back(value);
        } else {
            self.rest.push_back(VecDeque::from([value]));
        }
    }

    pub(super) fn push_front(&mut self, value: T) {
        self.len += 1;
        if self.first.len() == BLOCK {
            let full = std::mem::replace(&mut self.first, VecDeque::from([value]));
            self.rest.push_front(full);
        } else {
            self.first.push_front(value);
        }
    }

    /// Drops so many values at the front.
    pub(super) fn drop_front(&mut self, mut count: usize) {
        count = count.min(self.len);
        self.len -= count;
        while count >= self.first.len() {
            count -= self.first.len();
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => return self.first.clear(),
            }
        }
        self.first.drain(..count);
    }

    /// Returns the values from an index on, as far as they are contiguous. Empty only at the end.
    pub(super) fn slice_at(&self, index: usize) -> &[T] {
        let (block, index) = match index.checked_sub(self.first.len()) {
            None => (&self.first, index),
            Some(behind) => match self.rest.get(behind / BLOCK) {
                Some(block) => (block, behind % BLOCK),
                None => return &[],
            },
        };
        let (front, back) = block.as_slices();
        match index.checked_sub(front.len()) {
            None => &front[index..],
            Some(behind) => back.get(behind..).unwrap_or_default(),
        }
    }
}

impl<T: Copy> Index<usize> for BlockDeque<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        self.get(index).expect("the index is below the length")
    }
}

impl<T: Copy> IndexMut<usize> for BlockDeque<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        match index.checked_sub(self.first.len()) {
            None => &mut self.first[index],
            Some(behind) => &mut self.rest[behind / BLOCK][behind % BLOCK],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares it with a `VecDeque` that does the same, across several blocks.
    #[test]
    fn block_deque_equals_vec_deque() {
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut blocks, mut plain) = (BlockDeque::new(), VecDeque::new());
            for value in 0..12_000_usize {
                match random.u32(..100) {
                    0..60 => {
                        blocks.push_back(value);
                        plain.push_back(value);
                    }
                    60..90 => {
                        blocks.push_front(value);
                        plain.push_front(value);
                    }
                    // Seldom much, so that there are several blocks at times.
                    _ => {
                        let most = if random.u32(..200) == 0 { plain.len() } else { 8 };
                        let count = random.usize(..=most.min(plain.len()));
                        blocks.drop_front(count);
                        plain.drain(..count);
                    }
                }
                assert_eq!((blocks.len(), blocks.is_empty()), (plain.len(), plain.is_empty()));
                assert_eq!((blocks.front(), blocks.back()), (plain.front(), plain.back()));
                let index = random.usize(..plain.len() + 2);
                assert_eq!(blocks.get(index), plain.get(index));
                if let Some(changed) = plain.get_mut(index) {
                    *changed = value;
                    blocks[index] = value;
                }
                if value % 97 == 0 {
                    let mut rest = plain.range(index.min(plain.len())..);
                    let mut at = index;
                    while let values @ [_, ..] = blocks.slice_at(at) {
                        assert!(rest.by_ref().take(values.len()).eq(values), "{seed} {value} {at}");
                        at += values.len();
                    }
                    assert_eq!(rest.len(), 0);
                }
            }
        }
    }

    #[test]
    fn no_block_is_larger_than_its_bound() {
        let mut blocks = BlockDeque::new();
        for value in 0..10_000 {
            blocks.push_back(value);
            blocks.push_front(value);
        }
        let longest = std::iter::once(&blocks.first).chain(&blocks.rest).map(VecDeque::len).max();
        assert_eq!(longest, Some(BLOCK));
    }
}

//! Values by handles that are never reused, which grow without moving: [`Arena`].

use slotmap::{Key, KeyData};

/// A slot map whose growth takes bounded time.
///
/// Values lie in chunks, so that a new one moves none of the others. `SlotMap` has them all in one
/// vector, and moved 100 MB under the lobby's lock when it grew to a million places.
#[derive(Clone, Debug)]
pub(super) struct Arena<K, V> {
    chunks: Vec<Vec<Slot<V>>>,
    /// The first vacant slot, or [`NONE`].
    vacant: u32,
    len: usize,
    key: std::marker::PhantomData<fn() -> K>,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    /// Odd while the slot is occupied. Grows by one with each change, so a key is never reused.
    version: u32,
    content: Content<V>,
}

#[derive(Clone, Debug)]
enum Content<V> {
    Occupied(V),
    Vacant { next: u32 },
}

/// The slots of a chunk.
const CHUNK: usize = 256;

/// No slot: the end of the list of vacant ones.
const NONE: u32 = u32::MAX;

impl<K: Key, V> Arena<K, V> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), vacant: NONE, len: 0, key: std::marker::PhantomData }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a value and returns its key.
    ///
    /// # Panics
    ///
    /// If there are 2^32 values already, which no memory holds.
    pub(super) fn insert(&mut self, value: V) -> K {
        self.len += 1;
        if let Some(slot) = slot_mut(&mut self.chunks, self.vacant)
            && let Content::Vacant { next } = slot.content
        {
            let index = std::mem::replace(&mut self.vacant, next);
            slot.version += 1;
            slot.content = Content::Occupied(value);
            return key(index, slot.version);
        }
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::new());
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().expect("a chunk was pushed if there was none");
        let index = u32::try_from(before + last.len()).ok().filter(|index| *index != NONE);
        last.push(Slot { version: 1, content: Content::Occupied(value) });
        key(index.expect("no memory holds 2^32 values"), 1)
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        let (index, version) = parts(key);
        let slot = self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)?;
        match &slot.content {
            Content::Occupied(value) if slot.version == version => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let (index, version) = parts(key);
        let slot = slot_mut(&mut self.chunks, index)?;
        match &mut slot.content {
            Content::Occupied(value) if slot.version == version => Some(value),
            _ => None,
        }
    }

    /// Removes a value. Returns `None` if it was removed before.
    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let (index, version) = parts(key);
        let slot = slot_mut(&mut self.chunks, index)?;
        if slot.version != version || matches!(slot.content, Content::Vacant { .. }) {
            return None;
        }
        self.len -= 1;
        // A slot whose versions are used up is given up, so that no key comes twice.
        let is_worn = slot.version == u32::MAX;
        slot.version = slot.version.wrapping_add(1);
        let next = if is_worn { NONE } else { std::mem::replace(&mut self.vacant, index) };
        match std::mem::replace(&mut slot.content, Content::Vacant { next }) {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }
}

fn slot_mut<V>(chunks: &mut [Vec<Slot<V>>], index: u32) -> Option<&mut Slot<V>> {
    chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
}

fn key<K: Key>(index: u32, version: u32) -> K {
    KeyData::from_ffi(u64::from(version) << 32 | u64::from(index)).into()
}

fn parts<K: Key>(key: K) -> (u32, u32) {
    let bits = key.data().as_ffi();
    (bits as u32, (bits >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use slotmap::{DefaultKey, SlotMap};

    use super::*;

    proptest! {
        /// Compares the arena with a slot map that does the same.
        #[test]
        fn arena_equals_slot_map(steps in prop::collection::vec(0_usize..100, 1..900)) {
            let mut arena = Arena::<DefaultKey, usize>::new();
            let mut plain = SlotMap::new();
            let mut keys: Vec<(DefaultKey, DefaultKey)> = Vec::new();
            let mut used = HashSet::new();
            for (value, step) in steps.into_iter().enumerate() {
                if step < 70 || keys.is_empty() {
                    let key = arena.insert(value);
                    prop_assert!(used.insert(key), "a key came twice");
                    keys.push((key, plain.insert(value)));
                } else {
                    let (key, other) = keys[step * 31 % keys.len()];
                    prop_assert_eq!(arena.remove(key), plain.remove(other));
                    prop_assert_eq!(arena.get(key), None);
                }
                for (key, other) in &keys {
                    prop_assert_eq!(arena.get(*key), plain.get(*other));
                    prop_assert_eq!(arena.get_mut(*key), plain.get_mut(*other));
                }
                prop_assert_eq!(arena.len(), plain.len());
            }
        }
    }

    #[test]
    fn worn_slot_is_given_up() {
        let mut arena = Arena::<DefaultKey, u8>::new();
        let key = arena.insert(1);
        arena.chunks[0][0].version = u32::MAX;
        assert_eq!(arena.remove(key), None);
        let last = super::key::<DefaultKey>(0, u32::MAX);
        assert_eq!(arena.remove(last), Some(1));
        assert_eq!(arena.insert(2), super::key(1, 1));
        assert_eq!((arena.get(last), arena.len()), (None, 1));
    }
}

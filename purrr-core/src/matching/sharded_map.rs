//! A hash map that grows in small steps: [`ShardedMap`].

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, Hash},
};

use foldhash::fast::FixedState;

/// A hash map in many parts, of which each grows by itself.
///
/// A hash table moves everything when it grows: with a million entries that takes 30 ms, all of
/// them under the lobby's lock.
#[derive(Clone, Debug)]
pub(super) struct ShardedMap<K, V> {
    shards: Box<[HashMap<K, V, FixedState>]>,
    hasher: FixedState,
}

/// The parts of a map. A table of 1,000,000 entries moves 4,000 of them at once.
const SHARDS: usize = 256;

impl<K: Eq + Hash, V> ShardedMap<K, V> {
    pub(super) fn with_seed(seed: u64) -> Self {
        // Another seed than that of the shards, whose tables would use the same bits again.
        let hasher = FixedState::with_seed(seed.rotate_left(32) ^ 1);
        let shard = || HashMap::with_hasher(FixedState::with_seed(seed));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.shards[self.shard(key)].get(key)
    }

    pub(super) fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        let shard = self.shard(&key);
        self.shards[shard].entry(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let shard = self.shard(&key);
        self.shards[shard].insert(key, value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let shard = self.shard(key);
        self.shards[shard].remove(key)
    }

    fn shard(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }
}

#[cfg(test)]
impl<K, V> ShardedMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(HashMap::values)
    }
}

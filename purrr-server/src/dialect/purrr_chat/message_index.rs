//! The messages of a chat by index and by id: [`MessageIndex`].

use std::collections::VecDeque;

/// Messages that are kept. Older ones can no longer be answered or marked as read.
const CAPACITY: usize = 1_024;

/// The last messages of one chat, in the order in which this side saw them.
///
/// Purrr.chat counts them from 0, both directions together. The native dialect names them by ids
/// that their senders choose. Worst case: 24 KiB, at 24 bytes a message.
#[derive(Debug, Default)]
pub(super) struct MessageIndex {
    entries: VecDeque<Entry>,
    /// The index of the first entry.
    first: u64,
    highest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// None if the sender chose none or the message was refused. It counts all the same.
    id: Option<u64>,
    /// True for a message of this side, false for one of the partner.
    is_own: bool,
}

impl MessageIndex {
    /// Creates the index of a chat whose messages are not known.
    ///
    /// Its ids go far beyond those that were given, within what the hub allows.
    pub(super) fn of_unknown_chat() -> Self {
        Self { highest: 1 << 20, ..Self::default() }
    }

    /// Adds a message of this side and returns its id: one more than the highest so far.
    pub(super) fn push_own(&mut self) -> u64 {
        let id = self.highest + 1;
        self.push(Some(id), true);
        id
    }

    /// Adds a refused message of this side. Its page shows it, so it takes an index.
    pub(super) fn push_refused(&mut self) {
        self.push(None, true);
    }

    /// Adds a message of the partner.
    pub(super) fn push_partner(&mut self, id: Option<u64>) {
        self.push(id, false);
    }

    /// Removes the last messages of the partner.
    pub(super) fn remove_last_of_partner(&mut self, count: usize) {
        for _ in 0..count {
            let last = self.entries.iter().rposition(|entry| !entry.is_own);
            let Some(last) = last else { return };
            self.entries.remove(last);
        }
    }

    /// Returns the bytes that the entries take.
    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Returns the id of the message with this index.
    pub(super) fn id_at(&self, index: u64) -> Option<u64> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(offset).and_then(|entry| entry.id)
    }

    /// Returns the index of the message that the partner means by this id.
    ///
    /// A message of this side comes first, since both sides may have chosen the same id.
    pub(super) fn index_of(&self, id: u64) -> Option<u64> {
        let find = |is_own| {
            self.entries.iter().rposition(|entry| entry.id == Some(id) && entry.is_own == is_own)
        };
        find(true).or_else(|| find(false)).map(|offset| self.first + offset as u64)
    }

    fn push(&mut self, id: Option<u64>, is_own: bool) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
            self.first += 1;
        }
        // Ids go up to 2^53 - 1, so one more than the highest cannot overflow.
        self.highest = self.highest.max(id.unwrap_or(0));
        self.entries.push_back(Entry { id, is_own });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_indices_match() {
        let mut index = MessageIndex::default();
        assert_eq!(index.push_own(), 1);
        index.push_partner(Some(7));
        index.push_partner(None);
        assert_eq!(index.push_own(), 8);
        let ids = [0, 1, 2, 3, 4].map(|at| index.id_at(at));
        assert_eq!(ids, [Some(1), Some(7), None, Some(8), None]);
        let indices = [1, 7, 8, 9].map(|id| index.index_of(id));
        assert_eq!(indices, [Some(0), Some(1), Some(3), None]);
    }

    #[test]
    fn own_message_wins_among_equal_ids() {
        let mut index = MessageIndex::default();
        index.push_partner(Some(1));
        index.push(Some(1), true);
        assert_eq!(index.index_of(1), Some(1));
    }

    #[test]
    fn refused_message_takes_an_index() {
        let mut index = MessageIndex::default();
        index.push_refused();
        assert_eq!(index.push_own(), 1);
        assert_eq!([0, 1].map(|at| index.id_at(at)), [None, Some(1)]);
        assert_eq!(index.index_of(1), Some(1));
    }

    #[test]
    fn old_messages_are_evicted() {
        let mut index = MessageIndex::default();
        for _ in 0..=CAPACITY {
            index.push_own();
        }
        assert_eq!(index.id_at(0), None);
        assert_eq!(index.index_of(1), None);
        assert_eq!(index.id_at(1), Some(2));
        assert_eq!(index.index_of(2), Some(1));
    }
}

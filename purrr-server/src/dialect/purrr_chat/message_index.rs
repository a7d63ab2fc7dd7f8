//! Which message of a chat has which number: [`Log`].

use std::collections::VecDeque;

/// How many messages are remembered. What is older can no longer be answered or marked as read.
const REMEMBERED: usize = 1_024;

/// The messages of one chat in the order in which this side saw them.
///
/// Purrr.chat counts them from 0, both directions together; the native dialect names them by ids that their senders
/// choose. At 24 bytes a message this takes up to 24 KiB.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The index of the first entry.
    first: u64,
    highest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// None if its sender chose none, or if it was refused: it counts, but nobody can refer to it.
    id: Option<u64>,
    mine: bool,
}

impl Log {
    /// This side says something. Returns the id it gets: one more than the highest so far.
    pub(super) fn said(&mut self) -> u64 {
        let id = self.highest + 1;
        self.push(Some(id), true);
        id
    }

    /// This side said something that goes no further. Its page shows it, so what follows has the next index.
    pub(super) fn refused(&mut self) {
        self.push(None, true);
    }

    /// The partner said something.
    pub(super) fn heard(&mut self, id: Option<u64>) {
        self.push(id, false);
    }

    /// The id of the message with this index.
    pub(super) fn id_at(&self, index: u64) -> Option<u64> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(offset).and_then(|entry| entry.id)
    }

    /// The index of the message that the partner means by this id: one of this side's if there is one, else one of its own.
    pub(super) fn index_of(&self, id: u64) -> Option<u64> {
        let find = |mine| {
            self.entries.iter().rposition(|entry| entry.id == Some(id) && entry.mine == mine)
        };
        find(true).or_else(|| find(false)).map(|offset| self.first + offset as u64)
    }

    fn push(&mut self, id: Option<u64>, mine: bool) {
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
            self.first += 1;
        }
        // Ids go up to 2^53 - 1; what a partner chose beyond our next one cannot overflow.
        self.highest = self.highest.max(id.unwrap_or(0));
        self.entries.push_back(Entry { id, mine });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_and_ids_name_the_same_messages() {
        let mut log = Log::default();
        assert_eq!(log.said(), 1);
        log.heard(Some(7));
        log.heard(None);
        assert_eq!(log.said(), 8);
        let ids = [0, 1, 2, 3, 4].map(|index| log.id_at(index));
        assert_eq!(ids, [Some(1), Some(7), None, Some(8), None]);
        let indices = [1, 7, 8, 9].map(|id| log.index_of(id));
        assert_eq!(indices, [Some(0), Some(1), Some(3), None]);
    }

    #[test]
    fn of_two_messages_with_one_id_the_partner_means_this_sides() {
        let mut log = Log::default();
        log.heard(Some(1));
        log.push(Some(1), true);
        assert_eq!(log.index_of(1), Some(1));
    }

    #[test]
    fn what_was_refused_has_an_index_and_no_name() {
        let mut log = Log::default();
        log.refused();
        assert_eq!(log.said(), 1);
        assert_eq!([0, 1].map(|index| log.id_at(index)), [None, Some(1)]);
        assert_eq!(log.index_of(1), Some(1));
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut log = Log::default();
        for _ in 0..=REMEMBERED {
            log.said();
        }
        assert_eq!(log.id_at(0), None);
        assert_eq!(log.index_of(1), None);
        assert_eq!(log.id_at(1), Some(2));
        assert_eq!(log.index_of(2), Some(1));
    }
}

//! The numbers that nodes tell each other: [`Numbers`].

use serde::{Deserialize, Serialize};

/// What one node counts, or several together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Numbers {
    /// Places in the lobby.
    pub(crate) waiting: u64,
    /// Peers that were matched. Two make a chat.
    pub(crate) matched: u64,
    pub(crate) online: u64,
    /// Searches of the hub, which may go on after a match that came to nothing.
    pub(crate) searching: u64,
    /// How long searches took lately, in milliseconds.
    pub(crate) waits: Vec<u64>,
}

/// How many waits each node tells of.
pub(crate) const WAITS: usize = 16;

/// The number of waits from which there is an estimate.
const ENOUGH: usize = 5;

impl Numbers {
    pub(crate) fn add(&mut self, other: Self) {
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.matched = self.matched.saturating_add(other.matched);
        self.online = self.online.saturating_add(other.online);
        self.searching = self.searching.saturating_add(other.searching);
        self.waits.extend(other.waits.into_iter().take(WAITS));
    }

    /// Returns the median of the waits, if there are enough.
    pub(crate) fn median_wait(mut self) -> Option<u64> {
        let middle = self.waits.len() / 2;
        (self.waits.len() >= ENOUGH).then(|| *self.waits.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_needs_enough_waits_of_all_nodes_together() {
        let of = |waits: &[u64]| Numbers { waits: waits.to_vec(), ..Numbers::default() };
        let mut numbers = of(&[9, 1]);
        numbers.add(of(&[8, 2]));
        assert_eq!(numbers.clone().median_wait(), None);
        numbers.add(of(&[4]));
        assert_eq!(numbers.median_wait(), Some(4));
    }

    #[test]
    fn numbers_of_other_versions_are_read() {
        let read = serde_json::from_str::<Numbers>(r#"{"online":3,"later":[1]}"#).unwrap();
        assert_eq!(read, Numbers { online: 3, ..Numbers::default() });
    }
}

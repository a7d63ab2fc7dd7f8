//! Those who look in one bucket, oldest first: [`Line`].

use std::collections::VecDeque;

/// A queue from which anybody can step out in constant time.
///
/// Stepping out leaves a gap; gaps at the front go at once and the rest when they outnumber those who wait.
#[derive(Debug)]
pub(super) struct Line<K> {
    spots: VecDeque<Option<K>>,
    /// The number of the spot at the front.
    first: u64,
    occupied: usize,
}

impl<K> Default for Line<K> {
    fn default() -> Self {
        Self { spots: VecDeque::new(), first: 0, occupied: 0 }
    }
}

impl<K: Copy> Line<K> {
    /// Stands at the end and returns the number of the spot.
    pub(super) fn join(&mut self, key: K) -> u64 {
        let spot = self.first + self.spots.len() as u64;
        self.spots.push_back(Some(key));
        self.occupied += 1;
        spot
    }

    /// Steps out of a spot. Returns those whose spots have new numbers since, which is rarely anybody.
    pub(super) fn leave(&mut self, spot: u64) -> Vec<(K, u64)> {
        let index = usize::try_from(spot - self.first).unwrap_or(usize::MAX);
        if self.spots.get_mut(index).and_then(Option::take).is_some() {
            self.occupied -= 1;
        }
        while let Some(None) = self.spots.front() {
            self.spots.pop_front();
            self.first += 1;
        }
        if self.spots.len() > 2 * self.occupied + 16 { self.close_ranks() } else { Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Everybody, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = K> {
        self.spots.iter().filter_map(|spot| *spot)
    }

    fn close_ranks(&mut self) -> Vec<(K, u64)> {
        self.first += self.spots.len() as u64;
        self.spots.retain(Option::is_some);
        self.spots.shrink_to(2 * self.occupied);
        self.iter().zip(self.first..).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest thing that does the same.
        #[test]
        fn order_and_numbers_survive_any_leaving(steps in prop::collection::vec(0_usize..60, 1..400)) {
            let mut line = Line::default();
            let mut plain: Vec<(usize, u64)> = Vec::new();
            for (name, step) in steps.into_iter().enumerate() {
                if step < 30 || plain.is_empty() {
                    plain.push((name, line.join(name)));
                } else {
                    let (_, spot) = plain.remove(step % plain.len());
                    for (moved, spot) in line.leave(spot) {
                        plain.iter_mut().filter(|(key, _)| *key == moved).for_each(|entry| entry.1 = spot);
                    }
                }
                prop_assert!(line.iter().eq(plain.iter().map(|(key, _)| *key)));
                prop_assert_eq!(line.is_empty(), plain.is_empty());
                prop_assert!(line.spots.len() <= 2 * plain.len() + 16);
            }
        }
    }
}

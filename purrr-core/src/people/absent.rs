//! In which order absent persons are forgotten: [`AbsentPersons`].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use tokio::time::Instant;

use crate::model::{
    ids::{OriginKey, PersonId},
    person::PersonAt,
};

/// The absent persons, by the time of their expiry and by their origin.
///
/// An operation takes O(log n).
#[derive(Debug, Default)]
pub(super) struct AbsentPersons {
    expiring: BTreeSet<(Instant, PersonId)>,
    /// The persons of each origin, those that left first before others.
    by_origin: BTreeMap<(OriginKey, u64), PersonId>,
    /// The number of persons of each origin.
    counts: BTreeMap<OriginKey, usize>,
    /// The origins by what is remembered of them. The greatest share gives way first.
    shares: BTreeSet<Share>,
    /// The number of the next absence.
    next: u64,
}

/// One absence of a person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    expires: Instant,
    /// Ascends in the order in which persons left.
    number: u64,
}

/// How much of what is remembered belongs to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    persons: usize,
    /// Among equals, the origin with the oldest absence gives way first.
    oldest: Reverse<u64>,
    origin: OriginKey,
}

impl AbsentPersons {
    /// Returns the number of absent persons.
    pub(super) fn len(&self) -> usize {
        self.expiring.len()
    }

    /// Adds a person that has just left, until `expires` at the latest.
    pub(super) fn insert(&mut self, absent: PersonAt, expires: Instant) -> Absence {
        let number = self.next;
        self.next += 1;
        self.expiring.insert((expires, absent.person));
        self.change_share(absent.origin, |it| {
            it.by_origin.insert((absent.origin, number), absent.person);
            *it.counts.entry(absent.origin).or_default() += 1;
        });
        Absence { expires, number }
    }

    /// Removes a person, which must be at the origin that it was added with.
    pub(super) fn remove(&mut self, absent: PersonAt, Absence { expires, number }: Absence) {
        self.expiring.remove(&(expires, absent.person));
        self.change_share(absent.origin, |it| {
            it.by_origin.remove(&(absent.origin, number));
            match it.counts.get_mut(&absent.origin) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(it.counts.remove(&absent.origin)),
            }
        });
    }

    /// Returns the person that expires first, if it has expired by now.
    pub(super) fn expired(&self, now: Instant) -> Option<PersonId> {
        self.expiring.first().filter(|(expires, _)| *expires <= now).map(|(_, person)| *person)
    }

    /// Returns the person that left first of the origin with the most absent persons.
    pub(super) fn oldest_of_largest_share(&self) -> Option<PersonId> {
        let Share { origin, oldest: Reverse(number), .. } = *self.shares.last()?;
        self.by_origin.get(&(origin, number)).copied()
    }

    /// Applies a change to the persons of an origin, and ranks the origin anew.
    fn change_share(&mut self, origin: OriginKey, change: impl FnOnce(&mut Self)) {
        if let Some(before) = self.share(origin) {
            self.shares.remove(&before);
        }
        change(self);
        self.shares.extend(self.share(origin));
    }

    fn share(&self, origin: OriginKey) -> Option<Share> {
        let persons = *self.counts.get(&origin)?;
        let (&(_, number), _) = self.by_origin.range((origin, 0)..).next()?;
        Some(Share { persons, oldest: Reverse(number), origin })
    }

    /// Asserts that all indexes hold the same persons.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.by_origin.len(), self.expiring.len());
        let mut counts: BTreeMap<OriginKey, usize> = BTreeMap::new();
        for (origin, _) in self.by_origin.keys() {
            *counts.entry(*origin).or_default() += 1;
        }
        assert_eq!(self.counts, counts);
        let shares: BTreeSet<Share> =
            counts.keys().filter_map(|origin| self.share(*origin)).collect();
        assert_eq!(self.shares, shares);
    }
}

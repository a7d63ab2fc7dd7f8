//! One peer's request to be matched: [`Ticket`] and the [`Exclusions`] list that goes with it.

use std::time::Duration;

use crate::model::{
    attributes::Attributes,
    ids::{OriginKey, PeerId, PersonId},
    profile::{Capabilities, Hello, Interest, Search},
};

/// One peer's request to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// The peer that asks.
    pub peer: PeerId,
    /// The person behind the peer. Two peers of one person are never matched.
    pub person: PersonId,
    /// The introduction that the partner receives.
    pub hello: Hello,
    /// The client's address as a keyed hash. Never shown to a client or in a log.
    pub origin: OriginKey,
    /// The interests and languages to match by.
    pub search: Search,
    /// The features of its client.
    pub capabilities: Capabilities,
    /// What the embedder knows of the peer, for rules. Never shown to a client.
    pub attributes: Attributes,
    /// The persons that it must not be matched with.
    pub exclusions: Exclusions,
    /// The time that the peer has waited already, in a place that it gave up to enter again.
    pub waited: Duration,
}

/// The persons that a peer must not be matched with, for a while or ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exclusions {
    /// Recent partners. Avoided until both have waited for their `relax_after`.
    pub recent: Box<[PersonId]>,
    /// The wait after which recent partners are allowed again, and partners of an address with many
    /// waiting peers. Default: 0, which allows them at once.
    pub relax_after: Duration,
    /// Boxed, because most tickets have none.
    blocked: Option<Box<Blocked>>,
}

/// Whom a peer has blocked. Never matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Blocked {
    /// In ascending order.
    persons: Box<[PersonId]>,
    /// In ascending order.
    origins: Box<[OriginKey]>,
}

impl Ticket {
    /// Creates a ticket without name, interests or exclusions, for a client with all capabilities.
    #[must_use]
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            person: PersonId::from_bits(peer.to_bits()),
            origin: OriginKey::NONE,
            hello: Hello::default(),
            search: Search::default(),
            capabilities: Capabilities::default(),
            attributes: Attributes::default(),
            exclusions: Exclusions::default(),
            waited: Duration::ZERO,
        }
    }

    /// Returns true if the two may ever be matched, whatever their rules say.
    ///
    /// They must be two persons, neither may have blocked the other or its address, and both must
    /// encrypt or neither. Every lobby checks this in addition to the rules.
    ///
    /// ```
    /// use purrr_core::model::{Exclusions, PeerId, Ticket};
    /// let ann = Ticket::new(PeerId::from_bits(1));
    /// let mut bob = Ticket::new(PeerId::from_bits(2));
    /// assert!(ann.may_meet(&bob) && !ann.may_meet(&ann));
    /// bob.exclusions = Exclusions::default().blocking([ann.person]);
    /// assert!(!ann.may_meet(&bob) && !bob.may_meet(&ann));
    /// ```
    #[must_use]
    pub fn may_meet(&self, other: &Self) -> bool {
        self.person != other.person
            && self.hello.encrypts == other.hello.encrypts
            && !self.blocks(other)
            && !other.blocks(self)
    }

    /// Returns true if this ticket excludes the other's person or address.
    ///
    /// A block of an address does not keep two apart who share it.
    fn blocks(&self, other: &Self) -> bool {
        let exclusions = &self.exclusions;
        exclusions.blocks(other.person)
            || (exclusions.blocks_origin(other.origin) && self.origin != other.origin)
    }

    /// Returns true if either is a recent partner of the other.
    #[must_use]
    pub fn has_met(&self, other: &Self) -> bool {
        self.exclusions.recent.contains(&other.person)
            || other.exclusions.recent.contains(&self.person)
    }

    /// Returns the interests that both tickets have, in this ticket's order.
    pub fn shared_interests<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Interest> {
        self.search.interests.iter().filter(|mine| other.search.interests.contains(mine))
    }
}

impl Exclusions {
    /// Replaces the recent partners, which are avoided until the peer has waited for `relax_after`.
    #[must_use]
    pub fn recently(
        self,
        people: impl IntoIterator<Item = PersonId>,
        relax_after: Duration,
    ) -> Self {
        Self { recent: people.into_iter().collect(), relax_after, ..self }
    }

    /// Adds blocked persons.
    #[must_use]
    pub fn blocking(self, people: impl IntoIterator<Item = PersonId>) -> Self {
        self.with_blocked(|blocked| &mut blocked.persons, people)
    }

    /// Adds blocked addresses. Ignores [`OriginKey::NONE`].
    #[must_use]
    pub fn blocking_origins(self, origins: impl IntoIterator<Item = OriginKey>) -> Self {
        let origins = origins.into_iter().filter(|origin| *origin != OriginKey::NONE);
        self.with_blocked(|blocked| &mut blocked.origins, origins)
    }

    /// Adds what an embedder excludes to what a backend does. The longer `relax_after` applies.
    pub(crate) fn joined_with(self, other: &Self) -> Self {
        if other.recent.is_empty() && other.blocked.is_none() {
            return self;
        }
        let relax_after = self.relax_after.max(other.relax_after);
        let recent = self.recent.iter().chain(&other.recent).copied().collect();
        let joined = self.blocking(other.blocked().iter().copied());
        let joined = joined.blocking_origins(other.blocked_origins().iter().copied());
        Self { recent, relax_after, ..joined }
    }

    /// Returns the blocked persons, in ascending order.
    #[must_use]
    pub fn blocked(&self) -> &[PersonId] {
        self.blocked.as_ref().map_or(&[], |blocked| &blocked.persons)
    }

    /// Returns the blocked addresses, in ascending order.
    #[must_use]
    pub fn blocked_origins(&self) -> &[OriginKey] {
        self.blocked.as_ref().map_or(&[], |blocked| &blocked.origins)
    }

    /// Returns true if this person is blocked.
    #[must_use]
    pub fn blocks(&self, person: PersonId) -> bool {
        self.blocked().binary_search(&person).is_ok()
    }

    /// Returns true if this address is blocked.
    #[must_use]
    pub fn blocks_origin(&self, origin: OriginKey) -> bool {
        self.blocked_origins().binary_search(&origin).is_ok()
    }

    /// Adds to one of the two lists.
    fn with_blocked<T: Ord + Copy>(
        mut self,
        list: fn(&mut Blocked) -> &mut Box<[T]>,
        more: impl IntoIterator<Item = T>,
    ) -> Self {
        let mut more = more.into_iter().peekable();
        if more.peek().is_some() {
            let list = list(self.blocked.get_or_insert_default());
            let mut all: Vec<T> = list.iter().copied().chain(more).collect();
            all.sort_unstable();
            all.dedup();
            *list = all.into();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row is the origin of each side, the origin that the first blocks, and whether they meet.
    #[test]
    fn blocked_address_keeps_both_sides_apart() {
        for (a, b, blocked, meet) in
            [(1, 2, 2, false), (1, 2, 3, true), (2, 2, 2, true), (1, 0, 0, true), (0, 2, 2, false)]
        {
            let [mut ann, mut bob] = [1, 2].map(|peer| Ticket::new(PeerId::from_bits(peer)));
            (ann.origin, bob.origin) = (OriginKey::from_bits(a), OriginKey::from_bits(b));
            let blocked = OriginKey::from_bits(blocked);
            ann.exclusions = Exclusions::default().blocking_origins([blocked]);
            assert_eq!(ann.may_meet(&bob), meet, "{a} {b}");
            assert_eq!(bob.may_meet(&ann), meet, "{a} {b}");
        }
    }

    #[test]
    fn exclusions_of_nothing_are_the_default() {
        let none = Exclusions::default().blocking([]).blocking_origins([OriginKey::NONE]);
        assert_eq!(none, Exclusions::default());
    }
}

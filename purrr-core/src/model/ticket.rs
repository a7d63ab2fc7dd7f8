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
    /// The wait after which recent partners are allowed again. Default: 0, which allows them at
    /// once.
    pub relax_after: Duration,
    /// Blocked persons, in ascending order. Never matched.
    blocked: Box<[PersonId]>,
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
    /// They must be two persons, neither may have blocked the other, and both must encrypt or
    /// neither. Every lobby checks this in addition to the rules.
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
            && !self.exclusions.blocks(other.person)
            && !other.exclusions.blocks(self.person)
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
        let mut blocked: Vec<PersonId> = self.blocked.into_iter().chain(people).collect();
        blocked.sort_unstable();
        blocked.dedup();
        Self { blocked: blocked.into(), ..self }
    }

    /// Adds what an embedder excludes to what a backend does. The longer `relax_after` applies.
    pub(crate) fn joined_with(self, other: &Self) -> Self {
        if other.recent.is_empty() && other.blocked.is_empty() {
            return self;
        }
        let relax_after = self.relax_after.max(other.relax_after);
        let recent = self.recent.iter().chain(&other.recent).copied().collect();
        Self { recent, relax_after, ..self.blocking(other.blocked.iter().copied()) }
    }

    /// Returns the blocked persons, in ascending order.
    #[must_use]
    pub fn blocked(&self) -> &[PersonId] {
        &self.blocked
    }

    /// Returns true if this person is blocked.
    #[must_use]
    pub fn blocks(&self, person: PersonId) -> bool {
        self.blocked.binary_search(&person).is_ok()
    }
}

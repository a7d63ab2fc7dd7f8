//! One peer's request to be matched: [`Ticket`] and the [`Exclusions`] list that goes with it.

use std::time::Duration;

use crate::model::{
    ids::{PeerId, PersonId},
    profile::{Capabilities, Hello, Interest, Search},
};

/// One peer's wish to be paired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// Whose wish it is.
    pub peer: PeerId,
    /// Who is behind the peer. Nobody meets themself, however many peers they are.
    pub person: PersonId,
    /// Who the peer is, as its partner will be told.
    pub hello: Hello,
    /// Whom it would like to meet.
    pub search: Search,
    /// What its client can take.
    pub capabilities: Capabilities,
    /// Whom it should not meet.
    pub exclusions: Exclusions,
    /// How long the peer has waited already, in a place that it had to give up for a moment.
    pub waited: Duration,
}

/// Whom a peer should not meet: some not so soon again, and some never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exclusions {
    /// Those it met lately. They meet again only when both have waited for their `relax_after`.
    pub recent: Box<[PersonId]>,
    /// How long whoever it met lately is avoided while it waits. Default zero: not at all.
    pub relax_after: Duration,
    /// Those it blocked, in ascending order. They never meet.
    blocked: Box<[PersonId]>,
}

impl Ticket {
    /// A wish to meet anyone, from somebody without a name or a past, on a client that takes everything.
    #[must_use]
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            person: PersonId::from_bits(peer.to_bits()),
            hello: Hello::default(),
            search: Search::default(),
            capabilities: Capabilities::default(),
            exclusions: Exclusions::default(),
            waited: Duration::ZERO,
        }
    }

    /// Whether the two may ever meet, in the lobby's own opinion: they are two people, neither has blocked the other, and
    /// either both encrypt or neither does.
    ///
    /// Every lobby asks this of two candidates beside what their rules say.
    ///
    /// ```
    /// use purrr_core::model::{Exclusions, PeerId, Ticket};
    /// let ann = Ticket::new(PeerId::from_bits(1));
    /// let mut bob = Ticket::new(PeerId::from_bits(2));
    /// assert!(ann.may_meet(&bob) && !ann.may_meet(&ann));
    /// bob.avoid = Exclusions::default().blocking([ann.person]);
    /// assert!(!ann.may_meet(&bob) && !bob.may_meet(&ann));
    /// ```
    #[must_use]
    pub fn may_meet(&self, other: &Self) -> bool {
        self.person != other.person
            && self.hello.encrypts == other.hello.encrypts
            && !self.exclusions.blocks(other.person)
            && !other.exclusions.blocks(self.person)
    }

    /// Whether either has met the other lately.
    #[must_use]
    pub fn has_met(&self, other: &Self) -> bool {
        self.exclusions.recent.contains(&other.person)
            || other.exclusions.recent.contains(&self.person)
    }

    /// The interests that this ticket and the other have in common, in this one's order.
    pub fn shared_interests<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Interest> {
        self.search.interests.iter().filter(|mine| other.search.interests.contains(mine))
    }
}

impl Exclusions {
    /// The same, and none of these until it has waited for `relax_after`.
    #[must_use]
    pub fn recently(
        self,
        people: impl IntoIterator<Item = PersonId>,
        relax_after: Duration,
    ) -> Self {
        Self { recent: people.into_iter().collect(), relax_after, ..self }
    }

    /// The same, and never one of these.
    #[must_use]
    pub fn blocking(self, people: impl IntoIterator<Item = PersonId>) -> Self {
        let mut blocked: Vec<PersonId> = self.blocked.into_iter().chain(people).collect();
        blocked.sort_unstable();
        blocked.dedup();
        Self { blocked: blocked.into(), ..self }
    }

    /// Those it blocked, in ascending order.
    #[must_use]
    pub fn blocked(&self) -> &[PersonId] {
        &self.blocked
    }

    /// Whether this person was blocked.
    #[must_use]
    pub fn blocks(&self, person: PersonId) -> bool {
        self.blocked.binary_search(&person).is_ok()
    }
}

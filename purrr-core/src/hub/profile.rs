//! What an embedder knows of a peer that arrives: [`Profile`].

use std::{mem, sync::Arc, time::Duration};

use crate::{
    backend::budget::QueueBudget,
    hub::transport::Gate,
    model::{
        attributes::Attributes,
        ids::{OriginKey, PersonId, ResumeToken},
        profile::{Capabilities, Hello, Search},
        ticket::Exclusions,
    },
    rate::shared::Allowance,
};

/// What an embedder knows of a peer that arrives.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Profile {
    /// How the peer introduces itself.
    pub hello: Hello,
    /// Whom the peer searches for: by [`Hub::pair`](crate::Hub::pair), and by a first `next` of a
    /// session. A `find` of its client brings a search of its own.
    pub search: Search,
    /// What its client supports.
    pub capabilities: Capabilities,
    /// The person behind the peer, if the embedder vouches for it. Default: a new person.
    ///
    /// Two peers of one person are never matched, and neither are persons of whom one has blocked
    /// the other. A resume token of another person is then not accepted.
    pub person: Option<PersonId>,
    /// The resume token that came with the connection. One that is unknown or used up changes
    /// nothing. Default: none.
    pub resume: Option<ResumeToken>,
    /// The client's address as a keyed hash. Default: none, so that no limit of an address applies.
    ///
    /// It counts for [`Limits::waiting_per_address`](crate::Limits::waiting_per_address),
    /// [`Limits::block_address_for`](crate::Limits::block_address_for) and
    /// [`Limits::remembered`](crate::Limits::remembered).
    pub origin: OriginKey,
    /// The rates that the peer shares with others, beside [`Limits::rates`](crate::Limits::rates)
    /// of its own. Default: none.
    pub allowance: Option<Arc<Allowance>>,
    /// The memory budget that pays for small frames of the peer that wait for a partner. Default:
    /// none, so that only the limits of the queue apply.
    pub budget: Option<Arc<dyn QueueBudget>>,
    /// The gate of which the transport has a clone. Default: none, so backpressure pauses the whole
    /// transport.
    pub gate: Option<Gate>,
    /// One pointer, since every connection holds a profile.
    pub(crate) hints: Option<Box<Hints>>,
}

/// What the embedder's own store says of a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    pub(crate) attributes: Attributes,
    pub(crate) exclusions: Exclusions,
}

impl Profile {
    /// Creates the profile of a peer that has a name and searches for any partner.
    pub fn named(name: &str) -> Self {
        Self::of(Hello::named(name))
    }

    /// Creates the profile of a peer that introduces itself so, and searches for any partner.
    #[must_use]
    pub fn of(hello: Hello) -> Self {
        Self { hello, ..Self::default() }
    }

    /// Returns the same profile with another search.
    #[must_use]
    pub fn seeking(mut self, search: Search) -> Self {
        self.search = search;
        self
    }

    /// Sets the features of the peer's client.
    #[must_use]
    pub const fn capable_of(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the [person](Self::person), whom the embedder vouches for.
    #[must_use]
    pub const fn person(mut self, person: PersonId) -> Self {
        self.person = Some(person);
        self
    }

    /// Sets the [resume token](Self::resume) that came with the connection.
    #[must_use]
    pub const fn resuming(mut self, token: ResumeToken) -> Self {
        self.resume = Some(token);
        self
    }

    /// Sets the client's [address](Self::origin) as a keyed hash.
    #[must_use]
    pub const fn from_origin(mut self, origin: OriginKey) -> Self {
        self.origin = origin;
        self
    }

    /// Sets what the embedder knows of the peer, for its pairing rule. Never shown to a partner.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.hints().attributes = attributes;
        self
    }

    /// Adds persons that the peer has blocked, from a store of the embedder.
    ///
    /// They are kept apart whichever of the two searches, in addition to those that the backend
    /// remembers. What the store learns later does not reach a session that runs.
    ///
    /// ```
    /// use purrr_core::{Profile, model::PersonId};
    /// let [ann, bob] = [1, 2].map(PersonId::from_bits);
    /// let profile = Profile::named("Ann").person(ann).blocking([bob]);
    /// assert!(profile.exclusions().is_some_and(|all| all.blocks(bob)));
    /// ```
    #[must_use]
    pub fn blocking(mut self, persons: impl IntoIterator<Item = PersonId>) -> Self {
        let exclusions = &mut self.hints().exclusions;
        *exclusions = mem::take(exclusions).blocking(persons);
        self
    }

    /// Sets persons to avoid until the peer has waited for `relax_after`, in addition to its recent
    /// partners.
    #[must_use]
    pub fn avoiding(
        mut self,
        persons: impl IntoIterator<Item = PersonId>,
        relax_after: Duration,
    ) -> Self {
        let exclusions = &mut self.hints().exclusions;
        *exclusions = mem::take(exclusions).recently(persons, relax_after);
        self
    }

    /// Returns the persons that the embedder keeps away from the peer.
    #[must_use]
    pub fn exclusions(&self) -> Option<&Exclusions> {
        self.hints.as_ref().map(|hints| &hints.exclusions)
    }

    fn hints(&mut self) -> &mut Hints {
        self.hints.get_or_insert_default()
    }

    /// Sets the [rates](Self::allowance) that the peer shares with others.
    #[must_use]
    pub fn sharing(mut self, allowance: Arc<Allowance>) -> Self {
        self.allowance = Some(allowance);
        self
    }

    /// Sets the [memory budget](Self::budget) that pays for frames that wait for a partner.
    #[must_use]
    pub fn paying_from(mut self, budget: Arc<dyn QueueBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the [gate](Self::gate) of which the transport has a clone.
    #[must_use]
    pub fn gated(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }
}

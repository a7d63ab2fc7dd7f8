//! What an embedder knows of a peer that arrives: [`Profile`].

use std::sync::Arc;

use crate::{
    hub::transport::Gate,
    model::{
        ids::{OriginKey, PersonId, ResumeToken},
        profile::{Capabilities, Hello, Search},
    },
    rate::shared::Allowance,
};

/// What an embedder knows of a peer that arrives.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Profile {
    /// How the peer introduces itself.
    pub hello: Hello,
    /// Whom the peer searches for.
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
    /// The client's address as a keyed hash, for
    /// [`Limits::waiting_per_address`](crate::Limits::waiting_per_address). Default: none, so its
    /// waiting places do not count.
    pub origin: OriginKey,
    /// The rates that the peer shares with others, beside [`Limits::rates`](crate::Limits::rates)
    /// of its own. Default: none.
    pub allowance: Option<Arc<Allowance>>,
    /// The gate of which the transport has a clone. Default: none, so backpressure pauses the whole
    /// transport.
    pub gate: Option<Gate>,
}

impl Profile {
    /// Creates the profile of a peer that has a name and searches for any partner.
    pub fn named(name: &str) -> Self {
        Self { hello: Hello::named(name), ..Self::default() }
    }

    /// Returns the same profile with another search.
    #[must_use]
    pub fn seeking(mut self, search: Search) -> Self {
        self.search = search;
        self
    }
}

//! What is known of a peer when it arrives: [`Profile`].

use crate::{
    hub::transport::Gate,
    model::{
        ids::{PersonId, ResumeToken},
        profile::{Capabilities, Hello, Search},
    },
    rate::shared::Allowance,
};
use std::sync::Arc;

/// What is known of a peer when it arrives.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Profile {
    /// Who it is.
    pub hello: Hello,
    /// Whom it would like to meet.
    pub search: Search,
    /// What its client can take.
    pub capabilities: Capabilities,
    /// Who is behind the peer, if the embedder knows: the same person never meets itself, nor whom it has blocked.
    /// Default: somebody nobody knows yet. A resume token of another person then changes nothing.
    pub person: Option<PersonId>,
    /// The token of an earlier session of the same person, if its transport knows one. One that is nobody's, or not any
    /// more, changes nothing.
    pub resume: Option<ResumeToken>,
    /// What several peers may do together, beside what [`Limits::rates`](crate::Limits::rates) says of each. Default: this one shares nothing.
    pub allowance: Option<Arc<Allowance>>,
    /// Which the transport of the peer has a clone of. Default: it has none, and is not polled while its peer is held up.
    pub gate: Option<Gate>,
}

impl Profile {
    /// Somebody with a name who would meet anyone.
    pub fn named(name: &str) -> Self {
        Self { hello: Hello::named(name), ..Self::default() }
    }

    /// The same peer, looking for somebody in particular.
    #[must_use]
    pub fn seeking(mut self, search: Search) -> Self {
        self.search = search;
        self
    }
}

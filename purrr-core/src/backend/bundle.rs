//! The three parts of a backend: [`Backend`].

use std::sync::Arc;

use crate::{
    backend::{
        lobby::Lobby,
        memory::{MemoryLobby, MemoryPeople, MemoryRelay},
        people::People,
        relay::Relay,
    },
    model::limits::Limits,
};

/// A lobby with the relay and the people that belong to it. Clones share them.
///
/// ```
/// use purrr_core::{Hub, Limits, backend::Backend};
///
/// // Two hubs of one process whose peers meet.
/// let backend = Backend::memory(&Limits::default());
/// let one = Hub::builder().backend(backend.clone()).build();
/// let other = Hub::builder().backend(backend).build();
/// # let _ = (one, other);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Backend {
    /// Who waits.
    pub lobby: Arc<dyn Lobby>,
    /// What flows.
    pub relay: Arc<dyn Relay>,
    /// Who is known.
    pub people: Arc<dyn People>,
}

impl Backend {
    /// Creates a backend of parts that belong together.
    #[must_use]
    pub fn new(lobby: Arc<dyn Lobby>, relay: Arc<dyn Relay>, people: Arc<dyn People>) -> Self {
        Self { lobby, relay, people }
    }

    /// Creates an empty backend within this process, bounded by these limits.
    #[must_use]
    pub fn memory(limits: &Limits) -> Self {
        Self {
            lobby: Arc::new(MemoryLobby::new(limits.clone())),
            relay: Arc::new(MemoryRelay),
            people: Arc::new(MemoryPeople::new(limits.clone())),
        }
    }
}

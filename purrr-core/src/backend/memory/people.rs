//! Who is known within one process: [`MemoryPeople`].

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    backend::{
        people::{Identity, People, PeopleError, PersonAt},
        presence::Presence,
    },
    model::{
        event::QueueStatus,
        ids::{PersonId, ResumeToken},
        limits::Limits,
        ticket::Exclusions,
    },
    people::Registry,
    sync::{Mutex, MutexGuard, lock},
};

/// The [`People`] of one process: a registry behind a mutex that is never held across an await.
/// Clones share it.
///
/// Memory: 500 to 700 bytes for a remembered person, and 3.5 KB with all blocks (measured by
/// `benches/memory.rs`). Worst case: 70 MB for the default of 100,000 absent persons, and 350 MB if
/// each uses all its blocks. Present persons come on top.
#[derive(Clone)]
pub struct MemoryPeople {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Mutex<Registry>,
    presence: Presence,
}

impl MemoryPeople {
    /// Creates an empty registry, bounded by the limits of recent partners, blocks and remembered
    /// persons.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let registry = Mutex::new(Registry::new(limits));
        Self { shared: Arc::new(Shared { registry, presence: Presence::default() }) }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.shared.registry)
    }
}

#[async_trait]
impl People for MemoryPeople {
    fn arrive(&self, peer: Identity) {
        self.registry().handle_arrive(peer);
        self.shared.presence.arrive();
    }

    fn depart(&self, token: ResumeToken) {
        self.registry().handle_depart(Instant::now(), token);
        self.shared.presence.depart();
    }

    async fn resume(
        &self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        Ok(self.registry().handle_resume(Instant::now(), token, other, authenticated))
    }

    async fn exclusions(&self, person: PersonId) -> Result<Exclusions, PeopleError> {
        Ok(self.registry().exclusions(Instant::now, person))
    }

    async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, PeopleError> {
        Ok(self.registry().keeps_apart(Instant::now, a, b))
    }

    async fn met(&self, peer: Identity, partner: PersonId) -> Result<(), PeopleError> {
        self.registry().handle_met(Instant::now(), peer, partner);
        Ok(())
    }

    async fn block(&self, peer: Identity, other: PersonAt) -> Result<(), PeopleError> {
        self.registry().handle_block(Instant::now(), peer, other);
        Ok(())
    }

    fn begin_search(&self) {
        self.shared.presence.begin_search();
    }

    fn end_search(&self, waited: Option<Duration>) {
        self.shared.presence.end_search(Instant::now(), waited);
    }

    fn online(&self) -> u64 {
        self.shared.presence.online()
    }

    fn queue_status(&self) -> QueueStatus {
        self.shared.presence.queue_status(Instant::now())
    }
}

impl Default for MemoryPeople {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl fmt::Debug for MemoryPeople {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPeople").field("online", &self.online()).finish_non_exhaustive()
    }
}

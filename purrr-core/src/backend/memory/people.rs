//! Who is known within one process: [`MemoryPeople`].

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    backend::{
        people::{Identity, People, PeopleError},
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
/// Memory: 30 MB for the default of 100,000 remembered persons, and 230 MB if each uses all its
/// blocks.
#[derive(Clone)]
pub struct MemoryPeople {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Mutex<Registry>,
    presence: Presence,
    limits: Limits,
}

impl MemoryPeople {
    /// Creates an empty registry, bounded by the limits of recent partners, blocks and remembered
    /// persons.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (registry, presence) = (Mutex::default(), Presence::default());
        Self { shared: Arc::new(Shared { registry, presence, limits }) }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.shared.registry)
    }
}

#[async_trait]
impl People for MemoryPeople {
    fn arrive(&self, Identity { person, token }: Identity) {
        self.registry().handle_arrive(token, person);
        self.shared.presence.arrive();
    }

    fn depart(&self, token: ResumeToken) {
        self.registry().handle_depart(&self.shared.limits, Instant::now(), token);
        self.shared.presence.depart();
    }

    async fn resume(
        &self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        Ok(self.registry().handle_resume(token, other, authenticated))
    }

    async fn exclusions(&self, person: PersonId) -> Result<Exclusions, PeopleError> {
        Ok(self.registry().exclusions(&self.shared.limits, Instant::now(), person))
    }

    async fn keeps_apart(&self, a: PersonId, b: PersonId) -> Result<bool, PeopleError> {
        Ok(self.registry().keeps_apart(a, b))
    }

    async fn met(
        &self,
        Identity { person, token }: Identity,
        partner: PersonId,
    ) -> Result<(), PeopleError> {
        let (limits, now) = (&self.shared.limits, Instant::now());
        self.registry().handle_met(limits, now, (person, token), partner);
        Ok(())
    }

    async fn block(
        &self,
        Identity { person, token }: Identity,
        other: PersonId,
    ) -> Result<(), PeopleError> {
        let (limits, now) = (&self.shared.limits, Instant::now());
        self.registry().handle_block(limits, now, (person, token), other);
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

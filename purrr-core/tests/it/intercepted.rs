//! A people backend in which a test changes single calls: [`Intercepted`].

use std::{fmt, time::Duration};

use async_trait::async_trait;
use purrr_core::{
    backend::{Identity, MemoryPeople, People, PeopleError, PersonAt},
    model::{Exclusions, PersonId, QueueStatus, ResumeToken},
};

/// The backend in memory, whose calls pass through `by`.
#[derive(Debug, Default)]
pub(crate) struct Intercepted<T> {
    pub(crate) inner: MemoryPeople,
    pub(crate) by: T,
}

/// What happens instead of a call. Default: the call.
#[async_trait]
pub(crate) trait Intercept: fmt::Debug + Send + Sync + 'static {
    /// Called before each `async` call, which fails if this does.
    async fn before_call(&self) -> Result<(), PeopleError> {
        Ok(())
    }

    fn arrive(&self, inner: &MemoryPeople, peer: Identity) {
        inner.arrive(peer);
    }

    fn depart(&self, inner: &MemoryPeople, token: ResumeToken) {
        inner.depart(token);
    }

    async fn resume(
        &self,
        inner: &MemoryPeople,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        inner.resume(token, other, authenticated).await
    }

    async fn keeps_apart(
        &self,
        inner: &MemoryPeople,
        a: PersonAt,
        b: PersonAt,
    ) -> Result<bool, PeopleError> {
        inner.keeps_apart(a, b).await
    }

    async fn met(
        &self,
        inner: &MemoryPeople,
        peer: Identity,
        partner: PersonId,
    ) -> Result<(), PeopleError> {
        inner.met(peer, partner).await
    }

    async fn block(
        &self,
        inner: &MemoryPeople,
        peer: Identity,
        other: PersonAt,
    ) -> Result<(), PeopleError> {
        inner.block(peer, other).await
    }

    fn begin_search(&self, inner: &MemoryPeople) {
        inner.begin_search();
    }

    fn end_search(&self, inner: &MemoryPeople, waited: Option<Duration>) {
        inner.end_search(waited);
    }
}

#[async_trait]
impl<T: Intercept> People for Intercepted<T> {
    fn arrive(&self, peer: Identity) {
        self.by.arrive(&self.inner, peer);
    }

    fn depart(&self, token: ResumeToken) {
        self.by.depart(&self.inner, token);
    }

    async fn resume(
        &self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        self.by.before_call().await?;
        self.by.resume(&self.inner, token, other, authenticated).await
    }

    async fn exclusions(&self, person: PersonId) -> Result<Exclusions, PeopleError> {
        self.by.before_call().await?;
        self.inner.exclusions(person).await
    }

    async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, PeopleError> {
        self.by.before_call().await?;
        self.by.keeps_apart(&self.inner, a, b).await
    }

    async fn met(&self, peer: Identity, partner: PersonId) -> Result<(), PeopleError> {
        self.by.before_call().await?;
        self.by.met(&self.inner, peer, partner).await
    }

    async fn block(&self, peer: Identity, other: PersonAt) -> Result<(), PeopleError> {
        self.by.before_call().await?;
        self.by.block(&self.inner, peer, other).await
    }

    fn begin_search(&self) {
        self.by.begin_search(&self.inner);
    }

    fn end_search(&self, waited: Option<Duration>) {
        self.by.end_search(&self.inner, waited);
    }

    fn online(&self) -> u64 {
        self.inner.online()
    }

    fn queue_status(&self) -> QueueStatus {
        self.inner.queue_status()
    }
}

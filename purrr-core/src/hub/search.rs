//! The search of one peer for a partner: [`Searching`].

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    backend::{
        lobby::LobbyError,
        people::{Identity, PeopleError},
        pipe::Pipe,
        relay::RelayError,
    },
    hub::shared::Shared,
    model::{ids::ChatId, ticket::Ticket},
};

/// A search under way. Dropping it gives up the place, the match or the chat that it has come to.
pub(crate) struct Searching {
    search: Pin<Box<dyn Future<Output = Result<Found, SearchError>> + Send>>,
    opening: Arc<AtomicBool>,
}

/// The chat that a search ended with.
pub(crate) struct Found {
    pub(crate) chat: ChatId,
    pub(crate) partner: Arc<Ticket>,
    pub(crate) pipe: Pipe,
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    #[error(transparent)]
    Lobby(#[from] LobbyError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    People(#[from] PeopleError),
}

/// Counts a peer as waiting until it is dropped.
struct WaitingGuard<'a> {
    hub: &'a Shared,
    began: Instant,
    waited: Option<Duration>,
}

/// Begins a search when it is first polled.
pub(super) fn search(hub: Arc<Shared>, peer: Identity, ticket: Ticket) -> Searching {
    let opening = Arc::new(AtomicBool::new(false));
    let search = Box::pin(find(hub, peer, ticket, Arc::clone(&opening)));
    Searching { search, opening }
}

async fn find(
    hub: Arc<Shared>,
    peer: Identity,
    mut ticket: Ticket,
    opening: Arc<AtomicBool>,
) -> Result<Found, SearchError> {
    let people = &*hub.backend.people;
    let waiting = WaitingGuard::new(&hub, ticket.waited);
    ticket.person = peer.person;
    let (began, before) = (Instant::now(), ticket.waited);
    let (made, pipe) = loop {
        ticket.exclusions = people.exclusions(peer.person).await?;
        let place = hub.backend.lobby.enter(ticket.clone(), Arc::clone(&hub.rule)).await?;
        let mut made = place.await?;
        // Either person may have blocked the other by another connection while this one waited.
        if !people.keeps_apart(peer.person, made.partner().person).await? {
            opening.store(true, Ordering::Relaxed);
            match hub.backend.relay.open(&mut made).await {
                Ok(pipe) => break (made, pipe),
                Err(RelayError::Gone) => opening.store(false, Ordering::Relaxed),
                Err(error) => return Err(error.into()),
            }
        }
        ticket.waited = before + began.elapsed();
    };
    let partner = Arc::clone(made.partner());
    if let Err(error) = people.met(peer, partner.person).await {
        // The chat has begun for both sides, so it goes on.
        tracing::warn!(%error, "a partner was not remembered");
    }
    hub.stats.matches.add(1);
    waiting.succeed();
    Ok(Found { chat: made.chat(), partner, pipe })
}

impl Searching {
    /// Returns true once a partner was found, which may have begun to chat.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening.load(Ordering::Relaxed)
    }
}

impl Future for Searching {
    type Output = Result<Found, SearchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.search.as_mut().poll(cx)
    }
}

impl<'a> WaitingGuard<'a> {
    /// Counts a search that began `waited` ago, before it was interrupted.
    fn new(hub: &'a Shared, waited: Duration) -> Self {
        hub.backend.people.begin_search();
        let now = Instant::now();
        Self { hub, began: now.checked_sub(waited).unwrap_or(now), waited: None }
    }

    fn succeed(mut self) {
        self.waited = Some(self.began.elapsed());
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.hub.backend.people.end_search(self.waited);
    }
}

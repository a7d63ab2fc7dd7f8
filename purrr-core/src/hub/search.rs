//! The search of one peer for a partner: [`Searching`].

use std::{
    future::Future,
    mem,
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
    hub::{
        observer::{ChatSide, Participant},
        shared::Shared,
    },
    model::{
        ids::{ChatId, PersonId},
        person::PersonAt,
        ticket::Ticket,
    },
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
    peer: Participant,
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
    ticket.person = peer.person;
    let waiting = WaitingGuard::new(&hub, &ticket);
    let embedders = mem::take(&mut ticket.exclusions);
    let mut refused: Vec<PersonId> = Vec::new();
    let (made, mut pipe) = loop {
        ticket.exclusions = people.exclusions(peer.person).await?.joined_with(&embedders);
        ticket.exclusions = mem::take(&mut ticket.exclusions).blocking(refused.iter().copied());
        let place = hub.backend.lobby.enter(ticket.clone(), Arc::clone(&hub.rule)).await?;
        let mut made = place.await?;
        // Either person may have blocked the other by another connection while this one waited.
        if !people.keeps_apart(peer.person_at(), PersonAt::of(made.partner())).await? {
            opening.store(true, Ordering::Relaxed);
            match hub.backend.relay.open(&mut made).await {
                Ok(pipe) => break (made, pipe),
                Err(RelayError::Gone) => opening.store(false, Ordering::Relaxed),
                Err(error) => return Err(error.into()),
            }
        } else {
            // Otherwise a lobby that several hubs share would offer it again at once, and for ever.
            refused.push(made.partner().person);
        }
        ticket.waited = waiting.began.elapsed();
    };
    let partner = Arc::clone(made.partner());
    let found = Participant { peer: partner.peer, person: partner.person };
    let side = ChatSide { chat: made.chat(), peer: waiting.peer, partner: found };
    let waited = waiting.succeed();
    hub.observers.watch(side, waited, &mut pipe);
    if let Err(error) = people.met(peer, partner.person).await {
        // The chat has begun for both sides, so it goes on.
        tracing::warn!(%error, "a partner was not remembered");
    }
    hub.stats.matches.add(1);
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
    /// Counts a search that began before it was interrupted, as its ticket says.
    fn new(hub: &'a Shared, ticket: &Ticket) -> Self {
        let peer = Participant { peer: ticket.peer, person: ticket.person };
        hub.backend.people.begin_search();
        hub.observers.tell(|observer| observer.searching(peer));
        let now = Instant::now();
        let began = now.checked_sub(ticket.waited).unwrap_or(now);
        Self { hub, peer, began, waited: None }
    }

    /// Ends the search with a chat. Returns how long it took.
    fn succeed(mut self) -> Duration {
        let waited = self.began.elapsed();
        self.waited = Some(waited);
        waited
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.hub.backend.people.end_search(self.waited);
        if self.waited.is_none() {
            self.hub.observers.tell(|observer| observer.stopped_searching(self.peer));
        }
    }
}

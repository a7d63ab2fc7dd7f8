//! A peer that is here and its search for a partner: [`ActivePeer`] and [`Searching`].

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::{
    backend::{lobby::LobbyError, pipe::Pipe, relay::RelayError},
    hub::{presence::PresenceGuard, shared::Shared},
    model::{
        ids::{ChatId, PersonId, ResumeToken},
        ticket::Ticket,
    },
};

/// A peer that is here, and the person behind it.
#[derive(Debug)]
pub(crate) struct ActivePeer {
    pub(crate) hub: Arc<Shared>,
    person: PersonId,
    /// The embedder has said who it is, so nobody else can.
    sure: bool,
    token: ResumeToken,
    _guard: PresenceGuard,
}

/// What a search ends with when it ends well.
pub(crate) struct Found {
    pub(crate) chat: ChatId,
    pub(crate) partner: Arc<Ticket>,
    pub(crate) pipe: Pipe,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    #[error(transparent)]
    Lobby(#[from] LobbyError),
    #[error(transparent)]
    Relay(#[from] RelayError),
}

/// A search under way. Dropping it undoes whatever of it was done.
pub(crate) struct Searching {
    search: Pin<Box<dyn Future<Output = Result<Found, SearchError>> + Send>>,
    opening: Arc<AtomicBool>,
}

impl ActivePeer {
    /// A peer arrives: a person who is known to the embedder, the one whom a token was given to, or one that nobody knows
    /// yet.
    pub(crate) fn arrive(
        hub: &Arc<Shared>,
        person: Option<PersonId>,
        resume: Option<ResumeToken>,
    ) -> Self {
        let sure = person.is_some();
        let person = person.unwrap_or_else(PersonId::random);
        let token = ResumeToken::random();
        hub.people().handle_arrive(token, person);
        hub.stats.arrivals.add(1);
        let presence = hub.presence.arrive();
        let mut guest = Self { hub: Arc::clone(hub), person, sure, token, _guard: presence };
        if let Some(token) = resume {
            guest.resume(token);
        }
        guest
    }

    /// By which the person is known again later.
    pub(crate) const fn token(&self) -> ResumeToken {
        self.token
    }

    /// The peer says that it is somebody who was here before. Whether that is so.
    pub(crate) fn resume(&mut self, token: ResumeToken) -> bool {
        let sure = self.sure.then_some(self.person);
        let resumed = self.hub.people().handle_resume(self.token, token, sure);
        self.person = resumed.unwrap_or(self.person);
        resumed.is_some()
    }

    pub(crate) fn block(&self, other: PersonId) {
        let Shared { limits, stats, .. } = &*self.hub;
        let who = (self.person, self.token);
        self.hub.people().handle_block(limits, Instant::now(), who, other);
        stats.blocks.add(1);
    }

    /// Enters the lobby, waits and opens the chat.
    pub(crate) fn search(&self, mut ticket: Ticket) -> Searching {
        let (hub, person, token) = (Arc::clone(&self.hub), self.person, self.token);
        let opening = Arc::new(AtomicBool::new(false));
        let opens = Arc::clone(&opening);
        let search = Box::pin(async move {
            let search = hub.presence.search(ticket.waited);
            ticket.person = person;
            let (began, before) = (Instant::now(), ticket.waited);
            let (made, pipe) = loop {
                ticket.exclusions = hub.people().avoided(&hub.limits, Instant::now(), person);
                let place = hub.lobby.enter(ticket.clone(), Arc::clone(&hub.rule)).await?;
                let mut made = place.await?;
                // Either may have blocked the other on another connection while this one waited.
                if !hub.people().keeps_apart(person, made.partner().person) {
                    opens.store(true, Ordering::Relaxed);
                    match hub.relay.open(&mut made).await {
                        Ok(pipe) => break (made, pipe),
                        Err(RelayError::Gone) => opens.store(false, Ordering::Relaxed),
                        Err(error) => return Err(error.into()),
                    }
                }
                ticket.waited = before + began.elapsed();
            };
            let (now, partner) = (Instant::now(), Arc::clone(made.partner()));
            let who = (person, token);
            hub.people().handle_met(&hub.limits, now, who, partner.person);
            hub.stats.matches.add(1);
            search.succeed(now);
            Ok(Found { chat: made.chat(), partner, pipe })
        });
        Searching { search, opening }
    }
}

impl Searching {
    /// Whether somebody was found, who may have begun to chat meanwhile.
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

impl Drop for ActivePeer {
    fn drop(&mut self) {
        let Shared { limits, .. } = &*self.hub;
        self.hub.people().handle_depart(limits, Instant::now(), self.token);
    }
}

//! A peer that is present, from arrival to departure: [`ActivePeer`].

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    backend::people::{Identity, PeopleError},
    hub::{
        search::{Searching, search},
        shared::Shared,
    },
    model::{
        ids::{PersonId, ResumeToken},
        ticket::Ticket,
    },
};

/// A peer that is present, and the person behind it. Dropping it departs.
#[derive(Debug)]
pub(crate) struct ActivePeer {
    pub(crate) hub: Arc<Shared>,
    identity: Identity,
    /// Whether the embedder vouches for the person, so that no token of another person is accepted.
    authenticated: bool,
}

/// A call of the backend that is under way, other than a search.
pub(crate) type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The outcome of a [`Call`].
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing is left to do.
    Done,
    /// A token was redeemed: the peer is this person from now on.
    Resumed(PersonId),
    /// A token was not accepted.
    UnknownToken,
    /// The backend failed.
    Unavailable(PeopleError),
}

impl ActivePeer {
    /// Registers a peer: a person that the embedder vouches for, or a new one.
    pub(crate) fn arrive(hub: &Arc<Shared>, person: Option<PersonId>) -> Self {
        let authenticated = person.is_some();
        let person = person.unwrap_or_else(PersonId::random);
        let identity = Identity { person, token: ResumeToken::random() };
        hub.backend.people.arrive(identity);
        hub.stats.arrivals.add(1);
        hub.peers.arrive();
        Self { hub: Arc::clone(hub), identity, authenticated }
    }

    /// Returns the token by which the person resumes later.
    pub(crate) const fn token(&self) -> ResumeToken {
        self.identity.token
    }

    /// Makes the peer the person that its token was accepted for.
    pub(crate) const fn set_person(&mut self, person: PersonId) {
        self.identity.person = person;
    }

    /// Redeems a token that the embedder passed on, of which the client is told nothing.
    pub(crate) fn resume_on_arrival(&self, other: ResumeToken) -> Call {
        let resume = self.resume(other);
        Box::pin(async move {
            match resume.await {
                resumed @ Answer::Resumed(_) => resumed,
                Answer::Unavailable(error) => {
                    tracing::warn!(%error, "a resume token was not redeemed");
                    Answer::Done
                }
                Answer::UnknownToken | Answer::Done => Answer::Done,
            }
        })
    }

    /// Redeems a token that the client presents.
    pub(crate) fn resume(&self, other: ResumeToken) -> Call {
        let Identity { person, token } = self.identity;
        let (people, authenticated) =
            (Arc::clone(&self.hub.backend.people), self.authenticated.then_some(person));
        Box::pin(async move {
            match people.resume(token, other, authenticated).await {
                Ok(Some(person)) => Answer::Resumed(person),
                Ok(None) => Answer::UnknownToken,
                Err(error) => Answer::Unavailable(error),
            }
        })
    }

    /// Blocks another person for the one behind this peer.
    pub(crate) fn block(&self, other: PersonId) -> Call {
        let (hub, identity) = (Arc::clone(&self.hub), self.identity);
        Box::pin(async move {
            match hub.backend.people.block(identity, other).await {
                Ok(()) => {
                    hub.stats.blocks.add(1);
                    Answer::Done
                }
                Err(error) => Answer::Unavailable(error),
            }
        })
    }

    /// Enters the lobby, waits and opens the chat.
    pub(crate) fn search(&self, ticket: Ticket) -> Searching {
        search(Arc::clone(&self.hub), self.identity, ticket)
    }
}

impl Drop for ActivePeer {
    fn drop(&mut self) {
        self.hub.backend.people.depart(self.identity.token);
        self.hub.peers.depart();
    }
}

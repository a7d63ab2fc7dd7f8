//! A peer that is present, from arrival to departure: [`ActivePeer`].

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    backend::people::{Identity, PeopleError},
    hub::{
        observer::{Observer, Participant},
        search::{Searching, search},
        shared::Shared,
    },
    model::{
        ids::{OriginKey, PeerId, PersonId, ResumeToken},
        person::PersonAt,
        problem::Code,
        reason::CloseReason,
        ticket::Ticket,
    },
};

/// A peer that is present, and the person behind it. Dropping it departs.
#[derive(Debug)]
pub(crate) struct ActivePeer {
    pub(crate) hub: Arc<Shared>,
    id: PeerId,
    // Two fields and not an `Identity`, whose padding would make an idle session larger.
    person: PersonId,
    token: ResumeToken,
    /// Whether the embedder vouches for the person, so that no token of another person is accepted.
    authenticated: bool,
    /// Why the session ended, for observers. `None` if there is none.
    close_reason: Option<CloseReason>,
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
    pub(crate) fn arrive(
        hub: &Arc<Shared>,
        id: PeerId,
        person: Option<PersonId>,
        origin: OriginKey,
    ) -> Self {
        let authenticated = person.is_some();
        let person = person.unwrap_or_else(PersonId::random);
        let token = ResumeToken::random();
        hub.backend.people.arrive(Identity { person, token, origin });
        hub.stats.arrivals.add(1);
        hub.peers.arrive();
        let hub = Arc::clone(hub);
        let peer = Self { hub, id, person, token, authenticated, close_reason: None };
        peer.tell(|observer, peer| observer.arrived(peer));
        peer
    }

    /// Returns the peer's id.
    pub(crate) const fn id(&self) -> PeerId {
        self.id
    }

    /// Returns the token by which the person resumes later.
    pub(crate) const fn token(&self) -> ResumeToken {
        self.token
    }

    /// Returns the peer at its address, as the backend knows it.
    const fn identity(&self, origin: OriginKey) -> Identity {
        Identity { person: self.person, token: self.token, origin }
    }

    /// Makes the peer the person that its token was accepted for.
    pub(crate) fn set_person(&mut self, person: PersonId) {
        let before = std::mem::replace(&mut self.person, person);
        self.tell(|observer, peer| observer.resumed(peer, before));
    }

    /// Sets why the peer's session ends.
    pub(crate) const fn set_close_reason(&mut self, reason: CloseReason) {
        self.close_reason = Some(reason);
    }

    /// Tells the observers of an error that the client is told.
    #[inline]
    pub(crate) fn tell_refused(&self, code: Code) {
        self.tell(|observer, peer| observer.refused(peer, code));
    }

    #[inline]
    fn tell(&self, tell: impl Fn(&dyn Observer, Participant)) {
        let peer = Participant { peer: self.id, person: self.person };
        self.hub.observers.tell(|observer| tell(observer, peer));
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
        let (people, token) = (Arc::clone(&self.hub.backend.people), self.token);
        let authenticated = self.authenticated.then_some(self.person);
        Box::pin(async move {
            match people.resume(token, other, authenticated).await {
                Ok(Some(person)) => Answer::Resumed(person),
                Ok(None) => Answer::UnknownToken,
                Err(error) => Answer::Unavailable(error),
            }
        })
    }

    /// Blocks another person and its address for the person behind this peer, which is at `origin`.
    pub(crate) fn block(&self, origin: OriginKey, other: PersonAt) -> Call {
        let (hub, identity) = (Arc::clone(&self.hub), self.identity(origin));
        let peer = Participant { peer: self.id, person: self.person };
        Box::pin(async move {
            match hub.backend.people.block(identity, other).await {
                Ok(()) => {
                    hub.stats.blocks.add(1);
                    hub.observers.tell(|observer| observer.blocked(peer, other.person));
                    Answer::Done
                }
                Err(error) => Answer::Unavailable(error),
            }
        })
    }

    /// Enters the lobby, waits and opens the chat.
    pub(crate) fn search(&self, ticket: Ticket) -> Searching {
        search(Arc::clone(&self.hub), self.identity(ticket.origin), ticket)
    }
}

impl Drop for ActivePeer {
    fn drop(&mut self) {
        self.hub.backend.people.depart(self.token);
        self.tell(|observer, peer| observer.departed(peer, self.close_reason));
        self.hub.peers.depart();
    }
}

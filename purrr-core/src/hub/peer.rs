//! A peer that is present, from arrival to departure: [`ActivePeer`].

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::time::timeout;

use crate::{
    backend::people::{Identity, PeopleError},
    hub::{
        observer::{Observer, Participant},
        resume::Suspended,
        search::{Searching, search},
        shared::Shared,
    },
    model::{
        command::Recover,
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
    /// Whether the peer has gone to another session, and is not to depart.
    is_moved: bool,
    /// Why the session ended, for observers. `None` if there is none.
    close_reason: Option<CloseReason>,
}

/// A call of the backend that is under way, other than a search.
pub(crate) type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The outcome of a [`Call`].
pub(crate) enum Answer {
    /// Nothing is left to do.
    Done,
    /// A token was redeemed: the peer is this person from now on.
    Resumed(PersonId),
    /// A token was not accepted.
    UnknownToken,
    /// A session was handed over, for what its client said.
    Claimed(Box<Suspended>, Box<Recover>),
    /// No session was handed over. A token that was accepted made the peer this person.
    Unclaimed(Option<PersonId>, Box<Recover>),
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
        let peer = Self { hub, id, person, token, authenticated, is_moved: false, close_reason: None };
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
                _ => Answer::Done,
            }
        })
    }

    /// Redeems a token that the client presents.
    pub(crate) fn resume(&self, other: ResumeToken) -> Call {
        let (hub, token) = (Arc::clone(&self.hub), self.token);
        let authenticated = self.authenticated.then_some(self.person);
        Box::pin(async move {
            match hub.backend.people.resume(token, other, authenticated).await {
                Ok(Some(person)) => {
                    // By its old token it could not be claimed any more.
                    hub.resume.abandon(other);
                    Answer::Resumed(person)
                }
                Ok(None) => Answer::UnknownToken,
                Err(error) => Answer::Unavailable(error),
            }
        })
    }

    /// Claims the session of a token, which is redeemed first: so of two claims one wins.
    pub(crate) fn claim(&self, other: ResumeToken, recover: Box<Recover>) -> Call {
        let (hub, token) = (Arc::clone(&self.hub), self.token);
        let authenticated = self.authenticated.then_some(self.person);
        Box::pin(async move {
            let person = match hub.backend.people.resume(token, other, authenticated).await {
                Ok(Some(person)) => person,
                Ok(None) => return Answer::Unclaimed(None, recover),
                Err(error) => return Answer::Unavailable(error),
            };
            let Some(handed_over) = hub.resume.claim(other, token) else {
                return Answer::Unclaimed(Some(person), recover);
            };
            // The owner is a task that may never be polled.
            match timeout(hub.limits.stall, handed_over).await {
                Ok(Ok(suspended)) => Answer::Claimed(suspended, recover),
                _ => Answer::Unclaimed(Some(person), recover),
            }
        })
    }

    /// Returns this peer, and leaves one that does not depart.
    pub(crate) fn take(&mut self) -> Self {
        let is_moved = std::mem::replace(&mut self.is_moved, true);
        Self { hub: Arc::clone(&self.hub), is_moved, ..*self }
    }

    /// Takes the token of the peer that has claimed this one, which departs by the token of this.
    pub(crate) const fn exchange_tokens(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.token, &mut other.token);
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
        if self.is_moved {
            return;
        }
        self.hub.backend.people.depart(self.token);
        self.tell(|observer, peer| observer.departed(peer, self.close_reason));
        self.hub.peers.depart();
    }
}

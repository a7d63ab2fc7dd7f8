//! A peer that is present, from arrival to departure: [`ActivePeer`].

use std::sync::Arc;

use crate::{
    backend::people::Identity,
    hub::{
        observer::{Observer, Participant},
        search::{Searching, search},
        shared::Shared,
    },
    model::{
        ids::{OriginKey, PeerId, PersonId, ResumeToken},
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
    pub(super) person: PersonId,
    token: ResumeToken,
    /// Whether the embedder vouches for the person, so that no token of another person is accepted.
    pub(super) authenticated: bool,
    /// Whether the peer has gone to another session, and is not to depart.
    is_moved: bool,
    /// Why the session ended, for observers. `None` if there is none.
    close_reason: Option<CloseReason>,
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
        let peer =
            Self { hub, id, person, token, authenticated, is_moved: false, close_reason: None };
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
    pub(super) const fn identity(&self, origin: OriginKey) -> Identity {
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

    /// Returns this peer, and leaves one that does not depart.
    pub(crate) fn take(&mut self) -> Self {
        let is_moved = std::mem::replace(&mut self.is_moved, true);
        Self { hub: Arc::clone(&self.hub), is_moved, ..*self }
    }

    /// Takes the token of the peer that has claimed this one, which departs by the token of this.
    pub(crate) const fn exchange_tokens(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.token, &mut other.token);
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

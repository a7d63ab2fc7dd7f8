//! Whom a backend knows: a peer as its [`Identity`], another person as a [`PersonAt`].

use crate::model::{
    ids::{OriginKey, PersonId, ResumeToken},
    ticket::Ticket,
};

/// A peer as a [`People`](crate::backend::People) backend knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The person behind the peer.
    pub person: PersonId,
    /// The token that the peer was given, by which the person resumes later.
    pub token: ResumeToken,
    /// The client's address as a keyed hash, or [`OriginKey::NONE`].
    pub origin: OriginKey,
}

/// A person and its address: what a block covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonAt {
    /// The person.
    pub person: PersonId,
    /// The address of its client as a keyed hash, or [`OriginKey::NONE`].
    pub origin: OriginKey,
}

impl Identity {
    /// Creates the identity of a new person of no address, with a new token.
    #[must_use]
    pub fn random() -> Self {
        Self::new(PersonId::random(), ResumeToken::random())
    }

    /// Creates the identity of a person of no address.
    #[must_use]
    pub const fn new(person: PersonId, token: ResumeToken) -> Self {
        Self { person, token, origin: OriginKey::NONE }
    }

    /// Returns the same identity at another address.
    #[must_use]
    pub const fn at(self, origin: OriginKey) -> Self {
        Self { origin, ..self }
    }

    /// Returns the peer's person and address.
    #[must_use]
    pub const fn person_at(self) -> PersonAt {
        PersonAt { person: self.person, origin: self.origin }
    }
}

impl PersonAt {
    /// Returns the same person at another address.
    #[must_use]
    pub const fn at(self, origin: OriginKey) -> Self {
        Self { origin, ..self }
    }

    /// Returns the person and the address of a ticket.
    #[must_use]
    pub const fn of(ticket: &Ticket) -> Self {
        Self { person: ticket.person, origin: ticket.origin }
    }
}

impl From<PersonId> for PersonAt {
    /// Returns the person without an address.
    fn from(person: PersonId) -> Self {
        Self { person, origin: OriginKey::NONE }
    }
}

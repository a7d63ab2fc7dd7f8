//! What is asked of the backend for a peer, other than a search: [`Call`] and its [`Answer`].

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::time::timeout;

use crate::{
    backend::people::PeopleError,
    hub::{
        observer::Participant,
        peer::ActivePeer,
        resume::{
            suspended::Suspended,
            table::{Kind, TokenState},
        },
    },
    model::{
        command::Recover,
        ids::{OriginKey, PersonId, ResumeToken},
        person::PersonAt,
    },
};

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
        let (hub, token) = (Arc::clone(&self.hub), self.token());
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
        let (hub, token) = (Arc::clone(&self.hub), self.token());
        let authenticated = self.authenticated.then_some(self.person);
        Box::pin(async move {
            // A client that names a chat means a session, and may try several tokens: that of a
            // connection whose claim was lost is good for the person and has no session.
            if hub.resume.state(other) == TokenState::Unknown && recover.chat.is_some() {
                return Answer::Unclaimed(None, recover);
            }
            let person = match hub.backend.people.resume(token, other, authenticated).await {
                Ok(Some(person)) => person,
                Ok(None) => return Answer::Unclaimed(None, recover),
                Err(error) => return Answer::Unavailable(error),
            };
            let Some(handed_over) = hub.resume.claim(other, token, Kind::Session) else {
                // A chat in process, which could not be claimed any more.
                hub.resume.abandon(other);
                return Answer::Unclaimed(Some(person), recover);
            };
            // The owner is a task that may never be polled.
            match timeout(hub.limits.stall, handed_over).await {
                Ok(Ok(handed_over)) => match handed_over.downcast() {
                    Ok(suspended) => Answer::Claimed(suspended, recover),
                    Err(_) => Answer::Unclaimed(Some(person), recover),
                },
                _ => Answer::Unclaimed(Some(person), recover),
            }
        })
    }

    /// Blocks another person and its address for the person behind this peer, which is at `origin`.
    pub(crate) fn block(&self, origin: OriginKey, other: PersonAt) -> Call {
        let (hub, identity) = (Arc::clone(&self.hub), self.identity(origin));
        let peer = Participant { peer: self.id(), person: self.person };
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
}

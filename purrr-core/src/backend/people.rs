//! Who is known, and how many are present: the [`People`] trait.

use std::{fmt, time::Duration};

use async_trait::async_trait;

pub use crate::model::person::{Identity, PersonAt};
use crate::model::{
    event::QueueStatus,
    ids::{PersonId, ResumeToken},
    ticket::Exclusions,
};

/// Who is known across connections, and how many peers are present.
///
/// It holds resume tokens, recent partners and blocks. What one node of a cluster stores must hold
/// on every node.
///
/// # Who implements it, who calls it
///
/// A backend implements it together with its [`Lobby`](crate::Lobby) and [`Relay`](crate::Relay).
/// The [`Hub`](crate::Hub) calls it a few times per session and per chat, and never per frame:
///
/// | when | call |
/// |---|---|
/// | a session begins and ends | `arrive`, `depart` |
/// | a client presents a token | `resume` |
/// | a search begins and ends | `begin_search`, `exclusions`, `end_search` |
/// | the lobby has made a match | `keeps_apart` before the chat is opened, `met` afterwards |
/// | a client blocks its partner | `block` |
/// | a client is told the numbers | `online`, `queue_status` |
///
/// # What must not block
///
/// The methods that are not `async` are called while a session is polled or dropped. They must
/// return at once: a backend over a network queues what it is told, and answers with the numbers
/// that it heard last. What was queued takes effect before any later call that names the same token
/// or person.
///
/// # What is atomic
///
/// A token is good for one use: of two calls of [`resume`](Self::resume) with the same one, at most
/// one succeeds. Once [`block`](Self::block) has resolved, [`keeps_apart`](Self::keeps_apart) is
/// true for the two persons, in either order and for as long as
/// [`Limits::resume_for`](crate::Limits::resume_for) says. It is forgotten earlier beyond
/// [`Limits::blocks`](crate::Limits::blocks) or [`Limits::remembered`](crate::Limits::remembered),
/// but not while the blocker is present.
///
/// # What a block covers
///
/// The blocked person, and its address for
/// [`Limits::block_address_for`](crate::Limits::block_address_for): the blocker meets no client of
/// that address, and other persons still do. A block covers no address that the two share. The
/// blocked person must not learn of either.
///
/// # How long a call may take
///
/// While a call is under way the client's further commands wait. So each must resolve within a
/// second or so, if need be with [`PeopleError::Unavailable`]. The hub then tells the client and
/// goes on: a search ends, a block or a resume is not done, a partner is not remembered.
///
/// # What dropping means
///
/// A dropped future has done its change in full or not at all. The hub drops one only together with
/// its session.
///
/// # Examples
///
/// ```
/// use purrr_core::{Limits, backend::{Identity, MemoryPeople, People}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), purrr_core::backend::PeopleError> {
/// let people = MemoryPeople::new(Limits::default());
/// let (ann, bob) = (Identity::random(), Identity::random());
/// people.arrive(ann);
/// people.block(ann, bob.person_at()).await?;
/// people.depart(ann.token);
///
/// // Ann reconnects as a new person, and presents her token.
/// let again = Identity::random();
/// people.arrive(again);
/// assert_eq!(people.resume(again.token, ann.token, None).await?, Some(ann.person));
/// assert!(people.keeps_apart(bob.person_at(), ann.person.into()).await?);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait People: fmt::Debug + Send + Sync + 'static {
    /// Registers a peer as present, and its token for its person.
    fn arrive(&self, peer: Identity);

    /// Marks the peer that has this token as gone.
    ///
    /// Its token stays good if there is anything to remember of its person.
    fn depart(&self, token: ResumeToken);

    /// Redeems `other` for the peer that has `token`. Returns the person that it is from now on.
    ///
    /// Returns `None`, and changes nothing, if `other` is unknown or used up, is `token` itself, or
    /// belongs to another person than `authenticated`, which the embedder vouches for. The same if
    /// `token` was redeemed by another peer meanwhile. A token may be redeemed while the peer that
    /// it was given to is still present.
    ///
    /// # Errors
    ///
    /// [`PeopleError::Unavailable`] if the backend cannot be reached.
    async fn resume(
        &self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError>;

    /// Returns whom a person must not meet now: recent partners, latest first, blocked persons and
    /// blocked addresses.
    ///
    /// # Errors
    ///
    /// [`PeopleError::Unavailable`] if the backend cannot be reached.
    async fn exclusions(&self, person: PersonId) -> Result<Exclusions, PeopleError>;

    /// Returns true if either person has blocked the other, or the other's address unless the two
    /// share it.
    ///
    /// # Errors
    ///
    /// [`PeopleError::Unavailable`] if the backend cannot be reached.
    async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, PeopleError>;

    /// Remembers a peer's partner. Called once for each side of a chat.
    ///
    /// # Errors
    ///
    /// [`PeopleError::Unavailable`] if the backend cannot be reached.
    async fn met(&self, peer: Identity, partner: PersonId) -> Result<(), PeopleError>;

    /// Blocks another person, and its address, for a peer's person.
    ///
    /// # Errors
    ///
    /// [`PeopleError::Unavailable`] if the backend cannot be reached.
    async fn block(&self, peer: Identity, other: PersonAt) -> Result<(), PeopleError>;

    /// Counts one more peer as waiting.
    fn begin_search(&self);

    /// Counts one peer less as waiting. `waited` is how long it took, if a chat began.
    fn end_search(&self, waited: Option<Duration>);

    /// Returns how many peers are present, on all nodes together.
    fn online(&self) -> u64;

    /// Returns how many peers are present and wait, and how long searches take lately.
    fn queue_status(&self) -> QueueStatus;
}

/// Why a [`People`] backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeopleError {
    /// The backend failed.
    #[error("cannot reach the people backend")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

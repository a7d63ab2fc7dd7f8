//! Who waits: the [`Lobby`] trait, and the [`Ticket`], [`Place`] and [`Match`] it deals in.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;

use crate::{
    backend::pipe::Pipe,
    matching::rule::Pairing,
    model::{census::Census, ids::ChatId, ticket::Ticket},
};

/// Where peers wait. Pairs are made here and only here.
///
/// # Who implements it, who calls it
///
/// A backend implements it together with its [`Relay`](crate::Relay): a [`Match`] of one backend can be opened by the
/// relay of the same backend only. The [`Hub`](crate::Hub) calls it, once per search.
///
/// # What is atomic
///
/// A pair is made for both or for neither. Once a match has been given to either side, both are out of the lobby. A
/// peer has at most one place or one running chat; asking for another is refused with [`LobbyError::AlreadyHere`].
///
/// # What dropping means
///
/// Dropping a [`Place`] leaves. If a match was on its way to it, that chat ends for the other side, which is told.
/// Dropping a [`Match`] that was never opened ends the chat the same way.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use purrr_core::{Anyone, Lobby, backend::MemoryLobby, model::{PeerId, Ticket}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), purrr_core::backend::LobbyError> {
/// let lobby = MemoryLobby::default();
/// let ann = lobby.enter(Ticket::new(PeerId::from_bits(1)), Arc::new(Anyone)).await?;
/// let bob = lobby.enter(Ticket::new(PeerId::from_bits(2)), Arc::new(Anyone)).await?;
/// let (ann, bob) = (ann.await?, bob.await?);
/// assert_eq!(ann.chat(), bob.chat());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Lobby: fmt::Debug + Send + Sync + 'static {
    /// Takes a place for `ticket`, which waits there for a partner that `rule` and the partner's rule both accept.
    ///
    /// # Errors
    ///
    /// [`LobbyError::AlreadyHere`] if the peer waits or chats already, [`LobbyError::Unavailable`] if the backend
    /// cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lobby as it was: either no place was taken, or it is given up again.
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError>;

    /// Counts who is there.
    ///
    /// # Errors
    ///
    /// [`LobbyError::Unavailable`] if the backend cannot be reached.
    async fn census(&self) -> Result<Census, LobbyError>;
}

/// Why a lobby could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LobbyError {
    /// The peer has a place or a chat already.
    #[error("the peer waits or chats already")]
    AlreadyHere,
    /// The person or the address has as many waiting places as [`Limits`](crate::Limits) allow.
    #[error("too many waiting places of one person or address")]
    TooManyWaiting,
    /// The backend failed.
    #[error("the lobby cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A place in a lobby: a future that resolves to a [`Match`]. Dropping it leaves.
///
/// # Cancel safety
///
/// A place may be polled through `&mut` and abandoned between polls at will; only dropping it leaves.
pub struct Place(Pin<Box<dyn Future<Output = Result<Match, LobbyError>> + Send>>);

/// One side of a pair that was just made, on its way to the [`Relay`](crate::Relay) that opens it.
///
/// Dropped unopened, it ends the chat for the other side.
#[derive(Debug)]
pub struct Match {
    chat: ChatId,
    partner: Arc<Ticket>,
    pipe: Option<Pipe>,
}

impl Place {
    /// A place that resolves when `wait` does and is left by dropping it.
    pub fn new(wait: impl Future<Output = Result<Match, LobbyError>> + Send + 'static) -> Self {
        Self(Box::pin(wait))
    }
}

impl Future for Place {
    type Output = Result<Match, LobbyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl Match {
    /// A match whose relay will make the pipe when it opens it.
    #[must_use]
    pub const fn new(chat: ChatId, partner: Arc<Ticket>) -> Self {
        Self { chat, partner, pipe: None }
    }

    /// A match that brings its end of the pipe along.
    #[must_use]
    pub const fn with_pipe(chat: ChatId, partner: Arc<Ticket>, pipe: Pipe) -> Self {
        Self { chat, partner, pipe: Some(pipe) }
    }

    /// The chat, the same for both sides.
    #[must_use]
    pub const fn chat(&self) -> ChatId {
        self.chat
    }

    /// Whom this side was paired with.
    #[must_use]
    pub const fn partner(&self) -> &Arc<Ticket> {
        &self.partner
    }

    /// Takes the pipe that came along, if one did.
    pub const fn take_pipe(&mut self) -> Option<Pipe> {
        self.pipe.take()
    }
}

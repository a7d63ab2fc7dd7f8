//! Who waits: the [`Lobby`] trait with its [`Place`] and [`Match`].

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

/// Where peers wait. Matches are made here and only here.
///
/// # Who implements it, who calls it
///
/// A backend implements it together with its [`Relay`](crate::Relay): only the relay of the same
/// backend can open a [`Match`]. The [`Hub`](crate::Hub) calls it once per search.
///
/// # What is atomic
///
/// A match is made for both peers or for neither. Once either side has it, both are out of the
/// lobby. A peer has at most one place or one running chat. Entering again is refused with
/// [`LobbyError::AlreadyHere`].
///
/// # What dropping means
///
/// Dropping a [`Place`] leaves the lobby. If a match was on its way to it, the other side is told
/// that there is no chat. Dropping a [`Match`] that was never opened does the same.
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
    /// Enters a ticket, which waits for a partner that `rule` and the partner's rule both accept.
    ///
    /// # Errors
    ///
    /// [`LobbyError::AlreadyHere`] if the peer waits or chats already, [`LobbyError::Unavailable`]
    /// if the backend cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lobby as it was: a place that was taken already is given up.
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError>;

    /// Returns how many peers wait and how many chats run.
    ///
    /// # Errors
    ///
    /// [`LobbyError::Unavailable`] if the backend cannot be reached.
    async fn census(&self) -> Result<Census, LobbyError>;
}

/// Why a lobby refused a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LobbyError {
    /// The peer waits or chats already.
    #[error("the peer waits or chats already")]
    AlreadyHere,
    /// The person or the address has as many waiting places as [`Limits`](crate::Limits) allow.
    #[error("too many waiting places of one person or address")]
    TooManyWaiting,
    /// The backend failed.
    #[error("cannot reach the lobby")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A place in a lobby: a future that resolves to a [`Match`]. Dropping it leaves the lobby.
///
/// # Cancel safety
///
/// A place may be polled by `&mut`, and left unpolled at any time. Only dropping it leaves.
pub struct Place(Pin<Box<dyn Future<Output = Result<Match, LobbyError>> + Send>>);

/// One side of a match, for the [`Relay`](crate::Relay) to open. Dropping it unopened ends the chat
/// for the other side.
#[derive(Debug)]
pub struct Match {
    chat: ChatId,
    partner: Arc<Ticket>,
    pipe: Option<Pipe>,
    guard: Option<Guard>,
}

/// Calls a backend when it is dropped.
struct Guard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Place {
    /// Creates a place that resolves when `wait` does. Dropping `wait` must leave the lobby.
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

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(on_drop) = self.0.take() {
            on_drop();
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("armed", &self.0.is_some()).finish()
    }
}

impl Match {
    /// Creates a match whose relay makes the pipe when it opens it.
    #[must_use]
    pub const fn new(chat: ChatId, partner: Arc<Ticket>) -> Self {
        Self { chat, partner, pipe: None, guard: None }
    }

    /// Creates a match that brings its end of the pipe along.
    #[must_use]
    pub const fn with_pipe(chat: ChatId, partner: Arc<Ticket>, pipe: Pipe) -> Self {
        Self { chat, partner, pipe: Some(pipe), guard: None }
    }

    /// Sets what is called when the match is dropped before it was [disarmed](Self::disarm).
    ///
    /// For a backend whose matches bring no pipe along, which must hear that this side gives up.
    #[must_use]
    pub fn guarded(mut self, on_drop: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.guard = Some(Guard(Some(Box::new(on_drop))));
        self
    }

    /// Takes the guard away, without calling it. Returns false if the match has none, so that it
    /// was opened before or is of another backend.
    ///
    /// To be called by a relay when both sides have opened: until then, dropping the future that
    /// opens gives the match up.
    pub fn disarm(&mut self) -> bool {
        self.guard.take().and_then(|mut guard| guard.0.take()).is_some()
    }

    /// Returns the chat's id, which is the same for both sides.
    #[must_use]
    pub const fn chat(&self) -> ChatId {
        self.chat
    }

    /// Returns the partner's ticket.
    #[must_use]
    pub const fn partner(&self) -> &Arc<Ticket> {
        &self.partner
    }

    /// Takes the pipe, if the match brought one along.
    pub const fn take_pipe(&mut self) -> Option<Pipe> {
        self.pipe.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::ids::PeerId;

    #[test]
    fn dropped_match_calls_its_guard_unless_disarmed() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let made = || {
            let (dropped, partner) = (Arc::clone(&dropped), Ticket::new(PeerId::from_bits(1)));
            Match::new(ChatId::random(), Arc::new(partner)).guarded(move || {
                dropped.fetch_add(1, Ordering::Relaxed);
            })
        };
        drop(made());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        let mut opened = made();
        assert!(opened.disarm() && !opened.disarm());
        drop(opened);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}

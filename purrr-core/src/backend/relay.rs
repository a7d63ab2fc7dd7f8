//! What flows between two matched peers: the [`Relay`] trait.

use std::fmt;

use async_trait::async_trait;

use crate::backend::{lobby::Match, pipe::Pipe};

/// What carries frames between two matched peers.
///
/// # Who implements it, who calls it
///
/// A backend implements it together with its [`Lobby`](crate::Lobby). The [`Hub`](crate::Hub) calls
/// [`open`](Self::open) once per chat and side. From then on frames go through the [`Pipe`], a
/// concrete type, so that nothing is boxed per frame.
///
/// # What is atomic
///
/// A chat begins for both sides or for neither: the side that opens first waits for the other.
/// Frames of one sender arrive in order, once. A receiver sees every frame that was sent before the
/// partner parted, and from then on only [`Received::Parted`](crate::backend::Received::Parted).
///
/// # What dropping means
///
/// Dropping the pipe parts with [`ChatEnd::Lost`](crate::model::ChatEnd::Lost). Opening takes the
/// pipe out of the match, so a match opens once. Dropping an unopened match, or the future that
/// opens it, gives it up: the other side is told that there is no chat.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use purrr_core::{
///     Anyone, Frame, Lobby, Relay,
///     backend::{MemoryLobby, MemoryRelay, Received},
///     model::{PeerId, Ticket},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (lobby, relay) = (MemoryLobby::default(), MemoryRelay);
/// let ann = lobby.enter(Ticket::new(PeerId::from_bits(1)), Arc::new(Anyone)).await?;
/// let bob = lobby.enter(Ticket::new(PeerId::from_bits(2)), Arc::new(Anyone)).await?;
/// let (mut ann, mut bob) = (ann.await?, bob.await?);
/// let (ann, bob) = tokio::join!(relay.open(&mut ann), relay.open(&mut bob));
/// let (mut ann, mut bob) = (ann?, bob?);
/// ann.send(Frame::text("hello")).await.ok();
/// assert_eq!(bob.recv().await, Received::Frame(Frame::text("hello")));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Relay: fmt::Debug + Send + Sync + 'static {
    /// Opens this side's end of a chat, and resolves once the other side has opened its own.
    ///
    /// # Errors
    ///
    /// - [`RelayError::Foreign`] if the match was opened before or is of another backend.
    /// - [`RelayError::Gone`] if the partner gave its match up, or did not open it within
    ///   [`Limits::stall`](crate::Limits::stall).
    /// - [`RelayError::Unavailable`] if the backend cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the match is given up. A partner whose chat has begun meanwhile is
    /// told that this side parted.
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError>;
}

/// Why a chat could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The match was opened before, or is of another backend.
    #[error("the match was opened before, or is of another backend")]
    Foreign,
    /// The partner gave the match up before both sides had opened it. There is no chat, so the
    /// search goes on.
    #[error("the partner gave the match up before it began")]
    Gone,
    /// The backend failed.
    #[error("cannot reach the relay")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

//! A chat of a peer within this process: [`Chat`] and its two halves.

pub(super) mod detached;
mod halves;
mod side;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Sink, Stream};

use self::side::Side;
pub use self::{
    detached::ResumeError,
    halves::{ChatReceiver, ChatSender},
};
use crate::{
    backend::people::PeopleError,
    hub::{call::Answer, pair_error::PairError, peer::ActivePeer, search::Found},
    model::{
        frame::Frame,
        ids::{ChatId, PersonId, ResumeToken},
        problem::Problem,
        profile::Hello,
        reason::ChatEnd,
        ticket::Ticket,
    },
    sync::{Mutex, lock},
};

/// One peer's side of a running chat. Dropping it parts, and the partner is told.
///
/// It keeps the [`Limits`](crate::Limits) that a session keeps, but for the rates: the sizes of
/// what it sends, the messages that await a receipt, and the stall of a partner that does not read.
///
/// A [`Stream`] of the partner's frames, which ends with the chat, and a [`Sink`] for frames.
/// [`split`](Self::split) gives the two directions to two tasks.
///
/// ```
/// use futures::StreamExt;
/// use purrr_core::{Hub, Profile, model::ChatEnd};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = Hub::memory();
/// let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
/// let (mut says, hears) = ann?.split();
/// let echo = tokio::spawn(async move {
///     let mut bob = bob?;
///     while let Ok(frame) = bob.recv().await {
///         bob.send(frame).await.ok();
///     }
///     Ok::<_, purrr_core::PairError>(())
/// });
/// says.say("hello").await?;
/// let heard: Vec<_> = hears.take(1).collect().await;
/// assert_eq!(heard[0].as_text(), Some("hello"));
/// says.leave();
/// echo.await??;
/// # Ok(())
/// # }
/// ```
pub struct Chat {
    sender: ChatSender,
    receiver: ChatReceiver,
}

/// What becomes of the partner's connection during a chat.
///
/// A partner in process is away while it is [detached](Chat::detach).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// It has dropped. The partner may come back; until then up to 16 KiB are kept for it, and what
    /// is beyond that waits.
    Away,
    /// The partner is there again, and introduces itself like this. Without [`Away`](Self::Away)
    /// before it, its name or key has changed, or both came before the caller asked.
    Back(Hello),
}

/// Why a frame was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Either side has parted, or the hub has ended the chat.
    #[error("the chat is over")]
    Over,
    /// The frame exceeds a limit, or the partner's client does not support it. The chat goes on.
    #[error(transparent)]
    Refused(Problem),
}

impl Chat {
    /// Begins the chat that a search has found.
    pub(super) fn new(peer: ActivePeer, ticket: Ticket, found: Found) -> Self {
        Self::of(Arc::new(Mutex::new(Side::new(peer, ticket, found))))
    }

    fn of(side: Arc<Mutex<Side>>) -> Self {
        let receiver = ChatReceiver::new(Arc::clone(&side));
        Self { sender: ChatSender::new(side), receiver }
    }

    /// Returns the chat's id, which is the same for both peers.
    #[must_use]
    pub const fn id(&self) -> ChatId {
        self.receiver.id()
    }

    /// Returns how the partner introduced itself, or what [`connection`](Self::connection) told
    /// since.
    #[must_use]
    pub fn partner(&self) -> &Hello {
        self.receiver.partner()
    }

    /// Returns the person behind the partner, to block or to report it later. Must not be shown to
    /// a client.
    #[must_use]
    pub fn partner_person(&self) -> PersonId {
        self.receiver.partner_person()
    }

    /// Sends a frame, waiting until the partner's queue has room.
    ///
    /// # Errors
    ///
    /// [`SendError::Refused`] if the frame exceeds a limit. [`SendError::Over`] once either side has
    /// parted, the hub has ended the chat, or the partner has not read for
    /// [`Limits::stall`](crate::Limits::stall). [`recv`](Self::recv) says which.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the frame was not sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), SendError> {
        self.sender.send(frame).await
    }

    /// Sends a text message, waiting until the partner's queue has room.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn say(&mut self, text: &str) -> Result<(), SendError> {
        self.send(Frame::text(text)).await
    }

    /// Receives the next frame.
    ///
    /// # Errors
    ///
    /// Returns why the chat ended, after every frame that the partner sent before.
    /// [`ChatEnd::Slow`] if this side parted from a partner that did not read.
    ///
    /// # Cancel safety
    ///
    /// Safe: a frame is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Frame, ChatEnd> {
        self.receiver.recv().await
    }

    /// Waits until the next of this side's messages is delivered, and returns its id.
    ///
    /// Only messages [with an id](Frame::with_id) have receipts, in the order in which they were
    /// sent. Returns `None` once the chat is over. Receipts that are not taken are dropped above
    /// [`Limits::receipts`](crate::Limits::receipts).
    ///
    /// # Cancel safety
    ///
    /// Safe: a receipt is taken only when it is returned.
    pub async fn receipt(&mut self) -> Option<u64> {
        self.sender.receipt().await
    }

    /// Waits until the partner's connection drops or is there again.
    ///
    /// Between two calls, only the last of them is kept. Returns `None` once the chat is over. To
    /// receive meanwhile, [split](Self::split) the chat.
    ///
    /// ```
    /// use purrr_core::{Hub, Profile, hub::Connection};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = Hub::memory();
    /// let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
    /// let mut bob = bob?;
    /// let token = ann?.detach().map_err(|_| "the chat is over")?;
    /// // 1.5 s later.
    /// assert_eq!(bob.connection().await, Some(Connection::Away));
    /// let ann = hub.resume(token).await?;
    /// assert!(matches!(bob.connection().await, Some(Connection::Back(hello)) if hello.name.as_deref() == Some("Ann")));
    /// ann.leave();
    /// assert_eq!(bob.connection().await, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Safe: it is taken only when it is returned.
    pub async fn connection(&mut self) -> Option<Connection> {
        let told = self.sender.connection().await;
        if let Some(Connection::Back(hello)) = &told {
            self.receiver.introduce(hello);
        }
        told
    }

    /// Returns the token by which this person resumes later, as
    /// [`Profile::resume`](crate::Profile::resume).
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        lock(self.side()).token()
    }

    /// Returns the two halves, for two tasks. The chat is left once both are dropped.
    #[must_use]
    pub fn split(self) -> (ChatSender, ChatReceiver) {
        (self.sender, self.receiver)
    }

    /// Leaves the partner, and tells it so.
    pub fn leave(self) {
        self.sender.leave();
    }

    /// Leaves the partner for the next one: waits for another partner with the same profile.
    ///
    /// Not called `next`, which of a [`Stream`] is its next item.
    ///
    /// # Errors
    ///
    /// As [`Hub::pair`](crate::Hub::pair).
    ///
    /// # Cancel safety
    ///
    /// The partner is left when the future is first polled. Dropping the future leaves the lobby.
    pub async fn next_partner(self) -> Result<Self, PairError> {
        let Self { sender, receiver } = self;
        drop(receiver);
        let side = sender.into_side();
        let (hub, search) = lock(&side).search_next();
        let found = hub.found_unless_draining(search).await?;
        lock(&side).begin(found);
        Ok(Self::of(side))
    }

    /// Leaves the partner, and blocks the person behind it and its address. The partner is told that
    /// it was left.
    ///
    /// # Errors
    ///
    /// [`PeopleError`] if the backend could not store the block. The partner was left all the same.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the partner was left, and may have been
    /// blocked.
    pub async fn block(self) -> Result<(), PeopleError> {
        let mut block = lock(self.side()).block();
        // Asked for before the partner can search again.
        let answer = poll_fn(|cx| Poll::Ready(block.as_mut().poll(cx))).await;
        lock(self.side()).part(ChatEnd::Left, ChatEnd::Left);
        let answer = match answer {
            Poll::Ready(answer) => answer,
            Poll::Pending => block.await,
        };
        match answer {
            Answer::Unavailable(error) => Err(error),
            _ => Ok(()),
        }
    }

    const fn side(&self) -> &Arc<Mutex<Side>> {
        self.receiver.side()
    }
}

impl Stream for Chat {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl Sink<Frame> for Chat {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), SendError> {
        Pin::new(&mut self.sender).start_send(frame)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_close(cx)
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("id", &self.id()).finish_non_exhaustive()
    }
}

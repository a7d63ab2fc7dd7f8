//! The two directions of a [`Chat`](super::Chat): [`ChatSender`] and [`ChatReceiver`].

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Sink, Stream};

use super::{Connection, SendError, Side};
use crate::{
    backend::log::Notice,
    hub::shared::Shared,
    model::{
        frame::Frame,
        ids::{ChatId, PersonId},
        profile::Hello,
        reason::ChatEnd,
        ticket::Ticket,
    },
    sync::{Mutex, lock},
};

/// The half of a [`Chat`](super::Chat) that sends. A [`Sink`] of frames.
pub struct ChatSender {
    side: Arc<Mutex<Side>>,
    closing: Closing,
    /// A frame that the sink has taken and the partner's queue has not.
    started: Option<Frame>,
}

/// The half of a [`Chat`](super::Chat) that receives. A [`Stream`] of frames, which ends with the
/// chat.
pub struct ChatReceiver {
    side: Arc<Mutex<Side>>,
    closing: Closing,
    id: ChatId,
    partner: Arc<Ticket>,
}

/// Resolves once the drain period of the hub is over. Made when a half first waits.
#[derive(Default)]
struct Closing(Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>);

impl ChatSender {
    pub(super) fn new(side: Arc<Mutex<Side>>) -> Self {
        Self { side, closing: Closing::default(), started: None }
    }

    pub(super) fn into_side(self) -> Arc<Mutex<Side>> {
        self.side
    }

    /// Sends a frame, as [`Chat::send`](super::Chat::send).
    ///
    /// # Errors
    ///
    /// As [`Chat::send`](super::Chat::send).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the frame was not sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), SendError> {
        lock(&self.side).check(&frame)?;
        let mut waiting = Some(frame);
        poll_fn(|cx| self.poll_send(cx, &mut waiting)).await
    }

    /// Sends a text message, as [`Chat::say`](super::Chat::say).
    ///
    /// # Errors
    ///
    /// As [`Chat::send`](super::Chat::send).
    pub async fn say(&mut self, text: &str) -> Result<(), SendError> {
        self.send(Frame::text(text)).await
    }

    /// Waits until the next message is delivered, as [`Chat::receipt`](super::Chat::receipt).
    pub async fn receipt(&mut self) -> Option<u64> {
        poll_fn(|cx| {
            let polled = lock(&self.side).poll_receipt(cx);
            if polled.is_pending() && self.closing.poll(&self.side, cx).is_ready() {
                return Poll::Ready(None);
            }
            polled
        })
        .await
    }

    /// Waits until the partner's connection drops or is there again, as
    /// [`Chat::connection`](super::Chat::connection).
    pub async fn connection(&mut self) -> Option<Connection> {
        poll_fn(|cx| {
            let polled = lock(&self.side).poll_connection(cx);
            if polled.is_pending() && self.closing.poll(&self.side, cx).is_ready() {
                return Poll::Ready(None);
            }
            polled
        })
        .await
        .map(|notice| match notice {
            Notice::Away => Connection::Away,
            Notice::Back(hello) => Connection::Back(*hello),
        })
    }

    /// Leaves the partner, and tells it so. The other half receives [`ChatEnd::Left`].
    pub fn leave(self) {
        lock(&self.side).part(ChatEnd::Left, ChatEnd::Left);
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<Frame>,
    ) -> Poll<Result<(), SendError>> {
        let polled = lock(&self.side).poll_send(cx, frame);
        if polled.is_pending() && self.closing.poll(&self.side, cx).is_ready() {
            return Poll::Ready(Err(SendError::Over));
        }
        polled
    }
}

impl Sink<Frame> for ChatSender {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), SendError> {
        lock(&self.side).check(&frame)?;
        self.started = Some(frame);
        Ok(())
    }

    /// Ready once the partner's queue has every frame.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Some(frame) = self.started.take() else { return Poll::Ready(Ok(())) };
        let mut frame = Some(frame);
        let polled = self.poll_send(cx, &mut frame);
        self.started = frame;
        polled
    }

    /// Leaves the partner once it has every frame.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let polled = self.as_mut().poll_flush(cx);
        if polled.is_ready() {
            lock(&self.side).part(ChatEnd::Left, ChatEnd::Left);
        }
        polled
    }
}

impl ChatReceiver {
    pub(super) fn new(side: Arc<Mutex<Side>>) -> Self {
        let (id, partner) = lock(&side).about();
        Self { side, closing: Closing::default(), id, partner }
    }

    pub(super) fn introduce(&mut self, partner: &Hello) {
        Arc::make_mut(&mut self.partner).hello.clone_from(partner);
    }

    pub(super) const fn side(&self) -> &Arc<Mutex<Side>> {
        &self.side
    }

    /// Returns the chat's id, which is the same for both peers.
    #[must_use]
    pub const fn id(&self) -> ChatId {
        self.id
    }

    /// Returns how the partner introduced itself when the chat began.
    #[must_use]
    pub fn partner(&self) -> &Hello {
        &self.partner.hello
    }

    /// Returns the person behind the partner. Must not be shown to a client.
    #[must_use]
    pub fn partner_person(&self) -> PersonId {
        self.partner.person
    }

    /// Receives the next frame, as [`Chat::recv`](super::Chat::recv).
    ///
    /// # Errors
    ///
    /// As [`Chat::recv`](super::Chat::recv).
    ///
    /// # Cancel safety
    ///
    /// Safe: a frame is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Frame, ChatEnd> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, ChatEnd>> {
        let polled = lock(&self.side).poll_recv(cx);
        if polled.is_pending() && self.closing.poll(&self.side, cx).is_ready() {
            return Poll::Ready(Err(ChatEnd::Ended));
        }
        polled
    }
}

impl Stream for ChatReceiver {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

impl Closing {
    fn poll(&mut self, side: &Mutex<Side>, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.0.get_or_insert_with(|| {
            let hub: Arc<Shared> = lock(side).hub();
            Box::pin(async move { hub.closed().await })
        });
        closing.as_mut().poll(cx).map(|()| self.0 = None)
    }
}

impl fmt::Debug for ChatSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatSender").finish_non_exhaustive()
    }
}

impl fmt::Debug for ChatReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatReceiver").field("id", &self.id).finish_non_exhaustive()
    }
}

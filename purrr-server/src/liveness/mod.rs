//! Heartbeats, and one wrapper for both transports: [`Live`].

mod heartbeat;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Sink, Stream};
use purrr_core::hub::Gate;

use self::heartbeat::Beat;
pub(crate) use self::heartbeat::Heartbeat;
use crate::config::Config;

/// What a client sent, or what is known of it instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<T> {
    Message(T),
    /// A message that was discarded because the memory budget is exhausted.
    Refused,
    /// No message: the client has missed a heartbeat.
    Unresponsive,
    /// No message: the client was heard again after [`Unresponsive`](Self::Unresponsive).
    Responsive,
    /// No message: the client has taken some of its output after it was blocked.
    WriteProgress,
}

/// A transport that a heartbeat can watch. Its sink takes what the client is sent.
pub(crate) trait Transport: Sink<Self::Outgoing> + Unpin {
    /// What the client sends.
    type Message;
    /// What the client is sent.
    type Outgoing;

    /// Polls for what the client sends. Ends when the client is gone or broke the protocol.
    ///
    /// Tells the heartbeat of all activity of the client. While `paused`, no message is wanted and
    /// none may be returned, but writes go on. Returns neither [`Incoming::Unresponsive`] nor
    /// [`Incoming::Responsive`], which are the heartbeat's.
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        heartbeat: &mut Heartbeat,
        paused: bool,
    ) -> Poll<Option<Incoming<Self::Message>>>;

    /// Queues a ping and begins to flush it. Pending while there is no room.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;

    /// Handles the heartbeat timeout. The session ends after it.
    fn handle_timeout(&mut self);

    /// Returns the bytes of what the client is sent.
    fn length(outgoing: &Self::Outgoing) -> usize;
}

/// A transport with its heartbeat.
///
/// A stream of [`Incoming`], which ends when the client is gone, breaks the protocol or misses the
/// heartbeat timeout. Its sink is the transport's. Close the [`gate`](Self::gate) while no message
/// is wanted and go on polling: heartbeats and writes then continue.
pub(crate) struct Live<T> {
    transport: T,
    heartbeat: Heartbeat,
    gate: Gate,
}

impl<T: Transport> Live<T> {
    pub(crate) fn new(transport: T, config: &Config) -> Self {
        let heartbeat = Heartbeat::from_config(config);
        Self { transport, heartbeat, gate: Gate::default() }
    }

    /// Returns the gate that pauses messages but not heartbeats.
    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Chooses the ping schedule: active while the client waits or chats, else idle.
    pub(crate) fn set_active(&mut self, active: bool) {
        self.heartbeat.set_active(active);
    }

    /// Sends the next ping within `time`, once.
    pub(crate) fn ping_within(&mut self, time: Duration) {
        self.heartbeat.ping_within(time);
    }

    /// Polls as the stream does, as if the gate were closed: no message is wanted.
    pub(crate) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming<T::Message>>> {
        self.poll_incoming(cx, true)
    }

    pub(crate) const fn transport(&self) -> &T {
        &self.transport
    }

    pub(crate) const fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    pub(crate) fn into_transport(self) -> T {
        self.transport
    }

    #[inline]
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        paused: bool,
    ) -> Poll<Option<Incoming<T::Message>>> {
        let Self { transport, heartbeat, .. } = self;
        loop {
            if let Poll::Ready(incoming) = transport.poll_incoming(cx, heartbeat, paused) {
                return Poll::Ready(incoming);
            }
            match heartbeat.poll(cx) {
                Poll::Ready(Beat::Timeout) => {
                    transport.handle_timeout();
                    return Poll::Ready(None);
                }
                Poll::Ready(Beat::Ping) => {}
                Poll::Ready(Beat::Unresponsive) => {
                    return Poll::Ready(Some(Incoming::Unresponsive));
                }
                Poll::Ready(Beat::Responsive) => return Poll::Ready(Some(Incoming::Responsive)),
                Poll::Pending if heartbeat.is_ping_due() => match transport.poll_ping(cx) {
                    Poll::Ready(Ok(())) => {
                        heartbeat.handle_ping_sent();
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: Transport> Stream for Live<T> {
    type Item = Incoming<T::Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let paused = this.gate.is_closed();
        this.poll_incoming(cx, paused)
    }
}

impl<T: Transport> Sink<T::Outgoing> for Live<T> {
    type Error = T::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        Pin::new(&mut self.get_mut().transport).poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: T::Outgoing) -> Result<(), T::Error> {
        let this = self.get_mut();
        this.heartbeat.handle_sent(T::length(&item));
        Pin::new(&mut this.transport).start_send(item)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    /// Flushes only: how to close is known when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.poll_flush(cx)
    }
}

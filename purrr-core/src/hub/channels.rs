//! A session over channels, for an embedder without a transport: [`Commands`] and [`Events`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Sink, SinkExt, Stream, StreamExt, channel::mpsc};

use crate::{
    hub::transport::Input,
    model::{command::Command, event::Event},
};

/// The commands of a session's client, by [`Hub::session`](crate::Hub::session).
///
/// A [`Sink`] of commands. Clones send to the same session, which ends as lost when all are dropped.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::Sender<Input>);

/// The events of a session, by [`Hub::session`](crate::Hub::session). A [`Stream`].
///
/// The session ends as lost when it is dropped, and as slow if it is not read.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

/// An error for a command that came after the end of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
#[non_exhaustive]
pub struct SessionOver;

/// The hub's end of both channels.
pub(super) struct Channels {
    input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Event>,
}

/// The commands, and the events, that a channel holds.
const CAPACITY: usize = 16;

/// Creates both channels, and the transport that joins them.
pub(super) fn channels() -> (Commands, Events, Channels) {
    let (commands, input) = mpsc::channel(CAPACITY);
    let (output, events) = mpsc::channel(CAPACITY);
    (Commands(commands), Events(events), Channels { input, output })
}

impl Commands {
    /// Sends a command, waiting while the session reads none (backpressure).
    ///
    /// # Errors
    ///
    /// [`SessionOver`] once the session has ended.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the command may have been sent.
    pub async fn send(&mut self, command: Command) -> Result<(), SessionOver> {
        SinkExt::send(&mut self.0, command.into()).await.map_err(|_| SessionOver)
    }
}

impl Events {
    /// Receives the next event. `None` once the session has ended.
    ///
    /// # Cancel safety
    ///
    /// Safe: an event is taken only when it is returned.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

impl Sink<Command> for Commands {
    type Error = SessionOver;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SessionOver>> {
        self.0.poll_ready(cx).map_err(|_| SessionOver)
    }

    fn start_send(mut self: Pin<&mut Self>, command: Command) -> Result<(), SessionOver> {
        self.0.start_send(command.into()).map_err(|_| SessionOver)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SessionOver>> {
        self.0.poll_flush_unpin(cx).map_err(|_| SessionOver)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SessionOver>> {
        self.0.poll_close_unpin(cx).map_err(|_| SessionOver)
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next_unpin(cx)
    }
}

impl Stream for Channels {
    type Item = Input;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        self.input.poll_next_unpin(cx)
    }
}

impl Sink<Event> for Channels {
    type Error = mpsc::SendError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), mpsc::SendError>> {
        self.output.poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), mpsc::SendError> {
        self.output.start_send(event)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), mpsc::SendError>> {
        self.output.poll_flush_unpin(cx)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), mpsc::SendError>> {
        self.output.poll_close_unpin(cx)
    }
}

//! A WebSocket that is asked now and then whether somebody is still there: [`Watched`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use bytestring::ByteString;
use futures::{Sink, Stream};
use purrr_core::hub::Gate;

use super::{CloseCode, Socket, SocketError, SocketEvent};
use crate::{
    config::Config,
    limits::control_frames::ControlFrameLimit,
    liveness::{Beat, Heartbeat},
    transport::message::Message,
};

/// A socket with its heartbeat, which remembers what was wrong with the client's frames.
///
/// The stream ends when the client says goodbye, breaks the protocol or is not there any more.
pub(crate) struct Watched {
    socket: Socket,
    heartbeat: Heartbeat,
    control_frames: ControlFrameLimit,
    ping_due: bool,
    dead: bool,
    fault: Option<CloseCode>,
    /// Closed while no message is wanted.
    gate: Gate,
}

/// What comes from a client.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(ByteString),
    Binary(Bytes),
    /// Nothing, but the client has taken something after it had not.
    Progress,
    /// Nothing, not even the answer to a ping.
    Silence,
    /// Something after a silence.
    SignOfLife,
    /// A message for which there was no room.
    Refused,
}

impl Watched {
    pub(crate) fn new(socket: Socket, config: &Config) -> Self {
        Self {
            socket,
            heartbeat: Heartbeat::from_config(config),
            control_frames: ControlFrameLimit::new(config),
            ping_due: false,
            dead: false,
            fault: None,
            gate: Gate::default(),
        }
    }

    /// By closing which messages are kept waiting, and nothing else.
    pub(crate) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Somebody else depends on this client now, or not any longer.
    pub(crate) fn attend(&mut self, attends: bool) {
        self.heartbeat.attend(attends);
    }

    /// Says goodbye: with the code for what was wrong, else with this one, else by answering the client's.
    pub(crate) async fn end(self, goodbye: Option<(CloseCode, &'static str)>) {
        match self.fault.map(|code| (code, "")).or(goodbye) {
            Some((code, reason)) => self.socket.close_with(code, reason).await,
            // Nobody is there to say goodbye to.
            None if self.dead => {}
            None => self.socket.finish().await,
        }
    }

    /// Sends a ping that is due as soon as the socket takes it.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Result<(), SocketError> {
        if self.ping_due && Pin::new(&mut self.socket).poll_ready(cx)?.is_ready() {
            self.socket.queue_ping();
            self.ping_due = false;
            // What cannot be flushed now goes with the next flush or when the socket next reads.
            let _ = Pin::new(&mut self.socket).poll_flush(cx)?;
        }
        Ok(())
    }
}

impl Stream for Watched {
    type Item = Heard;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        let this = self.get_mut();
        loop {
            let polled = if this.gate.is_closed() {
                this.socket.poll_controls(cx)
            } else {
                Pin::new(&mut this.socket).poll_next(cx)
            };
            // An answer may be behind a message that nobody wants yet.
            let waits = this.gate.is_closed() && this.socket.begins_message();
            if this.socket.take_activity() || waits {
                this.heartbeat.heard();
            }
            if polled.is_pending() && this.socket.take_unblocked() {
                return Poll::Ready(Some(Heard::Progress));
            }
            match polled {
                Poll::Ready(Some(Ok(SocketEvent::Message(Message::Text(text))))) => {
                    return Poll::Ready(Some(Heard::Text(text)));
                }
                Poll::Ready(Some(Ok(SocketEvent::Message(Message::Binary(bytes))))) => {
                    return Poll::Ready(Some(Heard::Binary(bytes)));
                }
                Poll::Ready(Some(Ok(SocketEvent::Refused))) => {
                    return Poll::Ready(Some(Heard::Refused));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Ok(
                    SocketEvent::Ping | SocketEvent::Pong | SocketEvent::EmptyFragment,
                ))) => {
                    if this.control_frames.is_exceeded() {
                        this.fault = Some(CloseCode::Policy);
                        return Poll::Ready(None);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.fault = error.close_code();
                    return Poll::Ready(None);
                }
                Poll::Pending => match this.heartbeat.poll(cx) {
                    Poll::Ready(Beat::Dead) => {
                        this.dead = true;
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Beat::Ask) => this.ping_due = true,
                    Poll::Ready(Beat::Silence) => return Poll::Ready(Some(Heard::Silence)),
                    Poll::Ready(Beat::SignOfLife) => return Poll::Ready(Some(Heard::SignOfLife)),
                    Poll::Pending if this.poll_ping(cx).is_err() => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl Sink<Message> for Watched {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().socket).poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        let this = self.get_mut();
        this.heartbeat.sent(message.len());
        Pin::new(&mut this.socket).start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    /// Says nothing: which close code to send is known only when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_flush(cx)
    }
}

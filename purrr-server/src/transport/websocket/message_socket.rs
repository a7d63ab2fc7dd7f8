//! A socket of messages alone: [`MessageSocket`], and with a heartbeat [`LiveSocket`].

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytestring::ByteString;
use futures::Sink;
use purrr_core::model::Closing;
use tokio::task::coop::poll_proceed;

use super::{
    close_code::CloseCode,
    event::{SocketError, SocketEvent},
    socket::Socket,
};
use crate::{
    limits::{control_frames::ControlFrameLimit, memory::MemoryBudget},
    liveness::{Heartbeat, Incoming, Live, Transport},
    transport::message::Message,
};

/// A WebSocket with its heartbeat.
pub(crate) type LiveSocket = Live<MessageSocket>;

/// A socket that limits control frames, and remembers why it ended.
pub(crate) struct MessageSocket {
    socket: Socket,
    control_frames: ControlFrameLimit,
    end: End,
    /// The message that is sent instead of a ping.
    probe: Option<&'static ByteString>,
}

/// Why the server ends the connection.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It does not, or not because of the client.
    None,
    /// The client's frames require this code.
    Violation(CloseCode),
    /// The client sent too much that asks for nothing.
    Flood,
    /// The client missed the heartbeat timeout.
    Unresponsive,
}

/// The code of a page that is closed, or loaded again.
const GOING_AWAY: u16 = CloseCode::Away as u16;

/// How many small fragments count as one control frame. Picked at random, so nothing is kept.
const SMALL_FRAGMENTS: u8 = 16;

impl MessageSocket {
    pub(crate) const fn new(socket: Socket, control_frames: ControlFrameLimit) -> Self {
        Self { socket, control_frames, end: End::None, probe: None }
    }

    /// Returns the memory budget of the connection.
    pub(crate) const fn budget(&self) -> &MemoryBudget {
        self.socket.budget()
    }

    /// Sends this message instead of pings from now on. The client's program must answer it.
    pub(crate) const fn probe_with(&mut self, message: &'static ByteString) {
        self.probe = Some(message);
    }

    /// Counts a message that costs what a control frame does. Returns false if that is a violation.
    pub(crate) fn count_control_frame(&mut self) -> bool {
        let exceeded = self.control_frames.is_exceeded();
        self.end_if(exceeded)
    }

    /// Counts bytes that were ignored. Returns false if that is a violation.
    pub(crate) fn count_ignored(&mut self, bytes: usize) -> bool {
        let exceeded = self.control_frames.is_exceeded_by(bytes);
        self.end_if(exceeded)
    }

    /// Counts a frame that is no message. Returns false if that is a violation.
    #[inline(never)]
    fn tolerates(&mut self, event: &SocketEvent) -> bool {
        let is_uncounted =
            *event == SocketEvent::SmallFragment && fastrand::u8(..SMALL_FRAGMENTS) > 0;
        is_uncounted || self.count_control_frame()
    }

    #[cold]
    fn note_violation(&mut self, error: &SocketError) {
        if let Some(code) = error.close_code() {
            self.end = End::Violation(code);
        }
    }

    const fn end_if(&mut self, exceeded: bool) -> bool {
        if exceeded {
            self.end = End::Flood;
        }
        !exceeded
    }

    /// Returns how the client ended the connection: by a close, by a violation, or without a word.
    pub(crate) fn closing(&self) -> Closing {
        match (self.end, self.socket.client_close()) {
            (End::Violation(_) | End::Flood, _) => Closing::Deliberate,
            (End::None | End::Unresponsive, None) => Closing::Lost,
            (_, Some(Some(GOING_AWAY))) => Closing::GoingAway,
            (_, Some(_)) => Closing::Deliberate,
        }
    }

    /// Closes the connection: for a violation, else with `reason`, else by answering the client's
    /// close. An unresponsive client is sent no answer.
    pub(crate) async fn close(self, reason: Option<(CloseCode, &'static str)>) {
        let reason = match self.end {
            End::Violation(code) => Some((code, code.reason())),
            End::Flood => Some((CloseCode::Policy, "too many packets")),
            End::None | End::Unresponsive => reason,
        };
        match reason {
            Some((code, reason)) => self.socket.close_with(code, reason).await,
            None if matches!(self.end, End::Unresponsive) => {}
            None => self.socket.finish().await,
        }
    }

    /// Continues a blocked write without reading. Ready when the client has made progress.
    ///
    /// # Errors
    ///
    /// Returns the error of the connection.
    pub(crate) fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.socket.pause_deadline();
        self.socket.poll_blocked(cx)?;
        if self.socket.take_unblocked() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Transport for MessageSocket {
    type Message = Message;
    type Outgoing = Message;

    #[inline]
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        heartbeat: &mut Heartbeat,
        paused: bool,
    ) -> Poll<Option<Incoming<Message>>> {
        loop {
            let polled = self.socket.poll_event(cx, paused);
            // A pong may be behind a message that is not wanted yet.
            let waits = paused && self.socket.begins_message();
            if self.socket.take_activity() || waits {
                heartbeat.handle_activity();
            }
            if polled.is_pending() && self.socket.take_unblocked() {
                return Poll::Ready(Some(Incoming::WriteProgress));
            }
            return Poll::Ready(match ready!(polled) {
                Some(Ok(SocketEvent::Message(message))) => Some(Incoming::Message(message)),
                Some(Ok(SocketEvent::Refused)) => Some(Incoming::Refused),
                Some(Ok(event)) => {
                    if self.tolerates(&event) {
                        // Thousands of frames may have been read at once.
                        ready!(poll_proceed(cx)).made_progress();
                        continue;
                    }
                    None
                }
                Some(Err(error)) => {
                    self.note_violation(&error);
                    None
                }
                None => None,
            });
        }
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
        match self.probe {
            Some(probe) => {
                Pin::new(&mut self.socket).start_send(Message::Text(probe.clone()))?;
            }
            None => self.socket.queue_ping(),
        }
        // What cannot be written now goes with the next flush, or when the socket is next read.
        let _ = Pin::new(&mut self.socket).poll_flush(cx)?;
        Poll::Ready(Ok(()))
    }

    fn handle_timeout(&mut self) {
        self.end = End::Unresponsive;
    }

    fn length(outgoing: &Message) -> usize {
        outgoing.len()
    }
}

impl Sink<Message> for MessageSocket {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().socket).poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        Pin::new(&mut self.get_mut().socket).start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_flush(cx)
    }
}

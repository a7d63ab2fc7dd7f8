//! One session as a stream and a sink of packets, over whichever transport it runs just then: [`EioSocket`].

use std::{
    collections::VecDeque,
    io,
    mem::replace,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{Sink, SinkExt, Stream, StreamExt};
use purrr_core::{hub::Gate, rate::Allowance};

use super::{
    Incoming, Outgoing,
    polling::{Inbound, Successor},
    sessions::Record,
};
use crate::{
    config::Config,
    limits::{control_frames::ControlFrameLimit, memory::MemoryBudget},
    liveness::{Beat, Heartbeat},
    transport::{
        message::Message,
        websocket::{CloseCode, Socket, SocketEvent},
    },
};

/// One session, whatever it runs over. Ends its record when it is dropped.
pub(crate) struct EioSocket {
    link: Link,
    /// Keeps the id of a session that polled before taken, after a WebSocket has taken it over.
    record: Option<Record>,
    heartbeat: Heartbeat,
    control_frames: ControlFrameLimit,
    /// Packets that came before a change of transport and are still to be read.
    early: Inbound,
    /// Packets that a change of transport left over.
    rest: VecDeque<Outgoing>,
    ping_due: bool,
    /// How many pings were sent, and how many of them were answered.
    pings: u64,
    pongs: u64,
    fault: Option<CloseCode>,
    allowance: Option<Arc<Allowance>>,
    /// Closed while no packet is wanted.
    gate: Gate,
    budget: MemoryBudget,
}

pub(super) enum Link {
    WebSocket(Box<Socket>),
    Polling(Record),
    Gone,
}

impl EioSocket {
    pub(super) fn new(link: Link, config: &Config, budget: MemoryBudget) -> Self {
        Self {
            link,
            record: None,
            heartbeat: Heartbeat::from_config(config),
            control_frames: ControlFrameLimit::new(config),
            early: Inbound::default(),
            rest: VecDeque::new(),
            ping_due: false,
            pings: 0,
            pongs: 0,
            fault: None,
            allowance: None,
            gate: Gate::default(),
            budget,
        }
    }

    /// What those of the session's address may have held for them together.
    pub(crate) const fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// By closing which packets are kept waiting, and nothing else.
    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What whoever has the session shares with the others of its address.
    pub(crate) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.allowance.clone()
    }

    pub(super) fn share(&mut self, allowance: Option<Arc<Allowance>>) {
        self.allowance = allowance;
    }

    /// A session whose connection is over, for what reads packets of its own.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn gone(config: &Config) -> Self {
        Self::new(Link::Gone, config, MemoryBudget::unlimited())
    }

    /// Names the ping that was sent last.
    pub(crate) const fn last_ping(&self) -> u64 {
        self.pings
    }

    /// Whether the ping of this name was answered: then whatever comes was sent after it was taken.
    pub(crate) const fn is_answered(&self, ping: u64) -> bool {
        self.pongs >= ping
    }

    /// Ends the session, with a close code where the transport has them.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        let code = self.fault.unwrap_or(code);
        if let Link::WebSocket(socket) = replace(&mut self.link, Link::Gone) {
            socket.close_with(code, reason).await;
        }
    }

    /// Somebody else depends on this client now, or not any longer.
    pub(crate) fn attend(&mut self, attends: bool) {
        self.heartbeat.attend(attends);
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ping_due && Pin::new(&mut *self).poll_ready(cx)?.is_ready() {
            Pin::new(&mut *self).start_send(Outgoing::PING)?;
            self.ping_due = false;
            let _ = Pin::new(&mut *self).poll_flush(cx)?;
        }
        Ok(())
    }

    /// Goes on with the WebSocket that has taken over, if one has.
    #[inline]
    fn change_over(&mut self) {
        if let Link::Polling(record) = &self.link
            && let Some(Successor { socket, inbound, outbound }) = record.polling.take_successor()
        {
            (self.early, self.rest) = (inbound, outbound);
            if let Link::Polling(record) = replace(&mut self.link, Link::WebSocket(socket)) {
                self.record = Some(record);
            }
        }
    }

    /// Does what else there is to do while no packet is wanted. Answers to pings are packets too, so nobody is taken for dead
    /// meanwhile; but a line that is broken is noticed by what is sent.
    fn poll_without_reading(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.change_over();
        if let Poll::Ready(Err(_)) = self.poll_rest(cx) {
            return Poll::Ready(None);
        }
        self.heartbeat.heard();
        if let Link::WebSocket(socket) = &mut self.link {
            socket.pause_deadline();
            if socket.poll_blocked(cx).is_err() {
                return Poll::Ready(None);
            }
            if socket.take_unblocked() {
                return Poll::Ready(Some(Incoming::Progress));
            }
        }
        Poll::Pending
    }

    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.change_over();
        if let Some(packet) = self.early.next(&self.budget) {
            return Poll::Ready(Some(packet));
        }
        // What was left over goes out even if nothing else does.
        if let Poll::Ready(Err(_)) = self.poll_rest(cx) {
            return Poll::Ready(None);
        }
        let socket = match &mut self.link {
            Link::Gone => return Poll::Ready(None),
            Link::Polling(record) => {
                let polled = record.polling.poll_next(cx);
                if record.polling.take_moved() {
                    self.heartbeat.heard();
                }
                return polled;
            }
            Link::WebSocket(socket) => socket,
        };
        loop {
            let polled = socket.poll_next_unpin(cx);
            if socket.take_activity() {
                self.heartbeat.heard();
            }
            if polled.is_pending() && socket.take_unblocked() {
                return Poll::Ready(Some(Incoming::Progress));
            }
            return match ready!(polled) {
                Some(Ok(SocketEvent::Message(Message::Binary(bytes)))) => {
                    Poll::Ready(Some(Incoming::Binary(bytes)))
                }
                Some(Ok(SocketEvent::Message(Message::Text(text)))) => {
                    let packet = Incoming::read(text);
                    if packet.is_none() {
                        self.fault = Some(CloseCode::Policy);
                    }
                    Poll::Ready(packet)
                }
                None => Poll::Ready(None),
                Some(Ok(SocketEvent::Refused)) => Poll::Ready(Some(Incoming::Refused)),
                Some(Ok(_)) if self.control_frames.is_exceeded() => {
                    self.fault = Some(CloseCode::Policy);
                    Poll::Ready(None)
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    self.fault = error.close_code();
                    Poll::Ready(None)
                }
            };
        }
    }

    /// Hands what a change of transport left over to the WebSocket.
    #[inline]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked before everything else, and hardly ever there.
        if self.rest.is_empty() { Poll::Ready(Ok(())) } else { self.poll_some_rest(cx) }
    }

    #[cold]
    fn poll_some_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Link::WebSocket(socket) = &mut self.link {
            while !self.rest.is_empty() {
                ready!(socket.poll_ready_unpin(cx)).map_err(io::Error::other)?;
                if let Some(packet) = self.rest.pop_front() {
                    socket.start_send_unpin(packet.into_message()).map_err(io::Error::other)?;
                }
                if self.rest.is_empty() {
                    let _ = socket.poll_flush_unpin(cx).map_err(io::Error::other)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for EioSocket {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let this = self.get_mut();
        loop {
            let polled = if this.gate.is_closed() {
                this.poll_without_reading(cx)
            } else {
                this.poll_packet(cx)
            };
            match polled {
                Poll::Ready(Some(Incoming::Pong)) => {
                    this.heartbeat.heard();
                    this.pongs = this.pings.min(this.pongs + 1);
                }
                Poll::Ready(Some(Incoming::Close) | None) => return Poll::Ready(None),
                Poll::Ready(Some(packet)) => {
                    this.heartbeat.heard();
                    if matches!(packet, Incoming::Refused) {
                        // An answer to a ping may have been among what was thrown away.
                        this.pongs = this.pings;
                    }
                    return Poll::Ready(Some(packet));
                }
                Poll::Pending => match this.heartbeat.poll(cx) {
                    Poll::Ready(Beat::Dead) => {
                        // What is still to be sent waits for a poll that will not come.
                        if let Link::Polling(record) = &this.link {
                            record.polling.close();
                        }
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Beat::Ask) => this.ping_due = true,
                    Poll::Ready(Beat::Silence) => return Poll::Ready(Some(Incoming::Silence)),
                    Poll::Ready(Beat::SignOfLife) => {
                        return Poll::Ready(Some(Incoming::SignOfLife));
                    }
                    Poll::Pending if this.poll_ping(cx).is_err() => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl Sink<Outgoing> for EioSocket {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.change_over();
        ready!(this.poll_rest(cx))?;
        match &mut this.link {
            Link::WebSocket(socket) => socket.poll_ready_unpin(cx).map_err(io::Error::other),
            Link::Polling(record) => {
                if ready!(record.polling.poll_ready(cx)) {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
            Link::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn start_send(self: Pin<&mut Self>, packet: Outgoing) -> io::Result<()> {
        let this = self.get_mut();
        this.pings += u64::from(packet == Outgoing::PING);
        this.heartbeat.sent(packet.len());
        match &mut this.link {
            Link::WebSocket(socket) => {
                socket.start_send_unpin(packet.into_message()).map_err(io::Error::other)
            }
            Link::Polling(record) => {
                record.polling.send(packet);
                Ok(())
            }
            Link::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.change_over();
        ready!(this.poll_rest(cx))?;
        match &mut this.link {
            Link::WebSocket(socket) => socket.poll_flush_unpin(cx).map_err(io::Error::other),
            Link::Polling(record) => record.polling.poll_flush(cx).map(Ok),
            Link::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Says nothing: which close code to send is known only when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

//! One session as a stream and a sink, over whichever transport it has: [`EioSocket`].

use std::{
    collections::VecDeque,
    io,
    mem::replace,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::Sink;
use purrr_core::{
    model::{Closing, OriginKey},
    rate::Allowance,
};
use tokio::task::coop::poll_proceed;

use super::{
    packet::{Outgoing, Packet},
    payload::Inbound,
    polling::Successor,
    table::Record,
};
use crate::{
    limits::{connections::ConnectionPermit, memory::MemoryBudget, provisional::ProvisionalPermit},
    liveness::{Heartbeat, Incoming, Live, Transport},
    transport::{
        message::Message,
        websocket::{CloseCode, MessageSocket},
    },
};

/// A session with its heartbeat.
pub(crate) type EioSocket = Live<EioTransport>;

/// A session over polling or a WebSocket. Dropping it ends its record.
///
/// Every call first asks whether a WebSocket has taken over: a client that has changed over polls
/// no more, so waiting for a poll would be waiting for good.
pub(crate) struct EioTransport {
    link: Link,
    /// Reserves the id of a session that has been upgraded.
    record: Option<Record>,
    /// Packets of the client that polling left over at an upgrade.
    early: Inbound,
    /// Packets for the client that polling left over at an upgrade.
    rest: VecDeque<Outgoing>,
    /// Pings sent, and how many of them were answered.
    pings: u64,
    pongs: u64,
    /// Held until the session ends: it is one connection, on whatever transport.
    permit: ConnectionPermit,
    /// Held by a polling session until its client has sent a packet or has upgraded.
    provisional: Option<Box<ProvisionalPermit>>,
    /// Why the session ends, if that is known here.
    end: Option<&'static End>,
}

/// How a WebSocket is closed. A pair in static memory, since each session has room for one.
pub(crate) type End = (CloseCode, &'static str);

/// The client has missed the timeout of its heartbeat.
static HEARTBEAT_TIMEOUT: End = (CloseCode::Policy, "heartbeat timeout");

/// The client has not taken what it was sent.
pub(crate) static SLOW: End = (CloseCode::Policy, "slow");

/// What a session runs on.
pub(super) enum Link {
    WebSocket(Box<MessageSocket>),
    Polling(Record),
    Closed,
}

impl EioTransport {
    pub(super) fn new(link: Link, permit: ConnectionPermit) -> Self {
        Self {
            link,
            record: None,
            early: Inbound::default(),
            rest: VecDeque::new(),
            pings: 0,
            pongs: 0,
            permit,
            provisional: None,
            end: None,
        }
    }

    /// Ends the session early if its client sends nothing.
    pub(super) fn provisional(mut self, permit: ProvisionalPermit) -> Self {
        self.provisional = Some(Box::new(permit));
        self
    }

    /// Returns a closed session, for code that parses packets of its own.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn closed() -> Self {
        Self::new(Link::Closed, ConnectionPermit::unlimited())
    }

    /// Returns the memory budget with the quota of the client's address.
    pub(crate) const fn budget(&self) -> &MemoryBudget {
        self.permit.budget()
    }

    /// Returns the rate limits that the connections of the address share.
    pub(crate) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.permit.allowance()
    }

    /// Returns the client's address as a keyed hash.
    pub(crate) const fn origin(&self) -> OriginKey {
        self.permit.origin()
    }

    /// Counts a packet that asks for nothing. Returns false if there are too many.
    ///
    /// The session must end then.
    pub(crate) fn count_control_packet(&mut self) -> bool {
        match &mut self.link {
            Link::WebSocket(socket) => socket.count_control_frame(),
            Link::Polling(record) => record.polling().count_control_packet(),
            Link::Closed => true,
        }
    }

    /// Counts bytes that were ignored. Returns false if there are too many.
    ///
    /// The session must end then.
    pub(crate) fn count_ignored(&mut self, bytes: usize) -> bool {
        match &mut self.link {
            Link::WebSocket(socket) => socket.count_ignored(bytes),
            Link::Polling(record) => record.polling().count_ignored(bytes),
            Link::Closed => true,
        }
    }

    /// Returns the number of the last ping.
    pub(crate) const fn last_ping(&self) -> u64 {
        self.pings
    }

    /// Returns true if the ping of this number was answered.
    ///
    /// What comes afterwards was sent after the client had received the ping.
    pub(crate) const fn is_answered(&self, ping: u64) -> bool {
        self.pongs >= ping
    }

    /// Notes why the session ends, unless an earlier reason is known.
    pub(crate) fn set_end(&mut self, end: &'static End) {
        self.end.get_or_insert(end);
    }

    /// Returns how the client ended the session, as far as it said.
    ///
    /// A client that answers no ping or takes nothing is lost. One that breaks the protocol is not.
    pub(crate) fn closing(&self) -> Closing {
        match (self.end, &self.link) {
            (Some(end), _) if [HEARTBEAT_TIMEOUT, SLOW].contains(end) => Closing::Lost,
            (Some(_), _) => Closing::Deliberate,
            (None, Link::WebSocket(socket)) => socket.closing(),
            (None, Link::Polling(record)) if record.polling().is_violated() => Closing::Deliberate,
            (None, Link::Polling(_) | Link::Closed) => Closing::Lost,
        }
    }

    /// Ends the session. On a WebSocket a close tells why: a violation, what ended the session
    /// here, or else `reason`. Without any, a close of the client is answered.
    pub(crate) async fn close(mut self, reason: Option<End>) {
        if let Link::WebSocket(socket) = replace(&mut self.link, Link::Closed) {
            socket.close(self.end.copied().or(reason)).await;
        }
    }

    /// Switches to the WebSocket that has taken over, if there is one.
    #[inline]
    fn change_over(&mut self) {
        if let Link::Polling(record) = &self.link
            && let Some(Successor { socket, inbound, outbound }) = record.polling().take_successor()
        {
            (self.early, self.rest, self.provisional) = (inbound, outbound, None);
            if let Link::Polling(record) = replace(&mut self.link, Link::WebSocket(socket)) {
                if self.rest.is_empty() {
                    record.polling().handle_rest_sent();
                }
                self.record = Some(record);
            }
        }
    }

    /// Polls for the next packet, or for what is known of the client instead.
    fn poll_packet(
        &mut self,
        cx: &mut Context<'_>,
        heartbeat: &mut Heartbeat,
    ) -> Poll<Option<Incoming<Packet>>> {
        self.change_over();
        if let Some(packet) = self.early.next(self.permit.budget()) {
            return Poll::Ready(Some(Incoming::Message(packet)));
        }
        // Left over packets go out even if no other packet does.
        if let Poll::Ready(Err(_)) = self.poll_rest(cx) {
            return Poll::Ready(None);
        }
        match &mut self.link {
            Link::Closed => Poll::Ready(None),
            Link::Polling(record) => {
                let polled = record.polling().poll_next(cx);
                if record.polling().take_activity() {
                    heartbeat.handle_activity();
                }
                if polled.is_ready() {
                    self.provisional = None;
                } else if let Some(provisional) = &mut self.provisional
                    && provisional.poll_end(cx).is_ready()
                {
                    self.provisional = None;
                    record.polling().close();
                    return Poll::Ready(None);
                }
                if polled.is_pending() && record.polling().poll_progress(cx).is_ready() {
                    return Poll::Ready(Some(Incoming::WriteProgress));
                }
                polled.map(|packet| packet.map(Incoming::Message))
            }
            Link::WebSocket(socket) => {
                Poll::Ready(match ready!(socket.poll_incoming(cx, heartbeat, false)) {
                    Some(Incoming::Message(Message::Text(text))) => {
                        let packet = Packet::parse(text, self.permit.budget());
                        if packet.is_none() {
                            self.set_end(&(CloseCode::Policy, "not Engine.IO"));
                        }
                        packet.map(Incoming::Message)
                    }
                    Some(Incoming::Message(message)) => {
                        Some(Incoming::Message(Packet::Message(message)))
                    }
                    Some(Incoming::Refused) => Some(Incoming::Refused),
                    Some(Incoming::WriteProgress) => Some(Incoming::WriteProgress),
                    Some(Incoming::Unresponsive | Incoming::Responsive) | None => None,
                })
            }
        }
    }

    /// Continues writes while no packet is wanted.
    ///
    /// Pongs are packets too and are not read now, so the client counts as active meanwhile. A
    /// broken connection is still noticed by writes.
    fn poll_paused(
        &mut self,
        cx: &mut Context<'_>,
        heartbeat: &mut Heartbeat,
    ) -> Poll<Option<Incoming<Message>>> {
        self.change_over();
        if let Poll::Ready(Err(_)) = self.poll_rest(cx) {
            return Poll::Ready(None);
        }
        heartbeat.handle_activity();
        let progress = match &mut self.link {
            Link::WebSocket(socket) => ready!(socket.poll_blocked(cx)).is_ok(),
            Link::Polling(record) => {
                ready!(record.polling().poll_progress(cx));
                true
            }
            Link::Closed => return Poll::Pending,
        };
        Poll::Ready(progress.then_some(Incoming::WriteProgress))
    }

    /// Moves packets that polling left over to the WebSocket.
    #[inline]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Called first by everything else, and hardly ever is there a rest.
        if self.rest.is_empty() { Poll::Ready(Ok(())) } else { self.poll_some_rest(cx) }
    }

    #[cold]
    fn poll_some_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Link::WebSocket(socket) = &mut self.link {
            let mut socket = Pin::new(&mut **socket);
            while !self.rest.is_empty() {
                ready!(socket.as_mut().poll_ready(cx)).map_err(io::Error::other)?;
                if let Some(packet) = self.rest.pop_front() {
                    socket.as_mut().start_send(packet.into_message()).map_err(io::Error::other)?;
                }
                if self.rest.is_empty() {
                    if let Some(record) = &self.record {
                        record.polling().handle_rest_sent();
                    }
                    let _ = socket.as_mut().poll_flush(cx).map_err(io::Error::other)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Transport for EioTransport {
    type Message = Message;
    type Outgoing = Outgoing;

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        heartbeat: &mut Heartbeat,
        paused: bool,
    ) -> Poll<Option<Incoming<Message>>> {
        if paused {
            return self.poll_paused(cx, heartbeat);
        }
        while let Some(incoming) = ready!(self.poll_packet(cx, heartbeat)) {
            heartbeat.handle_activity();
            let incoming = match incoming {
                Incoming::Message(Packet::Message(message)) => Incoming::Message(message),
                Incoming::Message(packet @ (Packet::Pong | Packet::Noop)) => {
                    if packet == Packet::Pong {
                        self.pongs = self.pings.min(self.pongs + 1);
                    }
                    if !self.count_control_packet() {
                        self.set_end(&(CloseCode::Policy, "too many packets"));
                        break;
                    }
                    // Thousands of packets may have been read at once.
                    ready!(poll_proceed(cx)).made_progress();
                    continue;
                }
                Incoming::Message(Packet::Close) => {
                    self.set_end(&(CloseCode::Normal, ""));
                    break;
                }
                Incoming::Message(Packet::Refused) | Incoming::Refused => {
                    // A pong may have been among what was discarded.
                    self.pongs = self.pings;
                    Incoming::Refused
                }
                Incoming::WriteProgress => Incoming::WriteProgress,
                Incoming::Unresponsive => Incoming::Unresponsive,
                Incoming::Responsive => Incoming::Responsive,
            };
            return Poll::Ready(Some(incoming));
        }
        Poll::Ready(None)
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self).poll_ready(cx))?;
        Pin::new(&mut *self).start_send(Outgoing::PING)?;
        let _ = Pin::new(&mut *self).poll_flush(cx)?;
        Poll::Ready(Ok(()))
    }

    fn handle_timeout(&mut self) {
        self.set_end(&HEARTBEAT_TIMEOUT);
        // Otherwise packets for the client would wait for a poll that does not come.
        if let Link::Polling(record) = &self.link {
            record.polling().close();
        }
    }

    fn length(outgoing: &Outgoing) -> usize {
        outgoing.len()
    }
}

impl Sink<Outgoing> for EioTransport {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.change_over();
        ready!(this.poll_rest(cx))?;
        match &mut this.link {
            Link::WebSocket(socket) => {
                Pin::new(&mut **socket).poll_ready(cx).map_err(io::Error::other)
            }
            Link::Polling(record) => {
                if ready!(record.polling().poll_ready(cx)) {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
            Link::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn start_send(self: Pin<&mut Self>, packet: Outgoing) -> io::Result<()> {
        let this = self.get_mut();
        this.pings += u64::from(packet == Outgoing::PING);
        match &mut this.link {
            Link::WebSocket(socket) => {
                Pin::new(&mut **socket).start_send(packet.into_message()).map_err(io::Error::other)
            }
            Link::Polling(record) => {
                record.polling().send(packet);
                Ok(())
            }
            Link::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.change_over();
        ready!(this.poll_rest(cx))?;
        match &mut this.link {
            Link::WebSocket(socket) => {
                Pin::new(&mut **socket).poll_flush(cx).map_err(io::Error::other)
            }
            Link::Polling(record) => record.polling().poll_flush(cx).map(Ok),
            Link::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Flushes only: which close code to send is known when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

//! One client's session as a stream of commands and a sink of events: [`PurrrChat`].

mod decode;
mod encode;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytestring::ByteString;
use futures::{Sink, SinkExt, Stream, StreamExt};
use purrr_core::{
    Command, Event, Limits,
    backend::QueueBudget,
    hub::{Gate, Input},
    model::{CloseReason, Closing, Dialect, OriginKey},
    rate::Allowance,
};
use tokio::{
    task::coop::poll_proceed,
    time::{Sleep, sleep},
};

use super::{
    chat::Chat,
    packet::AckId,
    recovery::{Recovery, announce, find, recover},
};
use crate::{
    config::Config,
    dialect::image::ImageLimits,
    limits::memory::MemoryBudget,
    liveness::Incoming,
    transport::{
        engineio::{EioSocket, Outgoing, SLOW},
        message::Message,
        websocket::CloseCode,
    },
};

/// Marks frames that may be relayed in the form in which they came.
const DIALECT: Dialect = Dialect::new("purrr.chat");

/// A Socket.IO connection as a stream of commands and a sink of events.
///
/// `decode.rs` makes commands of what the client sends, `encode.rs` makes packets of events.
pub(super) struct PurrrChat {
    socket: EioSocket,
    limits: EventLimits,
    budget: MemoryBudget,
    /// The name that the app gave, whatever name the client says. Boxed, since few clients have it.
    name: Option<Box<ByteString>>,
    /// Commands that come before anything else that is read.
    commands: VecDeque<Command>,
    /// Packets that are sent before any other event.
    packets: VecDeque<Outgoing>,
    /// Set while `packets` has, or had since the last flush, an answer that no event flushes.
    unflushed_answer: bool,
    answer_stall: AnswerStall,
    /// An event whose attachment comes next, and the acknowledgement that it requests.
    pending_event: Option<Box<(ByteString, AckId)>>,
    /// Boxed, since an idle session has none.
    chat: Option<Box<Chat>>,
    /// Set once there was a chat.
    had_chat: bool,
    /// Set once the hub was told that the client may come back.
    is_announced: bool,
    /// Set once the hub was told how the client ends the connection.
    is_closing_told: bool,
    /// None unless the client comes back. Boxed, since few clients do.
    recovery: Option<Box<Recovery>>,
}

/// How long the events of a client may be.
struct EventLimits {
    message_bytes: usize,
    image_bytes: usize,
    command_bytes: u32,
    signal_bytes: u32,
    images: ImageLimits,
}

/// How long a client may take none of the answers to what it sends, which no event flushes.
struct AnswerStall {
    timeout: Duration,
    /// Runs while the client takes none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl EventLimits {
    fn new(limits: &Limits, config: &Config) -> Self {
        let narrow = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            message_bytes: limits.message_bytes,
            image_bytes: limits.image_bytes,
            command_bytes: narrow(config.command_bytes),
            signal_bytes: narrow(limits.signal_bytes),
            images: ImageLimits::from_config(config),
        }
    }
}

impl PurrrChat {
    pub(super) fn new(
        socket: EioSocket,
        limits: &Limits,
        config: &Config,
        recovery: Option<Box<Recovery>>,
    ) -> Self {
        let budget = socket.transport().budget().clone();
        let mut commands = VecDeque::new();
        let is_announced = match recovery.as_deref() {
            Some(Recovery::Resuming(resuming)) => {
                commands.push_back(resuming.recover());
                true
            }
            _ => false,
        };
        Self {
            socket,
            limits: EventLimits::new(limits, config),
            budget,
            name: None,
            commands,
            packets: VecDeque::new(),
            unflushed_answer: false,
            answer_stall: AnswerStall { timeout: limits.stall, timer: None },
            pending_event: None,
            chat: None,
            had_chat: false,
            is_announced,
            is_closing_told: false,
            recovery,
        }
    }

    /// Gives the client a name, whatever name it says.
    pub(super) fn set_name(&mut self, name: Option<ByteString>) {
        self.name = name.map(Box::new);
    }

    /// Begins a search when the session begins.
    pub(super) fn find_at_once(&mut self) {
        if let Some(Recovery::Resuming(resuming)) = self.recovery.as_deref_mut() {
            resuming.finds = true;
            return;
        }
        let first = self.find();
        self.commands.push_front(first);
    }

    /// Returns the command that a request for a partner stands for. Others may follow in the queue.
    fn find(&mut self) -> Command {
        let is_announced = std::mem::replace(&mut self.is_announced, true);
        let token = match self.recovery.as_deref() {
            Some(Recovery::Named(token)) => Some(*token),
            Some(Recovery::Counting(_) | Recovery::Resuming(_)) if is_announced => return find(),
            Some(Recovery::Counting(_) | Recovery::Resuming(_)) => {
                self.commands.push_back(find());
                return announce();
            }
            _ => None,
        };
        if is_announced {
            self.recovery = None;
            return find();
        }
        self.recovery = token.map(|_| Box::new(Recovery::Claiming));
        self.commands.push_back(find());
        recover(token)
    }

    /// Keeps the chat of a client that may recover it.
    pub(super) fn handle_end(&mut self, reason: CloseReason) {
        if let CloseReason::Lost | CloseReason::Replaced = reason
            && let Some(Recovery::Counting(counting)) = self.recovery.as_deref_mut()
            && let Some(chat) = self.chat.take()
        {
            counting.keep(chat, &self.budget);
        }
    }

    /// Polls for what the client is known to have, if that is new.
    #[inline]
    fn poll_ack(&mut self) -> Poll<Option<Input>> {
        if self.recovery.is_none() {
            return Poll::Pending;
        }
        self.take_ack().map_or(Poll::Pending, |ack| Poll::Ready(Some(ack)))
    }

    fn take_ack(&mut self) -> Option<Input> {
        let Some(Recovery::Counting(counting)) = self.recovery.as_deref_mut() else { return None };
        if self.socket.gate().is_closed() {
            return None;
        }
        let transport = self.socket.transport();
        let (chat, received) =
            counting.poll_ack(|ping| transport.is_answered(ping), transport.last_ping())?;
        Some(Input::Command(Command::Ack { chat: Some(chat), received }))
    }

    /// Sends a ping behind what was written, if much of it may not have arrived.
    fn poll_probe(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.rejoin();
        ready!(self.poll_packets(cx))?;
        if let Some(Recovery::Counting(counting)) = self.recovery.as_deref_mut()
            && counting.handle_flushed(self.socket.transport().last_ping())
        {
            self.packets.push_back(Outgoing::PING);
        }
        self.poll_packets(cx)
    }

    /// Returns how the client ends the connection, once and if it said so.
    fn take_closing(&mut self) -> Option<Input> {
        let is_told = std::mem::replace(&mut self.is_closing_told, true);
        let closing = self.socket.transport().closing();
        (!is_told && closing != Closing::Lost).then_some(Input::Closing(closing))
    }

    pub(super) fn gate(&self) -> Gate {
        self.socket.gate().clone()
    }

    pub(super) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.socket.transport().allowance()
    }

    pub(super) fn budget(&self) -> Arc<dyn QueueBudget> {
        self.budget.queue()
    }

    pub(super) fn origin(&self) -> OriginKey {
        self.socket.transport().origin()
    }

    pub(super) fn into_socket(self) -> EioSocket {
        self.socket
    }

    /// Returns true if what has just come was sent before the client knew of its new partner.
    fn is_before_barrier(&mut self) -> bool {
        let Some(chat) = &mut self.chat else { return false };
        let Some(barrier) = &chat.barrier else { return false };
        if barrier.is_passed(|ping| self.socket.transport().is_answered(ping)) {
            chat.barrier = None;
        }
        chat.barrier.is_some()
    }

    /// Sends queued packets. Ready when there is room for another event.
    fn poll_packets(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_ready_unpin(cx))?;
            let Some(packet) = self.packets.pop_front() else { return Poll::Ready(Ok(())) };
            let is_ping = packet == Outgoing::PING;
            self.socket.start_send_unpin(packet)?;
            if is_ping
                && let Some(barrier) = self.chat.as_mut().and_then(|chat| chat.barrier.as_mut())
            {
                barrier.handle_sent(self.socket.transport().last_ping());
            }
        }
    }

    /// Queues an answer that no event flushes.
    fn answer(&mut self, packet: Outgoing) {
        self.packets.push_back(packet);
        self.unflushed_answer = true;
    }

    /// Polls for what the client sends, once it has taken the answers to what it sent before.
    ///
    /// A client that takes none is a slow consumer. Heartbeats go on meanwhile.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming<Message>>> {
        if self.unflushed_answer {
            match self.poll_packets(cx) {
                Poll::Ready(Ok(())) => self.answer_stall.timer = None,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => return self.poll_held(cx),
            }
        }
        let polled = self.socket.poll_next_unpin(cx);
        if polled.is_pending() && self.unflushed_answer {
            match self.socket.poll_flush_unpin(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                flushed => self.unflushed_answer = flushed.is_pending(),
            }
        }
        polled
    }

    /// Decodes what came, and polls for more until it makes up an input.
    // Out of line, since a poll that finds nothing would pay for its locals.
    #[inline(never)]
    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        mut polled: Poll<Option<Incoming<Message>>>,
    ) -> Poll<Option<Input>> {
        loop {
            let incoming = match polled {
                Poll::Ready(Some(incoming)) => incoming,
                Poll::Ready(None) => return Poll::Ready(self.take_closing()),
                Poll::Pending => return self.poll_ack(),
            };
            match incoming {
                Incoming::WriteProgress => return Poll::Ready(Some(Input::WriteProgress)),
                Incoming::Unresponsive => return Poll::Ready(Some(Input::Unresponsive)),
                Incoming::Responsive => return Poll::Ready(Some(Input::Responsive)),
                _ => {}
            }
            match self.decode(incoming) {
                Ok(decoded) => {
                    if let Some(decoded) = decoded.transpose() {
                        return Poll::Ready(Some(decoded.map(|it| self.addressed(it)).into()));
                    }
                    // Thousands of ignored packets may have been read at once.
                    ready!(poll_proceed(cx)).made_progress();
                }
                Err(()) => {
                    self.socket.transport_mut().set_end(&(CloseCode::Policy, "not Socket.IO"));
                    return Poll::Ready(self.take_closing());
                }
            }
            polled = self.poll_incoming(cx);
        }
    }

    #[cold]
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming<Message>>> {
        let polled = self.socket.poll_held(cx);
        if matches!(polled, Poll::Ready(Some(Incoming::WriteProgress))) {
            self.answer_stall.timer = None;
        }
        let AnswerStall { timeout, timer } = &mut self.answer_stall;
        let stall = timer.get_or_insert_with(|| Box::pin(sleep(*timeout)));
        if polled.is_pending() && stall.as_mut().poll(cx).is_ready() {
            self.socket.transport_mut().set_end(&SLOW);
            return Poll::Ready(None);
        }
        polled
    }
}

impl Stream for PurrrChat {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_closing_told {
            return Poll::Ready(None);
        }
        if !this.socket.gate().is_closed()
            && let Some(command) = this.commands.pop_front()
        {
            return Poll::Ready(Some(Input::Command(command)));
        }
        let polled = this.poll_incoming(cx);
        if polled.is_pending() {
            return this.poll_ack();
        }
        this.poll_input(cx, polled)
    }
}

impl Sink<Event> for PurrrChat {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_packets(cx)
    }

    fn start_send(self: Pin<&mut Self>, event: Event) -> io::Result<()> {
        self.get_mut().encode(event);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(if this.recovery.is_some() { this.poll_probe(cx) } else { this.poll_packets(cx) })?;
        ready!(this.socket.poll_flush_unpin(cx))?;
        if let Some(barrier) = this.chat.as_mut().and_then(|chat| chat.barrier.as_mut()) {
            barrier.handle_flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

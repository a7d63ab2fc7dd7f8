//! The state of one session, and what the hub, the backend and the partner change of it:
//! [`Session`].

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    model::{
        attributes::Attributes,
        event::Event,
        frame::{Body, Frame},
        ids::{ChatId, OriginKey, PeerId, ResumeToken},
        limits::{Limits, Rates},
        person::PersonAt,
        problem::{Code, Problem},
        profile::{Capabilities, Hello, Interest, Search},
        reason::{ChatEnd, CloseReason},
        ticket::{Exclusions, Ticket},
    },
    rate::cost::Cost,
    session::{
        action::{Action, Consumer},
        message_ids::MessageIds,
        outbox::Outbox,
        recovery::Recovery,
        throttle::{Throttle, Typing},
        timers::{Timer, TimerTable},
    },
};

/// One peer's session, from arrival to close. The [module](crate::session) says how to drive it.
#[derive(Debug)]
pub struct Session {
    pub(super) ticket: Ticket,
    pub(super) limits: Arc<Limits>,
    pub(super) state: State,
    pub(super) actions: VecDeque<Action>,
    pub(super) outbox: Outbox,
    pub(super) timers: TimerTable,
    pub(super) throttle: Throttle,
    pub(super) typing: Typing,
    /// The ids of the current or the last chat. Beside the state, which would be larger with it.
    pub(super) message_ids: MessageIds,
    /// For a client that can resume. Boxed, since an idle session has none.
    pub(super) recovery: Option<Box<Recovery>>,
    /// Whether the client was told that the partner's connection has dropped.
    pub(super) partner_away: bool,
    /// Whether there was a chat in this session.
    pub(super) chatted: bool,
    /// Whether the hub drains, so that no search begins any more.
    pub(super) draining: bool,
}

#[derive(Debug)]
pub(super) enum State {
    Idle {
        /// The partner of the last chat, until the next search.
        last_partner: Option<PersonAt>,
    },
    Waiting {
        /// Whether the place was given up because the client is unresponsive.
        paused: bool,
    },
    Paired {
        chat: ChatId,
        partner: Arc<Ticket>,
    },
    Closed,
}

/// What the hub reports.
impl Session {
    /// Creates the session of a peer that neither waits nor chats.
    #[must_use]
    pub fn new(
        peer: PeerId,
        hello: Hello,
        search: Search,
        capabilities: Capabilities,
        limits: impl Into<Arc<Limits>>,
    ) -> Self {
        Self {
            ticket: Ticket { hello, search, capabilities, ..Ticket::new(peer) },
            limits: limits.into(),
            state: State::Idle { last_partner: None },
            actions: VecDeque::new(),
            outbox: Outbox::default(),
            timers: TimerTable::default(),
            throttle: Throttle::default(),
            typing: Typing::Sent,
            message_ids: MessageIds::default(),
            recovery: None,
            partner_away: false,
            chatted: false,
            draining: false,
        }
    }

    /// Sets the client's address as a keyed hash. Must be called before the first search.
    pub const fn set_origin(&mut self, origin: OriginKey) {
        self.ticket.origin = origin;
    }

    /// Sets what the embedder knows of the peer, and whom it must not meet. Must be called before
    /// the first search.
    pub fn set_hints(&mut self, attributes: Attributes, exclusions: Exclusions) {
        (self.ticket.attributes, self.ticket.exclusions) = (attributes, exclusions);
    }

    /// Tells the client of its session. Must be the first call, so that `welcome` is the first
    /// event.
    pub fn welcome(&mut self, resume: ResumeToken, online: u64) {
        let limits = Box::new(Limits::clone(&self.limits));
        self.tell(Event::Welcome { session: self.ticket.peer, resume, online, limits });
    }

    /// Ends a search and begins no more; a chat may finish.
    ///
    /// A session without a chat closes at `leave_at`, or now if that is `None`. The driver draws
    /// the time at random, so that sessions do not all close at once.
    pub fn handle_drain(&mut self, retry_after_ms: u64, leave_at: Option<Instant>) {
        if matches!(self.state, State::Closed) || self.draining {
            return;
        }
        self.tell(Event::Draining { retry_after_ms });
        if matches!(self.state, State::Waiting { .. }) {
            self.leave();
        }
        self.draining = true;
        match leave_at {
            None => self.close_if_draining(),
            // A chat that ends closes the session at once, so it needs no timer.
            Some(_) if matches!(self.state, State::Paired { .. }) => {}
            Some(_) => self.timers.set(Timer::DrainJitter, leave_at),
        }
    }

    /// Ends the chat, if there is one, and closes the session: the drain period is over.
    pub fn handle_close(&mut self) {
        if let State::Paired { .. } = self.state {
            self.part(ChatEnd::Ended);
            self.tell(Event::Left { reason: ChatEnd::Ended });
        }
        self.close(CloseReason::Drained);
    }
}

/// What the transport and the clock report.
impl Session {
    /// Gives the place in the lobby up: the client missed a heartbeat.
    pub fn handle_unresponsive(&mut self) {
        if let State::Waiting { paused: paused @ false } = &mut self.state {
            *paused = true;
            self.actions.push_back(Action::Pause);
        }
    }

    /// Enters the lobby again: the client answered after all.
    pub fn handle_responsive(&mut self) {
        if let State::Waiting { paused: paused @ true } = &mut self.state {
            *paused = false;
            self.enter();
        }
    }

    /// Starts the stall timeout of a consumer, unless it runs already or there is no such consumer.
    pub fn handle_stall(&mut self, consumer: Consumer, now: Instant) {
        if consumer == Consumer::Partner && !matches!(self.state, State::Paired { .. }) {
            return;
        }
        let timer = stall_timer(consumer);
        if self.timers.deadline(timer).is_none() {
            self.timers.set(timer, now.checked_add(self.limits.stall));
        }
    }

    /// Stops the stall timeout of a consumer: it reads again.
    pub fn handle_progress(&mut self, consumer: Consumer) {
        self.timers.stop(stall_timer(consumer));
    }

    /// Extends the time by which the transport must have flushed all that it was given.
    ///
    /// It is [`Limits::stall`] from the first call on, and a second for each
    /// [`Limits::min_read_rate`] of these `bytes`, which no call counted before. So a client cannot
    /// hold its queue by taking a few bytes now and then.
    pub fn handle_owed(&mut self, bytes: usize, now: Instant) {
        let rate = self.limits.min_read_rate;
        if rate == 0 {
            return;
        }
        let begins = self.timers.deadline(Timer::SlowRead).or(now.checked_add(self.limits.stall));
        let more = Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.timers.set(Timer::SlowRead, begins.and_then(|begins| begins.checked_add(more)));
    }

    /// Notes that the transport has flushed all that it was given. `waits` if there is more that it
    /// had no room for.
    #[inline]
    pub fn handle_flushed(&mut self, waits: bool, now: impl FnOnce() -> Instant) {
        self.handle_progress(Consumer::Transport);
        if !waits {
            return self.timers.stop(Timer::SlowRead);
        }
        // What was taken fast is no credit for what is taken slowly.
        if let Some(deadline) = self.timers.deadline(Timer::SlowRead) {
            let latest = now().checked_add(self.limits.stall);
            let earlier = latest.map_or(deadline, |latest| latest.min(deadline));
            self.timers.set(Timer::SlowRead, Some(earlier));
        }
    }

    /// Does what is due by now. See [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        for timer in Timer::ALL {
            if !self.timers.take_expired(timer, now) {
                continue;
            }
            match timer {
                Timer::PartnerStall => {
                    self.actions.push_back(Action::Discard);
                    self.part(ChatEnd::Lost);
                    self.tell_left(ChatEnd::Slow);
                    self.close_if_draining();
                }
                // A connection that was cut takes nothing either.
                Timer::TransportStall if self.is_resumable() => {
                    self.actions.push_back(Action::Close(CloseReason::Lost));
                }
                Timer::TransportStall | Timer::SlowRead => self.end(CloseReason::Slow),
                Timer::CoalescedTyping => self.release_typing(now),
                Timer::DrainJitter => self.close(CloseReason::Drained),
            }
        }
    }
}

/// What the backend and the partner report.
impl Session {
    /// Begins a chat with the partner that the lobby found.
    pub fn handle_matched(&mut self, chat: ChatId, partner: Arc<Ticket>) {
        self.tell_matched(chat, &partner);
        self.state = State::Paired { chat, partner };
        self.message_ids = MessageIds::default();
        self.chatted = true;
        self.begin_counting();
    }

    /// Ends the search, because the person or the address has too many waiting places.
    pub fn handle_search_refused(&mut self) {
        self.state = State::Idle { last_partner: None };
        let text = "too many searches of this person or address; end one and try again";
        self.refuse(Problem::new(Code::TooMany, text));
        self.tell(Event::Idle);
    }

    /// Ends the search, because the backend failed.
    pub fn handle_search_failed(&mut self) {
        self.state = State::Idle { last_partner: None };
        self.refuse(Problem::new(Code::Unavailable, "search failed; try again later"));
        self.tell(Event::Idle);
    }

    /// Refuses a resume token that is unknown, used up or another person's. The peer stays who it
    /// was.
    pub fn handle_unknown_token(&mut self) {
        self.refuse(Problem::new(
            Code::UnknownSession,
            "invalid, expired or already used resume token; use the one of the last `welcome`, once",
        ));
    }

    /// Tells the client that a block or a resume was not done, because the backend failed.
    pub fn handle_unavailable(&mut self) {
        self.refuse(Problem::new(Code::Unavailable, "not stored; try again later"));
    }

    /// Takes note of a frame from the partner. Returns true if the client is to be told it.
    #[must_use]
    pub fn handle_frame(&mut self, frame: &Frame) -> bool {
        let is_paired = matches!(self.state, State::Paired { .. });
        if is_paired {
            self.message_ids.note_received(&frame.body);
        }
        is_paired
    }

    /// Returns true if the partner is to be told that this frame was delivered once it is flushed.
    #[must_use]
    pub fn owes_receipt(&self, frame: &Frame) -> bool {
        let State::Paired { partner, .. } = &self.state else { return false };
        partner.capabilities.receipts && frame.wants_receipt() && !self.acknowledges()
    }

    /// Tells the client an event behind those that wait already.
    pub(crate) fn defer(&mut self, event: Event) {
        self.tell(event);
    }

    /// Counts so many more of this peer's messages as delivered.
    pub fn handle_receipts(&mut self, messages: u64) {
        self.outbox.add_receipts(messages);
    }

    /// Ends the chat, because the partner parted.
    pub fn handle_parted(&mut self, reason: ChatEnd) {
        if let State::Paired { .. } = self.state {
            self.note_ended();
            // The relay's chat is over already; parting here only drops the pipe.
            self.part(ChatEnd::Left);
            self.tell_left(reason);
            self.close_if_draining();
        }
    }
}

/// What the driver drains.
impl Session {
    /// Returns false if [`poll_action`](Self::poll_action) has nothing to return. A hint, for
    /// drivers that poll with every frame.
    #[inline]
    pub(crate) fn may_have_action(&self) -> bool {
        self.actions.capacity() > 0
    }

    /// Returns the next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            // A search or a chat lasts long, and brings no action until it ends.
            self.actions = VecDeque::new();
        }
        action
    }

    /// Returns the next thing to do if that is to part.
    #[inline]
    pub(crate) fn poll_parting(&mut self) -> Option<Action> {
        let parts = matches!(self.actions.front(), Some(Action::Discard | Action::Part(_)));
        if parts { self.actions.pop_front() } else { None }
    }

    /// Returns a coalesced frame that is due. Poll only while the partner has room: it is returned
    /// once.
    #[inline]
    pub fn poll_frame(&mut self) -> Option<Frame> {
        let Typing::Due(on) = self.typing else { return None };
        self.typing = Typing::Sent;
        Some(Frame::new(Body::Typing(on)))
    }

    /// Returns the next event to write to the transport.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.outbox.poll();
        if let Some(Event::Delivered { id }) = event {
            self.note_delivered(id);
        }
        event
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.poll_timeout()
    }

    /// Returns true if [`poll_event`](Self::poll_event) has an event.
    pub(crate) fn has_event(&self) -> bool {
        self.outbox.is_ready()
    }

    /// Returns how many events wait to be polled.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.outbox.backlog()
    }

    /// Returns the client's address as a keyed hash.
    #[must_use]
    pub const fn origin(&self) -> OriginKey {
        self.ticket.origin
    }

    /// Returns the peer's id.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.ticket.peer
    }
}

impl Session {
    pub(super) fn enter(&mut self) {
        self.actions.push_back(Action::Enter(Box::new(self.ticket.clone())));
    }

    pub(super) fn leave(&mut self) {
        if let State::Waiting { .. } = self.state {
            self.state = State::Idle { last_partner: None };
            self.actions.push_back(Action::Leave);
        }
        self.part(ChatEnd::Left);
        self.tell(Event::Idle);
        self.close_if_draining();
    }

    /// Ends the chat, if there is one, with everything that belonged to it.
    pub(super) fn part(&mut self, reason: ChatEnd) {
        if let State::Paired { partner, .. } = &self.state {
            self.state = State::Idle { last_partner: Some(PersonAt::of(partner)) };
            self.actions.push_back(Action::Part(reason));
            self.outbox.end_chat();
            self.forget_typing();
            self.timers.stop(Timer::PartnerStall);
            self.partner_away = false;
        }
    }

    pub(super) fn tell_matched(&mut self, chat: ChatId, partner: &Ticket) {
        let shared: Vec<Interest> = self.ticket.shared_interests(partner).cloned().collect();
        let Hello { name, public_key, .. } = partner.hello.clone();
        self.tell(Event::Matched { chat, name, public_key, shared });
    }

    /// Sends the coalesced typing state, or waits on if that exceeds the rate again.
    fn release_typing(&mut self, now: Instant) {
        let Typing::Coalesced(on) = self.typing else { return };
        let typing = Frame::new(Body::Typing(on));
        match self.spend(Cost::of_frame(&typing), &|| now) {
            Ok(()) => self.typing = Typing::Due(on),
            Err(wait) => self.timers.set(Timer::CoalescedTyping, now.checked_add(wait)),
        }
    }

    pub(super) const fn forget_typing(&mut self) {
        self.typing = Typing::Sent;
        self.timers.stop(Timer::CoalescedTyping);
    }

    pub(super) fn close_if_draining(&mut self) {
        if self.draining && matches!(self.state, State::Idle { .. }) {
            self.close(CloseReason::Drained);
        }
    }

    /// Closes because of the peer. A partner is told that the peer was lost.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.part(if reason == CloseReason::Slow { ChatEnd::Slow } else { ChatEnd::Lost });
        self.close(reason);
    }

    fn close(&mut self, reason: CloseReason) {
        match self.state {
            // A transport that does not even take the last events is closed at once.
            State::Closed if reason != CloseReason::Slow => return,
            State::Waiting { .. } => self.actions.push_back(Action::Leave),
            State::Idle { .. } | State::Paired { .. } | State::Closed => {}
        }
        self.state = State::Closed;
        self.timers.stop(Timer::DrainJitter);
        self.actions.push_back(Action::Close(reason));
    }

    /// Tells the client how the chat ended.
    fn tell_left(&mut self, reason: ChatEnd) {
        if reason == ChatEnd::Slow {
            let what = "chat ended: the partner's connection is too slow";
            self.refuse(Problem::new(Code::PartnerSlow, what));
        }
        self.tell(Event::Left { reason });
    }

    pub(super) fn refuse(&mut self, problem: Problem) {
        self.tell(Event::Error(problem));
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outbox.push(event);
    }
}

pub(super) const fn rates(limits: &Limits) -> Option<&Rates> {
    limits.rates.as_ref()
}

const fn stall_timer(consumer: Consumer) -> Timer {
    match consumer {
        Consumer::Partner => Timer::PartnerStall,
        Consumer::Transport => Timer::TransportStall,
    }
}

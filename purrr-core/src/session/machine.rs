//! One peer's rules, as a pure machine: [`Session`].
//!
//! It does no I/O, takes no lock, reads no clock and draws no entropy. What happens comes in through `handle_*`; after
//! each of these the owner drains [`poll_lobby`](Session::poll_lobby) and [`poll_event`](Session::poll_event) and minds
//! [`poll_timeout`](Session::poll_timeout).
//!
//! ```
//! use std::time::Instant;
//! use purrr_core::{Command, Event, Hello, Limits, Search, model::{QueueStatus, PeerId, Capabilities}};
//! use purrr_core::session::{LobbyAction, Session};
//!
//! let mut session =
//!     Session::new(PeerId::from_bits(1), Hello::named("Ann"), Search::default(), Capabilities::default(), Limits::default());
//! assert_eq!(session.handle_command(Command::Find(Search::default()), Instant::now, QueueStatus::default), None);
//! assert!(matches!(session.poll_lobby(), Some(LobbyAction::Enter(_))));
//! assert_eq!(session.poll_event(), Some(Event::Waiting(QueueStatus::default())));
//! ```

mod throttle;
mod validate;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use throttle::{Coalesced, Conduct};

use crate::{
    model::{
        command::Command,
        event::{Event, QueueStatus},
        frame::{Body, Frame},
        ids::{ChatId, PeerId, PersonId, ResumeToken},
        limits::Limits,
        problem::{Code, Problem},
        profile::{Capabilities, Hello, Interest, Search},
        reason::{ChatEnd, CloseReason},
        ticket::Ticket,
    },
    rate::{
        bucket::too_fast,
        cost::{Cost, WHOLE},
    },
};

/// One peer's state from hello to goodbye, and the rules of what it may do when.
#[derive(Debug)]
pub struct Session {
    ticket: Ticket,
    limits: Arc<Limits>,
    state: State,
    /// Whom the last chat was with, until the next search.
    last: Option<PersonId>,
    /// There was a chat in this session.
    chatted: bool,
    lobby: VecDeque<LobbyAction>,
    events: VecDeque<Event>,
    /// Ids of own messages whose receipt is still owed, oldest first, and how many receipts are here.
    unconfirmed: VecDeque<u64>,
    receipts: u64,
    /// When a stall becomes too long, and whose it is.
    stalled_until: [Option<Instant>; 2],
    draining: bool,
    /// When whoever neither waits nor chats is let go, once the hub is going away.
    lingers_until: Option<Instant>,
    /// From its first command on, if there are rates: most of those who are here have nothing to ask.
    conduct: Option<Box<Conduct>>,
    coalesced: Option<Box<Coalesced>>,
}

/// What a [`Session`] wants of the lobby or of the chat it is in. Done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LobbyAction {
    /// Enter with this ticket, and tell of the outcome by `handle_matched` or `handle_search_failed`. After
    /// [`Pause`](Self::Pause), as somebody who has waited all the while.
    Enter(Box<Ticket>),
    /// Give the place up for a while, until the next `Enter` or `Leave`.
    Pause,
    /// Give the place up.
    Leave,
    /// Never pair this peer's person with that one again.
    Block(PersonId),
    /// Find out who had this token, and tell of the outcome by `handle_unknown_token` if it was nobody.
    Resume(ResumeToken),
    /// Part from the partner.
    Part(ChatEnd),
    /// Close the transport once everything has been said.
    Close(CloseReason),
}

/// Who has not been reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    /// The partner, whose queue is full.
    Partner = 0,
    /// This peer's own transport.
    Own = 1,
}

#[derive(Debug)]
enum State {
    Idle,
    /// `paused` while it is doubtful whether the peer is there to be paired.
    Waiting {
        paused: bool,
    },
    Paired {
        chat: ChatId,
        partner: Arc<Ticket>,
    },
    Closed,
}

impl Session {
    /// A peer that has just arrived and neither waits nor chats.
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
            conduct: None,
            limits: limits.into(),
            state: State::Idle,
            last: None,
            chatted: false,
            lobby: VecDeque::new(),
            events: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            receipts: 0,
            stalled_until: [None; 2],
            draining: false,
            lingers_until: None,
            coalesced: None,
        }
    }

    /// The peer asks for something. Returns the frame to send to the partner, if that is what it asked.
    ///
    /// `now` is asked for only when the peer may be too fast, and `numbers`, which are for the peer to know, when it begins
    /// to wait.
    pub fn handle_command(
        &mut self,
        command: Command,
        now: impl Fn() -> Instant,
        queue_status: impl FnOnce() -> QueueStatus,
    ) -> Option<Frame> {
        if let Command::Send { chat, frame } = command {
            return self.handle_send(chat, &frame, now).then_some(frame);
        }
        match self.spend(Cost::of(&command), &now) {
            Ok(()) => self.obey(command, queue_status),
            Err(wait) => self.handle_excess(command, wait, now(), queue_status),
        }
        None
    }

    /// The peer sends something. Whether it is to be passed on to the partner; what is not is refused, or was for another, or
    /// is told later.
    ///
    /// The same as [`Command::Send`] without handing the frame, which is large, back and forth.
    pub fn handle_send(
        &mut self,
        meant_for: Option<ChatId>,
        frame: &Frame,
        now: impl Fn() -> Instant,
    ) -> bool {
        match self.spend(Cost::of_frame(frame), &now) {
            Ok(()) => self.admit(meant_for, frame),
            Err(wait) => {
                self.handle_excess_send(meant_for, frame, wait, now());
                false
            }
        }
    }

    /// The peer asks for something, too fast: it, or those who share what it may do, would have to wait so long.
    pub fn handle_excess(
        &mut self,
        command: Command,
        wait: Duration,
        now: Instant,
        queue_status: impl FnOnce() -> QueueStatus,
    ) {
        match command {
            Command::Send { chat, frame } => {
                return self.handle_excess_send(chat, &frame, wait, now);
            }
            // Nobody is kept anywhere.
            Command::Cancel | Command::Leave | Command::Block => self.obey(command, queue_status),
            _ => self.refuse(too_fast(wait, None)),
        }
        self.weigh(WHOLE, now);
    }

    /// Does what the peer asks for and has paid for.
    pub(crate) fn obey(&mut self, command: Command, queue_status: impl FnOnce() -> QueueStatus) {
        match command {
            Command::Send { .. } => unreachable!("frames go by way of `admit`"),
            Command::Hello { hello, resume } => self.introduce(hello, resume),
            Command::Find(search) => match self.state {
                State::Paired { .. } => self.refuse(already_paired()),
                State::Waiting { .. } => self.tell(Event::Waiting(queue_status())),
                State::Idle | State::Closed => match self.checked(search) {
                    Ok(search) => {
                        self.ticket.search = search;
                        self.seek(queue_status());
                    }
                    Err(problem) => self.refuse(problem),
                },
            },
            Command::Next => match self.state {
                State::Waiting { .. } => self.tell(Event::Waiting(queue_status())),
                _ => {
                    self.part(ChatEnd::Next);
                    self.seek(queue_status());
                }
            },
            // A partner that leaves just then, or has left before, is blocked all the same.
            Command::Block => match self.partner_or_last() {
                Some(person) => {
                    self.lobby.push_back(LobbyAction::Block(person));
                    self.leave();
                }
                None => self.refuse(Problem::new(Code::NotPaired, "there is no partner to block")),
            },
            Command::Cancel if matches!(self.state, State::Paired { .. }) => {
                self.refuse(already_paired());
            }
            Command::Cancel | Command::Leave => self.leave(),
            Command::Unsupported { what } => self.refuse(Problem::new(
                Code::NotSupported,
                format!("this server does not do `{what}`"),
            )),
        }
    }

    /// The peer sent something that could not be read.
    pub fn handle_invalid(&mut self, problem: Problem, now: Instant) {
        let garbled = problem.unreadable;
        self.refuse(problem);
        self.weigh(WHOLE, now);
        if garbled {
            self.weigh_garbled(now);
        }
    }

    /// The token that was to be resumed is nobody's. The peer stays who it was.
    pub fn handle_unknown_token(&mut self) {
        self.refuse(Problem::new(
            Code::UnknownSession,
            "this `resume` is no token, or not any more; use the one of the last `welcome`, once",
        ));
    }

    /// Nothing has come from the peer for a while, though it was asked. If it waits, nobody is paired with it meanwhile.
    pub fn handle_unresponsive(&mut self) {
        if let State::Waiting { paused: paused @ false } = &mut self.state {
            *paused = true;
            self.lobby.push_back(LobbyAction::Pause);
        }
    }

    /// The peer is there after all.
    pub fn handle_responsive(&mut self) {
        if let State::Waiting { paused: paused @ true } = &mut self.state {
            *paused = false;
            self.enter();
        }
    }

    /// The lobby found a partner.
    pub fn handle_matched(&mut self, chat: ChatId, partner: Arc<Ticket>) {
        let shared: Vec<Interest> = self.ticket.shared_interests(&partner).cloned().collect();
        let Hello { name, public_key, .. } = partner.hello.clone();
        self.state = State::Paired { chat, partner };
        self.chatted = true;
        self.tell(Event::Matched { chat, name, public_key, shared });
    }

    /// The lobby could not do what it was asked. The search is over.
    pub fn handle_search_failed(&mut self) {
        self.state = State::Idle;
        self.refuse(Problem::new(
            Code::Unavailable,
            "nobody can be found just now; try again in a moment",
        ));
        self.tell(Event::Idle);
    }

    /// A frame came from the partner. Returns what to tell the peer.
    pub fn handle_frame(&mut self, frame: Frame) -> Option<Event> {
        matches!(self.state, State::Paired { .. }).then_some(Event::Received(frame))
    }

    /// Whether the partner is to be told that this frame has arrived.
    #[must_use]
    pub fn owes_receipt(&self, frame: &Frame) -> bool {
        let State::Paired { partner, .. } = &self.state else { return false };
        partner.capabilities.receipts && frame.wants_receipt()
    }

    /// The partner's connection has taken so many more of this peer's messages.
    pub fn handle_receipts(&mut self, messages: u64) {
        self.receipts += messages;
    }

    /// The partner parted.
    pub fn handle_parted(&mut self, reason: ChatEnd) {
        if let State::Paired { .. } = self.state {
            // The relay has ended already; parting from it here only lets go of the pipe.
            self.part(ChatEnd::Left);
            self.tell_parted(reason);
            self.close_if_draining();
        }
    }

    /// Somebody has begun not to read. Nothing changes if that was known, or if there is no partner it could be.
    pub fn handle_stall(&mut self, whose: Stalled, now: Instant) {
        if whose == Stalled::Partner && !matches!(self.state, State::Paired { .. }) {
            return;
        }
        // A stall that ends beyond the clock's end has no deadline.
        let stalled = &mut self.stalled_until[whose as usize];
        *stalled = stalled.or_else(|| now.checked_add(self.limits.stall));
    }

    /// Somebody reads again.
    pub fn handle_flow(&mut self, whose: Stalled) {
        self.stalled_until[whose as usize] = None;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let [partner, own] = self.stalled_until.map(|due| due.is_some_and(|due| due <= now));
        if partner {
            self.handle_flow(Stalled::Partner);
            self.part(ChatEnd::Lost);
            self.tell_parted(ChatEnd::Slow);
            self.close_if_draining();
        }
        if own {
            self.handle_flow(Stalled::Own);
            self.end(CloseReason::Slow);
        }
        self.tell_typing(now);
        if self.lingers_until.is_some_and(|due| due <= now) {
            self.close(CloseReason::Drained);
        }
    }

    /// The hub is going away: nobody is paired any more, and chats may finish.
    ///
    /// Whoever has no chat stays until `linger_until`, so that not everybody goes at once; without it, it is let go now.
    pub fn handle_drain(&mut self, retry_after_ms: u64, linger_until: Option<Instant>) {
        if matches!(self.state, State::Closed) || self.draining {
            return;
        }
        self.tell(Event::Draining { retry_after_ms });
        if matches!(self.state, State::Waiting { .. }) {
            self.leave();
        }
        self.draining = true;
        match linger_until {
            None => self.close_if_draining(),
            // A chat is its own reason to stay, and to go when it is over.
            Some(_) if matches!(self.state, State::Paired { .. }) => {}
            Some(_) => self.lingers_until = linger_until,
        }
    }

    /// The hub's time is up.
    pub fn handle_close(&mut self) {
        if let State::Paired { .. } = self.state {
            self.part(ChatEnd::Ended);
            self.tell(Event::Left { reason: ChatEnd::Ended });
        }
        self.close(CloseReason::Drained);
    }

    /// The next thing to do in the lobby or the chat.
    #[inline]
    pub fn poll_lobby(&mut self) -> Option<LobbyAction> {
        // Asked for with every frame, and there hardly ever is one.
        if self.lobby.capacity() == 0 {
            return None;
        }
        let action = self.lobby.pop_front();
        if action.is_none() {
            // Nothing more is to be done for as long as a search or a chat takes.
            self.lobby = VecDeque::new();
        }
        action
    }

    /// A frame for the partner that had to wait. Asked for only when the partner has room, for it is not there again.
    #[inline]
    pub fn poll_frame(&mut self) -> Option<Frame> {
        let coalesced = self.coalesced.take_if(|coalesced| coalesced.told)?;
        Some(Frame::new(Body::Typing(coalesced.on)))
    }

    /// Whether there is something to tell the peer.
    pub(crate) fn has_event(&self) -> bool {
        self.receipts > 0 || !self.events.is_empty()
    }

    /// The next thing to tell the peer.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            if self.events.is_empty() {
                // A session spends its life without news of its own, so it keeps no room for them.
                self.events = VecDeque::new();
            }
            return Some(event);
        }
        if self.receipts == 0 {
            return None;
        }
        self.receipts -= 1;
        self.unconfirmed.pop_front().map(|id| Event::Delivered { id })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let typing = self.coalesced.as_ref().filter(|coalesced| !coalesced.told);
        let typing = typing.map(|coalesced| coalesced.due);
        let [partner, own] = self.stalled_until;
        [partner, own, self.lingers_until, typing].into_iter().flatten().min()
    }

    /// How many events nobody has polled yet. Whoever owns the session reads no further commands while there are many.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.events.len()
    }

    /// Tells the peer of its session; the first thing an owner does.
    pub fn welcome(&mut self, resume: ResumeToken, online: u64) {
        let limits = Box::new(Limits::clone(&self.limits));
        self.tell(Event::Welcome { session: self.ticket.peer, resume, online, limits });
    }

    /// Names the peer.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.ticket.peer
    }

    /// Whether this, which is paid for, is to be passed on to the partner. What is not is refused, or was for another.
    pub(crate) fn admit(&mut self, meant_for: Option<ChatId>, frame: &Frame) -> bool {
        let id = id_of(&frame.body);
        let State::Paired { chat, partner } = &self.state else {
            self.refuse(not_paired().about(id));
            return false;
        };
        // Said by somebody who cannot know of the partner yet.
        let untold = |event: &Event| matches!(event, Event::Matched { .. });
        let nobody = meant_for.is_none_or(|meant| meant == ChatId::NONE);
        if nobody && self.events.iter().any(untold) {
            self.refuse(not_paired().about(id));
            return false;
        }
        if meant_for.is_some_and(|meant| meant != *chat) {
            return false;
        }
        if let Err(problem) = self.checked_body(&frame.body, partner.capabilities) {
            self.refuse(problem.about(id));
            return false;
        }
        if let Body::Typing(_) = frame.body {
            self.coalesced = None;
        }
        if let Some(id) = id
            && frame.wants_receipt()
            && self.ticket.capabilities.receipts
        {
            self.unconfirmed.push_back(id);
        }
        true
    }

    /// Whether this is the chat that the peer is in, or it did not say which one it means.
    fn is_in(&self, meant_for: Option<ChatId>) -> bool {
        matches!(self.state, State::Paired { chat, .. } if meant_for.is_none_or(|meant| meant == chat))
    }

    fn introduce(&mut self, hello: Hello, resume: Option<ResumeToken>) {
        if let Err(problem) = self.checked_hello(&hello, resume.is_some()) {
            return self.refuse(problem);
        }
        // Whoever waits already comes in anew as who it says it is, and is not behind anybody for that.
        let waits = matches!(self.state, State::Waiting { paused: false });
        let again = waits && (resume.is_some() || hello != self.ticket.hello);
        if again {
            self.lobby.push_back(LobbyAction::Pause);
        }
        if let Some(token) = resume {
            self.lobby.push_back(LobbyAction::Resume(token));
        }
        self.ticket.hello = hello;
        if again {
            self.enter();
        }
    }

    fn seek(&mut self, queue_status: QueueStatus) {
        if self.draining || matches!(self.state, State::Closed) {
            self.refuse(Problem::new(
                Code::Draining,
                "the server is going away and makes no more pairs; connect again in a moment",
            ));
            // After `next` the last chat is over all the same.
            self.tell(Event::Idle);
            self.close_if_draining();
            return;
        }
        self.state = State::Waiting { paused: false };
        self.last = None;
        self.enter();
        self.tell(Event::Waiting(queue_status));
    }

    fn partner_or_last(&self) -> Option<PersonId> {
        match &self.state {
            State::Paired { partner, .. } => Some(partner.person),
            _ => self.last,
        }
    }

    fn enter(&mut self) {
        self.lobby.push_back(LobbyAction::Enter(Box::new(self.ticket.clone())));
    }

    fn leave(&mut self) {
        if let State::Waiting { .. } = self.state {
            self.state = State::Idle;
            self.lobby.push_back(LobbyAction::Leave);
        }
        self.part(ChatEnd::Left);
        self.tell(Event::Idle);
        self.close_if_draining();
    }

    /// Lets go of the chat, if there is one, and of everything that belonged to it.
    fn part(&mut self, reason: ChatEnd) {
        if let State::Paired { partner, .. } = &self.state {
            self.last = Some(partner.person);
            self.state = State::Idle;
            self.lobby.push_back(LobbyAction::Part(reason));
            self.unconfirmed = VecDeque::new();
            self.receipts = 0;
            self.coalesced = None;
            self.stalled_until[Stalled::Partner as usize] = None;
        }
    }

    /// Tells the peer how the chat ended.
    fn tell_parted(&mut self, reason: ChatEnd) {
        if reason == ChatEnd::Slow {
            let what = "the partner has not been reading, so the chat is over";
            self.refuse(Problem::new(Code::PartnerSlow, what));
        }
        self.tell(Event::Left { reason });
    }

    fn close_if_draining(&mut self) {
        if self.draining && matches!(self.state, State::Idle) {
            self.close(CloseReason::Drained);
        }
    }

    /// Closes because of the peer. The partner, if there is one, has lost it.
    fn end(&mut self, closing: CloseReason) {
        self.part(if closing == CloseReason::Slow { ChatEnd::Slow } else { ChatEnd::Lost });
        self.close(closing);
    }

    fn close(&mut self, closing: CloseReason) {
        match self.state {
            // Whoever does not even take the goodbye is not waited for.
            State::Closed if closing != CloseReason::Slow => return,
            State::Waiting { .. } => self.lobby.push_back(LobbyAction::Leave),
            State::Idle | State::Paired { .. } | State::Closed => {}
        }
        self.state = State::Closed;
        self.lingers_until = None;
        self.lobby.push_back(LobbyAction::Close(closing));
    }

    fn refuse(&mut self, problem: Problem) {
        self.tell(Event::Error(problem));
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

const fn id_of(body: &Body) -> Option<u64> {
    match body {
        Body::Message(message) => message.id,
        Body::Read { id } => Some(*id),
        Body::Typing(_) | Body::Signal(_) => None,
    }
}

fn not_paired() -> Problem {
    Problem::new(Code::NotPaired, "there is no partner to send this to")
}

fn already_paired() -> Problem {
    Problem::new(Code::AlreadyPaired, "there is a partner already; send `leave` or `next` first")
}

#[cfg(test)]
mod exploration;

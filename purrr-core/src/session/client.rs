//! What the client sends: commands, frames and what is neither.

use std::time::{Duration, Instant};

use crate::{
    model::{
        command::Command,
        event::{Event, QueueStatus},
        frame::{Body, Frame},
        ids::{ChatId, ResumeToken},
        person::PersonAt,
        problem::{Code, Problem},
        profile::Hello,
        reason::{ChatEnd, CloseReason},
    },
    rate::{
        bucket::too_fast,
        cost::{Cost, WHOLE},
    },
    session::{
        action::Action,
        machine::{Session, State, rates},
        throttle::Typing,
        timers::Timer,
        validate::{check_body, check_hello, normalize_search},
    },
};

impl Session {
    /// Does what a command asks for, unless it exceeds a rate. Returns the frame to send to the
    /// partner, if it is one.
    ///
    /// `now` is called only when a token bucket may be empty, and `queue_status` only when a search
    /// begins.
    pub fn handle_command(
        &mut self,
        command: Command,
        now: impl Fn() -> Instant,
        queue_status: impl FnOnce() -> QueueStatus,
    ) -> Option<Frame> {
        if let Command::Send { chat, frame } = command {
            return self.handle_send(chat, &frame, now).then_some(frame);
        }
        match self.spend(self.cost_of(&command), &now) {
            Ok(()) => self.apply_command(command, queue_status),
            Err(wait) => self.handle_excess(command, wait, now(), queue_status),
        }
        None
    }

    /// Returns true if a frame is to be sent to the partner.
    ///
    /// A frame that is not was refused, coalesced, or meant for another chat. The same as
    /// [`Command::Send`] by [`handle_command`](Self::handle_command), without moving the frame,
    /// which is large.
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

    /// Refuses a command that exceeds a rate until `wait` is over. Leaving is never refused.
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
            Command::Cancel
            | Command::Leave
            | Command::Block
            | Command::Ack { .. }
            | Command::Background => {
                self.apply_command(command, queue_status);
            }
            _ => self.refuse(too_fast(wait, None)),
        }
        self.penalize(WHOLE, now);
    }

    /// Refuses a frame that exceeds a rate until `wait` is over. Typing is coalesced instead.
    pub fn handle_excess_send(
        &mut self,
        meant_for: Option<ChatId>,
        frame: &Frame,
        wait: Duration,
        now: Instant,
    ) {
        let Body::Typing(on) = frame.body else {
            self.refuse(too_fast(wait, id_of(&frame.body)));
            return self.penalize(WHOLE, now);
        };
        if self.is_in(meant_for) {
            let deadline = match self.typing {
                Typing::Sent => now.checked_add(wait),
                Typing::Coalesced(_) => self.timers.deadline(Timer::CoalescedTyping),
                Typing::Due(_) => Some(now),
            };
            self.typing = Typing::Coalesced(on);
            self.timers.set(Timer::CoalescedTyping, deadline);
        }
        self.penalize(1, now);
    }

    /// Refuses input that is no command.
    pub fn handle_invalid(&mut self, problem: Problem, now: Instant) {
        let garbled = problem.unreadable;
        self.refuse(problem);
        self.penalize(WHOLE, now);
        if garbled && !self.throttle.penalize_garbled(rates(&self.limits), now) {
            self.end(CloseReason::Garbled);
        }
    }

    /// Returns the price of a command.
    ///
    /// A peer that introduces itself while it waits enters the lobby again, so that costs a search.
    pub(crate) fn cost_of(&self, command: &Command) -> Cost {
        match (command, &self.state) {
            (Command::Hello { .. }, State::Waiting { .. }) => Cost::SEARCH,
            _ => Cost::of(command),
        }
    }

    /// Takes tokens for a command. If there are too few, takes none and returns how long to wait.
    pub(crate) fn spend(&mut self, cost: Cost, now: &impl Fn() -> Instant) -> Result<(), Duration> {
        self.throttle.spend(rates(&self.limits), cost, now)
    }

    /// Returns the tokens of a command that was not done.
    pub(crate) fn refund(&mut self, cost: Cost) {
        self.throttle.refund(rates(&self.limits), cost);
    }

    /// Does what a command asks for, for which its tokens were [spent](Self::spend). Not for
    /// [`Command::Send`].
    pub(crate) fn apply_command(
        &mut self,
        command: Command,
        queue_status: impl FnOnce() -> QueueStatus,
    ) {
        if !matches!(command, Command::Ack { .. }) {
            self.set_background(false);
        }
        match command {
            Command::Send { .. } => unreachable!("frames go by way of `admit`"),
            Command::Recover(recover) => self.recover(recover),
            // The driver acknowledges what it has received for the session.
            Command::Ack { .. } => {}
            Command::Background => self.set_background(true),
            Command::Hello { hello, resume } => self.introduce(hello, resume),
            Command::Find(search) => match self.state {
                State::Paired { .. } => self.refuse(already_paired()),
                State::Waiting { .. } => self.tell(Event::Waiting(queue_status())),
                State::Idle { .. } | State::Closed => {
                    match normalize_search(&self.limits, search) {
                        Ok(search) => {
                            self.ticket.search = search;
                            self.search(queue_status());
                        }
                        Err(problem) => self.refuse(problem),
                    }
                }
            },
            Command::Next => match self.state {
                State::Waiting { .. } => self.tell(Event::Waiting(queue_status())),
                _ => {
                    self.part(ChatEnd::Next);
                    self.search(queue_status());
                }
            },
            // Also blocks a partner that leaves in the same moment, or has left before.
            Command::Block => match self.partner_or_last() {
                Some(partner) => {
                    self.actions.push_back(Action::Block(partner));
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
                format!("not supported by this server: `{what}`"),
            )),
        }
    }

    /// Returns true if a frame, for which its tokens were [spent](Self::spend), is to be sent to
    /// the partner.
    pub(crate) fn admit(&mut self, meant_for: Option<ChatId>, frame: &Frame) -> bool {
        let id = id_of(&frame.body);
        let State::Paired { chat, partner } = &self.state else {
            self.refuse(not_paired().about(id));
            return false;
        };
        // A client that has not been told of its partner cannot mean it.
        let names_no_chat = meant_for.is_none_or(|meant| meant == ChatId::NONE);
        if names_no_chat && self.outbox.has_matched() {
            self.refuse(not_paired().about(id));
            return false;
        }
        if meant_for.is_some_and(|meant| meant != *chat) {
            return false;
        }
        let unacknowledged = self.outbox.unacknowledged();
        let checked = check_body(&self.limits, &frame.body, partner, unacknowledged)
            .and_then(|()| self.message_ids.check_sent(&frame.body));
        if let Err(problem) = checked {
            self.refuse(problem.about(id));
            return false;
        }
        if let Body::Typing(_) = frame.body {
            self.forget_typing();
        }
        if let Some(id) = id
            && frame.wants_receipt()
            && self.ticket.capabilities.receipts
        {
            self.outbox.await_receipt(id);
        }
        true
    }

    pub(super) fn introduce(&mut self, hello: Hello, resume: Option<ResumeToken>) {
        if let Err(problem) = check_hello(&self.limits, &hello) {
            return self.refuse(problem);
        }
        // Otherwise a peer that was blocked as one person could go on as another.
        if resume.is_some() && self.chatted {
            let text = "`resume` must be sent before the first chat of a connection";
            return self.refuse(Problem::new(Code::UnknownSession, text));
        }
        // A peer that waits enters again as who it says it is, with the time that it has waited.
        let waits = matches!(self.state, State::Waiting { paused: false });
        let again = waits && (resume.is_some() || hello != self.ticket.hello);
        if again {
            self.actions.push_back(Action::Pause);
        }
        if let Some(token) = resume {
            self.actions.push_back(Action::Resume(token));
        }
        self.ticket.hello = hello;
        self.introduce_to_partner();
        if again {
            self.enter();
        }
    }

    fn search(&mut self, queue_status: QueueStatus) {
        if self.draining || matches!(self.state, State::Closed) {
            self.refuse(Problem::new(
                Code::Draining,
                "the server is shutting down and makes no more matches; connect again later",
            ));
            // After `next` the last chat is over all the same.
            self.tell(Event::Idle);
            self.close_if_draining();
            return;
        }
        self.state = State::Waiting { paused: false };
        self.handle_end_acknowledged();
        self.enter();
        self.tell(Event::Waiting(queue_status));
    }

    fn partner_or_last(&self) -> Option<PersonAt> {
        match &self.state {
            State::Paired { partner, .. } => Some(PersonAt::of(partner)),
            State::Idle { last_partner } => *last_partner,
            State::Waiting { .. } | State::Closed => None,
        }
    }

    /// Returns true if the peer is in this chat, or in any if the client named none.
    pub(super) fn is_in(&self, meant_for: Option<ChatId>) -> bool {
        let State::Paired { chat, .. } = self.state else { return false };
        meant_for.is_none_or(|meant| meant == chat)
    }

    /// Counts a refused command, and closes the session of a peer that sends too many.
    fn penalize(&mut self, weight: u32, now: Instant) {
        if !self.throttle.penalize(rates(&self.limits), weight, now) {
            self.end(CloseReason::Flooded);
        }
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

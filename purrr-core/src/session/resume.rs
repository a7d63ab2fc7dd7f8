//! How a session goes from one transport to the next.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{
        command::Recover,
        event::{Event, QueueStatus, Resumed},
        frame::{Body, Frame},
        ids::ChatId,
        problem::{Code, Problem},
        profile::Hello,
        reason::{ChatEnd, Closing},
    },
    session::{
        action::Action,
        machine::{Session, State},
        recovery::Recovery,
        timers::Timer,
        validate::check_hello,
    },
};

/// How long a session is held after a close that does not say whether the client returns.
const GOING_AWAY_WINDOW: Duration = Duration::from_secs(5);

/// What the transport reports of a client that can resume.
impl Session {
    /// Returns true if the client announced that it acknowledges what it receives in this chat.
    #[inline]
    #[must_use]
    pub fn acknowledges(&self) -> bool {
        let acknowledges = |it: &Recovery| it.counts && !it.flush_acknowledges;
        self.recovery.as_deref().is_some_and(acknowledges)
    }

    /// Returns true if what the client receives of the next chat is kept until it acknowledges.
    #[must_use]
    pub(crate) fn will_acknowledge(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| !recovery.flush_acknowledges)
    }

    /// Returns true if the client can resume this or a later chat.
    #[must_use]
    pub const fn can_resume(&self) -> bool {
        self.recovery.is_some()
    }

    /// Returns true if there is something to resume: a search, a chat, or the end of one that the
    /// client has not acknowledged.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        let Some(recovery) = &self.recovery else { return false };
        match self.state {
            State::Paired { .. } => recovery.counts,
            State::Waiting { .. } => true,
            State::Idle { .. } => recovery.ended.is_some(),
            State::Closed => false,
        }
    }

    /// Returns true if the client has not acknowledged the end of its last chat.
    #[must_use]
    pub(crate) fn has_unacknowledged_end(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| recovery.ended.is_some())
    }

    /// Returns true if the partner is told which of its messages were delivered.
    pub(crate) fn owes_receipts(&self) -> bool {
        let State::Paired { partner, .. } = &self.state else { return false };
        partner.capabilities.receipts
    }

    /// Returns true if an acknowledgement is about the current or the last chat.
    pub(crate) fn is_current_or_last(&self, meant_for: Option<ChatId>) -> bool {
        let ended = self.recovery.as_ref().and_then(|recovery| recovery.ended.as_deref());
        self.is_in(meant_for)
            || ended.is_some_and(|(chat, _)| meant_for.is_none_or(|meant| meant == *chat))
    }

    /// Returns how the client introduces itself.
    pub(crate) const fn hello(&self) -> &Hello {
        &self.ticket.hello
    }

    /// Returns true if the client is in a chat.
    #[must_use]
    pub const fn is_paired(&self) -> bool {
        matches!(self.state, State::Paired { .. })
    }

    /// Returns how long the session is to be held without a transport. `None` if it ends.
    #[must_use]
    pub fn window(&self, closing: Closing) -> Option<Duration> {
        let recovery = self.recovery.as_ref().filter(|_| self.is_resumable())?;
        let limits = &self.limits;
        let window = match closing {
            Closing::Deliberate => return None,
            _ if recovery.in_background => limits.background_window.max(limits.resume_window),
            Closing::GoingAway => limits.resume_window.min(GOING_AWAY_WINDOW),
            Closing::Lost => limits.resume_window,
        };
        (!limits.resume_window.is_zero() && !window.is_zero()).then_some(window)
    }

    /// Counts a frame of the client, whether it is then refused or not.
    #[inline]
    pub fn handle_arrived(&mut self, meant_for: Option<ChatId>) {
        if self.recovery.is_some() {
            self.count_arrived(meant_for);
        }
    }

    fn count_arrived(&mut self, meant_for: Option<ChatId>) {
        // Without a chat's id, a frame counts for a chat that the client has been told of.
        if !self.is_in(meant_for) || (meant_for.is_none() && self.outbox.has_matched()) {
            return;
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.sent += 1;
            recovery.in_background = false;
        }
    }

    /// Forgets the last chat: the client has acknowledged its end.
    pub fn handle_end_acknowledged(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.ended = None;
        }
    }

    /// Goes on without a transport: gives a place up, and forgets what was to be written.
    pub fn handle_detached(&mut self) {
        self.handle_unresponsive();
        self.forget_typing();
        for timer in [Timer::TransportStall, Timer::SlowRead, Timer::PartnerStall] {
            self.timers.stop(timer);
        }
        self.outbox.drop_events();
    }

    /// Goes on over the transport of a session that has just arrived, with what that was told.
    ///
    /// Returns the number of frames that the client has of the chat that goes on, if there is one.
    /// Must be followed by [`handle_rewound`](Self::handle_rewound).
    pub fn handle_attached(&mut self, fresh: Self, recover: Recover) -> Option<u64> {
        let Recover { hello, chat: meant, received, .. } = recover;
        self.ticket.origin = fresh.ticket.origin;
        self.draining = fresh.draining;
        self.outbox.precede_with(fresh.outbox);
        let recovery = self.recovery.get_or_insert_default();
        recovery.in_background = false;
        recovery.introduces = hello.is_none();
        if let Some(hello) = hello {
            self.ticket.hello = hello;
        }
        // The client has not read the end of this chat, so it is told again behind the frames.
        if let (State::Idle { .. }, Some(ended)) = (&self.state, recovery.ended.take()) {
            let (chat, partner) = *ended;
            self.state = State::Paired { chat, partner };
        }
        match &self.state {
            State::Paired { chat, .. } if meant == Some(*chat) => Some(received),
            State::Paired { .. } => Some(0),
            State::Idle { .. } | State::Waiting { .. } | State::Closed => None,
        }
    }

    /// Tells the client what it has resumed. `missing` frames of it are gone.
    pub fn handle_rewound(
        &mut self,
        meant: Option<ChatId>,
        missing: u64,
        queue_status: impl FnOnce() -> QueueStatus,
    ) {
        match &self.state {
            State::Paired { chat, partner } if meant == Some(*chat) => {
                let (chat, Hello { name, public_key, .. }) = (*chat, partner.hello.clone());
                let undelivered = self.outbox.take_receipts();
                let Some(recovery) = &mut self.recovery else { return };
                recovery.delivered = undelivered.or(recovery.delivered);
                let (received, delivered) = (recovery.sent, recovery.delivered);
                let session = self.ticket.peer;
                self.tell(Event::Resumed(Box::new(Resumed {
                    session,
                    chat,
                    name,
                    public_key,
                    received,
                    missing,
                    delivered,
                })));
                if std::mem::take(&mut self.partner_away) {
                    self.handle_partner_away();
                }
            }
            State::Paired { chat, partner } => {
                let (chat, partner) = (*chat, Arc::clone(partner));
                self.tell_matched(chat, &partner);
            }
            State::Waiting { .. } => {
                self.tell(Event::Waiting(queue_status()));
                self.handle_responsive();
            }
            State::Idle { .. } | State::Closed => {}
        }
    }
}

/// What the client says of its connection.
impl Session {
    pub(super) fn recover(&mut self, mut recover: Box<Recover>) {
        if let Some(hello) = &recover.hello {
            if let Err(problem) = check_hello(&self.limits, hello) {
                return self.refuse(problem);
            }
        } else if self.ticket.hello != Hello::default() {
            recover.hello = Some(self.ticket.hello.clone());
        }
        if self.limits.resume_window.is_zero() {
            let Recover { hello, token, chat, .. } = *recover;
            self.introduce(hello.unwrap_or_default(), token);
            return self.tell_unclaimed(chat);
        }
        let is_new = matches!(self.state, State::Idle { .. }) && !self.chatted;
        if recover.token.is_some() && is_new {
            self.announce(&recover);
            return self.actions.push_back(Action::Claim(recover));
        }
        if !self.is_paired() {
            self.announce(&recover);
        }
        let Recover { hello, token, .. } = *recover;
        self.introduce(hello.unwrap_or_default(), token);
    }

    fn announce(&mut self, recover: &Recover) {
        let recovery = self.recovery.get_or_insert_default();
        recovery.flush_acknowledges = recover.flush_acknowledges;
    }

    /// Introduces the client as it said together with a claim that found no session. `is_known` if
    /// its token was accepted all the same.
    pub(crate) fn handle_unclaimed(&mut self, recover: Recover, is_known: bool) {
        let Recover { hello, chat, .. } = recover;
        self.introduce(hello.unwrap_or_default(), None);
        match chat {
            _ if !is_known => self.handle_unknown_token(),
            Some(_) => self.tell_unclaimed(chat),
            None => self.tell(Event::Idle),
        }
    }

    /// Tells the client that the chat it believes to be in has ended.
    fn tell_unclaimed(&mut self, chat: Option<ChatId>) {
        if chat.is_some() {
            self.tell(Event::Left { reason: ChatEnd::Lost });
        }
    }

    pub(super) fn set_background(&mut self, in_background: bool) {
        if let Some(recovery) = &mut self.recovery {
            recovery.in_background = in_background;
        }
    }

    pub(super) fn begin_counting(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            let flush_acknowledges = recovery.flush_acknowledges;
            **recovery = Recovery { counts: true, flush_acknowledges, ..Recovery::default() };
        }
    }

    /// Remembers the chat that the partner has ended.
    pub(super) fn note_ended(&mut self) {
        if let (Some(recovery), State::Paired { chat, partner }) = (&mut self.recovery, &self.state)
            && recovery.counts
            && !recovery.flush_acknowledges
        {
            recovery.ended = Some(Box::new((*chat, Arc::clone(partner))));
        }
    }

    pub(super) fn note_delivered(&mut self, id: u64) {
        if let Some(recovery) = &mut self.recovery {
            recovery.delivered = Some(id);
        }
    }

    /// Tells the partner of a new introduction if the client resumed without one.
    pub(super) fn introduce_to_partner(&mut self) {
        let is_paired = self.is_paired();
        if let Some(recovery) = &mut self.recovery
            && std::mem::take(&mut recovery.introduces)
            && is_paired
        {
            self.actions.push_back(Action::Introduce(Box::new(self.ticket.hello.clone())));
        }
    }
}

/// What the partner reports of its connection.
impl Session {
    /// Tells the client that the partner's connection has dropped.
    pub fn handle_partner_away(&mut self) {
        if self.is_paired() && !std::mem::replace(&mut self.partner_away, true) {
            self.tell(Event::Away);
        }
    }

    /// Tells the client that the partner is there again, or who it is now.
    pub fn handle_partner_back(&mut self, hello: Hello) {
        let was_away = std::mem::take(&mut self.partner_away);
        let State::Paired { partner, .. } = &mut self.state else { return };
        let known = &partner.hello;
        let is_new = (&known.name, &known.public_key) != (&hello.name, &hello.public_key);
        if !was_away && !is_new {
            return;
        }
        let (name, public_key) = (hello.name.clone(), hello.public_key.clone());
        if is_new {
            Arc::make_mut(partner).hello = hello;
        }
        self.tell(Event::Back { name, public_key });
    }

    /// Returns true if the client was told that the partner's connection has dropped.
    #[inline]
    #[must_use]
    pub const fn is_partner_away(&self) -> bool {
        self.partner_away
    }

    /// Refuses a frame that the queue of a partner without a connection has no room for.
    pub fn handle_partner_full(&mut self, frame: &Frame) {
        let text = "the partner has no connection and its queue is full; send again after `back`";
        let problem = Problem::new(Code::PartnerAway, text);
        // Not that of a read mark, which is the id of a message of the partner: the client would send
        // its own message of that number again.
        let id = match &frame.body {
            Body::Message(message) => message.id,
            _ => None,
        };
        self.refuse(problem.about(id));
    }
}

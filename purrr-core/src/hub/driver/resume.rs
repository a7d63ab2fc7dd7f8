//! Handing a session over to another transport, and taking one over.

use std::{mem, sync::Arc, task::Context};

use crate::{
    hub::{
        driver::state::{Request, SessionCore},
        resume::{
            keeper::keep,
            suspended::Suspended,
            table::{Kind, OwnerRequest, Registration},
        },
    },
    model::{
        command::Recover,
        ids::{ChatId, PeerId},
        profile::{Capabilities, Hello, Search},
    },
    session::Session,
};

impl SessionCore<'_> {
    /// Makes the session claimable if its client can resume.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        if !self.session.can_resume() {
            return;
        }
        let (hub, token) = (self.hub, self.peer.token());
        let registration = self
            .registration
            .get_or_insert_with(|| Registration::new(&hub.resume, token, Kind::Session));
        registration.set_owner(cx);
        registration.take_last();
    }

    /// Returns true if another connection has claimed the session.
    #[inline]
    pub(super) fn is_claimed(&self) -> bool {
        self.registration.as_ref().is_some_and(|registration| registration.is_requested())
    }

    /// Hands the session over to the connection that has claimed it. Returns false if there is
    /// nothing to hand over.
    pub(super) fn hand_over(&mut self) -> bool {
        let request = self.registration.as_ref().and_then(|it| it.take_request());
        let Some(OwnerRequest::Claim(to)) = request else { return false };
        if to.is_closed() {
            return false;
        }
        let Some(suspended) = self.suspend() else { return false };
        if let Err(unclaimed) = to.send(suspended)
            && let Ok(unclaimed) = unclaimed.downcast()
        {
            keep(self.hub, unclaimed, self.input.closing);
        }
        true
    }

    /// Lets the session go on without its transport, until it is claimed. Returns false if it ends.
    pub(super) fn detach(&mut self) -> bool {
        if self.session.window(self.input.closing).is_none() {
            return false;
        }
        let Some(suspended) = self.suspend() else { return false };
        keep(self.hub, suspended, self.input.closing);
        true
    }

    /// Takes the session out, if there is something to resume.
    fn suspend(&mut self) -> Option<Box<Suspended>> {
        // A call may be about the person, whom the session would be without.
        if self.request.is_call() || !self.session.is_resumable() {
            return None;
        }
        let registration = self.registration.take()?;
        self.session.handle_detached();
        // Pauses a search, which has nothing to do but to give its place up.
        while self.session.poll_action().is_some() {}
        self.request = Request::None;
        let (limits, none) = (Arc::clone(&self.hub.limits), PeerId::from_bits(0));
        let (hello, search) = (Hello::default(), Search::default());
        let empty = Session::new(none, hello, search, Capabilities::default(), limits);
        Some(Box::new(Suspended {
            session: mem::replace(&mut self.session, empty),
            chat: self.chat.take(),
            held: self.input.held.take(),
            waiting_since: self.waiting_since,
            registration,
            peer: self.peer.take(),
        }))
    }

    /// Goes on as the session that was claimed, in the place of the one that has just arrived.
    pub(super) fn adopt(&mut self, cx: &Context<'_>, suspended: Suspended, recover: Recover) {
        let Suspended { session, chat, held, waiting_since, registration, mut peer } = suspended;
        tracing::debug!(session = %session.peer(), by = %self.session.peer(), "resumed");
        self.hub.stats.resumed.add(1);
        peer.exchange_tokens(&mut self.peer);
        // The one that has just arrived departs.
        self.peer = peer;
        let meant = recover.chat;
        let is_new = recover.hello.as_ref().is_some_and(|hello| hello != session.hello());
        let fresh = mem::replace(&mut self.session, session);
        let received = self.session.handle_attached(fresh, recover);
        let last = registration.take_last().filter(|_| received.is_some());
        self.chat = chat.or_else(|| last.map(|pipe| *pipe));
        (self.input.held, self.waiting_since) = (held, waiting_since);
        registration.set_owner(cx);
        self.registration = Some(registration);
        self.output.unacknowledged = 0;
        let missing = received.map_or(0, |received| self.rewind(received, is_new));
        let queue_status = || self.hub.backend.people.queue_status();
        self.session.handle_rewound(meant, missing, queue_status);
    }

    fn rewind(&mut self, received: u64, is_new: bool) -> u64 {
        let Some(pipe) = &mut self.chat else { return 0 };
        pipe.set_budget(self.input.budget.clone());
        let missing = pipe.rewind(received, self.session.owes_receipts());
        pipe.attach(self.session.hello().clone(), is_new);
        missing
    }

    /// Frees what the client has acknowledged of the current or the last chat.
    pub(super) fn acknowledge(&mut self, chat: Option<ChatId>, received: u64) {
        if !self.session.is_current_or_last(chat) {
            return;
        }
        if let Some(pipe) = &mut self.chat {
            return pipe.acknowledge_received(received, self.session.owes_receipts());
        }
        if self.registration.as_ref().is_some_and(|it| it.acknowledge_last(received)) {
            self.session.handle_end_acknowledged();
        }
    }
}

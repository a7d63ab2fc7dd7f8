//! Steps toward the backend and the clock: actions, the search, calls and timers.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, sleep_until};

use crate::{
    backend::LobbyError,
    hub::{
        call::Answer,
        driver::state::{Request, SessionCore, now},
        search::{Found, SearchError},
    },
    session::Action,
};

impl SessionCore<'_> {
    /// Does what the session wants, in order. Actions but a parting wait for a call of the backend
    /// that is under way.
    #[inline]
    pub(super) fn apply_actions(&mut self, cx: &mut Context<'_>) {
        // Called twice with every frame, and there is hardly ever an action.
        if self.session.may_have_action() {
            self.apply_all(cx);
        }
    }

    fn apply_all(&mut self, cx: &mut Context<'_>) {
        while let Some(action) = self.next_action() {
            self.apply(cx, action);
        }
    }

    fn next_action(&mut self) -> Option<Action> {
        if self.request.is_call() {
            // The partner of a peer that blocks it is told at once, however slow the backend is.
            self.session.poll_parting()
        } else {
            self.session.poll_action()
        }
    }

    fn apply(&mut self, cx: &mut Context<'_>, action: Action) {
        match action {
            Action::Enter(mut ticket) => {
                self.register(cx);
                match self.waiting_since {
                    Some(since) => ticket.waited = since.elapsed(),
                    None => self.waiting_since = Some(Instant::now()),
                }
                self.request = Request::Search(self.peer.search(*ticket));
                self.output.coalescing = true;
            }
            Action::Pause => self.end_search(),
            Action::Leave => {
                self.end_search();
                self.waiting_since = None;
            }
            Action::Block(partner) => {
                self.request = Request::Call(self.peer.block(self.session.origin(), partner));
                self.drive_backend(cx);
            }
            Action::Resume(token) => {
                self.request = Request::Call(self.peer.resume(token));
                self.drive_backend(cx);
            }
            Action::Claim(recover) => {
                // Sent with the token by the session.
                let Some(token) = recover.token else { return };
                self.request = Request::Call(self.peer.claim(token, recover));
                self.drive_backend(cx);
            }
            Action::Introduce(hello) => {
                if let Some(pipe) = &mut self.chat {
                    pipe.attach(*hello, true);
                }
            }
            Action::Discard => self.input.held = None,
            Action::Part(reason) => self.part(reason),
            Action::Close(reason) => self.closing = Some(reason),
        }
    }

    /// Polls a search that has found a partner. Must precede input and a change of phase.
    ///
    /// If the partner has begun to chat meanwhile, the chat has begun for both.
    pub(super) fn poll_opening(&mut self, cx: &mut Context<'_>) {
        if self.request.is_opening() {
            self.drive_backend(cx);
        }
    }

    /// Polls the search or the call that is under way. Returns true if it ended.
    #[inline]
    pub(super) fn drive_backend(&mut self, cx: &mut Context<'_>) -> bool {
        !self.request.is_none() && self.poll_request(cx)
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.request {
            Request::None => false,
            Request::Call(call) => match call.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(answer) => {
                    self.request = Request::None;
                    self.handle_answer(cx, answer);
                    true
                }
            },
            Request::Search(search) => match Pin::new(search).poll(cx) {
                Poll::Pending => false,
                Poll::Ready(found) => {
                    self.end_search();
                    self.waiting_since = None;
                    self.handle_found(found);
                    true
                }
            },
        }
    }

    fn handle_answer(&mut self, cx: &Context<'_>, answer: Answer) {
        match answer {
            Answer::Done => {}
            Answer::Resumed(person) => self.peer.set_person(person),
            Answer::UnknownToken => self.session.handle_unknown_token(),
            Answer::Claimed(suspended, recover) => self.adopt(cx, *suspended, *recover),
            Answer::Unclaimed(person, recover) => {
                if let Some(person) = person {
                    self.peer.set_person(person);
                }
                self.session.handle_unclaimed(*recover, person.is_some());
            }
            Answer::Unavailable(error) => {
                tracing::warn!(session = %self.session.peer(), %error, "a block or a resume failed");
                self.session.handle_unavailable();
            }
        }
    }

    fn handle_found(&mut self, found: Result<Found, SearchError>) {
        match found {
            Ok(Found { chat, partner, mut pipe }) => {
                pipe.set_budget(self.input.budget.clone());
                if self.session.will_acknowledge() {
                    pipe.keep_received();
                }
                self.chat = Some(pipe);
                self.session.handle_matched(chat, partner);
            }
            Err(SearchError::Lobby(LobbyError::TooManyWaiting)) => {
                self.session.handle_search_refused();
            }
            Err(error) => {
                tracing::warn!(session = %self.session.peer(), %error, "a search failed");
                self.session.handle_search_failed();
            }
        }
    }

    pub(super) fn end_search(&mut self) {
        if !self.request.is_call() {
            self.request = Request::None;
        }
        self.output.coalescing = false;
    }

    /// Sleeps until the session's next timeout. Returns true if a timer expired.
    #[inline]
    pub(super) fn drive_timers(&mut self, cx: &mut Context<'_>) -> bool {
        match self.session.poll_timeout() {
            Some(due) => return self.poll_timer(cx, due.into()),
            None if self.timer.is_some() => self.timer = None,
            None => {}
        }
        false
    }

    #[inline(never)]
    fn poll_timer(&mut self, cx: &mut Context<'_>, due: Instant) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.session.handle_timeout(now());
        true
    }
}

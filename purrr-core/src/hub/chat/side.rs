//! One side of a chat, which its two halves share: [`Side`].
//!
//! Locked for one poll at a time, and never across an await.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::time::{Sleep, sleep};

use super::SendError;
use crate::{
    backend::{
        budget::QueueBudget,
        log::Notice,
        pipe::{Pipe, Received, Reports, TrySendError},
    },
    hub::{
        call::Call,
        peer::ActivePeer,
        search::{Found, Searching},
        shared::{Phase, Shared},
    },
    model::{
        frame::{Body, Frame},
        ids::{ChatId, OriginKey, ResumeToken},
        person::PersonAt,
        reason::ChatEnd,
        ticket::Ticket,
    },
    session::check_body,
};

pub(super) struct Side {
    id: ChatId,
    partner: Arc<Ticket>,
    /// Held until this side parts.
    pipe: Option<Pipe>,
    /// Why the chat is over, once this side has parted.
    over: Option<ChatEnd>,
    /// Runs while the partner's queue is full and the partner makes no progress.
    stall: Option<Pin<Box<Sleep>>>,
    /// Ids of messages that await their receipt, oldest first.
    unacknowledged: VecDeque<u64>,
    /// How many of them are delivered, and were not yet asked for.
    receipts: usize,
    /// The task that receives, to be told when this side parts.
    receiver: Option<Waker>,
    /// What has become of the partner's connection, which was not asked for yet.
    notice: Option<Notice>,
    /// The task that asks for it.
    notice_waiter: Option<Waker>,
    ticket: Ticket,
    /// Pays for frames that wait for a partner.
    budget: Option<Arc<dyn QueueBudget>>,
    /// Last, so that it departs after the chat has ended.
    peer: ActivePeer,
}

impl Side {
    pub(super) fn new(
        peer: ActivePeer,
        ticket: Ticket,
        Found { chat: id, partner, pipe }: Found,
    ) -> Self {
        Self {
            id,
            partner,
            budget: pipe.budget().cloned(),
            pipe: Some(pipe),
            over: None,
            stall: None,
            unacknowledged: VecDeque::new(),
            receipts: 0,
            receiver: None,
            notice: None,
            notice_waiter: None,
            ticket,
            peer,
        }
    }

    pub(super) fn about(&self) -> (ChatId, Arc<Ticket>) {
        (self.id, Arc::clone(&self.partner))
    }

    pub(super) fn hub(&self) -> Arc<Shared> {
        Arc::clone(&self.peer.hub)
    }

    pub(super) const fn token(&self) -> ResumeToken {
        self.peer.token()
    }

    pub(super) const fn origin(&self) -> OriginKey {
        self.ticket.origin
    }

    /// Returns true once this side has parted.
    pub(super) const fn is_over(&self) -> bool {
        self.pipe.is_none()
    }

    pub(super) fn bytes_to_receive(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::bytes_to_receive)
    }

    /// Goes on without a caller, with room for `more` bytes of the partner.
    pub(super) fn detach(&mut self, more: usize) {
        self.stall = None;
        if let Some(pipe) = &mut self.pipe {
            pipe.detach(more);
        }
    }

    pub(super) fn tell_away(&mut self) {
        if let Some(pipe) = &mut self.pipe {
            pipe.tell_away();
        }
    }

    /// Goes on with a caller, by the token of `next`, which departs by the token so far.
    pub(super) fn attach(&mut self, next: &mut ActivePeer) {
        self.peer.exchange_tokens(next);
        if let Some(pipe) = &mut self.pipe {
            pipe.attach(self.ticket.hello.clone(), false);
        }
    }

    pub(super) fn block(&self) -> Call {
        self.peer.block(self.ticket.origin, PersonAt::of(&self.partner))
    }

    /// Parts as one that goes on, and begins to search again.
    pub(super) fn search_next(&mut self) -> (Arc<Shared>, Searching) {
        self.part(ChatEnd::Next, ChatEnd::Left);
        (self.hub(), self.peer.search(self.ticket.clone()))
    }

    /// Begins the next chat.
    pub(super) fn begin(&mut self, Found { chat, partner, mut pipe }: Found) {
        pipe.set_budget(self.budget.clone());
        (self.id, self.partner, self.pipe) = (chat, partner, Some(pipe));
        (self.over, self.stall, self.receipts) = (None, None, 0);
        self.notice = None;
        self.unacknowledged = VecDeque::new();
    }

    /// Parts for a reason that the partner is told. This side is told `own`.
    pub(super) fn part(&mut self, reason: ChatEnd, own: ChatEnd) {
        if let Some(pipe) = self.pipe.take() {
            pipe.part(reason);
            self.over = Some(own);
            self.stall = None;
            for waker in [self.receiver.take(), self.notice_waiter.take()].into_iter().flatten() {
                waker.wake();
            }
        }
    }

    /// Checks a frame against the limits of this hub and what the partner's client supports.
    pub(super) fn check(&mut self, frame: &Frame) -> Result<(), SendError> {
        let limits = &self.peer.hub.limits;
        if let Some(pipe) = &mut self.pipe
            && frame.wants_receipt()
        {
            self.receipts += usize::try_from(pipe.take_receipts()).unwrap_or(usize::MAX);
            // The caller did not ask for these.
            while self.receipts > 0 && self.unacknowledged.len() >= limits.receipts {
                self.unacknowledged.pop_front();
                self.receipts -= 1;
            }
        }
        let waiting = self.unacknowledged.len();
        check_body(limits, &frame.body, &self.partner, waiting).map_err(SendError::Refused)
    }

    /// Sends a checked frame, which is taken out of `waiting` once the queue has it.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        waiting: &mut Option<Frame>,
    ) -> Poll<Result<(), SendError>> {
        let hub = &self.peer.hub;
        let (Phase::Open | Phase::Draining, Some(pipe)) = (hub.phase(), &mut self.pipe) else {
            return Poll::Ready(Err(SendError::Over));
        };
        let Some(frame) = waiting.take() else { return Poll::Ready(Ok(())) };
        let (weight, id) = (frame.weight(), id_of(&frame));
        match pipe.poll_send(cx, frame) {
            Ok(()) => {
                self.stall = None;
                hub.stats.count_frame(weight);
                if self.ticket.capabilities.receipts {
                    self.unacknowledged.extend(id);
                }
                Poll::Ready(Ok(()))
            }
            Err(TrySendError::Parted(_)) => Poll::Ready(Err(SendError::Over)),
            Err(TrySendError::Full(frame)) => {
                *waiting = Some(frame);
                if pipe.take_progress() {
                    self.stall = None;
                }
                if pipe.is_partner_detached() {
                    self.stall = None;
                    return Poll::Pending;
                }
                let stall = hub.limits.stall;
                let timer = self.stall.get_or_insert_with(|| Box::pin(sleep(stall)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // As a session does: the partner is told `lost`, since it does not read.
                self.part(ChatEnd::Lost, ChatEnd::Slow);
                Poll::Ready(Err(SendError::Over))
            }
        }
    }

    pub(super) fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Result<Frame, ChatEnd>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Err(self.over.unwrap_or(ChatEnd::Left)));
        };
        let mut reports = Reports::default();
        let polled = pipe.poll_recv_and_reports(cx, Some(&mut reports));
        self.receipts += usize::try_from(reports.receipts).unwrap_or(usize::MAX);
        let is_told = reports.notice.is_some();
        self.notice = reports.notice.or_else(|| self.notice.take());
        // Receiving takes it too, and what belongs behind a frame may be due now.
        if (is_told || polled.is_ready())
            && let Some(waiter) = self.notice_waiter.take()
        {
            waiter.wake();
        }
        match polled {
            Poll::Pending => {
                match &mut self.receiver {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => self.receiver = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            Poll::Ready(Received::Frame(frame)) => {
                if frame.wants_receipt() && self.partner.capabilities.receipts {
                    pipe.acknowledge(1);
                }
                Poll::Ready(Ok(frame))
            }
            Poll::Ready(Received::Parted(reason)) => Poll::Ready(Err(reason)),
        }
    }

    /// Returns what becomes of the partner's connection. `None` once the chat is over.
    pub(super) fn poll_connection(&mut self, cx: &Context<'_>) -> Poll<Option<Notice>> {
        if let Some(notice) = self.notice.take() {
            return Poll::Ready(Some(notice));
        }
        let Some(pipe) = &self.pipe else { return Poll::Ready(None) };
        let polled = pipe.poll_connection(cx);
        if polled.is_pending() {
            self.notice_waiter = Some(cx.waker().clone());
        }
        polled
    }

    /// Returns the id of the next message that is delivered. `None` once the chat is over.
    pub(super) fn poll_receipt(&mut self, cx: &Context<'_>) -> Poll<Option<u64>> {
        loop {
            if self.receipts > 0 {
                self.receipts -= 1;
                if let Some(id) = self.unacknowledged.pop_front() {
                    return Poll::Ready(Some(id));
                }
            }
            let Some(pipe) = &mut self.pipe else { return Poll::Ready(None) };
            match pipe.poll_receipts(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(more)) => {
                    self.receipts += usize::try_from(more).unwrap_or(usize::MAX);
                }
            }
        }
    }
}

fn id_of(frame: &Frame) -> Option<u64> {
    match &frame.body {
        Body::Message(message) => message.id,
        _ => None,
    }
}

//! The shell of a [`Session`]: one task that owns a transport, a search and a pipe.

use crate::hub::transport::Input;
use crate::{
    backend::pipe::{Pipe, Received, TrySendError},
    hub::{
        profile::Profile,
        search::{ActivePeer, Found, Searching},
        shared::{Phase, Shared},
        transport::Gate,
    },
    model::{
        command::Command,
        event::Event,
        frame::Frame,
        ids::{ChatId, PeerId},
        reason::CloseReason,
    },
    rate::{cost::Cost, shared::Lease},
    session::{Action, Consumer, Session},
};
use futures::{Sink, Stream};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Frames and commands handled before other tasks get their turn.
const BUDGET: usize = 128;

/// Commands read before what there is to tell gets its turn.
const BATCH: usize = 16;

/// Commands are not read while so many events wait to be taken by the transport.
const BACKLOG: usize = 16;

/// Built before it is polled, so that the future holds the session once and not also as an argument.
pub(crate) fn serve<T, I>(
    hub: &Arc<Shared>,
    transport: T,
    profile: Profile,
) -> impl Future<Output = CloseReason>
where
    T: Stream<Item = I> + Sink<Event>,
    I: Into<Input>,
{
    let Profile { hello, search, capabilities, person, resume, allowance, gate } = profile;
    let guest = ActivePeer::arrive(hub, person, resume);
    let limits = Arc::clone(&hub.limits);
    let mut session = Session::new(PeerId::random(), hello, search, capabilities, limits);
    session.welcome(guest.token(), hub.online());
    let mut serving = Serving {
        hub,
        guest,
        lease: Lease::of(allowance),
        waiting_since: None,
        latecomer: hub.phase() != Phase::Open,
        session,
        searching: None,
        just_entered: false,
        pipe: None,
        held: None,
        gate,
        gate_closed: false,
        arrived: 0,
        unflushed: false,
        hung_up: false,
        full: false,
        alarm: None,
        closing: None,
    };
    async move {
        let mut transport = pin!(transport);
        let mut phase_change = pin!(hub.phase_change());
        let mut phase = Phase::Open;
        // A task keeps its waker, so the signal that all sessions share is registered with once, not once per frame.
        let mut registered = None;
        poll_fn(|cx| {
            if hub.phase() != phase {
                // Listened for anew before it is read, so that no change falls between the two.
                phase_change.set(hub.phase_change());
                registered = None;
                phase = hub.phase();
                serving.poll_opening(cx);
                serving.enter_phase(phase);
            }
            if !registered.as_ref().is_some_and(|waker| cx.waker().will_wake(waker)) {
                if phase_change.as_mut().poll(cx).is_ready() {
                    phase_change.set(hub.phase_change());
                    cx.waker().wake_by_ref();
                } else {
                    registered = Some(cx.waker().clone());
                }
            }
            serving.poll(cx, transport.as_mut())
        })
        .await
    }
}

struct Serving<'h> {
    hub: &'h Shared,
    guest: ActivePeer,
    lease: Lease,
    /// When the search began, pauses included.
    waiting_since: Option<Instant>,
    /// Came when the hub was going away already. Those come one by one, so they may go at once.
    latecomer: bool,
    session: Session,
    searching: Option<Searching>,
    /// The search has just begun. The peer is told of it after one turn of the tasks that are ready to run, and of whom it
    /// meets by then in the same breath, which spares the transport every other write of a rush.
    just_entered: bool,
    pipe: Option<Pipe>,
    /// A frame that the partner's full queue did not take; until it does, no further command is read.
    held: Option<Frame>,
    /// By which the transport is told so, if it can be.
    gate: Option<Gate>,
    gate_closed: bool,
    /// The partner's messages given to the transport since it was last flushed.
    arrived: u64,
    unflushed: bool,
    /// The transport has ended while a frame is held, or there is something to tell.
    hung_up: bool,
    /// The transport had no room when it was last asked.
    full: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    closing: Option<CloseReason>,
}

impl Serving<'_> {
    fn enter_phase(&mut self, phase: Phase) {
        match phase {
            Phase::Open => {}
            Phase::Draining => {
                let linger = if self.latecomer { None } else { self.hub.linger() };
                let until = linger.map(|linger| now() + linger);
                self.session.handle_drain(self.hub.retry_after_ms(), until);
            }
            Phase::Closed => self.session.handle_close(),
        }
    }

    fn poll<T, I>(&mut self, cx: &mut Context<'_>, mut transport: Pin<&mut T>) -> Poll<CloseReason>
    where
        T: Stream<Item = I> + Sink<Event>,
        I: Into<Input>,
    {
        let mut budget = BUDGET;
        let entered_before = self.just_entered;
        loop {
            self.apply_actions();
            // Each of these does all it can in this order; there is another turn only if a later one made work for an
            // earlier one, or may have more to do itself. What is rare is looked for here, and not by a call.
            let mut again = self.held.is_some() && self.poll_held(cx);
            if self.held.is_none()
                && let Some(frame) = self.session.poll_frame()
            {
                self.send_delayed(cx, frame);
                again = true;
            }
            match self.poll_output(cx, transport.as_mut()) {
                Ok(more) => again |= more,
                Err(ended) => return Poll::Ready(ended),
            }
            match self.poll_input(cx, transport.as_mut()) {
                Ok(more) => again |= more,
                Err(ended) => return Poll::Ready(ended),
            }
            // After what the peer says, so that whoever cancels or hangs up just then is nobody's partner.
            self.apply_actions();
            again |= self.searching.is_some() && self.poll_search(cx);
            again |= entered_before && std::mem::take(&mut self.just_entered);
            if let Some(closing) = self.closing
                && let Poll::Ready(ended) = self.poll_close(cx, transport.as_mut(), closing)
            {
                return Poll::Ready(ended);
            }
            match self.session.poll_timeout() {
                Some(due) => again |= self.poll_alarm(cx, due.into()),
                None if self.alarm.is_some() => self.alarm = None,
                None => {}
            }
            if !again && !self.just_entered {
                return Poll::Pending;
            }
            budget -= 1;
            if !again || budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Does what the session wants of the lobby and the chat.
    #[inline]
    fn apply_actions(&mut self) {
        while let Some(action) = self.session.poll_action() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Enter(mut ticket) => {
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                ticket.waited = since.elapsed();
                self.searching = Some(self.guest.search(*ticket));
                self.just_entered = true;
            }
            Action::Pause => self.end_search(),
            Action::Leave => {
                self.end_search();
                self.waiting_since = None;
            }
            Action::Block(person) => self.guest.block(person),
            Action::Resume(token) => {
                if !self.guest.resume(token) {
                    self.session.handle_unknown_token();
                }
            }
            Action::Part(reason) => {
                self.held = None;
                self.arrived = 0;
                if let Some(pipe) = self.pipe.take() {
                    pipe.part(reason);
                }
            }
            Action::Close(closing) => self.closing = Some(closing),
        }
    }

    /// Before anything that the peer says is done: if the partner has begun to chat meanwhile, both have.
    fn poll_opening(&mut self, cx: &mut Context<'_>) {
        if self.searching.as_ref().is_some_and(Searching::is_opening) {
            self.poll_search(cx);
        }
    }

    fn poll_search(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(found)) =
            self.searching.as_mut().map(|searching| Pin::new(searching).poll(cx))
        else {
            return false;
        };
        self.end_search();
        self.waiting_since = None;
        match found {
            Ok(Found { chat, partner, pipe }) => {
                self.pipe = Some(pipe);
                self.session.handle_matched(chat, partner);
            }
            Err(error) => {
                tracing::warn!(session = %self.session.peer(), %error, "a search failed");
                self.session.handle_search_failed();
            }
        }
        true
    }

    fn end_search(&mut self) {
        self.searching = None;
        self.just_entered = false;
    }

    /// Tries again to send what the partner had no room for.
    fn poll_held(&mut self, cx: &Context<'_>) -> bool {
        let Some(frame) = self.held.take() else { return false };
        self.send(cx, frame);
        self.held.is_none()
    }

    /// Sends what had to wait for its time.
    fn send_delayed(&mut self, cx: &Context<'_>, frame: Frame) {
        let cost = Cost::of_frame(&frame);
        // It was paid for by the session when it became due.
        if let Err(wait) = self.spend_shared(cost) {
            return self.session.handle_excess_send(None, &frame, wait, now());
        }
        self.hub.stats.count_frame(frame.weight());
        self.send(cx, frame);
    }

    /// Sends a frame to the partner, or holds it while there is no room.
    fn send(&mut self, cx: &Context<'_>, frame: Frame) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.poll_send(cx, frame) {
            Err(TrySendError::Full(frame)) => {
                self.held = Some(frame);
                if pipe.take_progress() {
                    self.session.handle_progress(Consumer::Partner);
                }
                self.session.handle_stall(Consumer::Partner, now());
            }
            Ok(()) => self.session.handle_progress(Consumer::Partner),
            // The pipe will say so to whoever reads it.
            Err(TrySendError::Parted(_)) => {}
        }
    }

    /// Reads commands, and goes on as long as they are frames that the partner has room for. Returns whether there is
    /// something to do about what was read, or may be more to read.
    fn poll_input<T, I>(
        &mut self,
        cx: &mut Context<'_>,
        mut transport: Pin<&mut T>,
    ) -> Result<bool, CloseReason>
    where
        T: Stream<Item = I>,
        I: Into<Input>,
    {
        for _ in 0..BATCH {
            let full = self.held.is_some() || self.session.backlog() >= BACKLOG;
            if self.hung_up {
                return if self.held.is_some() { Ok(false) } else { Err(CloseReason::Lost) };
            }
            if self.closing.is_some() || !self.may_poll_input(full) {
                return Ok(false);
            }
            let input = match transport.as_mut().poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) if self.held.is_some() || self.just_entered => {
                    // What was said before is sent before; how long that may take has a bound. And whoever only speaks no
                    // more may listen still to what it has not been told because of its search.
                    self.hung_up = true;
                    self.end_search();
                    return Ok(true);
                }
                Poll::Ready(None) => return Err(CloseReason::Lost),
                Poll::Ready(Some(input)) => input.into(),
            };
            if full && matches!(input, Input::Command(_) | Input::Invalid(_)) {
                return Err(CloseReason::Lost);
            }
            // Whatever else is said to a partner, or refused, was said before there was one that its sender knows of.
            let is_said = matches!(input, Input::Command(Command::Send { .. }) | Input::Invalid(_));
            if !is_said {
                self.poll_opening(cx);
            }
            match input {
                // Not by way of the other commands, since a frame is large to hand about.
                Input::Command(Command::Send { chat, frame }) => {
                    if !self.admit(chat, &frame) {
                        return Ok(true);
                    }
                    self.hub.stats.count_frame(frame.weight());
                    self.send(cx, frame);
                }
                input => {
                    self.handle_input(input);
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    /// Whether the transport may be polled: while there is no room for what a command gives, only one that knows it.
    fn may_poll_input(&mut self, full: bool) -> bool {
        let Some(gate) = &self.gate else { return !full };
        if std::mem::replace(&mut self.gate_closed, full) != full {
            gate.close(full);
        }
        true
    }

    /// Whether a frame is to be sent to the partner.
    fn admit(&mut self, chat: Option<ChatId>, frame: &Frame) -> bool {
        match self.spend(Cost::of_frame(frame)) {
            Ok(()) => self.session.admit(chat, frame),
            Err(wait) => {
                self.session.handle_excess_send(chat, frame, wait, now());
                false
            }
        }
    }

    /// Pays for what the peer does, out of its own buckets and then out of what is shared: what is too fast for the peer
    /// itself costs nobody else anything. Says how long to wait if it is too fast, and then nothing is paid.
    fn spend(&mut self, cost: Cost) -> Result<(), Duration> {
        self.session.spend(cost, &now)?;
        self.spend_shared(cost)
    }

    /// Pays what is shared for something that the peer has paid for, who gets that back if there is not enough.
    fn spend_shared(&mut self, cost: Cost) -> Result<(), Duration> {
        self.lease.spend(cost, &now).inspect_err(|_| self.session.refund(cost))
    }

    /// Handles whatever came but a frame for the partner.
    fn handle_input(&mut self, input: Input) {
        match input {
            Input::Invalid(problem) => self.session.handle_invalid(problem, now()),
            Input::WriteProgress => {
                self.session.handle_progress(Consumer::Transport);
                if let Some(pipe) = &mut self.pipe {
                    pipe.report_progress();
                }
            }
            Input::Unresponsive => self.session.handle_unresponsive(),
            Input::Responsive => self.session.handle_responsive(),
            Input::Command(command) => {
                let queue_status = || self.hub.queue_status();
                match self.spend(Cost::of(&command)) {
                    Ok(()) => self.session.apply_command(command, queue_status),
                    Err(wait) => self.session.handle_excess(command, wait, now(), queue_status),
                }
            }
        }
    }

    /// Passes on what there is to tell, and flushes it. Returns whether there may be more.
    fn poll_output<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut transport: Pin<&mut T>,
    ) -> Result<bool, CloseReason>
    where
        T: Sink<Event>,
    {
        // What is under way to the transport is not held back, since it is by that that the peer is seen to stall.
        if self.has_said_all() || self.just_entered && !self.full && !self.unflushed {
            return Ok(false);
        }
        let mut budget = BUDGET;
        while budget > 0 && (self.full || self.has_news(cx)) {
            budget -= 1;
            match transport.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    // To have room is no sign of life, but to have room again is.
                    if std::mem::take(&mut self.full) {
                        self.session.handle_progress(Consumer::Transport);
                    }
                }
                Poll::Ready(Err(_)) => return Err(CloseReason::Lost),
                Poll::Pending => {
                    self.full = true;
                    self.note_own_stall();
                    break;
                }
            }
            let Some(event) = self.next_event(cx) else { break };
            if let Event::Error(problem) = &event {
                self.hub.stats.count_refused(problem.code);
            }
            transport.as_mut().start_send(event).map_err(|_| CloseReason::Lost)?;
            self.session.handle_progress(Consumer::Transport);
            self.unflushed = true;
        }
        let mut more = budget == 0;
        if self.unflushed {
            match transport.as_mut().poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.flushed();
                    // What was flushed may have made room, of which nobody would be told again.
                    more |= self.full;
                }
                Poll::Ready(Err(_)) => return Err(CloseReason::Lost),
                Poll::Pending => {
                    // If it has no room either, to have some again will be a sign of life.
                    match transport.poll_ready(cx) {
                        Poll::Ready(Err(_)) => return Err(CloseReason::Lost),
                        ready => self.full = ready.is_pending(),
                    }
                    self.note_own_stall();
                }
            }
        }
        Ok(more)
    }

    /// Whether there may be something to tell. If not, the task is woken when the partner has something.
    fn has_news(&self, cx: &Context<'_>) -> bool {
        self.session.has_event() || self.pipe.as_ref().is_some_and(|pipe| pipe.is_readable(cx))
    }

    /// The session's own news comes first; then what the partner sent.
    fn next_event(&mut self, cx: &Context<'_>) -> Option<Event> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Some(event);
            }
            let pipe = self.pipe.as_mut()?;
            let mut receipts = 0;
            let received = pipe.poll_recv_and_receipts(cx, Some(&mut receipts));
            self.session.handle_receipts(receipts);
            match received {
                Poll::Ready(Received::Frame(frame)) => {
                    self.arrived += u64::from(self.session.owes_receipt(&frame));
                    if let Some(event) = self.session.handle_frame(frame) {
                        return Some(event);
                    }
                }
                // The receipts are told first; the parting is still there afterwards.
                Poll::Ready(Received::Parted(_)) if receipts > 0 => {}
                Poll::Ready(Received::Parted(reason)) => {
                    self.session.handle_parted(reason);
                    self.apply_actions();
                }
                Poll::Pending if receipts == 0 => return None,
                Poll::Pending => {}
            }
        }
    }

    fn flushed(&mut self) {
        self.unflushed = false;
        self.session.handle_progress(Consumer::Transport);
        let arrived = std::mem::take(&mut self.arrived);
        if let (1.., Some(pipe)) = (arrived, &mut self.pipe) {
            pipe.acknowledge(arrived);
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>, due: Instant) -> bool {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        if alarm.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.session.handle_timeout(now());
        true
    }

    fn poll_close<T>(
        &mut self,
        cx: &mut Context<'_>,
        transport: Pin<&mut T>,
        closing: CloseReason,
    ) -> Poll<CloseReason>
    where
        T: Sink<Event>,
    {
        if closing == CloseReason::Slow {
            return Poll::Ready(closing);
        }
        if !self.has_said_all() {
            return Poll::Pending;
        }
        let closed = transport.poll_close(cx);
        if closed.is_pending() {
            self.note_own_stall();
        }
        closed.map(|_| closing)
    }

    /// Whether only closing is left to do. From then on the transport is asked for nothing else.
    fn has_said_all(&self) -> bool {
        self.closing.is_some() && !self.unflushed && self.session.backlog() == 0
    }

    fn note_own_stall(&mut self) {
        self.session.handle_stall(Consumer::Transport, now());
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

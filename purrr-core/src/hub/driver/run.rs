//! The loop of a session's driver: [`serve`].

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{Sink, Stream};
use tokio::sync::futures::Notified;

use crate::{
    hub::{
        driver::state::{
            BUDGET, InputState, OutputState, Request, SessionCore, SessionDriver, now,
        },
        peer::ActivePeer,
        profile::Profile,
        resume::table::Registration,
        shared::{Phase, Shared},
        transport::Input,
    },
    model::{
        event::Event,
        ids::PeerId,
        reason::{ChatEnd, CloseReason, Closing},
    },
    rate::shared::Lease,
    session::Session,
};

/// The phase of the hub that a session knows, and its registration for the next one.
struct PhaseWatch<'d, 'h> {
    hub: &'h Shared,
    known: Phase,
    change: Pin<&'d mut Notified<'h>>,
    /// The waker that `change` was polled with. A task keeps its waker, so it registers once and
    /// not once per poll.
    registered: Option<Waker>,
}

/// Runs a session over a transport. The peer arrives when this is called, and not when the future
/// is first polled.
///
/// The core is built here, so that the future holds it once and not also as an argument.
pub(crate) fn serve<T, I>(
    hub: &Arc<Shared>,
    transport: T,
    profile: Profile,
) -> impl Future<Output = CloseReason>
where
    T: Stream<Item = I> + Sink<Event>,
    I: Into<Input>,
{
    let Profile { hello, search, capabilities, person, resume, origin, .. } = profile;
    let Profile { allowance, budget, gate, hints, .. } = profile;
    let mut peer = ActivePeer::arrive(hub, PeerId::random(), person, origin);
    peer.set_close_reason(CloseReason::Lost);
    let limits = Arc::clone(&hub.limits);
    let mut session = Session::new(peer.id(), hello, search, capabilities, limits);
    session.set_origin(origin);
    if let Some(hints) = hints {
        session.set_hints(hints.attributes, hints.exclusions);
    }
    session.welcome(peer.token(), hub.backend.people.online());
    let mut core = SessionCore {
        hub,
        request: match resume {
            Some(token) => Request::Call(peer.resume_on_arrival(token)),
            None => Request::None,
        },
        peer,
        session,
        input: InputState { held: None, budget, ended: false, closing: Closing::Lost, gate },
        output: OutputState::default(),
        waiting_since: None,
        chat: None,
        registration: None,
        lease: Lease::of(allowance),
        timer: None,
        closing: None,
        joined_while_draining: hub.phase() != Phase::Open,
    };
    async move {
        let transport = pin!(Some(transport));
        let change = pin!(hub.phase_change());
        let mut phase = PhaseWatch { hub, known: Phase::Open, change, registered: None };
        let mut driver = SessionDriver { transport, core: &mut core };
        let reason = poll_fn(move |cx| driver.poll(cx, &mut phase)).await;
        core.peer.set_close_reason(reason);
        reason
    }
}

impl<T, I> SessionDriver<'_, '_, T>
where
    T: Stream<Item = I> + Sink<Event>,
    I: Into<Input>,
{
    fn poll(&mut self, cx: &mut Context<'_>, phase: &mut PhaseWatch<'_, '_>) -> Poll<CloseReason> {
        if self.transport.is_some() {
            let reason = ready!(self.poll_session(cx, phase));
            if reason == CloseReason::Lost && self.core.detach() {
                return Poll::Ready(reason);
            }
            // A transport that was lost said nothing to the partner.
            self.core.part(ChatEnd::Lost);
            if !self.core.request.is_call() {
                return Poll::Ready(reason);
            }
            // A block must be stored, otherwise the blocked person is back in the next chat.
            self.core.closing = Some(reason);
            self.transport.set(None);
        }
        if self.core.drive_backend(cx) {
            let reason = self.core.closing.unwrap_or(CloseReason::Lost);
            if reason == CloseReason::Lost {
                // Of a client that was lost while it claimed a session. It may claim it again.
                self.core.detach();
            }
            return Poll::Ready(reason);
        }
        Poll::Pending
    }

    fn poll_session(
        &mut self,
        cx: &mut Context<'_>,
        phase: &mut PhaseWatch<'_, '_>,
    ) -> Poll<CloseReason> {
        if let Some(phase) = phase.poll(cx, self.core.registration.as_ref()) {
            self.core.poll_opening(cx);
            self.core.enter_phase(phase);
        }
        if self.core.is_claimed() && self.core.hand_over() {
            return Poll::Ready(CloseReason::Replaced);
        }
        let was_coalescing = self.core.output.coalescing;
        // Input may produce events, and flushing may make room for input, so loop until no step
        // makes progress, at most `BUDGET` times. Each step does all it can.
        for _ in 0..BUDGET {
            self.core.apply_actions(cx);
            let mut progress = self.core.flush_held_frames(cx);
            progress |= match self.drive_output(cx) {
                Ok(progress) => progress,
                Err(reason) => return Poll::Ready(reason),
            };
            progress |= match self.drive_input(cx) {
                Ok(progress) => progress,
                Err(reason) => return Poll::Ready(reason),
            };
            // Must follow the input: a peer that cancels or disconnects just now must not be
            // matched.
            self.core.apply_actions(cx);
            progress |= self.core.drive_backend(cx);
            progress |= was_coalescing && std::mem::take(&mut self.core.output.coalescing);
            if let Poll::Ready(reason) = self.drive_close(cx) {
                return Poll::Ready(reason);
            }
            progress |= self.core.drive_timers(cx);
            if !progress {
                if self.core.output.coalescing {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl PhaseWatch<'_, '_> {
    /// Returns the phase of the hub if it is another one than before, and registers the task for
    /// the next change.
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>, registration: Option<&Registration>) -> Option<Phase> {
        let changed = self.hub.phase() != self.known;
        if changed {
            self.renew();
        }
        if !self.registered.as_ref().is_some_and(|waker| cx.waker().will_wake(waker)) {
            self.register(cx);
            if let Some(registration) = registration {
                registration.set_owner(cx);
            }
        }
        changed.then_some(self.known)
    }

    #[inline(never)]
    fn renew(&mut self) {
        // Registered anew before the phase is read, so that no change is missed in between.
        self.change.set(self.hub.phase_change());
        self.registered = None;
        self.known = self.hub.phase();
    }

    #[inline(never)]
    fn register(&mut self, cx: &mut Context<'_>) {
        if self.change.as_mut().poll(cx).is_ready() {
            self.change.set(self.hub.phase_change());
            cx.waker().wake_by_ref();
        } else {
            self.registered = Some(cx.waker().clone());
        }
    }
}

impl SessionCore<'_> {
    fn enter_phase(&mut self, phase: Phase) {
        match phase {
            Phase::Open => {}
            Phase::Draining => {
                let jitter =
                    if self.joined_while_draining { None } else { self.hub.drain_jitter() };
                let leave_at = jitter.map(|jitter| now() + jitter);
                self.session.handle_drain(self.hub.retry_after_ms(), leave_at);
            }
            Phase::Closed => self.session.handle_close(),
        }
    }
}

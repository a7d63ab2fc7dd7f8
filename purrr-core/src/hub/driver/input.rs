//! The step from the client to the session and the partner.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;

use crate::{
    backend::pipe::TrySendError,
    hub::{
        driver::{
            held::HeldFrames,
            state::{InputState, SessionCore, SessionDriver, now},
        },
        transport::Input,
    },
    model::{command::Command, frame::Frame, ids::ChatId, limits::Limits, reason::CloseReason},
    rate::cost::Cost,
    session::Consumer,
};

/// Commands read before output gets its turn.
const BATCH: usize = 16;

/// Commands are not read while so many events wait to be written.
const MAX_BACKLOG: usize = 16;

impl<T, I> SessionDriver<'_, '_, T>
where
    T: Stream<Item = I>,
    I: Into<Input>,
{
    /// Reads input, and goes on as long as it is frames that there is room for.
    ///
    /// Returns true if input was handled that the session may have an answer to, or if there may be
    /// more.
    ///
    /// # Errors
    ///
    /// Returns that the connection was lost.
    pub(super) fn drive_input(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let core = &mut *self.core;
        let Some(mut transport) = self.transport.as_mut().as_pin_mut() else { return Ok(false) };
        for _ in 0..BATCH {
            if core.input.ended {
                return Err(CloseReason::Lost);
            }
            let wants_commands = core.wants_commands();
            if !wants_commands {
                core.release_received();
            }
            if core.closing.is_some() || !core.input.may_poll(wants_commands) {
                return Ok(false);
            }
            let input = match transport.as_mut().poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) if core.output.coalescing => {
                    core.input.ended = true;
                    // A client may end its side of the connection and still read what its search
                    // has come to.
                    core.end_search();
                    return Ok(true);
                }
                Poll::Ready(None) => return Err(CloseReason::Lost),
                Poll::Ready(Some(input)) => input.into(),
            };
            match input {
                // A closed gate lets no command through, so this transport is broken.
                Input::Command(_) | Input::Invalid(_) | Input::InvalidFrame(_)
                    if !wants_commands =>
                {
                    return Err(CloseReason::Lost);
                }
                // Handled apart from other commands, since a frame is large to move.
                Input::Command(Command::Send { chat, frame }) => {
                    if !core.admit(chat, &frame) {
                        return Ok(true);
                    }
                    let weight = frame.weight();
                    core.hub.stats.count_frame(weight);
                    core.send(cx, frame, weight);
                }
                // Sent before the client knew of a partner that is just found, as is every frame.
                Input::Invalid(problem) => {
                    core.session.handle_invalid(problem, now());
                    return Ok(true);
                }
                Input::InvalidFrame(problem) => {
                    core.session.handle_arrived(None);
                    core.session.handle_invalid(problem, now());
                    return Ok(true);
                }
                Input::Closing(closing) => core.input.closing = closing,
                input => {
                    core.poll_opening(cx);
                    core.handle_input(input);
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }
}

impl InputState {
    /// Returns true if there is room for one more frame.
    #[inline]
    fn has_room(&self, limits: &Limits) -> bool {
        self.held.as_ref().is_none_or(|held| held.has_room(limits))
    }

    /// Returns true if the transport may be polled. Without a gate, it may only while commands are
    /// wanted.
    #[inline]
    fn may_poll(&self, wants_commands: bool) -> bool {
        let Some(gate) = &self.gate else { return wants_commands };
        if gate.is_closed() == wants_commands {
            gate.set_closed(!wants_commands);
        }
        true
    }
}

impl SessionCore<'_> {
    /// Lets the flush acknowledge while no acknowledgement is read.
    fn release_received(&mut self) {
        if self.session.acknowledges()
            && !self.input.has_room(&self.hub.limits)
            && let Some(pipe) = &mut self.chat
        {
            pipe.release_received();
        }
    }

    /// Returns true if there is room for what a command may bring.
    ///
    /// While the partner is away, frames without room are refused. So a client can leave a partner
    /// that was lost with a full queue.
    #[inline]
    fn wants_commands(&self) -> bool {
        (self.input.has_room(&self.hub.limits) || self.session.is_partner_away())
            && self.session.backlog() < MAX_BACKLOG
            && !self.request.is_call()
    }

    /// Returns true if a frame is to be sent to the partner.
    fn admit(&mut self, chat: Option<ChatId>, frame: &Frame) -> bool {
        self.session.handle_arrived(chat);
        if self.session.is_partner_away() && self.is_partner_full(frame) {
            self.session.handle_partner_full(frame);
            return false;
        }
        match self.spend(Cost::of_frame(frame)) {
            Ok(()) => self.session.admit(chat, frame),
            Err(wait) => {
                self.session.handle_excess_send(chat, frame, wait, now());
                false
            }
        }
    }

    /// Handles all input but frames and what is invalid.
    fn handle_input(&mut self, input: Input) {
        match input {
            Input::Invalid(problem) | Input::InvalidFrame(problem) => {
                self.session.handle_invalid(problem, now());
            }
            Input::Closing(closing) => self.input.closing = closing,
            Input::WriteProgress => {
                self.session.handle_progress(Consumer::Transport);
                if let Some(pipe) = &mut self.chat {
                    pipe.report_progress();
                }
            }
            Input::Unresponsive => self.session.handle_unresponsive(),
            Input::Responsive => self.session.handle_responsive(),
            Input::Command(Command::Ack { chat, received }) => {
                let ack = Command::Ack { chat, received };
                if let Err(wait) = self.spend(Cost::of(&ack)) {
                    self.session.handle_excess(ack, wait, now(), Default::default);
                }
                self.acknowledge(chat, received);
            }
            // Of the dialect's own, so the client has asked for nothing.
            Input::Command(Command::Recover(recover)) if recover.is_announced_by_dialect() => {
                self.session.apply_command(Command::Recover(recover), Default::default);
            }
            Input::Command(command) => {
                let queue_status = || self.hub.backend.people.queue_status();
                match self.spend(self.session.cost_of(&command)) {
                    Ok(()) => self.session.apply_command(command, queue_status),
                    Err(wait) => self.session.handle_excess(command, wait, now(), queue_status),
                }
            }
        }
    }

    /// Retries the frames that the partner's queue had no room for, or sends one that is due.
    /// Returns true if one was sent.
    #[inline]
    pub(super) fn flush_held_frames(&mut self, cx: &Context<'_>) -> bool {
        let mut progress = false;
        if self.input.held.is_some() {
            progress = self.retry_held_frames(cx);
        }
        if self.input.held.is_none()
            && let Some(frame) = self.session.poll_frame()
        {
            self.send_coalesced(cx, frame);
            progress = true;
        }
        progress
    }

    /// Returns true if the partner has no connection, and no room for a frame.
    #[cold]
    fn is_partner_full(&self, frame: &Frame) -> bool {
        let Some(pipe) = &self.chat else { return false };
        let weight = frame.weight();
        pipe.is_detached_and_full(weight) || self.input.held.is_some()
    }

    fn retry_held_frames(&mut self, cx: &Context<'_>) -> bool {
        let Some(mut held) = self.input.held.take() else { return false };
        let mut progress = false;
        while let Some(frame) = held.pop() {
            let weight = frame.weight();
            if let Some(frame) = self.offer(cx, frame, weight) {
                held.put_back(frame);
                self.input.held = Some(held);
                break;
            }
            progress = true;
        }
        progress
    }

    /// Sends a frame that the session held back until its rate allowed it. The session has paid for
    /// it.
    fn send_coalesced(&mut self, cx: &Context<'_>, frame: Frame) {
        if let Err(wait) = self.spend_shared(Cost::of_frame(&frame)) {
            return self.session.handle_excess_send(None, &frame, wait, now());
        }
        let weight = frame.weight();
        self.hub.stats.count_frame(weight);
        self.send(cx, frame, weight);
    }

    /// Sends a frame to the partner, or holds it while the partner's queue is full.
    fn send(&mut self, cx: &Context<'_>, frame: Frame, weight: usize) {
        if let Some(held) = &mut self.input.held {
            held.push(frame);
        } else if let Some(frame) = self.offer(cx, frame, weight) {
            let budget = self.input.budget.clone();
            self.input.held = Some(Box::new(HeldFrames::new(frame, budget)));
        }
    }

    /// Offers a frame to the partner's queue. Returns it if the queue is full.
    #[inline]
    fn offer(&mut self, cx: &Context<'_>, frame: Frame, weight: usize) -> Option<Frame> {
        let pipe = self.chat.as_mut()?;
        match pipe.push(frame, weight, Some(cx)) {
            Ok(()) => {
                self.session.handle_progress(Consumer::Partner);
                None
            }
            Err(error) => self.handle_unsent(error),
        }
    }

    /// Returns the frame that a full queue did not take.
    #[cold]
    fn handle_unsent(&mut self, error: TrySendError) -> Option<Frame> {
        // The pipe yields the parting where it is received from.
        let TrySendError::Full(frame) = error else { return None };
        let pipe = self.chat.as_mut()?;
        let progressed = pipe.take_progress();
        let is_detached = pipe.is_partner_detached();
        if progressed || is_detached {
            self.session.handle_progress(Consumer::Partner);
        }
        if !is_detached {
            self.session.handle_stall(Consumer::Partner, now());
        }
        Some(frame)
    }

    /// Takes tokens for a command: the peer's own, then shared ones. If there are too few, takes
    /// none and returns how long to wait. In this order, what exceeds the peer's own rate costs no
    /// other peer anything.
    fn spend(&mut self, cost: Cost) -> Result<(), Duration> {
        self.session.spend(cost, &now)?;
        self.spend_shared(cost)
    }

    /// Takes shared tokens for what the peer has paid for, and refunds the peer if there are too
    /// few.
    fn spend_shared(&mut self, cost: Cost) -> Result<(), Duration> {
        self.lease.spend(cost, &now).inspect_err(|_| self.session.refund(cost))
    }
}

//! The step from the session and the partner to the client.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::Sink;

use crate::{
    backend::{
        log::Notice,
        pipe::{Received, Reports},
    },
    hub::driver::state::{BUDGET, SessionCore, SessionDriver, now},
    model::{event::Event, reason::CloseReason},
    session::Consumer,
};

/// Bytes that an event counts for, beside the contents of a frame.
const EVENT_BYTES: usize = 128;

impl<T: Sink<Event>> SessionDriver<'_, '_, T> {
    /// Writes events and frames to the transport while it has room, and flushes it. Returns true if
    /// there may be more.
    ///
    /// # Errors
    ///
    /// Returns that the connection was lost.
    pub(super) fn drive_output(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let output = &self.core.output;
        // Coalescing must not hold back what is in flight to the transport, otherwise a stall would
        // not be noticed.
        let holds_back = output.coalescing && !output.blocked && !output.unflushed;
        if holds_back || self.core.is_flushed_for_close() {
            return Ok(false);
        }
        let Some(mut transport) = self.transport.as_mut().as_pin_mut() else { return Ok(false) };
        let mut progress = self.core.write_events(cx, transport.as_mut())?;
        if self.core.output.unflushed {
            progress |= self.core.flush(cx, transport)?;
        }
        Ok(progress)
    }
}

impl SessionCore<'_> {
    /// Writes until there is nothing more, or no room. Returns true if the budget ended first.
    fn write_events<T: Sink<Event>>(
        &mut self,
        cx: &mut Context<'_>,
        mut transport: Pin<&mut T>,
    ) -> Result<bool, CloseReason> {
        for _ in 0..BUDGET {
            if !self.output.blocked && !self.has_output(cx) {
                return Ok(false);
            }
            match transport.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    // Only a transition from blocked to writable counts as progress.
                    if std::mem::take(&mut self.output.blocked) {
                        self.session.handle_progress(Consumer::Transport);
                    }
                }
                Poll::Ready(Err(_)) => return Err(CloseReason::Lost),
                Poll::Pending => {
                    self.output.blocked = true;
                    self.session.handle_stall(Consumer::Transport, now());
                    return Ok(false);
                }
            }
            let Some(event) = self.next_event(cx) else { return Ok(false) };
            if let Event::Error(problem) = &event {
                self.hub.stats.count_refused(problem.code);
                self.peer.tell_refused(problem.code);
            }
            self.output.owed += EVENT_BYTES;
            transport.as_mut().start_send(event).map_err(|_| CloseReason::Lost)?;
            self.session.handle_progress(Consumer::Transport);
            self.output.unflushed = true;
        }
        Ok(true)
    }

    /// Flushes what was written. Returns true if that may have made room.
    fn flush<T: Sink<Event>>(
        &mut self,
        cx: &mut Context<'_>,
        mut transport: Pin<&mut T>,
    ) -> Result<bool, CloseReason> {
        match transport.as_mut().poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.handle_flushed();
                // A transport with room again does not wake the task for it once more.
                Ok(self.output.blocked)
            }
            Poll::Ready(Err(_)) => Err(CloseReason::Lost),
            Poll::Pending => {
                // If the transport has no room either, having room again will count as progress.
                match transport.poll_ready(cx) {
                    Poll::Ready(Err(_)) => return Err(CloseReason::Lost),
                    ready => self.output.blocked = ready.is_pending(),
                }
                self.session.handle_stall(Consumer::Transport, now());
                self.session.handle_owed(std::mem::take(&mut self.output.owed), now());
                Ok(false)
            }
        }
    }

    fn handle_flushed(&mut self) {
        (self.output.unflushed, self.output.owed) = (false, 0);
        self.session.handle_flushed(self.output.blocked, now);
        let delivered = std::mem::take(&mut self.output.unacknowledged);
        if let (1.., Some(pipe)) = (delivered, &mut self.chat) {
            pipe.acknowledge(delivered);
        }
    }

    /// Returns true if there may be something to write. If false, the task is woken when the
    /// partner sends.
    fn has_output(&self, cx: &Context<'_>) -> bool {
        self.session.has_event() || self.chat.as_ref().is_some_and(|pipe| pipe.is_readable(cx))
    }

    /// Tells the session what the partner reports. Returns true if that was something.
    #[inline]
    fn handle_reports(&mut self, Reports { receipts, notice, .. }: Reports) -> bool {
        self.session.handle_receipts(receipts);
        match notice {
            None => return receipts > 0,
            Some(Notice::Away) => self.session.handle_partner_away(),
            Some(Notice::Back(hello)) => self.session.handle_partner_back(*hello),
        }
        true
    }

    /// Returns the session's next event, or else what the partner sent.
    fn next_event(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Some(event);
            }
            let pipe = self.chat.as_mut()?;
            let mut reports = Reports::default();
            let received = pipe.poll_recv_and_reports(cx, Some(&mut reports));
            let weight = reports.weight;
            let reported = self.handle_reports(reports);
            match received {
                Poll::Ready(Received::Frame(frame)) => {
                    let owes_receipt = self.session.owes_receipt(&frame);
                    self.output.unacknowledged += u64::from(owes_receipt);
                    if self.session.handle_frame(&frame) {
                        self.output.owed += weight;
                        let event = Event::Received(frame);
                        if self.session.backlog() == 0 {
                            return Some(event);
                        }
                        self.session.defer(event);
                    }
                }
                // Receipts must be told first, otherwise the end of the chat drops them. The pipe
                // yields the parting again.
                Poll::Ready(Received::Parted(_)) if reported => {}
                Poll::Ready(Received::Parted(reason)) => {
                    self.session.handle_parted(reason);
                    self.apply_actions(cx);
                    // The pipe yields its end for as long as it is held, and an action before the
                    // parting may have to wait for a call of the backend.
                    if self.request.is_call() {
                        return self.session.poll_event();
                    }
                }
                Poll::Pending if !reported => return None,
                Poll::Pending => {}
            }
        }
    }
}

//! The last step of a session: closing its transport.

use std::task::{Context, Poll};

use futures::Sink;

use crate::{
    hub::driver::state::{SessionDriver, now},
    model::{event::Event, reason::CloseReason},
    session::Consumer,
};

impl<T: Sink<Event>> SessionDriver<'_, '_, T> {
    /// Closes the transport if the session wants that and every event is flushed. Returns why the
    /// session ended.
    ///
    /// A slow transport is not closed but dropped, since it would not take the close either.
    #[inline]
    pub(super) fn drive_close(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        match self.core.closing {
            Some(reason) => self.poll_close(cx, reason),
            None => Poll::Pending,
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Poll<CloseReason> {
        if matches!(reason, CloseReason::Slow | CloseReason::Lost) {
            return Poll::Ready(reason);
        }
        if !self.core.is_flushed_for_close() {
            return Poll::Pending;
        }
        let Some(transport) = self.transport.as_mut().as_pin_mut() else {
            return Poll::Ready(reason);
        };
        let closed = transport.poll_close(cx);
        if closed.is_pending() {
            self.core.session.handle_stall(Consumer::Transport, now());
        }
        closed.map(|_| reason)
    }
}

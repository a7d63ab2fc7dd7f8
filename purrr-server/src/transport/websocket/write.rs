//! The write half of a socket: [`WriteState`].

use std::{
    io,
    mem::replace,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::send_buffer::SendBuffer;

/// What is to be written, and whether the stream takes it.
///
/// Queue in `buffer`, then call [`poll_flush`](Self::poll_flush). Call
/// [`poll_blocked`](Self::poll_blocked) before every read, since pings and pongs are queued without
/// a flush that the caller waits for.
#[derive(Debug, Default)]
pub(super) struct WriteState {
    pub(super) buffer: SendBuffer,
    blocked: Blocked,
    /// Set when the stream has taken bytes after it was blocked.
    unblocked: bool,
    /// Set with `unblocked`, for the heartbeat.
    activity: bool,
}

/// What the last write waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Blocked {
    #[default]
    No,
    /// The stream takes no more bytes.
    Write,
    /// A layer below, such as TLS, has not passed on all that it took.
    Flush,
}

impl WriteState {
    /// Returns true if something must be written before more is queued.
    pub(super) fn is_full(&self) -> bool {
        self.blocked != Blocked::No || self.buffer.is_full()
    }

    /// Returns true if the stream became writable again since the last call.
    pub(super) const fn take_unblocked(&mut self) -> bool {
        replace(&mut self.unblocked, false)
    }

    /// Returns true if the stream became writable again, for the heartbeat.
    pub(super) const fn take_activity(&mut self) -> bool {
        replace(&mut self.activity, false)
    }

    /// Continues a write that was blocked. Pending is not an error: the task will be woken.
    pub(super) fn poll_blocked(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if self.blocked != Blocked::No
            && let Poll::Ready(Err(error)) = self.poll_flush(stream, cx)
        {
            return Err(error);
        }
        Ok(())
    }

    /// Writes until nothing is left, neither here nor in a layer below such as TLS.
    pub(super) fn poll_flush(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // Bytes in the layer below go first. That it takes more is no sign that the client
            // has taken anything.
            if self.blocked == Blocked::Flush || !self.buffer.refill() {
                let flushed = Pin::new(&mut *stream).poll_flush(cx);
                ready!(self.note(flushed, Blocked::Flush))?;
                if !self.buffer.refill() {
                    return Poll::Ready(Ok(()));
                }
            }
            let written = self.buffer.poll_write(Pin::new(&mut *stream), cx);
            if ready!(self.note(written, Blocked::Write))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    /// Notes whether the stream is blocked on this. Only a transition from blocked to writable
    /// counts as progress of the client.
    #[inline]
    fn note<T>(&mut self, polled: Poll<T>, on: Blocked) -> Poll<T> {
        if polled.is_pending() {
            self.blocked = on;
        } else if self.blocked != Blocked::No {
            (self.unblocked, self.activity, self.blocked) = (true, true, Blocked::No);
        }
        polled
    }
}

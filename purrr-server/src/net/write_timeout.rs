//! A write timeout for HTTP responses: [`WriteTimeout`].

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// Fails a write with `TimedOut` once the client has taken nothing for the timeout.
///
/// Call [`check`](Self::check) after each write and flush.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    timeout: Duration,
    /// Runs while a write waits. Most connections never have one.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self { timeout, deadline: None }
    }

    /// Stops the timer if a write made progress, else starts it and fails when it elapses.
    pub(super) fn check<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

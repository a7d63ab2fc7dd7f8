//! Read timeouts of an HTTP connection: [`ReadTimeout`].
//!
//! hyper's own timeout of a request head also runs between two requests. A load balancer keeps its
//! connections for longer than a head may take, so the two need a timeout each.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Fails a read with `TimedOut` once a head takes too long, or no request comes.
///
/// While a request is answered there is no timeout here: its body and its answer have their own.
/// Call [`check`](Self::check) after each read and [`handle_write`](Self::handle_write) after each
/// write.
#[derive(Debug)]
pub(super) struct ReadTimeout {
    /// From the first byte of a head to its last.
    head: Duration,
    /// From the last byte of an answer to the first of the next head.
    keep_alive: Duration,
    answering: Answering,
    phase: Phase,
    /// Runs while a read waits.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether a request of the connection is being answered. Set by its service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answering(Arc<AtomicBool>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two requests, or an answer is being written; since the last byte of either.
    Idle(Instant),
    /// A head has begun.
    Head(Instant),
}

impl Answering {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ReadTimeout {
    /// Creates the timeouts of a connection whose first head begins now.
    pub(super) fn new(head: Duration, keep_alive: Duration, answering: Answering) -> Self {
        let phase = Phase::Head(Instant::now());
        Self { head, keep_alive, answering, phase, timer: None }
    }

    /// Notes what a read came to, and fails it if it has waited for too long.
    pub(super) fn check(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        has_bytes: bool,
    ) -> Poll<io::Result<()>> {
        if self.answering.is_under_way() {
            // The next head begins after the answer, of which some is written by then.
            self.phase = Phase::Idle(Instant::now());
            self.timer = None;
            return read;
        }
        if read.is_pending() {
            return self.poll_deadline(cx);
        }
        if has_bytes && matches!(self.phase, Phase::Idle(_)) {
            self.phase = Phase::Head(Instant::now());
        }
        read
    }

    /// Notes that a part of an answer was written, and starts the timer.
    pub(super) fn handle_write(&mut self, cx: &mut Context<'_>, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.phase = Phase::Idle(Instant::now());
            // hyper may have read while the request was answered, and does not read again then.
            self.poll_deadline(cx).map(drop).is_ready();
        }
    }

    fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Idle(since) => since + self.keep_alive,
            Phase::Head(since) => since + self.head,
        }
    }

    /// Fails once the deadline has passed, or waits for it.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = self.deadline();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

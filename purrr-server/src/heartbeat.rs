//! When to ask whether somebody is still there, and when to stop waiting for the answer: [`Heartbeat`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Asks every `interval` and gives up when nothing at all was heard for `patience` after asking.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    asked: bool,
    heard: bool,
}

/// How late a timer usually is, and somewhat more.
const GRAIN: Duration = Duration::from_millis(20);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Ask now.
    Ask,
    /// Nobody is there.
    Dead,
}

impl Heartbeat {
    pub(crate) fn new(interval: Duration, patience: Duration) -> Self {
        Self { interval, patience, timer: Box::pin(sleep(interval)), asked: false, heard: false }
    }

    /// Something came from the other side. Cheap enough to call for every frame.
    pub(crate) const fn heard(&mut self) {
        self.heard = true;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if !self.asked {
                (self.asked, self.heard) = (true, false);
                self.rest(self.patience);
                return Poll::Ready(Beat::Ask);
            }
            if !self.heard {
                return Poll::Ready(Beat::Dead);
            }
            self.asked = false;
            self.rest(self.interval.saturating_sub(self.patience));
        }
    }

    fn rest(&mut self, pause: Duration) {
        let (now, due) = (Instant::now(), self.timer.deadline());
        // The clock's grain must not add up; a task that was held up gives the other side its whole time.
        let from = if now.duration_since(due) < GRAIN { due } else { now };
        self.timer.as_mut().reset(from + pause);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_at_the_interval_and_gives_up_after_the_patience() {
        let began = Instant::now();
        let mut heart = Heartbeat::new(Duration::from_secs(25), Duration::from_secs(20));
        for round in 1..=2 {
            assert_eq!(poll_fn(|cx| heart.poll(cx)).await, Beat::Ask);
            assert_eq!(began.elapsed().as_secs(), 25 * round);
            heart.heard();
        }
        assert_eq!(poll_fn(|cx| heart.poll(cx)).await, Beat::Ask);
        assert_eq!(poll_fn(|cx| heart.poll(cx)).await, Beat::Dead);
        assert_eq!(began.elapsed().as_secs(), 95);
    }
}

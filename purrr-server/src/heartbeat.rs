//! When to ask whether somebody is still there, and when to stop waiting for the answer: [`Heartbeat`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Asks every `interval` and gives up when nothing at all was heard for `patience` after asking.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    registered: Option<Waker>,
    asked: bool,
    heard: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Ask now.
    Ask,
    /// Nobody is there.
    Dead,
}

impl Heartbeat {
    pub(crate) fn new(interval: Duration, patience: Duration) -> Self {
        Self {
            interval,
            patience,
            timer: Box::pin(sleep(interval)),
            registered: None,
            asked: false,
            heard: false,
        }
    }

    /// Something came from the other side. Cheap enough to call for every frame.
    pub(crate) const fn heard(&mut self) {
        self.heard = true;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        // Asked for with every frame, and a look at a timer that is set costs less than setting it.
        let set = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if set && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                self.registered = Some(cx.waker().clone());
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
        self.registered = None;
        self.timer.as_mut().reset(Instant::now() + pause);
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

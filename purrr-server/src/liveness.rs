//! When to ask whether somebody is still there, and when to stop waiting for the answer: [`Heartbeat`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::config::Config;

/// Asks at intervals and gives up when nothing at all was heard for some time after asking.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// For somebody whom nobody waits for, and for somebody who waits or chats.
    calm: Pace,
    attentive: Pace,
    attends: bool,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    registered: Option<Waker>,
    state: State,
    heard: bool,
    /// Until when a slow line may be at what was sent last; an answer comes only after that.
    busy_until: Option<Instant>,
}

/// How often to ask, and how long to wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    interval: Duration,
    patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting,
    Asked,
    /// Asked, and [`GRACE`] is over without an answer.
    Doubting,
}

/// How late a timer usually is, and somewhat more.
const GRAIN: Duration = Duration::from_millis(20);

/// What is sent is too little to keep a line busy below this many bytes.
const LARGE: usize = 512 * 1024;

/// The line that nobody is taken for dead on, in bytes a second (256 kbit/s), and for how long that holds at most.
const SLOW_LINE: f64 = 32_768.0;
const LONGEST_BUSY: Duration = Duration::from_secs(40);

/// After which an answer is late: enough for a slow line, and little enough that a stranger would wait for it.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Ask now.
    Ask,
    /// The answer is late.
    Silence,
    /// Something came after all.
    SignOfLife,
    /// Nobody is there.
    Dead,
}

impl Heartbeat {
    /// Creates the heartbeat of a connection, with both schedules from the configuration.
    pub(crate) fn from_config(config: &Config) -> Self {
        let calm = Pace { interval: config.ping_interval, patience: config.ping_timeout };
        let attentive = Pace {
            interval: config.chat_ping_interval.min(calm.interval),
            patience: config.chat_ping_timeout.min(calm.patience),
        };
        Self::new(calm, attentive)
    }

    fn new(calm: Pace, attentive: Pace) -> Self {
        let timer = Box::pin(sleep(first(calm.interval)));
        Self {
            calm,
            attentive,
            attends: false,
            timer,
            registered: None,
            state: State::Resting,
            heard: false,
            busy_until: None,
        }
    }

    /// Somebody else depends on this one now, or not any longer.
    pub(crate) fn attend(&mut self, attends: bool) {
        if attends == self.attends {
            return;
        }
        self.attends = attends;
        let soonest = match self.state {
            State::Resting => first(self.pace().interval),
            State::Asked | State::Doubting => self.pace().patience,
        };
        if attends && self.timer.deadline() > Instant::now() + soonest {
            self.rest(soonest);
        }
    }

    /// Something came from the other side. Cheap enough to call for every frame.
    pub(crate) const fn heard(&mut self) {
        self.heard = true;
    }

    /// So much was given to the connection. An answer waits behind it, and nobody can see how far it has come: the system
    /// has taken it long before the client has.
    pub(crate) fn sent(&mut self, bytes: usize) {
        if bytes < LARGE {
            return;
        }
        let now = Instant::now();
        let begins = self.busy_until.map_or(now, |until| until.max(now));
        let ends = begins + Duration::from_secs_f64(bytes as f64 / SLOW_LINE);
        self.busy_until = Some(ends.min(now + LONGEST_BUSY));
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            if self.state == State::Doubting && self.heard {
                self.state = State::Resting;
                self.rest(self.pace().interval);
                return Poll::Ready(Beat::SignOfLife);
            }
            // Asked for with every frame, and to look at a timer that is set costs less than to set it again.
            let set = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if set && !self.timer.is_elapsed() {
                return Poll::Pending;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                self.registered = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let Pace { interval, patience } = self.pace();
            let grace = patience.min(GRACE);
            match self.state {
                State::Resting => {
                    (self.state, self.heard) = (State::Asked, false);
                    self.rest(grace);
                    return Poll::Ready(Beat::Ask);
                }
                State::Asked if self.heard => {
                    self.state = State::Resting;
                    self.rest(interval.saturating_sub(grace));
                }
                State::Asked => {
                    self.state = State::Doubting;
                    self.rest(patience - grace);
                    return Poll::Ready(Beat::Silence);
                }
                State::Doubting => match self.busy_until.take() {
                    Some(until) if until > Instant::now() => self.rest(until - Instant::now()),
                    _ => return Poll::Ready(Beat::Dead),
                },
            }
        }
    }

    const fn pace(&self) -> Pace {
        if self.attends { self.attentive } else { self.calm }
    }

    fn rest(&mut self, pause: Duration) {
        let (now, due) = (Instant::now(), self.timer.deadline());
        // The clock's grain must not add up; a task that was held up gives the other side its whole time.
        let late = due <= now && now.duration_since(due) < GRAIN;
        let from = if late { due } else { now };
        self.registered = None;
        self.timer.as_mut().reset(from + pause);
    }
}

/// How long to wait before the first question: anything from half the interval up, lest those who came or were paired
/// together be asked together ever after.
fn first(interval: Duration) -> Duration {
    interval.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const fn pace(interval: u64, patience: u64) -> Pace {
        Pace { interval: Duration::from_secs(interval), patience: Duration::from_secs(patience) }
    }

    /// A heartbeat, and since when its beats are timed.
    struct Story(Heartbeat, Instant);

    impl Story {
        fn new() -> Self {
            Self(Heartbeat::new(pace(25, 20), pace(5, 4)), Instant::now())
        }

        async fn beat(&mut self) -> Beat {
            poll_fn(|cx| self.0.poll(cx)).await
        }

        /// The first question, which comes after half the interval at the earliest. What follows is timed from then on.
        async fn asked_first(&mut self, interval: u64) {
            assert_eq!(self.beat().await, Beat::Ask);
            let interval = Duration::from_secs(interval);
            let waited = self.1.elapsed();
            assert!((interval / 2..interval + GRAIN).contains(&waited), "{waited:?}");
            self.1 = Instant::now();
        }

        /// The next beat, and at which second it comes.
        async fn next(&mut self) -> (u64, Beat) {
            let beat = self.beat().await;
            (self.1.elapsed().as_secs_f64().round() as u64, beat)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn asks_at_the_interval_and_gives_up_after_the_patience() {
        let mut story = Story::new();
        story.asked_first(25).await;
        for round in 1..=2 {
            story.0.heard();
            assert_eq!(story.next().await, (25 * round, Beat::Ask));
        }
        assert_eq!(story.next().await, (51, Beat::Silence));
        assert_eq!(story.next().await, (70, Beat::Dead));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_a_sign_of_life() {
        let mut story = Story::new();
        story.asked_first(25).await;
        assert_eq!(story.next().await, (1, Beat::Silence));
        story.0.heard();
        assert_eq!(story.next().await, (1, Beat::SignOfLife));
        assert_eq!(story.next().await, (26, Beat::Ask));
    }

    #[tokio::test(start_paused = true)]
    async fn who_froze_while_somebody_depends_on_it_is_found_within_nine_seconds() {
        let mut story = Story::new();
        story.0.attend(true);
        story.asked_first(5).await;
        story.0.heard();
        assert_eq!(story.next().await, (5, Beat::Ask));
        assert_eq!(story.next().await, (6, Beat::Silence));
        assert_eq!(story.next().await, (9, Beat::Dead));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_came_and_were_paired_together_are_not_asked_together() {
        let mut stories: Vec<_> = (0..1_000).map(|_| Story::new()).collect();
        let mut most = 0;
        for attends in [false, true] {
            for Story(heartbeat, _) in &mut stories {
                heartbeat.attend(attends);
            }
            let mut asked = [0; 10];
            for story in &mut stories {
                let interval = story.0.pace().interval;
                let waits = story.0.timer.deadline() - story.1;
                asked[(waits.div_duration_f64(interval) * 10.0) as usize % 10] += 1;
            }
            most = most.max(asked.into_iter().max().unwrap_or_default());
        }
        assert!(most < 300, "{most} of 1,000 in a tenth of the interval");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_sent_much_has_the_time_to_take_it() {
        for (bytes, dead) in [(1_000, 4), (500_000, 4), (655_360, 20), (1 << 30, 40)] {
            let mut story = Story::new();
            story.0.attend(true);
            story.asked_first(5).await;
            story.0.sent(bytes);
            assert_eq!(story.next().await, (1, Beat::Silence));
            assert_eq!(story.next().await, (dead, Beat::Dead), "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attention_shortens_what_is_under_way() {
        let mut story = Story::new();
        story.asked_first(25).await;
        assert_eq!(story.next().await, (1, Beat::Silence));
        story.0.attend(true);
        assert_eq!(story.next().await, (5, Beat::Dead));
    }
}

//! When to ping a client, and when to give it up: [`Heartbeat`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::config::Config;

/// The heartbeat of one connection.
///
/// Idle → (interval) `Ping` → awaiting a pong → ([`SUSPECT_AFTER`]) `Unresponsive` → overdue →
/// (timeout) `Timeout`. Any byte from the client returns it to idle, with `Responsive` if it was
/// overdue.
///
/// Call [`handle_activity`](Self::handle_activity) for whatever comes from the client and
/// [`handle_sent`](Self::handle_sent) for what it is sent, then [`poll`](Self::poll).
#[derive(Debug)]
pub(crate) struct Heartbeat {
    idle: PingSchedule,
    active: PingSchedule,
    /// Set while the client waits or chats, so that another client depends on it.
    is_active: bool,
    timer: Pin<Box<Sleep>>,
    /// The task that the timer wakes.
    registered: Option<Waker>,
    state: State,
    /// Set when a ping is due, until it is sent.
    ping_due: bool,
    /// Set when the client was heard since the last ping.
    heard: bool,
    /// When a slow line has taken what was sent last. A pong comes only after that.
    send_drain_deadline: Option<Instant>,
}

/// When to ping, and how long to wait for the pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PingSchedule {
    interval: Duration,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    AwaitingPong,
    /// The pong is later than [`SUSPECT_AFTER`].
    Overdue,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a ping.
    Ping,
    /// The pong is late.
    Unresponsive,
    /// The client was heard after all.
    Responsive,
    /// The client is gone.
    Timeout,
}

/// How late a timer usually is, and somewhat more.
const TIMER_SLACK: Duration = Duration::from_millis(20);

/// Bytes below which a message does not delay a pong.
const LARGE: usize = 512 * 1024;

/// The slowest line that a client is not given up on, in bytes a second (256 kbit/s).
const SLOW_LINE: f64 = 32_768.0;

/// The longest time by which [`SLOW_LINE`] extends a timeout.
const MAX_SEND_DRAIN: Duration = Duration::from_secs(40);

/// How late a pong may be before its client is suspended from matching.
///
/// Long enough for a slow line, and short enough that a partner would wait for it.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

impl Heartbeat {
    /// Creates the heartbeat of a connection, with both schedules from the configuration.
    pub(crate) fn from_config(config: &Config) -> Self {
        let idle = PingSchedule { interval: config.ping_interval, timeout: config.ping_timeout };
        let active = PingSchedule {
            interval: config.chat_ping_interval.min(idle.interval),
            timeout: config.chat_ping_timeout.min(idle.timeout),
        };
        Self::new(idle, active)
    }

    fn new(idle: PingSchedule, active: PingSchedule) -> Self {
        let timer = Box::pin(sleep(jittered(idle.interval)));
        Self {
            idle,
            active,
            is_active: false,
            timer,
            registered: None,
            state: State::Idle,
            ping_due: false,
            heard: false,
            send_drain_deadline: None,
        }
    }

    /// Chooses the schedule. What is under way is shortened if the new schedule is faster.
    pub(super) fn set_active(&mut self, active: bool) {
        if active == self.is_active {
            return;
        }
        self.is_active = active;
        let soonest = match self.state {
            State::Idle => jittered(self.schedule().interval),
            State::AwaitingPong | State::Overdue => self.schedule().timeout,
        };
        if active && self.timer.deadline() > Instant::now() + soonest {
            self.set_timer(soonest);
        }
    }

    /// Sends the first ping after at most `time`.
    pub(super) fn ping_within(&mut self, time: Duration) {
        if self.state == State::Idle && self.timer.deadline() > Instant::now() + time {
            self.set_timer(time);
        }
    }

    /// Notes that the client was heard. Cheap enough to call for every frame.
    pub(crate) const fn handle_activity(&mut self) {
        self.heard = true;
    }

    /// Notes bytes that the connection was given.
    ///
    /// A pong waits behind them, and nothing shows how far the client is: the system takes bytes
    /// long before the client does.
    pub(super) fn handle_sent(&mut self, bytes: usize) {
        if bytes < LARGE {
            return;
        }
        let now = Instant::now();
        let begins = self.send_drain_deadline.map_or(now, |deadline| deadline.max(now));
        let ends = begins + Duration::from_secs_f64(bytes as f64 / SLOW_LINE);
        self.send_drain_deadline = Some(ends.min(now + MAX_SEND_DRAIN));
    }

    /// Polls for what is due. The task is woken when the next beat is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            if self.state == State::Overdue && self.heard {
                self.state = State::Idle;
                self.set_timer(self.schedule().interval);
                return Poll::Ready(Beat::Responsive);
            }
            // Polled for every frame: comparing wakers costs less than polling the timer.
            let set = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if set && !self.timer.is_elapsed() {
                return Poll::Pending;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                self.registered = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let PingSchedule { interval, timeout } = self.schedule();
            let suspect_after = timeout.min(SUSPECT_AFTER);
            match self.state {
                State::Idle => {
                    (self.state, self.heard) = (State::AwaitingPong, false);
                    self.ping_due = true;
                    self.set_timer(suspect_after);
                    return Poll::Ready(Beat::Ping);
                }
                State::AwaitingPong if self.heard => {
                    self.state = State::Idle;
                    self.set_timer(interval.saturating_sub(suspect_after));
                }
                State::AwaitingPong => {
                    self.state = State::Overdue;
                    self.set_timer(timeout - suspect_after);
                    return Poll::Ready(Beat::Unresponsive);
                }
                State::Overdue => match self.send_drain_deadline.take() {
                    Some(deadline) if deadline > Instant::now() => {
                        self.set_timer(deadline - Instant::now());
                    }
                    _ => return Poll::Ready(Beat::Timeout),
                },
            }
        }
    }

    /// Returns true from [`Beat::Ping`] until the ping is sent.
    pub(super) const fn is_ping_due(&self) -> bool {
        self.ping_due
    }

    /// Notes that the transport has taken the ping.
    pub(super) const fn handle_ping_sent(&mut self) {
        self.ping_due = false;
    }

    const fn schedule(&self) -> PingSchedule {
        if self.is_active { self.active } else { self.idle }
    }

    /// Sets the timer to `pause` after it was due, or after now if it is not due or was late.
    fn set_timer(&mut self, pause: Duration) {
        let (now, due) = (Instant::now(), self.timer.deadline());
        // The slack of the timer must not add up. But if the task was held up, the client still
        // has its whole time.
        let on_time = due <= now && now.duration_since(due) < TIMER_SLACK;
        let from = if on_time { due } else { now };
        self.registered = None;
        self.timer.as_mut().reset(from + pause);
    }
}

/// Returns a random time from half the interval to all of it.
///
/// Without jitter, clients that came or were matched together would be pinged together for good.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const fn schedule(interval: u64, timeout: u64) -> PingSchedule {
        PingSchedule {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
        }
    }

    /// A heartbeat, and the time that its beats are counted from.
    struct Story(Heartbeat, Instant);

    impl Story {
        fn new() -> Self {
            Self(Heartbeat::new(schedule(25, 20), schedule(5, 4)), Instant::now())
        }

        async fn beat(&mut self) -> Beat {
            poll_fn(|cx| self.0.poll(cx)).await
        }

        /// Awaits the first ping, which is jittered. Later beats are counted from it.
        async fn first_ping(&mut self, interval: u64) {
            assert_eq!(self.beat().await, Beat::Ping);
            let interval = Duration::from_secs(interval);
            let waited = self.1.elapsed();
            assert!((interval / 2..interval + TIMER_SLACK).contains(&waited), "{waited:?}");
            self.1 = Instant::now();
        }

        /// Returns the next beat and its second.
        async fn next(&mut self) -> (u64, Beat) {
            let beat = self.beat().await;
            (self.1.elapsed().as_secs_f64().round() as u64, beat)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeat_pings_at_interval_and_times_out() {
        let mut story = Story::new();
        story.first_ping(25).await;
        for round in 1..=2 {
            story.0.handle_activity();
            assert_eq!(story.next().await, (25 * round, Beat::Ping));
        }
        assert_eq!(story.next().await, (51, Beat::Unresponsive));
        assert_eq!(story.next().await, (70, Beat::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn late_pong_is_responsive() {
        let mut story = Story::new();
        story.first_ping(25).await;
        assert_eq!(story.next().await, (1, Beat::Unresponsive));
        story.0.handle_activity();
        assert_eq!(story.next().await, (1, Beat::Responsive));
        assert_eq!(story.next().await, (26, Beat::Ping));
    }

    #[tokio::test(start_paused = true)]
    async fn active_schedule_times_out_within_nine_seconds() {
        let mut story = Story::new();
        story.0.set_active(true);
        story.first_ping(5).await;
        story.0.handle_activity();
        assert_eq!(story.next().await, (5, Beat::Ping));
        assert_eq!(story.next().await, (6, Beat::Unresponsive));
        assert_eq!(story.next().await, (9, Beat::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_jittered() {
        let mut stories: Vec<_> = (0..1_000).map(|_| Story::new()).collect();
        let mut most = 0;
        for active in [false, true] {
            for Story(heartbeat, _) in &mut stories {
                heartbeat.set_active(active);
            }
            let mut pinged = [0; 10];
            for story in &mut stories {
                let interval = story.0.schedule().interval;
                let waits = story.0.timer.deadline() - story.1;
                pinged[(waits.div_duration_f64(interval) * 10.0) as usize % 10] += 1;
            }
            most = most.max(pinged.into_iter().max().unwrap_or_default());
        }
        assert!(most < 300, "{most} of 1,000 in a tenth of the interval");
    }

    #[tokio::test(start_paused = true)]
    async fn large_message_extends_timeout() {
        for (bytes, timeout) in [(1_000, 4), (500_000, 4), (655_360, 20), (1 << 30, 40)] {
            let mut story = Story::new();
            story.0.set_active(true);
            story.first_ping(5).await;
            story.0.handle_sent(bytes);
            assert_eq!(story.next().await, (1, Beat::Unresponsive));
            assert_eq!(story.next().await, (timeout, Beat::Timeout), "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn set_active_shortens_timeout() {
        let mut story = Story::new();
        story.first_ping(25).await;
        assert_eq!(story.next().await, (1, Beat::Unresponsive));
        story.0.set_active(true);
        assert_eq!(story.next().await, (5, Beat::Timeout));
    }
}

//! How long a session without a transport is held: [`Detached`].
//!
//! Contract of use: call [`handle_timeout`](Detached::handle_timeout) at
//! [`poll_timeout`](Detached::poll_timeout), and do what it returns.

use std::time::{Duration, Instant};

/// The timers of a session without a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached {
    /// When the partner is told. `None` once it was.
    away_at: Option<Instant>,
    /// When the session ends. `None` beyond the clock's end.
    deadline: Option<Instant>,
}

/// What has become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Tell the partner that the connection has dropped.
    TellAway,
    /// End the session: a partner is told that the connection was lost.
    Expired,
}

/// How long a partner is told nothing. Most losses are over by then.
const AWAY_AFTER: Duration = Duration::from_millis(1_500);

impl Detached {
    /// Begins the window of a session.
    #[must_use]
    pub fn new(now: Instant, window: Duration) -> Self {
        Self { away_at: now.checked_add(AWAY_AFTER), deadline: now.checked_add(window) }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.away_at.into_iter().chain(self.deadline).min()
    }

    /// Returns what is due by now, one at a time.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Lapse> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Some(Lapse::Expired);
        }
        self.away_at.take_if(|away_at| *away_at <= now).map(|_| Lapse::TellAway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partner_is_told_before_the_window_ends() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut detached = Detached::new(start, Duration::from_secs(30));
        assert_eq!(detached.poll_timeout(), Some(at(1_500)));
        assert_eq!(detached.handle_timeout(at(1_499)), None);
        assert_eq!(detached.handle_timeout(at(1_500)), Some(Lapse::TellAway));
        assert_eq!(detached.poll_timeout(), Some(at(30_000)));
        assert_eq!(detached.handle_timeout(at(30_000)), Some(Lapse::Expired));
        let mut short = Detached::new(start, Duration::from_secs(1));
        assert_eq!(short.poll_timeout(), Some(at(1_000)));
        assert_eq!(short.handle_timeout(at(2_000)), Some(Lapse::Expired));
    }
}

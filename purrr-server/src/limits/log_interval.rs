//! A rate limit on log lines that clients cause: [`LogInterval`].

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::lock;

/// Minimum time between two log lines about one kind of refusal.
const INTERVAL: Duration = Duration::from_secs(1);

/// When a line of one kind was last logged.
#[derive(Debug, Default)]
pub(crate) struct LogInterval(Mutex<Option<Instant>>);

impl LogInterval {
    /// Returns true if a line may be logged now, at most once per [`INTERVAL`].
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut last = lock(&self.0);
        let due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_have_a_minimum_interval() {
        let (interval, start) = (LogInterval::default(), Instant::now());
        assert!(interval.is_due(start) && !interval.is_due(start + INTERVAL / 2));
        assert!(interval.is_due(start + INTERVAL));
    }
}

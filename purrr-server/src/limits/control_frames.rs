//! How much that says nothing a client may send, pings, pongs and empty fragments: [`Controls`].

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// Each is cheap to answer, and nobody who means well sends a hundredth of this.
const MANY: u32 = 1_000;

/// In which time it would be too many.
const WITHIN: Duration = Duration::from_secs(10);

/// Counts what one connection sends that is no message, nor a part of one.
#[derive(Debug)]
pub(crate) struct Controls {
    limited: bool,
    count: u32,
    since: Instant,
}

impl Controls {
    pub(crate) fn new(config: &Config) -> Self {
        Self { limited: config.rate_limits, count: 0, since: Instant::now() }
    }

    /// Counts another one; says whether that is too many.
    pub(crate) fn are_too_many(&mut self) -> bool {
        self.count += 1;
        if self.count <= MANY {
            return false;
        }
        let now = Instant::now();
        let flood = self.limited && now.duration_since(self.since) < WITHIN;
        (self.count, self.since) = (1, now);
        flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_from_a_habit() {
        let mut controls = Controls::new(&Config::default());
        for _ in 0..5_000 {
            assert!(!controls.are_too_many());
            tokio::time::advance(WITHIN / MANY).await;
        }
        assert!((0..2_000).any(|_| controls.are_too_many()));

        let unlimited = Config { rate_limits: false, ..Config::default() };
        let mut controls = Controls::new(&unlimited);
        assert!((0..5_000).all(|_| !controls.are_too_many()));
    }
}

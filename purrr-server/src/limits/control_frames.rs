//! A limit on frames and packets that carry no message, such as pings and pongs: [`ControlFrameLimit`].

use purrr_core::{model::Rate, rate::Gcra};
use tokio::time::Instant;

use crate::config::Config;

/// The rate of control frames. Each is cheap to answer, and no real client sends a hundredth of this.
const RATE: Rate = Rate { per_second: 100, burst: 1_000 };

/// Limits one connection's pings, pongs, small fragments and packets that ask for nothing to [`RATE`].
#[derive(Debug)]
pub(crate) struct ControlFrameLimit {
    limiter: Gcra,
    /// Time zero of the limiter. `None` without rate limits.
    start: Option<Instant>,
}

impl ControlFrameLimit {
    pub(crate) fn new(config: &Config) -> Self {
        Self { limiter: Gcra::default(), start: config.rate_limits.then(Instant::now) }
    }

    /// Counts a frame. Returns true if it exceeds the rate.
    pub(crate) fn is_exceeded(&mut self) -> bool {
        self.start.is_some_and(|start| self.limiter.take(RATE, 1, start.elapsed()).is_err())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn control_frame_limit() {
        let mut limit = ControlFrameLimit::new(&Config::default());
        for _ in 0..5_000 {
            assert!(!limit.is_exceeded());
            tokio::time::advance(Duration::from_secs(1) / RATE.per_second).await;
        }
        assert!((0..2_000).any(|_| limit.is_exceeded()));

        let unlimited = Config { rate_limits: false, ..Config::default() };
        let mut limit = ControlFrameLimit::new(&unlimited);
        assert!((0..5_000).all(|_| !limit.is_exceeded()));
    }
}

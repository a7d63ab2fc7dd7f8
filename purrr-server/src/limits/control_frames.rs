//! A limit on frames that carry no message, such as pings and pongs: [`ControlFrameLimit`].

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// Frames in one window. Each is cheap to answer, and no real client sends a hundredth of this.
const LIMIT: u32 = 1_000;

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts one connection's pings, pongs and empty fragments.
///
/// A fixed window by count: the clock is read once every [`LIMIT`] frames.
#[derive(Debug)]
pub(crate) struct ControlFrameLimit {
    enabled: bool,
    count: u32,
    since: Instant,
}

impl ControlFrameLimit {
    pub(crate) fn new(config: &Config) -> Self {
        Self { enabled: config.rate_limits, count: 0, since: Instant::now() }
    }

    /// Counts a frame. Returns true if more than [`LIMIT`] came within [`WINDOW`].
    pub(crate) fn is_exceeded(&mut self) -> bool {
        self.count += 1;
        if self.count <= LIMIT {
            return false;
        }
        let now = Instant::now();
        let exceeded = self.enabled && now.duration_since(self.since) < WINDOW;
        (self.count, self.since) = (1, now);
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn control_frame_limit() {
        let mut limit = ControlFrameLimit::new(&Config::default());
        for _ in 0..5_000 {
            assert!(!limit.is_exceeded());
            tokio::time::advance(WINDOW / LIMIT).await;
        }
        assert!((0..2_000).any(|_| limit.is_exceeded()));

        let unlimited = Config { rate_limits: false, ..Config::default() };
        let mut limit = ControlFrameLimit::new(&unlimited);
        assert!((0..5_000).all(|_| !limit.is_exceeded()));
    }
}

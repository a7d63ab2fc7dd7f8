//! A limit on frames and packets that carry no message, such as pings and pongs, and on bytes that
//! are ignored: [`ControlFrameLimit`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use purrr_core::rate::Allowance;
use tokio::time::Instant;

/// The rate of one connection: 100 per second, burst 1,000. Each frame is cheap to answer, and no
/// real client sends a hundredth of this.
const RATE: TickRate = TickRate { ticks: 1, burst: 1_000 };

/// What a connection may send without a charge to its address: 1 per second, burst 100. A real
/// client stays below, so what its neighbours do cannot end it.
const FREE: TickRate = TickRate { ticks: 100, burst: 100 };

/// The unit of time of a [`Meter`].
const TICK: Duration = Duration::from_millis(10);

/// Ignored bytes that count as one frame.
const BYTES: usize = 4 * 1024;

/// Limits one connection to [`RATE`], and its address to the rates of its allowance.
///
/// Counts pings, pongs, small fragments, packets that ask for nothing, and ignored bytes. Call
/// [`is_exceeded`](Self::is_exceeded) for each. The connection must end once it returns true.
#[derive(Clone, Debug)]
pub(crate) struct ControlFrameLimit {
    meter: Meter,
    free: Meter,
    /// None without rate limits.
    shared: Option<Shared>,
}

/// A rate: the ticks until a frame is refilled, and the burst.
#[derive(Clone, Copy)]
struct TickRate {
    ticks: u32,
    burst: u32,
}

/// A rate limiter as [`Gcra`](purrr_core::rate::Gcra) is one, in 4 bytes instead of 8: each
/// connection has two. Contains the tick at which the burst is whole again.
#[derive(Clone, Copy, Debug)]
struct Meter(u32);

impl Meter {
    /// Takes frames if the rate allows, all or none. More than the burst count as the burst.
    const fn take(&mut self, rate: TickRate, frames: u32, now: u32) -> bool {
        let whole = rate.ticks * rate.burst;
        let used = self.0.wrapping_sub(now);
        // In the past, the burst is whole.
        let used = if used > whole { 0 } else { used };
        let frames = if frames < rate.burst { frames } else { rate.burst };
        let after = used + rate.ticks * frames;
        if after <= whole {
            self.0 = now.wrapping_add(after);
        }
        after <= whole
    }
}

/// What connections have in common.
#[derive(Clone, Debug)]
struct Shared {
    ended: Arc<EndedConnections>,
    /// The allowance of the address. None if it has none.
    allowance: Option<Arc<Allowance>>,
}

/// The connections that were ended by this limit.
#[derive(Debug)]
pub(crate) struct EndedConnections {
    /// Time zero of all limiters.
    start: Instant,
    connection: AtomicU64,
    address: AtomicU64,
}

impl ControlFrameLimit {
    pub(crate) const fn new(
        ended: Arc<EndedConnections>,
        allowance: Option<Arc<Allowance>>,
    ) -> Self {
        let shared = Some(Shared { ended, allowance });
        Self { meter: Meter(0), free: Meter(0), shared }
    }

    /// Returns a limit that is never exceeded.
    pub(crate) const fn unlimited() -> Self {
        Self { meter: Meter(0), free: Meter(0), shared: None }
    }

    /// Counts a frame. Returns true if it exceeds a rate.
    pub(crate) fn is_exceeded(&mut self) -> bool {
        self.take(1, 0)
    }

    /// Counts bytes that were ignored. Returns true if they exceed a rate.
    pub(crate) fn is_exceeded_by(&mut self, bytes: usize) -> bool {
        self.take(narrow(bytes / BYTES + 1), narrow(bytes))
    }

    fn take(&mut self, frames: u32, bytes: u32) -> bool {
        let Some(Shared { ended, allowance }) = &self.shared else { return false };
        let now = ended.ticks();
        if !self.meter.take(RATE, frames, now) {
            ended.connection.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        // A cost above the burst would pass a full limiter.
        let is_free = frames <= FREE.burst && self.free.take(FREE, frames, now);
        let Some(allowance) = allowance.as_ref().filter(|_| !is_free) else { return false };
        let exceeded = !allowance.charge_useless(frames, bytes);
        if exceeded {
            ended.address.fetch_add(1, Ordering::Relaxed);
        }
        exceeded
    }
}

impl Default for EndedConnections {
    fn default() -> Self {
        Self { start: Instant::now(), connection: AtomicU64::new(0), address: AtomicU64::new(0) }
    }
}

impl EndedConnections {
    /// Returns the ticks since the start. Wraps after 497 days, which a meter allows for.
    fn ticks(&self) -> u32 {
        (self.start.elapsed().as_millis() / TICK.as_millis()) as u32
    }

    /// Returns the number of connections that were ended, by whose rate was exceeded.
    pub(crate) fn by_limit(&self) -> [(&'static str, u64); 2] {
        [("connection", &self.connection), ("address", &self.address)]
            .map(|(limit, count)| (limit, count.load(Ordering::Relaxed)))
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use purrr_core::{Rates, model::Rate};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn control_frame_limit() {
        let ended = Arc::<EndedConnections>::default();
        let mut limit = ControlFrameLimit::new(Arc::clone(&ended), None);
        for _ in 0..5_000 {
            assert!(!limit.is_exceeded());
            tokio::time::advance(TICK).await;
        }
        assert!((0..2_000).any(|_| limit.is_exceeded()));
        assert_eq!(ended.by_limit(), [("connection", 1), ("address", 0)]);

        let mut limit = ControlFrameLimit::unlimited();
        assert!((0..5_000).all(|_| !limit.is_exceeded()));
        assert_eq!(size_of::<ControlFrameLimit>(), 24, "each connection has one");
    }

    #[test]
    fn meter_survives_wrap_of_ticks() {
        for start in [0, u32::MAX - 500, 1 << 31] {
            let mut meter = Meter(start);
            let taken = |meter: &mut Meter, now| {
                (0..2_000).take_while(|_| meter.take(RATE, 1, now)).count()
            };
            assert_eq!(taken(&mut meter, start), 1_000);
            assert_eq!(taken(&mut meter, start.wrapping_add(10)), 10);
            assert_eq!(taken(&mut meter, start.wrapping_add(2_000)), 1_000);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ignored_bytes_count_as_frames() {
        let limit = || ControlFrameLimit::new(Arc::default(), None);
        let mut many = limit();
        assert_eq!((0..10_000).take_while(|_| !many.is_exceeded_by(10)).count(), 1_000);
        let mut large = limit();
        assert!(!large.is_exceeded_by(12_000_000), "once");
        assert!(large.is_exceeded_by(1_000));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!large.is_exceeded_by(12_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn address_is_charged_beyond_a_free_rate() {
        let mut rates = Rates::default();
        rates.refusal_rate = Rate::new(1, 500);
        let allowance = Allowance::new(&rates, NonZeroU32::MIN, std::time::Instant::now());
        let allowance = Arc::new(allowance);
        let ended = Arc::<EndedConnections>::default();
        let connection =
            || ControlFrameLimit::new(Arc::clone(&ended), Some(Arc::clone(&allowance)));
        let mut neighbour = connection();
        let sent = |limit: &mut ControlFrameLimit| {
            (0..10_000).take_while(|_| !limit.is_exceeded()).count()
        };
        let floods: Vec<_> = (0..5).map(|_| sent(&mut connection())).collect();
        assert_eq!(floods, [600, 100, 100, 100, 100]);
        assert_eq!(ended.by_limit(), [("connection", 0), ("address", 5)]);
        for _ in 0..1_000 {
            assert!(!neighbour.is_exceeded(), "a pong a second is free");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}

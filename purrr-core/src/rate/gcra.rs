//! The rate limiter for events that are rare: [`Gcra`].

use std::time::Duration;

use crate::model::limits::Rate;

/// A rate limiter in 8 bytes: the generic cell rate algorithm (GCRA).
///
/// Equals a token bucket that is refilled continuously and starts full: `burst` tokens at once,
/// `per_second` tokens after that. Costs are weighted, and can be refunded.
///
/// # Contract of use
///
/// Call [`take`](Self::take) before each event, with the same rate and with the time since a fixed
/// start. Call [`refund`](Self::refund) if the event did not happen after all. There is nothing to
/// drain and no timeout.
///
/// ```
/// use std::time::Duration;
/// use purrr_core::{model::Rate, rate::Gcra};
///
/// let (rate, mut limiter) = (Rate::new(10, 2), Gcra::default());
/// let now = Duration::from_secs(1);
/// assert_eq!(limiter.take(rate, 2, now), Ok(()));
/// assert_eq!(limiter.take(rate, 1, now), Err(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// The theoretical arrival time: when the bucket is full again, in nanoseconds since the
    /// caller's start.
    tat: u64,
}

const SECOND: u128 = 1_000_000_000;

impl Gcra {
    /// Takes tokens if the rate allows, all or none.
    ///
    /// A cost above `burst` is taken as `burst`: it passes when the bucket is full.
    ///
    /// # Errors
    ///
    /// The time after which the same cost passes.
    pub fn take(&mut self, rate: Rate, cost: u32, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let tat = self.tat.max(now).saturating_add(time_for(rate, cost.min(rate.burst)));
        let latest = now.saturating_add(time_for(rate, rate.burst));
        if tat > latest {
            return Err(Duration::from_nanos(tat - latest));
        }
        self.tat = tat;
        Ok(())
    }

    /// Gives back tokens that were [taken](Self::take) for an event that did not happen.
    pub fn refund(&mut self, rate: Rate, cost: u32) {
        self.tat = self.tat.saturating_sub(time_for(rate, cost.min(rate.burst)));
    }
}

/// Returns the nanoseconds in which so many tokens are refilled.
fn time_for(rate: Rate, tokens: u32) -> u64 {
    (u128::from(tokens) * SECOND).div_ceil(u128::from(rate.per_second.max(1))) as u64
}

/// Converts to nanoseconds. Saturates after 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn burst_then_rate() {
        let (rate, mut limiter) = (Rate::new(10, 20), Gcra::default());
        let start = Duration::from_secs(1);
        assert_eq!((0..100).map_while(|_| limiter.take(rate, 1, start).ok()).count(), 20);
        let wait = limiter.take(rate, 1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(limiter.take(rate, 1, start + wait), Ok(()));
        assert!(limiter.take(rate, 1, start + wait).is_err());
    }

    #[test]
    fn cost_above_burst_passes_when_full() {
        let (rate, mut limiter) = (Rate::new(100, 1_000), Gcra::default());
        let start = Duration::from_secs(1);
        assert_eq!(limiter.take(rate, 5_000, start), Ok(()));
        assert_eq!(limiter.take(rate, 5_000, start), Err(Duration::from_secs(10)));
        assert_eq!(limiter.take(rate, 5_000, start + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn limiter_is_8_bytes() {
        assert_eq!(size_of::<Gcra>(), 8);
    }

    proptest! {
        /// Compares with an ideal bucket, which holds fractions of tokens and is refilled
        /// continuously.
        #[test]
        fn agrees_with_an_ideal_bucket(
            per_second in 1..2_000_u32,
            burst in 1..500_u32,
            steps in prop::collection::vec((0..50_000_u64, 1..80_u32, prop::bool::weighted(0.1)), 1..300),
        ) {
            let (rate, mut limiter) = (Rate::new(per_second, burst), Gcra::default());
            // In billionths of a token. Rounding to nanoseconds costs less than one token per
            // million steps.
            let full = i128::from(burst) * SECOND as i128;
            let slack = steps.len() as i128 * i128::from(per_second);
            let (mut now, mut ideal) = (Duration::from_secs(1), full);
            for (pause, cost, refund) in steps {
                let pause = Duration::from_micros(pause);
                now += pause;
                ideal = (ideal + pause.as_nanos() as i128 * i128::from(per_second)).min(full);
                let price = i128::from(cost.min(burst)) * SECOND as i128;
                match limiter.take(rate, cost, now) {
                    Ok(()) => {
                        prop_assert!(ideal >= price - slack, "passed too early");
                        ideal -= price;
                        if refund {
                            limiter.refund(rate, cost);
                            ideal += price;
                        }
                    }
                    Err(wait) => {
                        prop_assert!(ideal < price + slack, "refused in error");
                        let mut later = limiter;
                        prop_assert_eq!(later.take(rate, cost, now + wait), Ok(()));
                    }
                }
            }
        }
    }
}

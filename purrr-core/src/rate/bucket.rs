//! The token buckets of one peer: [`Buckets`].

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    model::{
        limits::{Rate, Rates},
        problem::{Code, Problem},
    },
    rate::cost::{Cost, Kind},
};

/// One token bucket with lazy refill per [`Kind`], for one peer or for an
/// [`Allowance`](crate::rate::Allowance).
///
/// The clock is read only when a bucket is too low, so at most 2 × `burst` can be spent back to
/// back.
#[derive(Clone)]
pub(crate) struct Buckets {
    created: Instant,
    each: [Bucket; Kind::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// The time of the last refill, in nanoseconds since the buckets were created.
    refilled: u64,
}

const SECOND: u128 = 1_000_000_000;

impl Buckets {
    /// Creates full buckets.
    pub(crate) fn new(rates: &Rates, now: Instant) -> Self {
        let full = |kind| Bucket { tokens: rates.of(kind).burst, refilled: 0 };
        Self { created: now, each: Kind::ALL.map(full) }
    }

    /// Returns the time since the buckets were created.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.created)
    }

    /// Takes a cost, all or nothing. Returns the time to retry after if there are too few tokens.
    pub(crate) fn spend(
        &mut self,
        rates: &Rates,
        Cost { kind, bytes }: Cost,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Duration> {
        self.take(rates, kind, 1, now)?;
        if bytes == 0 {
            return Ok(());
        }
        self.take(rates, Kind::Bytes, bytes, now).inspect_err(|_| self.give(rates, kind, 1))
    }

    /// Gives back a cost that was [spent](Self::spend).
    pub(crate) fn refund(&mut self, rates: &Rates, Cost { kind, bytes }: Cost) {
        self.give(rates, kind, 1);
        self.give(rates, Kind::Bytes, bytes);
    }

    /// Takes tokens for a refusal. Returns false if there are too few.
    pub(crate) fn spend_tolerance(
        &mut self,
        rates: &Rates,
        weight: u32,
        now: &impl Fn() -> Instant,
    ) -> bool {
        self.take(rates, Kind::Refusals, weight, now).is_ok()
    }

    pub(crate) fn take(
        &mut self,
        rates: &Rates,
        kind: Kind,
        amount: u32,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Duration> {
        let rate = rates.of(kind);
        let amount = amount.min(rate.burst);
        let bucket = &mut self.each[kind as usize];
        if bucket.tokens < amount {
            bucket.refill(rate, now().saturating_duration_since(self.created));
        }
        match bucket.tokens.checked_sub(amount) {
            Some(rest) => bucket.tokens = rest,
            None => return Err(time_for(amount - bucket.tokens, rate)),
        }
        Ok(())
    }

    pub(crate) fn give(&mut self, rates: &Rates, kind: Kind, amount: u32) {
        let bucket = &mut self.each[kind as usize];
        bucket.tokens = bucket.tokens.saturating_add(amount).min(rates.of(kind).burst);
    }
}

impl Bucket {
    fn refill(&mut self, rate: Rate, age: Duration) {
        // Wraps after 584 years.
        let now = age.as_nanos() as u64;
        let per_second = u128::from(rate.per_second.max(1));
        let gained = u128::from(now.saturating_sub(self.refilled)) * per_second / SECOND;
        let missing = rate.burst.saturating_sub(self.tokens);
        if gained >= u128::from(missing) {
            *self = Self { tokens: self.tokens.max(rate.burst), refilled: now };
            return;
        }
        // `gained` is less than `missing`, so both fit. Only the time of whole tokens is used up.
        self.tokens += gained as u32;
        self.refilled += (gained * SECOND).div_ceil(per_second) as u64;
    }
}

fn time_for(amount: u32, rate: Rate) -> Duration {
    let nanos = (u128::from(amount) * SECOND).div_ceil(u128::from(rate.per_second.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns a wait in whole milliseconds, rounded up and at least 1.
pub(crate) fn retry_after_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

/// Creates the problem for a request above its rate limit.
pub(crate) fn too_fast(wait: Duration, id: Option<u64>) -> Problem {
    Problem::retry(
        Code::RateLimited,
        "rate limit exceeded; retry after `retryAfterMs` ms",
        retry_after_ms(wait),
    )
    .about(id)
}

/// Prints no levels: they are not part of a session's logical state.
impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    const MESSAGE: Cost = Cost { kind: Kind::Messages, bytes: 0 };

    fn rates(per_second: u32, burst: u32) -> Rates {
        Rates { message_rate: Rate::new(per_second, burst), ..Rates::default() }
    }

    #[test]
    fn clock_is_read_only_when_a_bucket_is_low() {
        let (start, asked) = (Instant::now(), Cell::new(0));
        let now = || {
            asked.set(asked.get() + 1);
            start + Duration::from_secs(60)
        };
        let rates = rates(1, 10);
        let mut buckets = Buckets::new(&rates, start);
        for _ in 0..10 {
            assert_eq!(buckets.spend(&rates, MESSAGE, &now), Ok(()));
        }
        assert_eq!(asked.get(), 0);
        assert_eq!(buckets.spend(&rates, MESSAGE, &now), Ok(()));
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn retry_after_the_told_wait_passes() {
        let start = Instant::now();
        for (per_second, burst) in [(1, 1), (3, 7), (1_500, 10), (7, 1_000)] {
            let rates = rates(per_second, burst);
            let mut buckets = Buckets::new(&rates, start);
            let mut now = start;
            for _ in 0..5_000 {
                if let Err(wait) = buckets.spend(&rates, MESSAGE, &|| now) {
                    now += wait;
                    assert_eq!(buckets.spend(&rates, MESSAGE, &|| now), Ok(()));
                }
            }
            let fastest = Duration::from_secs_f64(f64::from(5_000 - burst) / f64::from(per_second));
            assert!(now - start >= fastest.mul_f64(0.999), "{per_second}, {burst}");
            assert!(now - start <= fastest.mul_f64(1.001), "{per_second}, {burst}");
        }
    }

    #[test]
    fn cost_above_burst_passes_when_full() {
        let start = Instant::now();
        let rates = Rates { byte_rate: Rate::new(100, 1_000), ..Rates::default() };
        let mut buckets = Buckets::new(&rates, start);
        let large = Cost { kind: Kind::Messages, bytes: 5_000 };
        assert_eq!(buckets.spend(&rates, large, &|| start), Ok(()));
        let wait = buckets.spend(&rates, large, &|| start).unwrap_err();
        assert_eq!(wait, Duration::from_secs(10));
        assert_eq!(buckets.spend(&rates, large, &|| start + wait), Ok(()));
    }

    #[test]
    fn refusal_takes_nothing() {
        let start = Instant::now();
        let rates = Rates { byte_rate: Rate::new(1, 10), ..rates(1, 3) };
        let mut buckets = Buckets::new(&rates, start);
        assert!(buckets.spend(&rates, Cost { kind: Kind::Messages, bytes: 10 }, &|| start).is_ok());
        for _ in 0..5 {
            let more = Cost { kind: Kind::Messages, bytes: 10 };
            assert!(buckets.spend(&rates, more, &|| start).is_err());
        }
        assert!(buckets.spend(&rates, MESSAGE, &|| start).is_ok());
        assert!(buckets.spend(&rates, MESSAGE, &|| start).is_ok());
        assert!(buckets.spend(&rates, MESSAGE, &|| start).is_err());
    }

    proptest! {
        /// Compares with an ideal bucket: what that grants is granted, and never more than 2 ×
        /// `burst` beyond the rate.
        #[test]
        fn agrees_with_an_ideal_bucket(
            per_second in 1..2_000_u32,
            burst in 1..500_u32,
            pauses in prop::collection::vec((0..50_u64, 1..80_u32), 1..80),
        ) {
            let rates = rates(per_second, burst);
            let start = Instant::now();
            let mut buckets = Buckets::new(&rates, start);
            // In billionths of a token. The two may differ by one token, because only whole tokens
            // are granted.
            const SLACK: u128 = SECOND + SECOND / 20;
            let full = u128::from(burst) * SECOND;
            let (mut now, mut ideal, mut passed) = (start, full, 0_u64);
            for (pause, tries) in pauses {
                let pause = Duration::from_millis(pause);
                now += pause;
                ideal = (ideal + pause.as_nanos() * u128::from(per_second)).min(full);
                for _ in 0..tries {
                    let granted = buckets.spend(&rates, MESSAGE, &|| now).is_ok();
                    prop_assert!(granted || ideal < SECOND + SLACK);
                    ideal = ideal.checked_sub(SECOND).unwrap_or(ideal);
                    passed += u64::from(granted);
                }
            }
            let age = (now - start).as_secs_f64();
            prop_assert!(passed as f64 <= 2.0 * f64::from(burst) + age * f64::from(per_second));
        }
    }
}

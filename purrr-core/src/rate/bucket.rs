//! Token buckets: [`Buckets`].

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

/// The buckets of one peer, or of those who share an allowance.
#[derive(Clone)]
pub(crate) struct Buckets {
    made: Instant,
    each: [Bucket; Kind::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    /// When it was last filled, in nanoseconds since the buckets were made.
    filled: u64,
}

const SECOND: u128 = 1_000_000_000;

impl Buckets {
    /// Full buckets.
    pub(crate) fn new(rates: &Rates, now: Instant) -> Self {
        let full = |kind| Bucket { left: rates.of(kind).burst, filled: 0 };
        Self { made: now, each: Kind::ALL.map(full) }
    }

    /// Takes what a command costs, all of it or nothing; says after which time there will be enough.
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

    /// Gives back what was [spent](Self::spend).
    pub(crate) fn refund(&mut self, rates: &Rates, Cost { kind, bytes }: Cost) {
        self.give(rates, kind, 1);
        self.give(rates, Kind::Bytes, bytes);
    }

    /// Takes what is left for refusals; says whether there was something.
    pub(crate) fn forgive(
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
        if bucket.left < amount {
            bucket.fill(rate, now().saturating_duration_since(self.made));
        }
        match bucket.left.checked_sub(amount) {
            Some(left) => bucket.left = left,
            None => return Err(time_for(amount - bucket.left, rate)),
        }
        Ok(())
    }

    pub(crate) fn give(&mut self, rates: &Rates, kind: Kind, amount: u32) {
        let bucket = &mut self.each[kind as usize];
        bucket.left = bucket.left.saturating_add(amount).min(rates.of(kind).burst);
    }
}

impl Bucket {
    fn fill(&mut self, rate: Rate, age: Duration) {
        // A process that runs for five hundred years may begin again.
        let now = age.as_nanos() as u64;
        let per_second = u128::from(rate.per_second.max(1));
        let gained = u128::from(now.saturating_sub(self.filled)) * per_second / SECOND;
        let missing = rate.burst.saturating_sub(self.left);
        if gained >= u128::from(missing) {
            *self = Self { left: self.left.max(rate.burst), filled: now };
            return;
        }
        // Less than what is missing, so both fit. Only the time that made something whole is used up.
        self.left += gained as u32;
        self.filled += (gained * SECOND).div_ceil(per_second) as u64;
    }
}

fn time_for(amount: u32, rate: Rate) -> Duration {
    let nanos = (u128::from(amount) * SECOND).div_ceil(u128::from(rate.per_second.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The time after which to try again, as it is told: in whole milliseconds and not at once.
pub(crate) fn retry_after_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

/// What the peer is told when it is too fast.
pub(crate) fn too_fast(wait: Duration, id: Option<u64>) -> Problem {
    Problem::retry(
        Code::RateLimited,
        "this comes too fast; wait for as long as `retryAfterMs` says and send it again",
        retry_after_ms(wait),
    )
    .about(id)
}

/// How full the buckets are is nothing that two sessions differ in.
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
    fn time_is_asked_for_only_when_a_bucket_is_empty() {
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
    fn whoever_waits_as_long_as_it_is_told_is_let_through() {
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
    fn what_is_larger_than_a_bucket_goes_when_that_is_full() {
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
    fn what_is_refused_takes_nothing() {
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
        /// Beside a bucket that is filled all the time: whoever that lets through is let through, and nobody ever gets more
        /// than two of them together.
        #[test]
        fn nobody_is_refused_without_need_or_let_through_without_end(
            per_second in 1..2_000_u32,
            burst in 1..500_u32,
            pauses in prop::collection::vec((0..50_u64, 1..80_u32), 1..80),
        ) {
            let rates = rates(per_second, burst);
            let start = Instant::now();
            let mut buckets = Buckets::new(&rates, start);
            // In billionths. The two may be apart by one, for nobody is given a part of one.
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

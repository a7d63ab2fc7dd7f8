//! How fast peers may go: [`Rates`], the token buckets that see to it, and [`Allowance`], which several peers share.
//!
//! Pure but for the lock around what is shared: time comes in as an argument, and is asked for only when a bucket is empty.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    codec::{Command, Problem},
    model::frame::{Body, Frame},
};

/// So much a second, and so much at once.
///
/// A bucket holds `burst` to begin with and is filled again when it is empty, by what has passed since it last was. So
/// whoever is never faster than `per_second` for long is never refused, and nobody gets more than twice `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What comes back in a second, from 1.
    pub per_second: u32,
    /// What a bucket holds, from 1. What is larger than that goes when the bucket is full.
    pub burst: u32,
}

/// How fast one peer may go.
///
/// What is above it is refused with [`Code::RateLimited`](crate::Code::RateLimited) and the time after which to try again.
/// Leaving is never refused, and typing is not either: the partner is told of the last state as soon as there is room for it.
/// All of it takes about 150 bytes for a peer that has asked for something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Messages, texts and pictures alike, marks that one has been read, and introductions. Default 100 a second and
    /// 4,000 at once.
    pub messages: Rate,
    /// Bytes of everything that is sent to the partner. Default 4,000,000 a second and 200,000,000 at once: an album of
    /// twenty large pictures.
    pub bytes: Rate,
    /// Changes between typing and not. Default 50 a second and 1,000 at once.
    pub typing: Rate,
    /// Steps of a call. Default 50 a second and 1,000 at once; to pick one up takes some twenty.
    pub signals: Rate,
    /// Searches. Default 5 a second and 200 at once.
    pub finds: Rate,
    /// What may be refused for coming too fast, or because it cannot be read, before the session ends. Default 100 a
    /// second and 1,000 at once.
    pub refusals: Rate,
    /// How many peers' worth those who share an [`Allowance`] have together. Default 50.
    pub shared_by: u32,
}

/// What several peers may do together, such as those of one address. Given to each by
/// [`Profile::allowance`](crate::Profile::allowance).
///
/// It is [`Rates::shared_by`] times what one may do. Peers take from it in small lots, so that they seldom meet at its lock.
/// About 200 bytes.
pub struct Allowance {
    rates: Rates,
    buckets: Mutex<Buckets>,
}

/// One peer's part of an [`Allowance`]: the rest of the lots that it has taken, which goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    allowance: Option<Arc<Allowance>>,
    /// Nothing until something is taken.
    left: Option<Box<[u32; Kind::ALL.len()]>>,
}

/// What a command takes from the buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    kind: Kind,
    bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Messages,
    Bytes,
    Typing,
    Signals,
    Finds,
    /// Counted in [`WHOLE`]s.
    Refusals,
}

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

/// A refusal, beside which a change of typing that nobody was told of weighs 1.
pub(crate) const WHOLE: u32 = 16;

const SECOND: u128 = 1_000_000_000;

impl Rate {
    /// So much a second, and so much at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    const fn times(self, factor: u32) -> Self {
        Self {
            per_second: self.per_second.saturating_mul(factor),
            burst: self.burst.saturating_mul(factor),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            messages: Rate::new(100, 4_000),
            bytes: Rate::new(4_000_000, 200_000_000),
            typing: Rate::new(50, 1_000),
            signals: Rate::new(50, 1_000),
            finds: Rate::new(5, 200),
            refusals: Rate::new(100, 1_000),
            shared_by: 50,
        }
    }
}

impl Rates {
    const fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Messages => self.messages,
            Kind::Bytes => self.bytes,
            Kind::Typing => self.typing,
            Kind::Signals => self.signals,
            Kind::Finds => self.finds,
            Kind::Refusals => self.refusals.times(WHOLE),
        }
    }

    fn times(&self, factor: u32) -> Self {
        Self {
            messages: self.messages.times(factor),
            bytes: self.bytes.times(factor),
            typing: self.typing.times(factor),
            signals: self.signals.times(factor),
            finds: self.finds.times(factor),
            refusals: self.refusals.times(factor),
            shared_by: self.shared_by,
        }
    }
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Messages, Self::Bytes, Self::Typing, Self::Signals, Self::Finds, Self::Refusals];

    /// What is taken from an allowance at once: enough that its lock is taken seldom, and little beside what it holds.
    const fn lot(self) -> u32 {
        match self {
            Self::Messages | Self::Typing | Self::Signals => 32,
            Self::Bytes => 256 * 1024,
            Self::Finds | Self::Refusals => 1,
        }
    }
}

impl Cost {
    pub(crate) fn of(command: &Command) -> Self {
        let kind = match command {
            Command::Send { frame, .. } => return Self::of_frame(frame),
            Command::Find(_) | Command::Next => Kind::Finds,
            // Whoever could search but not say who it is would be met as somebody else.
            Command::Hello { .. }
            | Command::Cancel
            | Command::Leave
            | Command::Block
            | Command::Unsupported { .. } => Kind::Messages,
        };
        Self { kind, bytes: 0 }
    }

    pub(crate) fn of_frame(frame: &Frame) -> Self {
        let kind = match frame.body {
            Body::Message(_) | Body::Read { .. } => Kind::Messages,
            Body::Typing(_) => Kind::Typing,
            Body::Signal(_) => Kind::Signals,
        };
        Self { kind, bytes: u32::try_from(frame.weight()).unwrap_or(u32::MAX) }
    }
}

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

    fn take(
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

    fn give(&mut self, rates: &Rates, kind: Kind, amount: u32) {
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

impl Allowance {
    /// What peers that go by these rates may do together, all of it from `now` on.
    #[must_use]
    pub fn new(rates: &Rates, now: Instant) -> Self {
        let rates = rates.times(rates.shared_by.max(1));
        let buckets = Mutex::new(Buckets::new(&rates, now));
        Self { rates, buckets }
    }

    /// Nothing that is done under this lock can stop halfway.
    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(crate) const fn of(allowance: Option<Arc<Allowance>>) -> Self {
        Self { allowance, left: None }
    }

    /// As [`Buckets::spend`], of what is shared.
    pub(crate) fn spend(
        &mut self,
        Cost { kind, bytes }: Cost,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Duration> {
        self.take(kind, 1, now)?;
        if bytes == 0 {
            return Ok(());
        }
        self.take(Kind::Bytes, bytes, now).inspect_err(|_| self.give_back(kind))
    }

    fn take(
        &mut self,
        kind: Kind,
        amount: u32,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Duration> {
        let Some(allowance) = &self.allowance else { return Ok(()) };
        let left = &mut self.left.get_or_insert_default()[kind as usize];
        if *left < amount {
            let missing = amount - *left;
            let mut shared = allowance.lock();
            // Not more than is ever taken at once, or what was not paid for would be given back.
            let lot = missing.max(kind.lot().min(allowance.rates.of(kind).burst));
            if shared.take(&allowance.rates, kind, lot, now).is_ok() {
                *left += lot;
            } else {
                shared.take(&allowance.rates, kind, missing, now)?;
                *left += missing;
            }
        }
        *left -= amount;
        Ok(())
    }

    fn give_back(&mut self, kind: Kind) {
        if let Some(left) = &mut self.left {
            left[kind as usize] += 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(allowance), Some(left)) = (&self.allowance, &self.left) else { return };
        let mut shared = allowance.lock();
        for (kind, left) in Kind::ALL.into_iter().zip(**left) {
            shared.give(&allowance.rates, kind, left);
        }
    }
}

/// What the peer is told when it is too fast.
pub(crate) fn too_fast(wait: Duration, id: Option<u64>) -> Problem {
    Problem::retry(
        crate::codec::Code::RateLimited,
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

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance").field("rates", &self.rates).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    const MESSAGE: Cost = Cost { kind: Kind::Messages, bytes: 0 };

    fn rates(per_second: u32, burst: u32) -> Rates {
        Rates { messages: Rate::new(per_second, burst), shared_by: 2, ..Rates::default() }
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
    fn a_lease_gives_back_no_more_than_it_took() {
        let start = Instant::now();
        // Less than what a lease takes at once.
        let allowance = Arc::new(Allowance::new(&Rates { shared_by: 1, ..rates(1, 5) }, start));
        let said = (0..20).filter(|_| {
            let mut lease = Lease::of(Some(Arc::clone(&allowance)));
            lease.spend(MESSAGE, &|| start).is_ok()
        });
        assert_eq!(said.count(), 5);
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
        let rates = Rates { bytes: Rate::new(100, 1_000), ..Rates::default() };
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
        let rates = Rates { bytes: Rate::new(1, 10), ..rates(1, 3) };
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

    #[test]
    fn an_allowance_is_shared_and_what_was_not_used_of_it_goes_back() {
        let start = Instant::now();
        let allowance = Arc::new(Allowance::new(&rates(1, 50), start));
        let lease = || Lease::of(Some(Arc::clone(&allowance)));
        let spent = |lease: &mut Lease, most: usize| {
            (0..most).map_while(|_| lease.spend(MESSAGE, &|| start).ok()).count()
        };
        let (mut ann, mut bob) = (lease(), lease());
        assert_eq!(spent(&mut ann, 1), 1);
        assert_eq!(spent(&mut bob, 1_000), 100 - 32);
        assert_eq!(spent(&mut ann, 1_000), 31);
        drop((ann, bob));
        assert_eq!(spent(&mut lease(), 1_000), 0);

        let allowance = Arc::new(Allowance::new(&rates(1, 50), start));
        for _ in 0..100 {
            let mut brief = Lease::of(Some(Arc::clone(&allowance)));
            assert_eq!(spent(&mut brief, 1), 1);
        }
        let mut late = Lease::of(Some(allowance));
        assert_eq!(late.spend(MESSAGE, &|| start), Err(Duration::from_millis(500)));
        assert_eq!(late.spend(MESSAGE, &|| start + Duration::from_millis(500)), Ok(()));
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

//! Rate limits that several peers share: [`Allowance`], and each peer's [`Lease`] of it.

use std::{
    fmt,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    model::limits::Rates,
    rate::{
        bucket::Buckets,
        cost::{Cost, Kind, WHOLE},
    },
    sync::{Mutex, MutexGuard, lock},
};

/// Rate limits that several peers share, such as those of one address.
///
/// Passed to each peer by [`Profile::allowance`](crate::Profile::allowance).
///
/// It is a multiple of what one peer may do. Peers take from it in small lots, so that they seldom
/// meet at its lock. About 200 bytes.
pub struct Allowance {
    rates: Rates,
    buckets: Mutex<Buckets>,
    /// The allowance that this one is a part of.
    wider: Option<Arc<Self>>,
}

/// One peer's chunks of an [`Allowance`]. Unused tokens are returned on drop.
#[derive(Debug)]
pub(crate) struct Lease {
    allowance: Option<Arc<Allowance>>,
    /// Unused tokens of each kind. Allocated when the first chunk is taken.
    unused: Option<Box<[u32; Kind::ALL.len()]>>,
}

impl Allowance {
    /// Creates the allowance of this many peers at these rates, full at `now`.
    #[must_use]
    pub fn new(rates: &Rates, peers: NonZeroU32, now: Instant) -> Self {
        let rates = rates.times(peers.get());
        let buckets = Mutex::new(Buckets::new(&rates, now));
        Self { rates, buckets, wider: None }
    }

    /// Makes this a part of a wider allowance: tokens are taken from both, or from neither.
    #[must_use]
    pub fn within(self, wider: Arc<Self>) -> Self {
        Self { wider: Some(wider), ..self }
    }

    /// Charges what a peer sent that asks for nothing: refusals, and the bytes that were ignored.
    ///
    /// For input that a transport discards, so that no session sees it. Returns false if the rate of
    /// either is exceeded.
    pub fn charge_useless(&self, refusals: u32, bytes: u32) -> bool {
        let charge = |kind, amount| amount == 0 || self.take(kind, amount, &Instant::now).is_ok();
        charge(Kind::Refusals, refusals.saturating_mul(WHOLE)) & charge(Kind::Bytes, bytes)
    }

    /// Takes tokens here and from the wider allowances, all of them or none.
    ///
    /// Only one lock is held at a time.
    fn take(&self, kind: Kind, amount: u32, now: &impl Fn() -> Instant) -> Result<(), Duration> {
        self.lock().take(&self.rates, kind, amount, now)?;
        let Some(wider) = &self.wider else { return Ok(()) };
        wider.take(kind, amount, now).inspect_err(|_| {
            self.lock().give(&self.rates, kind, amount);
        })
    }

    /// Returns tokens that were taken.
    fn give(&self, kind: Kind, amount: u32) {
        for allowance in std::iter::successors(Some(self), |part| part.wider.as_deref()) {
            allowance.lock().give(&allowance.rates, kind, amount);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        lock(&self.buckets)
    }
}

impl Lease {
    pub(crate) const fn of(allowance: Option<Arc<Allowance>>) -> Self {
        Self { allowance, unused: None }
    }

    /// Takes a cost from the shared buckets, as [`Buckets::spend`] does.
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
        let unused = &mut self.unused.get_or_insert_default()[kind as usize];
        if *unused < amount {
            let missing = amount - *unused;
            // Must not exceed the burst: `take` caps its amount there, and more would be returned
            // than was taken.
            let chunk = missing.max(kind.chunk().min(allowance.rates.of(kind).burst));
            if allowance.take(kind, chunk, now).is_ok() {
                *unused += chunk;
            } else {
                allowance.take(kind, missing, now)?;
                *unused += missing;
            }
        }
        *unused -= amount;
        Ok(())
    }

    fn give_back(&mut self, kind: Kind) {
        if let Some(unused) = &mut self.unused {
            unused[kind as usize] += 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(allowance), Some(unused)) = (&self.allowance, &self.unused) else { return };
        for (kind, unused) in Kind::ALL.into_iter().zip(**unused) {
            if unused > 0 {
                allowance.give(kind, unused);
            }
        }
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance").field("rates", &self.rates).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::Rate;

    const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();
    const MESSAGE: Cost = Cost { kind: Kind::Messages, bytes: 0 };

    fn rates(per_second: u32, burst: u32) -> Rates {
        Rates { message_rate: Rate::new(per_second, burst), ..Rates::default() }
    }

    #[test]
    fn lease_returns_no_more_than_it_took() {
        let start = Instant::now();
        // Less than a chunk.
        let allowance = Arc::new(Allowance::new(&rates(1, 5), NonZeroU32::MIN, start));
        let said = (0..20).filter(|_| {
            let mut lease = Lease::of(Some(Arc::clone(&allowance)));
            lease.spend(MESSAGE, &|| start).is_ok()
        });
        assert_eq!(said.count(), 5);
    }

    #[test]
    fn unused_tokens_return_to_the_allowance() {
        let start = Instant::now();
        let allowance = Arc::new(Allowance::new(&rates(1, 50), TWO, start));
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

        let allowance = Arc::new(Allowance::new(&rates(1, 50), TWO, start));
        for _ in 0..100 {
            let mut brief = Lease::of(Some(Arc::clone(&allowance)));
            assert_eq!(spent(&mut brief, 1), 1);
        }
        let mut late = Lease::of(Some(allowance));
        assert_eq!(late.spend(MESSAGE, &|| start), Err(Duration::from_millis(500)));
        assert_eq!(late.spend(MESSAGE, &|| start + Duration::from_millis(500)), Ok(()));
    }

    #[test]
    fn useless_input_is_charged_as_refusals_and_bytes() {
        let rates = Rates {
            refusal_rate: Rate::new(1, 10),
            byte_rate: Rate::new(1, 1_000),
            ..Rates::default()
        };
        let wider = Arc::new(Allowance::new(&rates, NonZeroU32::MIN, Instant::now()));
        let allowance = Allowance::new(&rates, TWO, Instant::now()).within(wider);
        assert!(allowance.charge_useless(6, 600) && allowance.charge_useless(4, 0));
        assert!(!allowance.charge_useless(1, 0), "the wider one has no refusals left");
        assert!(allowance.charge_useless(0, 400));
        assert!(!allowance.charge_useless(0, 400), "nor bytes");
    }

    #[test]
    fn allowance_within_another_takes_from_both() {
        let start = Instant::now();
        let wider = Arc::new(Allowance::new(&rates(1, 60), NonZeroU32::MIN, start));
        let allowances: [_; 2] = std::array::from_fn(|_| {
            let allowance = Allowance::new(&rates(1, 40), NonZeroU32::MIN, start);
            Arc::new(allowance.within(Arc::clone(&wider)))
        });
        let spent = |lease: &mut Lease| {
            (0..100).map_while(|_| lease.spend(MESSAGE, &|| start).ok()).count()
        };
        let [ann, bob] = allowances.clone().map(|allowance| Lease::of(Some(allowance)));
        let (mut ann, mut bob) = (ann, bob);
        assert_eq!((spent(&mut ann), spent(&mut bob)), (40, 20));
        drop((ann, bob));
        // Bob's own allowance still has tokens: what the wider one refused was returned.
        assert_eq!(
            allowances[1].lock().take(&allowances[1].rates, Kind::Messages, 20, &|| start),
            Ok(())
        );
    }
}

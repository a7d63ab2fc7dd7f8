//! How fast connections may come from one address, and what those who come have together: [`Addresses`].

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use hashlink::LruCache;
use purrr_core::{Rates, rate::Allowance};
use tokio::time::Instant;

use super::memory::Budget;

/// Addresses that are remembered. At about 410 bytes each, 27 MB at most; one that is forgotten starts afresh.
pub(super) const ADDRESSES: usize = 65_536;

/// Seconds' worth of connections that may come at once.
const BURST: u32 = 2;

/// The last addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    each_takes: Duration,
    full_after: Duration,
    /// The rates of one client, and how many clients' worth one address has. None without a limit.
    rates: Option<(Rates, NonZeroU32)>,
    budget: Budget,
    /// How much of the budget those of one address may have.
    most: usize,
    last: LruCache<IpAddr, Address>,
}

/// What those of one address have together.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// What they may do, if that is counted.
    pub(super) allowance: Option<Arc<Allowance>>,
    pub(super) budget: Budget,
}

#[derive(Debug)]
struct Address {
    /// When it may have the most connections at once again.
    full_at: Instant,
    shared: Shared,
}

impl Addresses {
    pub(super) fn new(
        per_second: u32,
        rates: Option<(Rates, NonZeroU32)>,
        budget: Budget,
        most: usize,
    ) -> Self {
        let each_takes = Duration::from_secs(1) / per_second.max(1);
        let full_after = each_takes * per_second.max(1).saturating_mul(BURST);
        Self { each_takes, full_after, rates, budget, most, last: LruCache::new(ADDRESSES) }
    }

    /// Lets another connection in and says what it shares with the others of its address, or says after which time one may
    /// come.
    pub(super) fn enter(&mut self, address: IpAddr, now: Instant) -> Result<Shared, Duration> {
        let known = self.last.get(&address);
        let full_at = known.as_ref().map_or(now, |known| known.full_at.max(now)) + self.each_takes;
        let missing = (full_at - now).saturating_sub(self.full_after);
        if !missing.is_zero() {
            return Err(missing);
        }
        let shared = known.map(|known| known.shared.clone());
        let shared = shared.unwrap_or_else(|| Shared {
            allowance: self
                .rates
                .as_ref()
                .map(|(rates, clients)| Arc::new(Allowance::new(rates, *clients, now.into_std()))),
            budget: self.budget.share(self.most),
        });
        self.last.insert(address, Address { full_at, shared: shared.clone() });
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addresses(per_second: u32, rates: Option<(Rates, NonZeroU32)>) -> Addresses {
        Addresses::new(per_second, rates, Budget::unlimited(), 1)
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut addresses = addresses(1, None);
        let now = Instant::now();
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 10 {
            addresses.enter(Ipv4Addr::from_bits(number).into(), now).unwrap();
        }
        assert_eq!(addresses.last.len(), ADDRESSES);
    }

    #[test]
    fn a_bucket_fills_again() {
        let mut addresses = addresses(10, None);
        let (address, start) = (Ipv4Addr::LOCALHOST.into(), Instant::now());
        assert_eq!((0..100).map_while(|_| addresses.enter(address, start).ok()).count(), 20);
        assert_eq!(addresses.enter(address, start).unwrap_err(), Duration::from_millis(100));
        let later = start + Duration::from_millis(100);
        assert!(addresses.enter(address, later).is_ok());
        assert!(addresses.enter(address, later).is_err());
    }

    #[test]
    fn those_of_one_address_share_what_they_may_do() {
        let (here, there) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::BROADCAST.into());
        let now = Instant::now();
        let mut limited = addresses(10, Some((Rates::default(), NonZeroU32::MIN)));
        let mut enter = |address| limited.enter(address, now).unwrap();
        let (ann, bob, cat) = (enter(here), enter(here), enter(there));
        let [ours, theirs, others] =
            [&ann, &bob, &cat].map(|shared| shared.allowance.as_ref().unwrap());
        assert!(Arc::ptr_eq(ours, theirs) && !Arc::ptr_eq(ours, others));
        let mut picture = ann.budget.charge();
        assert!(!picture.grow_to(1_000_000), "it is more than they may have");

        let mut addresses = addresses(10, None);
        assert!(addresses.enter(here, now).unwrap().allowance.is_none());
    }
}

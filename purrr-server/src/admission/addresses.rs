//! How fast connections may come from one address, and what those who come may do together: [`Addresses`].

use std::{net::IpAddr, sync::Arc, time::Duration};

use hashlink::LruCache;
use purrr_core::{Allowance, Rates};
use tokio::time::Instant;

/// Addresses that are remembered. At about 350 bytes each, 23 MB at most; one that is forgotten starts afresh.
pub(super) const ADDRESSES: usize = 65_536;

/// Seconds' worth of connections that may come at once.
const BURST: u32 = 2;

/// The last addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    each_takes: Duration,
    full_after: Duration,
    /// What each of those who come may do, if it counts what they do together.
    rates: Option<Rates>,
    last: LruCache<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    /// When it may have the most connections at once again.
    full_at: Instant,
    allowance: Option<Arc<Allowance>>,
}

impl Addresses {
    pub(super) fn new(per_second: u32, rates: Option<Rates>) -> Self {
        let each_takes = Duration::from_secs(1) / per_second.max(1);
        let full_after = each_takes * per_second.max(1).saturating_mul(BURST);
        let rates = rates.filter(|rates| rates.shared_by > 0);
        Self { each_takes, full_after, rates, last: LruCache::new(ADDRESSES) }
    }

    /// Lets another connection in and says what it shares with the others of its address, or says after which time one may
    /// come.
    pub(super) fn enter(
        &mut self,
        address: IpAddr,
        now: Instant,
    ) -> Result<Option<Arc<Allowance>>, Duration> {
        let known = self.last.get(&address);
        let full_at = known.as_ref().map_or(now, |known| known.full_at.max(now)) + self.each_takes;
        let missing = (full_at - now).saturating_sub(self.full_after);
        if !missing.is_zero() {
            return Err(missing);
        }
        let allowance = match known {
            Some(known) => known.allowance.clone(),
            None => {
                let rates = self.rates.as_ref();
                rates.map(|rates| Arc::new(Allowance::new(rates, now.into_std())))
            }
        };
        self.last.insert(address, Address { full_at, allowance: allowance.clone() });
        Ok(allowance)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_memory_is_bounded() {
        let mut addresses = Addresses::new(1, None);
        let now = Instant::now();
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 10 {
            addresses.enter(Ipv4Addr::from_bits(number).into(), now).unwrap();
        }
        assert_eq!(addresses.last.len(), ADDRESSES);
    }

    #[test]
    fn a_bucket_fills_again() {
        let mut addresses = Addresses::new(10, None);
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
        let mut addresses = Addresses::new(10, Some(Rates::default()));
        let mut enter = |address| addresses.enter(address, now).unwrap().unwrap();
        let (ann, bob, cat) = (enter(here), enter(here), enter(there));
        assert!(Arc::ptr_eq(&ann, &bob) && !Arc::ptr_eq(&ann, &cat));

        let mut unlimited = Rates::default();
        unlimited.shared_by = 0;
        let mut addresses = Addresses::new(10, Some(unlimited));
        assert!(addresses.enter(here, now).unwrap().is_none());
    }
}

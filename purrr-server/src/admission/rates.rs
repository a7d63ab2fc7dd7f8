//! How fast connections may come from one address: [`Rates`].

use std::{net::IpAddr, time::Duration};

use hashlink::LruCache;
use tokio::time::Instant;

/// Addresses that are remembered. At about 100 bytes each, 6.5 MB at most; one that is forgotten starts afresh.
pub(super) const ADDRESSES: usize = 65_536;

/// Seconds' worth of connections that may come at once.
const BURST: u32 = 2;

/// A bucket for each of the last addresses. A bucket is the moment at which it will be full again.
#[derive(Debug)]
pub(super) struct Rates {
    each_takes: Duration,
    full_after: Duration,
    buckets: LruCache<IpAddr, Instant>,
}

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        let each_takes = Duration::from_secs(1) / per_second.max(1);
        let full_after = each_takes * per_second.max(1).saturating_mul(BURST);
        Self { each_takes, full_after, buckets: LruCache::new(ADDRESSES) }
    }

    /// Takes from the bucket of `address`, or says after which time there will be something in it.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let full_at = self.buckets.get(&address).map_or(now, |full_at| *full_at.max(&now));
        let full_at = full_at + self.each_takes;
        let missing = (full_at - now).saturating_sub(self.full_after);
        if missing.is_zero() {
            self.buckets.insert(address, full_at);
            return Ok(());
        }
        Err(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_memory_is_bounded() {
        let mut rates = Rates::new(1);
        let now = Instant::now();
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 10 {
            rates.take(Ipv4Addr::from_bits(number).into(), now).unwrap();
        }
        assert_eq!(rates.buckets.len(), ADDRESSES);
    }

    #[test]
    fn a_bucket_fills_again() {
        let mut rates = Rates::new(10);
        let (address, start) = (Ipv4Addr::LOCALHOST.into(), Instant::now());
        assert_eq!((0..100).map_while(|_| rates.take(address, start).ok()).count(), 20);
        assert_eq!(rates.take(address, start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.take(address, later), Ok(()));
        assert!(rates.take(address, later).is_err());
    }
}

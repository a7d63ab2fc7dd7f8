//! What the connections of one address share, and how fast they may come: [`AddressQuotas`].

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use hashlink::LruCache;
use purrr_core::{
    Rates,
    model::Rate,
    rate::{Allowance, Gcra},
};
use tokio::time::Instant;

use super::memory::MemoryBudget;

/// Addresses that are remembered, the most recent ones.
///
/// Worst case: 27 MB, at about 410 bytes each. An address that was evicted starts afresh.
pub(super) const ADDRESSES: usize = 65_536;

/// Connections that may come at once, in seconds of the rate.
const BURST: u32 = 2;

/// The quotas of the most recent addresses.
#[derive(Debug)]
pub(super) struct AddressQuotas {
    /// The rate of connections from one address.
    connects: Rate,
    /// Time zero of the limiters.
    start: Instant,
    /// The rates of one client, and the multiple of them that an address has. None without a limit.
    rates: Option<(Rates, NonZeroU32)>,
    budget: MemoryBudget,
    /// Bytes of the budget that one address may have.
    address_bytes: usize,
    addresses: LruCache<IpAddr, Address>,
}

/// What the connections of one address share.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    /// The shared rate limits. None if there are none.
    pub(super) allowance: Option<Arc<Allowance>>,
    pub(super) budget: MemoryBudget,
}

#[derive(Debug)]
struct Address {
    connects: Gcra,
    quota: Quota,
}

impl AddressQuotas {
    pub(super) fn new(
        per_second: NonZeroU32,
        rates: Option<(Rates, NonZeroU32)>,
        budget: MemoryBudget,
        address_bytes: usize,
    ) -> Self {
        let per_second = per_second.get();
        let connects = Rate::new(per_second, per_second.saturating_mul(BURST));
        let (start, addresses) = (Instant::now(), LruCache::new(ADDRESSES));
        Self { connects, start, rates, budget, address_bytes, addresses }
    }

    /// Admits a connection and returns what it shares, or how long to wait before the next try.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> Result<Quota, Duration> {
        let known = self.addresses.get(&address);
        let mut connects = known.as_ref().map(|known| known.connects).unwrap_or_default();
        connects.take(self.connects, 1, now.duration_since(self.start))?;
        let quota = known.map(|known| known.quota.clone());
        let quota = quota.unwrap_or_else(|| Quota {
            allowance: self
                .rates
                .as_ref()
                .map(|(rates, clients)| Arc::new(Allowance::new(rates, *clients, now.into_std()))),
            budget: self.budget.with_quota(self.address_bytes),
        });
        self.addresses.insert(address, Address { connects, quota: quota.clone() });
        Ok(quota)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn quotas(per_second: u32, rates: Option<(Rates, NonZeroU32)>) -> AddressQuotas {
        AddressQuotas::new(per_second.try_into().unwrap(), rates, MemoryBudget::unlimited(), 1)
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let mut quotas = quotas(1, None);
        let now = Instant::now();
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 10 {
            quotas.admit(Ipv4Addr::from_bits(number).into(), now).unwrap();
        }
        assert_eq!(quotas.addresses.len(), ADDRESSES);
    }

    #[test]
    fn connection_rate_allows_burst_then_refills() {
        let mut quotas = quotas(10, None);
        let (address, start) = (Ipv4Addr::LOCALHOST.into(), Instant::now());
        assert_eq!((0..100).map_while(|_| quotas.admit(address, start).ok()).count(), 20);
        assert_eq!(quotas.admit(address, start).unwrap_err(), Duration::from_millis(100));
        let later = start + Duration::from_millis(100);
        assert!(quotas.admit(address, later).is_ok());
        assert!(quotas.admit(address, later).is_err());
    }

    #[test]
    fn connections_of_one_address_share_its_quota() {
        let (here, there) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::BROADCAST.into());
        let now = Instant::now();
        let mut limited = quotas(10, Some((Rates::default(), NonZeroU32::MIN)));
        let mut admit = |address| limited.admit(address, now).unwrap();
        let (ann, bob, cat) = (admit(here), admit(here), admit(there));
        let [ours, theirs, others] =
            [&ann, &bob, &cat].map(|quota| quota.allowance.as_ref().unwrap());
        assert!(Arc::ptr_eq(ours, theirs) && !Arc::ptr_eq(ours, others));
        let mut picture = ann.budget.reservation();
        assert!(!picture.grow_to(1_000_000), "more than the address may have");

        let mut quotas = quotas(10, None);
        assert!(quotas.admit(here, now).unwrap().allowance.is_none());
    }
}

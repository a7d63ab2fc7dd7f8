//! What the connections of one address share, and how fast they may come: [`AddressQuotas`].
//!
//! A wider IPv6 network has quotas too, and those of its addresses are within them.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use hashlink::LruCache;
use ipnet::IpNet;
use purrr_core::{
    Rates,
    model::{OriginKey, Rate},
    rate::{Allowance, Gcra},
};
use tokio::time::Instant;

use super::memory::MemoryBudget;
use crate::net::client_address::{Scope, scopes};

/// Addresses and networks that are remembered, the most recent ones.
///
/// Worst case: 27 MB, at about 410 bytes each. An address that was evicted starts afresh. Its wider
/// networks are as recent as their last address, so one of them cannot evict its own quotas.
pub(super) const NETWORKS: usize = 65_536;

/// Connections that may come at once, in seconds of the rate.
const BURST: u32 = 2;

/// The quotas of the most recent addresses and networks.
#[derive(Debug)]
pub(super) struct AddressQuotas {
    /// The rate of connections from one address.
    connects: Rate,
    /// Time zero of the limiters.
    start: Instant,
    /// The rates of one client, and the multiple of them that an address has. None without a limit.
    rates: Option<(Rates, NonZeroU32)>,
    budget: MemoryBudget,
    bytes: ByteQuotas,
    prefix_factor: u32,
    networks: LruCache<IpNet, NetworkQuota>,
    /// The key of the hashes that name addresses. Random, so that no hash can be traced back to its address.
    key: RandomState,
}

/// Bytes of the budget that one address may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteQuotas {
    pub(super) address: usize,
    /// The limit of a wider network, however many times `address` it may have.
    pub(super) network: usize,
}

/// What the connections of one address share.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    /// The shared rate limits. None if there are none.
    pub(super) allowance: Option<Arc<Allowance>>,
    pub(super) budget: MemoryBudget,
    /// The IPv4 address or the IPv6 /56 as a keyed hash.
    pub(super) origin: OriginKey,
}

#[derive(Clone, Debug)]
struct NetworkQuota {
    connects: Gcra,
    quota: Quota,
}

impl AddressQuotas {
    pub(super) fn new(
        per_second: NonZeroU32,
        rates: Option<(Rates, NonZeroU32)>,
        budget: MemoryBudget,
        bytes: ByteQuotas,
        prefix_factor: u32,
    ) -> Self {
        let per_second = per_second.get();
        let connects = Rate::new(per_second, per_second.saturating_mul(BURST));
        let (start, networks) = (Instant::now(), LruCache::new(NETWORKS));
        let key = RandomState::new();
        Self { connects, start, rates, budget, bytes, prefix_factor, networks, key }
    }

    /// Admits a connection and returns what it shares, or how long to wait before the next try.
    ///
    /// The widest network comes first: an address that it refuses evicts no other.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> Result<Quota, Duration> {
        let mut admitted = Vec::with_capacity(3);
        let mut wider =
            Quota { allowance: None, budget: self.budget.clone(), origin: OriginKey::NONE };
        for scope in scopes(address, self.prefix_factor).rev() {
            let known = self.networks.get(&scope.net).cloned();
            let mut network = known.unwrap_or_else(|| self.network(scope, wider, now));
            let since_start = now.duration_since(self.start);
            network.connects.take(scaled(self.connects, scope.factor), 1, since_start)?;
            wider = network.quota.clone();
            admitted.push((scope.net, network));
        }
        self.networks.extend(admitted);
        Ok(wider)
    }

    /// Returns the full quotas of a network, within those of a wider one.
    fn network(&self, scope: Scope, wider: Quota, now: Instant) -> NetworkQuota {
        let allowance = self.rates.as_ref().map(|(rates, clients)| {
            let clients = clients.saturating_mul(NonZeroU32::new(scope.factor).unwrap_or(*clients));
            let allowance = Allowance::new(rates, clients, now.into_std());
            Arc::new(match wider.allowance {
                Some(wider) => allowance.within(wider),
                None => allowance,
            })
        });
        let bytes = match scope.factor {
            1 => self.bytes.address,
            factor => self.bytes.address.saturating_mul(factor as usize).min(self.bytes.network),
        };
        // The addresses of a /56 have one origin: most often they are one line.
        let origin = match scope.net {
            IpNet::V6(net) if net.prefix_len() > 56 && wider.origin != OriginKey::NONE => {
                wider.origin
            }
            net => OriginKey::from_bits(self.key.hash_one(net)),
        };
        let quota = Quota { allowance, budget: wider.budget.with_quota(bytes), origin };
        NetworkQuota { connects: Gcra::default(), quota }
    }
}

/// Returns so many times a rate.
pub(super) const fn scaled(rate: Rate, factor: u32) -> Rate {
    Rate {
        per_second: rate.per_second.saturating_mul(factor),
        burst: rate.burst.saturating_mul(factor),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn quotas(per_second: u32, rates: Option<(Rates, NonZeroU32)>) -> AddressQuotas {
        let (budget, bytes) = (MemoryBudget::unlimited(), ByteQuotas { address: 1, network: 2 });
        AddressQuotas::new(per_second.try_into().unwrap(), rates, budget, bytes, 4)
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let mut quotas = quotas(1, None);
        let now = Instant::now();
        for number in 0..u32::try_from(NETWORKS).unwrap() + 10 {
            quotas.admit(Ipv4Addr::from_bits(number).into(), now).unwrap();
        }
        assert_eq!(quotas.networks.len(), NETWORKS);
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

//! A counting limit, in all and for each address: [`Permits`].

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use ipnet::IpNet;

use super::lock;
use crate::net::client_address::{Scope, scopes};

/// A pool of permits. Holds one entry for each counted network that has a permit.
#[derive(Debug)]
pub(super) struct Permits {
    total_limit: usize,
    /// Permits for each address. 0 sets no limit.
    address_limit: usize,
    /// How many times that a wider IPv6 network has: see [`scopes`].
    prefix_factor: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_network: HashMap<IpNet, usize>,
}

/// One permit, which returns to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Arc<Permits>,
    address: Option<IpAddr>,
}

impl Permit {
    /// Returns the address that the permit was given to. None if it is unknown.
    pub(super) const fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitReached {
    Total,
    Address,
    /// The limit of an IPv6 /56 or /48.
    Prefix,
}

impl Permits {
    pub(super) fn new(total_limit: usize, address_limit: usize, prefix_factor: u32) -> Self {
        Self { total_limit, address_limit, prefix_factor, taken: Mutex::default() }
    }

    /// Takes a permit. Without an address only the total counts.
    pub(super) fn take(this: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, LimitReached> {
        let mut taken = lock(&this.taken);
        if taken.total >= this.total_limit {
            return Err(LimitReached::Total);
        }
        let networks = this.networks(address);
        for scope in networks.clone() {
            let count = taken.by_network.get(&scope.net).copied().unwrap_or(0);
            if count >= this.address_limit.saturating_mul(scope.factor as usize) {
                let is_address = scope.factor == 1;
                return Err(if is_address { LimitReached::Address } else { LimitReached::Prefix });
            }
        }
        for scope in networks {
            *taken.by_network.entry(scope.net).or_default() += 1;
        }
        taken.total += 1;
        Ok(Permit { pool: Arc::clone(this), address })
    }

    /// Returns the networks that an address counts in. None without a limit.
    fn networks(&self, address: Option<IpAddr>) -> impl Iterator<Item = Scope> + Clone + use<> {
        let (address, prefix_factor) =
            (address.filter(|_| self.address_limit > 0), self.prefix_factor);
        address.into_iter().flat_map(move |address| scopes(address, prefix_factor))
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        lock(&self.taken).total
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = lock(&self.pool.taken);
        taken.total -= 1;
        for scope in self.pool.networks(self.address) {
            if let Entry::Occupied(mut entry) = taken.by_network.entry(scope.net) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_permit_leaves_no_entry() {
        let permits = Arc::new(Permits::new(10, 1, 4));
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address = address.parse().unwrap();
            let permit = Permits::take(&permits, Some(address)).unwrap();
            assert_eq!(Permits::take(&permits, Some(address)).unwrap_err(), LimitReached::Address);
            drop(permit);
            assert!(lock(&permits.taken).by_network.is_empty());
            assert_eq!(permits.taken(), 0);
        }
    }

    #[test]
    fn wider_ipv6_networks_have_rising_limits() {
        let network = |prefix: u128| IpAddr::from((0x2001_0db8 << 96 | prefix << 64).to_be_bytes());
        for (factor, in_a_56, in_a_48) in [(4, 8, 32), (1, 2, 2), (0, 512, 2_048)] {
            let permits = Arc::new(Permits::new(10_000, 2, factor));
            let mut held = Vec::new();
            let mut taken = |networks: std::ops::Range<u128>| {
                let before = held.len();
                for network in networks.flat_map(|number| [network(number); 3]) {
                    held.extend(Permits::take(&permits, Some(network)));
                }
                held.len() - before
            };
            assert_eq!(taken(0..256), in_a_56, "{factor}");
            assert_eq!(taken(256..1024), in_a_48 - in_a_56, "{factor}");
            assert_eq!(taken(0x1_0000..0x1_0001), 2, "another /48, {factor}");
            drop(held);
            assert!(lock(&permits.taken).by_network.is_empty());
        }
    }
}

//! A counting limit, in all and for each address: [`Permits`].

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use super::lock;

/// A pool of permits. Holds one entry for each address that has a permit.
#[derive(Debug)]
pub(super) struct Permits {
    total_limit: usize,
    /// Permits for each address. 0 sets no limit.
    address_limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One permit, which returns to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Arc<Permits>,
    address: Option<IpAddr>,
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitReached {
    Total,
    Address,
}

impl Permits {
    pub(super) fn new(total_limit: usize, address_limit: usize) -> Self {
        Self { total_limit, address_limit, taken: Mutex::default() }
    }

    /// Takes a permit. Without an address only the total counts.
    pub(super) fn take(this: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, LimitReached> {
        let mut taken = lock(&this.taken);
        if taken.total >= this.total_limit {
            return Err(LimitReached::Total);
        }
        let address = address.filter(|_| this.address_limit > 0);
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= this.address_limit {
                return Err(LimitReached::Address);
            }
            *count += 1;
        }
        taken.total += 1;
        Ok(Permit { pool: Arc::clone(this), address })
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
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = taken.by_address.entry(address)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_permit_leaves_no_entry() {
        let permits = Arc::new(Permits::new(10, 1));
        let address = "192.0.2.1".parse().unwrap();
        let permit = Permits::take(&permits, Some(address)).unwrap();
        assert_eq!(Permits::take(&permits, Some(address)).unwrap_err(), LimitReached::Address);
        drop(permit);
        assert!(lock(&permits.taken).by_address.is_empty());
        assert_eq!(permits.taken(), 0);
    }
}

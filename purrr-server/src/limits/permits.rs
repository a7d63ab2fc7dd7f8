//! A number of places, in all and for each address: [`Places`].

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many may be here at once. One entry is held for each address that has a place.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    /// For each address; 0 sets no limit.
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// Somebody's place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

/// Which of the limits is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Each,
}

impl Places {
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { all, each, taken: Mutex::default() }
    }

    /// Takes a place; somebody whose address is not known counts in the total alone.
    pub(super) fn take(this: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        let mut taken = this.lock();
        if taken.all >= this.all {
            return Err(Full::All);
        }
        let address = address.filter(|_| this.each > 0);
        if let Some(address) = address {
            let count = taken.each.entry(address).or_default();
            if *count >= this.each {
                return Err(Full::Each);
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(this), address })
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = taken.each.entry(address)
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
    fn nothing_is_kept_of_an_address_without_places() {
        let places = Arc::new(Places::new(10, 1));
        let address = "192.0.2.1".parse().unwrap();
        let place = Places::take(&places, Some(address)).unwrap();
        assert_eq!(Places::take(&places, Some(address)).unwrap_err(), Full::Each);
        drop(place);
        assert!(places.lock().each.is_empty());
        assert_eq!(places.taken(), 0);
    }
}

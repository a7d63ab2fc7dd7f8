//! How many peers of this node are present and search, and how long that takes: [`Presence`].

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::numbers::{Numbers, WAITS};

#[derive(Debug, Default)]
pub(crate) struct Presence {
    online: AtomicU64,
    searching: AtomicU64,
    /// The end of the last searches, and how long each took, in milliseconds.
    waits: Mutex<VecDeque<(Instant, u64)>>,
}

/// How long a wait counts.
const WAITS_COUNT_FOR: Duration = Duration::from_secs(300);

impl Presence {
    pub(crate) fn arrive(&self) {
        self.online.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn depart(&self) {
        self.online.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a search, which found a partner if it says how long that took.
    pub(crate) fn end_search(&self, waited: Option<Duration>) {
        self.searching.fetch_sub(1, Ordering::Relaxed);
        let Some(waited) = waited else { return };
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.len() >= WAITS {
            waits.pop_front();
        }
        let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        waits.push_back((Instant::now(), millis));
    }

    /// Returns what this counts. The rest is zero.
    pub(crate) fn numbers(&self) -> Numbers {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        while waits.front().is_some_and(|(ended, _)| ended.elapsed() >= WAITS_COUNT_FOR) {
            waits.pop_front();
        }
        Numbers {
            online: self.online.load(Ordering::Relaxed),
            searching: self.searching.load(Ordering::Relaxed),
            waits: waits.iter().map(|(_, wait)| *wait).collect(),
            ..Numbers::default()
        }
    }
}

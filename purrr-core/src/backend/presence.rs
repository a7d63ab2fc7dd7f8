//! How many peers are present and wait, and how long they wait: [`Presence`].

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    model::event::QueueStatus,
    sync::{Mutex, lock},
};

/// Counts the peers that are present and those that wait, and estimates how long a search takes.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    online: AtomicU64,
    waiting: AtomicU64,
    waits: Mutex<Waits>,
}

/// How long the last successful searches took, for their median.
#[derive(Debug, Default)]
struct Waits {
    /// The end of each search and its duration, in order of their ends.
    ended: VecDeque<(Instant, Duration)>,
    /// The same durations in ascending order.
    sorted: Vec<Duration>,
}

/// How many searches an estimate is made from, at most and at least, and how long each of them
/// counts.
const MAX_WAITS: usize = 63;
const MIN_WAITS: usize = 5;
const WAITS_COUNT_FOR: Duration = Duration::from_secs(300);

impl Presence {
    pub(crate) fn arrive(&self) {
        self.online.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn depart(&self) {
        self.online.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn begin_search(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a search, which found a partner if it says how long that took.
    pub(crate) fn end_search(&self, now: Instant, waited: Option<Duration>) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(waited) = waited {
            lock(&self.waits).add(now, waited);
        }
    }

    pub(crate) fn online(&self) -> u64 {
        self.online.load(Ordering::Relaxed)
    }

    pub(crate) fn queue_status(&self, now: Instant) -> QueueStatus {
        QueueStatus {
            online: self.online(),
            waiting: self.waiting.load(Ordering::Relaxed),
            estimate: self.estimate(now),
        }
    }

    fn estimate(&self, now: Instant) -> Option<Duration> {
        let mut waits = lock(&self.waits);
        waits.expire(now);
        let sorted = &waits.sorted;
        (sorted.len() >= MIN_WAITS).then(|| sorted[sorted.len() / 2])
    }
}

impl Waits {
    fn add(&mut self, now: Instant, wait: Duration) {
        if self.ended.len() >= MAX_WAITS {
            self.pop();
        }
        self.ended.push_back((now, wait));
        let index = self.sorted.partition_point(|other| *other < wait);
        self.sorted.insert(index, wait);
    }

    /// Drops the waits that are too old to count.
    fn expire(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(ended, _)| now - *ended >= WAITS_COUNT_FOR) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, wait)) = self.ended.pop_front() {
            let index = self.sorted.partition_point(|other| *other < wait);
            self.sorted.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn wait(presence: &Presence, seconds: u64) {
        presence.begin_search();
        let began = Instant::now();
        advance(Duration::from_secs(seconds)).await;
        presence.end_search(Instant::now(), Some(began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_estimate_is_median_of_recent_searches() {
        let presence = Presence::default();
        let estimate = || presence.queue_status(Instant::now()).estimate.map(|wait| wait.as_secs());
        for seconds in [1, 9, 2, 8] {
            wait(&presence, seconds).await;
            assert_eq!(estimate(), None);
        }
        wait(&presence, 4).await;
        assert_eq!(estimate(), Some(4));
        for _ in 0..MAX_WAITS {
            wait(&presence, 1).await;
        }
        assert_eq!(estimate(), Some(1));
        advance(WAITS_COUNT_FOR).await;
        assert_eq!(estimate(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_search_counts_while_it_waits_only() {
        let presence = Presence::default();
        presence.arrive();
        presence.begin_search();
        presence.begin_search();
        assert_eq!(
            presence.queue_status(Instant::now()),
            QueueStatus { online: 1, waiting: 2, estimate: None }
        );
        presence.end_search(Instant::now(), None);
        presence.end_search(Instant::now(), None);
        assert_eq!(
            presence.queue_status(Instant::now()),
            QueueStatus { online: 1, waiting: 0, estimate: None }
        );
        assert!(lock(&presence.waits).ended.is_empty());
    }
}

//! Who is here and how long they have been waiting: [`Presence`].

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    model::event::QueueStatus,
    sync::{Mutex, lock},
};

/// Counts who is here and who waits, and remembers how long the last searches took.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    here: AtomicU64,
    emptied: Notify,
    waiting: AtomicU64,
    waits: Mutex<Waits>,
}

/// The last searches that ended well, of which the one in the middle is asked for with every search that begins.
#[derive(Debug, Default)]
struct Waits {
    /// When each ended and how long it had taken, in the order in which they ended.
    ended: VecDeque<(Instant, Duration)>,
    /// How long each had taken, in ascending order.
    sorted: Vec<Duration>,
}

/// Counts a peer as here until it is dropped.
#[derive(Debug)]
pub(crate) struct PresenceGuard(Arc<Presence>);

/// Counts a peer as waiting until it is dropped.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    presence: &'a Presence,
    began: Instant,
}

/// How many searches an estimate is made from, at most and at least, and how long each of them counts.
const MOST_WAITS: usize = 63;
const FEWEST_WAITS: usize = 5;
const WAITS_COUNT_FOR: Duration = Duration::from_secs(300);

impl Presence {
    pub(crate) fn arrive(self: &Arc<Self>) -> PresenceGuard {
        self.here.fetch_add(1, Ordering::Relaxed);
        PresenceGuard(Arc::clone(self))
    }

    /// A search begins, which began `waited` ago if it was interrupted.
    pub(crate) fn search(&self, waited: Duration) -> Search<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        Search { presence: self, began: now.checked_sub(waited).unwrap_or(now) }
    }

    pub(crate) fn online(&self) -> u64 {
        self.here.load(Ordering::Relaxed)
    }

    pub(crate) fn queue_status(&self, now: Instant) -> QueueStatus {
        QueueStatus {
            online: self.online(),
            waiting: self.waiting.load(Ordering::Relaxed),
            estimate: self.estimate(now),
        }
    }

    /// Resolves when nobody is here.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.online() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn estimate(&self, now: Instant) -> Option<Duration> {
        let mut waits = lock(&self.waits);
        waits.forget(now);
        let sorted = &waits.sorted;
        (sorted.len() >= FEWEST_WAITS).then(|| sorted[sorted.len() / 2])
    }
}

impl Waits {
    fn add(&mut self, now: Instant, wait: Duration) {
        if self.ended.len() >= MOST_WAITS {
            self.pop();
        }
        self.ended.push_back((now, wait));
        let place = self.sorted.partition_point(|other| *other < wait);
        self.sorted.insert(place, wait);
    }

    /// Forgets those that count no longer.
    fn forget(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(ended, _)| now - *ended >= WAITS_COUNT_FOR) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, wait)) = self.ended.pop_front() {
            let place = self.sorted.partition_point(|other| *other < wait);
            self.sorted.remove(place);
        }
    }
}

impl Search<'_> {
    /// Somebody was found.
    pub(crate) fn succeed(self, now: Instant) {
        let mut waits = lock(&self.presence.waits);
        waits.add(now, now - self.began);
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.presence.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        if self.0.here.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn wait(presence: &Presence, seconds: u64) {
        let search = presence.search(Duration::ZERO);
        advance(Duration::from_secs(seconds)).await;
        search.succeed(Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_estimated_from_the_last_ones_if_there_were_enough() {
        let presence = Presence::default();
        let estimate = || presence.queue_status(Instant::now()).estimate.map(|wait| wait.as_secs());
        for seconds in [1, 9, 2, 8] {
            wait(&presence, seconds).await;
            assert_eq!(estimate(), None);
        }
        wait(&presence, 4).await;
        assert_eq!(estimate(), Some(4));
        for _ in 0..MOST_WAITS {
            wait(&presence, 1).await;
        }
        assert_eq!(estimate(), Some(1));
        advance(WAITS_COUNT_FOR).await;
        assert_eq!(estimate(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_counted_and_who_gave_up_tells_nothing() {
        let presence = Arc::new(Presence::default());
        let _here = presence.arrive();
        let searches = [presence.search(Duration::ZERO), presence.search(Duration::from_secs(5))];
        assert_eq!(
            presence.queue_status(Instant::now()),
            QueueStatus { online: 1, waiting: 2, estimate: None }
        );
        drop(searches);
        assert_eq!(
            presence.queue_status(Instant::now()),
            QueueStatus { online: 1, waiting: 0, estimate: None }
        );
        assert!(presence.waits.lock().unwrap().ended.is_empty());
    }
}

//! What all clones of a hub share, and what a peer has of it while being here: [`Shared`] and [`ActivePeer`].

use super::{presence::Presence, stats::Counters};
use crate::{
    backend::{lobby::Lobby, relay::Relay},
    matching::rule::Pairing,
    model::{event::QueueStatus, limits::Limits},
    people::People,
    sync::{Mutex, MutexGuard, lock},
};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

pub(crate) struct Shared {
    pub(super) lobby: Arc<dyn Lobby>,
    pub(super) relay: Arc<dyn Relay>,
    pub(super) rule: Arc<dyn Pairing>,
    pub(crate) limits: Arc<Limits>,
    phase: AtomicU8,
    phase_changed: Notify,
    /// For how long at most whoever has no chat stays once the hub drains. Set before the phase is.
    longest_linger: OnceLock<Duration>,
    pub(super) presence: Arc<Presence>,
    people: Mutex<People>,
    pub(crate) stats: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open = 0,
    Draining = 1,
    Closed = 2,
}

impl Shared {
    pub(super) fn new(
        (lobby, relay): (Arc<dyn Lobby>, Arc<dyn Relay>),
        rule: Arc<dyn Pairing>,
        limits: Limits,
    ) -> Self {
        Self {
            lobby,
            relay,
            rule,
            limits: Arc::new(limits),
            phase: AtomicU8::new(Phase::Open as u8),
            phase_changed: Notify::new(),
            longest_linger: OnceLock::new(),
            presence: Arc::default(),
            people: Mutex::new(People::new()),
            stats: Counters::default(),
        }
    }

    pub(crate) fn online(&self) -> u64 {
        self.presence.online()
    }

    pub(crate) fn queue_status(&self) -> QueueStatus {
        self.presence.queue_status(Instant::now())
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Resolves when the phase changes after this call, even if it is polled only later.
    pub(crate) fn phase_change(&self) -> Notified<'_> {
        self.phase_changed.notified()
    }

    /// Resolves once the hub's time is up.
    pub(super) async fn closed(&self) {
        loop {
            let change = self.phase_change();
            if self.phase() == Phase::Closed {
                return;
            }
            change.await;
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let before = self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        // A session that has heard of a phase listens for the next one, and would spend its ear on a repetition.
        if before < phase as u8 {
            self.phase_changed.notify_waiters();
        }
    }

    /// Begins to drain. Of several windows the first one counts for those who have no chat.
    pub(super) fn begin_drain(&self, window: Duration) {
        self.longest_linger.get_or_init(|| window / 2);
        self.enter(Phase::Draining);
    }

    /// How much longer one session that has no chat stays: anything up to half the window, so that those who are sent
    /// away do not all go, and then knock elsewhere, at once. None if there is no time for that.
    pub(crate) fn linger(&self) -> Option<Duration> {
        let longest = self.longest_linger.get().filter(|longest| !longest.is_zero())?;
        Some(longest.mul_f64(fastrand::f64()))
    }

    /// When to come back: spread over five seconds, so that those who were sent away do not all return at once.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        fastrand::u64(1_000..=6_000)
    }

    pub(super) fn people(&self) -> MutexGuard<'_, People> {
        lock(&self.people)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("lobby", &self.lobby)
            .field("rule", &self.rule)
            .field("online", &self.online())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

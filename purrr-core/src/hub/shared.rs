//! What all clones of a hub share: [`Shared`].

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    backend::bundle::Backend,
    hub::{observer::Observers, resume::table::ResumeTable, stats::Counters},
    matching::rule::Pairing,
    model::limits::Limits,
};

pub(crate) struct Shared {
    pub(super) backend: Backend,
    pub(super) rule: Arc<dyn Pairing>,
    pub(crate) limits: Arc<Limits>,
    phase: AtomicU8,
    phase_changed: Notify,
    /// Upper bound of the drain jitter. Set before the phase is.
    max_drain_jitter: OnceLock<Duration>,
    pub(super) peers: PeerCount,
    pub(crate) stats: Counters,
    pub(super) observers: Observers,
    /// The sessions that can be claimed.
    pub(super) resume: Arc<ResumeTable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open = 0,
    Draining = 1,
    Closed = 2,
}

/// How many peers of this hub are present, for a drain to wait for.
#[derive(Debug, Default)]
pub(super) struct PeerCount {
    count: AtomicU64,
    emptied: Notify,
}

impl Shared {
    pub(super) fn new(
        backend: Backend,
        rule: Arc<dyn Pairing>,
        limits: Limits,
        observers: Observers,
    ) -> Self {
        Self {
            backend,
            rule,
            limits: Arc::new(limits),
            phase: AtomicU8::new(Phase::Open as u8),
            phase_changed: Notify::new(),
            max_drain_jitter: OnceLock::new(),
            peers: PeerCount::default(),
            stats: Counters::default(),
            observers,
            resume: Arc::default(),
        }
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

    /// Resolves once the drain period is over.
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
        // Notify only on change: each session registers for one notification per phase.
        if before < phase as u8 {
            self.phase_changed.notify_waiters();
        }
    }

    /// Begins to drain. Of several drain periods the first one bounds the jitter.
    pub(super) fn begin_drain(&self, period: Duration) {
        self.max_drain_jitter.get_or_init(|| period / 2);
        self.enter(Phase::Draining);
    }

    /// Draws how much longer a session without a chat stays: up to half the drain period.
    ///
    /// Without it all clients would reconnect elsewhere at once. Returns `None` if there is no time
    /// for that.
    pub(crate) fn drain_jitter(&self) -> Option<Duration> {
        let longest = self.max_drain_jitter.get().filter(|longest| !longest.is_zero())?;
        Some(longest.mul_f64(fastrand::f64()))
    }

    /// Draws when a client is to reconnect: within 1 s to 6 s, so that clients do not all return at
    /// once.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        fastrand::u64(1_000..=6_000)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("backend", &self.backend)
            .field("rule", &self.rule)
            .field("peers", &self.peers.get())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

impl PeerCount {
    pub(super) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn arrive(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn depart(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// Resolves once no peer is present.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.get() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

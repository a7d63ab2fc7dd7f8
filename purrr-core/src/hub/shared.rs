//! What all clones of a hub share, and what a peer has of it while being here: [`Inner`] and [`Guest`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use super::{
    presence::{Crowd, Presence},
    stats::Counters,
};
use crate::{
    backend::{
        lobby::{ChatId, Lobby, LobbyError, PersonId, Ticket},
        pipe::{Pipe, Relay, RelayError},
    },
    codec::Numbers,
    matching::rule::Pairing,
    model::limits::Limits,
    people::{Acquaintances, ResumeToken},
};

pub(crate) struct Inner {
    pub(super) lobby: Arc<dyn Lobby>,
    relay: Arc<dyn Relay>,
    rule: Arc<dyn Pairing>,
    pub(crate) limits: Arc<Limits>,
    phase: AtomicU8,
    phase_changed: Notify,
    /// For how long at most whoever has no chat stays once the hub drains. Set before the phase is.
    longest_linger: OnceLock<Duration>,
    pub(super) crowd: Arc<Crowd>,
    acquaintances: Mutex<Acquaintances>,
    pub(crate) stats: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open = 0,
    Draining = 1,
    Closed = 2,
}

/// A peer that is here, and the person behind it.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) hub: Arc<Inner>,
    person: PersonId,
    /// The embedder has said who it is, so nobody else can.
    sure: bool,
    token: ResumeToken,
    _presence: Presence,
}

/// What a search ends with when it ends well.
pub(crate) struct Found {
    pub(crate) chat: ChatId,
    pub(crate) partner: Arc<Ticket>,
    pub(crate) pipe: Pipe,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    #[error(transparent)]
    Lobby(#[from] LobbyError),
    #[error(transparent)]
    Relay(#[from] RelayError),
}

/// A search under way. Dropping it undoes whatever of it was done.
pub(crate) struct Searching {
    search: Pin<Box<dyn Future<Output = Result<Found, SearchError>> + Send>>,
    opening: Arc<AtomicBool>,
}

impl Inner {
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
            crowd: Arc::default(),
            acquaintances: Mutex::new(Acquaintances::new()),
            stats: Counters::default(),
        }
    }

    pub(crate) fn online(&self) -> u64 {
        self.crowd.online()
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.crowd.numbers(Instant::now())
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

    /// Nothing that is done under this lock can stop halfway.
    fn acquaintances(&self) -> MutexGuard<'_, Acquaintances> {
        self.acquaintances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// A peer arrives: a person who is known to the embedder, the one whom a token was given to, or one that nobody knows
    /// yet.
    pub(crate) fn arrive(
        hub: &Arc<Inner>,
        person: Option<PersonId>,
        resume: Option<ResumeToken>,
    ) -> Self {
        let sure = person.is_some();
        let person = person.unwrap_or_else(PersonId::random);
        let token = ResumeToken::random();
        hub.acquaintances().handle_arrive(token, person);
        hub.stats.arrivals.add(1);
        let presence = hub.crowd.arrive();
        let mut guest = Self { hub: Arc::clone(hub), person, sure, token, _presence: presence };
        if let Some(token) = resume {
            guest.resume(token);
        }
        guest
    }

    /// By which the person is known again later.
    pub(crate) const fn token(&self) -> ResumeToken {
        self.token
    }

    /// The peer says that it is somebody who was here before. Whether that is so.
    pub(crate) fn resume(&mut self, token: ResumeToken) -> bool {
        let sure = self.sure.then_some(self.person);
        let resumed = self.hub.acquaintances().handle_resume(self.token, token, sure);
        self.person = resumed.unwrap_or(self.person);
        resumed.is_some()
    }

    pub(crate) fn block(&self, other: PersonId) {
        let Inner { limits, stats, .. } = &*self.hub;
        let who = (self.person, self.token);
        self.hub.acquaintances().handle_block(limits, Instant::now(), who, other);
        stats.blocks.add(1);
    }

    /// Enters the lobby, waits and opens the chat.
    pub(crate) fn search(&self, mut ticket: Ticket) -> Searching {
        let (hub, person, token) = (Arc::clone(&self.hub), self.person, self.token);
        let opening = Arc::new(AtomicBool::new(false));
        let opens = Arc::clone(&opening);
        let search = Box::pin(async move {
            let search = hub.crowd.search(ticket.waited);
            ticket.person = person;
            let (began, before) = (Instant::now(), ticket.waited);
            let (made, pipe) = loop {
                ticket.avoid = hub.acquaintances().avoided(&hub.limits, Instant::now(), person);
                let place = hub.lobby.enter(ticket.clone(), Arc::clone(&hub.rule)).await?;
                let mut made = place.await?;
                // Either may have blocked the other on another connection while this one waited.
                if !hub.acquaintances().keeps_apart(person, made.partner().person) {
                    opens.store(true, Ordering::Relaxed);
                    match hub.relay.open(&mut made).await {
                        Ok(pipe) => break (made, pipe),
                        Err(RelayError::Gone) => opens.store(false, Ordering::Relaxed),
                        Err(error) => return Err(error.into()),
                    }
                }
                ticket.waited = before + began.elapsed();
            };
            let (now, partner) = (Instant::now(), Arc::clone(made.partner()));
            let who = (person, token);
            hub.acquaintances().handle_met(&hub.limits, now, who, partner.person);
            hub.stats.matches.add(1);
            search.succeed(now);
            Ok(Found { chat: made.chat(), partner, pipe })
        });
        Searching { search, opening }
    }
}

impl Searching {
    /// Whether somebody was found, who may have begun to chat meanwhile.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening.load(Ordering::Relaxed)
    }
}

impl Future for Searching {
    type Output = Result<Found, SearchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.search.as_mut().poll(cx)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Inner { limits, .. } = &*self.hub;
        self.hub.acquaintances().handle_depart(limits, Instant::now(), self.token);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("lobby", &self.lobby)
            .field("rule", &self.rule)
            .field("online", &self.online())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

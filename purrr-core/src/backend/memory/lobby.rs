//! A lobby within one process: [`MemoryLobby`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    backend::{
        lobby::{Lobby, LobbyError, Match, Place},
        pipe::Pipe,
    },
    matching::{
        matchmaker::{EnterError, Made, Matchmaker, PlaceKey, PlaceLimits, Request},
        rule::Pairing,
    },
    model::{census::Census, ids::ChatId, limits::Limits, ticket::Ticket},
    sync::{Mutex, MutexGuard, lock},
};

/// A [`Lobby`] within one process: a [`Matchmaker`] behind a mutex that is never held across an
/// await. Clones share it.
///
/// There is no task behind it: each waiting [`Place`] has a timer of its own for its next search.
/// The rule is asked, and interests are hashed, before the lock is taken. The work under the lock
/// is bounded, see [`Matchmaker`].
///
/// While more searches are due than one timeout resumes, timeouts are 10 ms apart. About 200,000
/// entries are then visited per second, for the searches in the order in which they were due.
#[derive(Clone)]
pub struct MemoryLobby {
    room: Arc<Room>,
}

struct Room {
    machine: Mutex<Paced>,
    limits: Limits,
    opened: Instant,
}

/// The machine, and the time until which no search is resumed.
struct Paced {
    matchmaker: Matchmaker<oneshot::Sender<Match>>,
    paused_until: Duration,
    /// The time from which a refused search is logged again.
    quiet_until: Duration,
}

/// A waiting peer's place: a future that resolves to its match. Dropping it leaves the lobby.
///
/// Not an `async` block, which would hold the timer of 112 bytes in place. Many places have none.
struct Waiting {
    room: Arc<Room>,
    key: PlaceKey,
    matched: oneshot::Receiver<Match>,
    /// The time of the next search, if there is one before the clock's end.
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The machine's time when a lobby is created, so that a ticket may have waited for up to a year
/// before.
const HEAD_START: Duration = Duration::from_secs(365 * 24 * 3600);

/// The pause between two timeouts while more searches are due than one resumes.
const PACE: Duration = Duration::from_millis(10);

/// The minimum interval between two log lines of refused searches.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause before a place whose search is overdue asks again.
const OVERDUE_RETRY: Duration = Duration::from_millis(100);

impl MemoryLobby {
    /// Creates an empty lobby with the `waiting_*` fields of `limits`, and with the `queue_*`
    /// fields for its chats.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let places = PlaceLimits {
            per_person: limits.waiting_per_person,
            per_origin: limits.waiting_per_address,
        };
        let matchmaker = Matchmaker::new(rand::random()).with_limits(places);
        let (paused_until, quiet_until) = (Duration::ZERO, Duration::ZERO);
        let machine = Mutex::new(Paced { matchmaker, paused_until, quiet_until });
        Self { room: Arc::new(Room { machine, limits, opened: Instant::now() }) }
    }
}

impl Default for MemoryLobby {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

#[async_trait]
impl Lobby for MemoryLobby {
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        let room = Arc::clone(&self.room);
        let (seat, matched) = oneshot::channel();
        let request = Request::new(Arc::new(ticket), rule);
        let now = room.now();
        let mut machine = room.lock();
        let key = match machine.matchmaker.handle_enter(now, request, seat) {
            Ok(key) => key,
            Err(error) => {
                let is_due = error != EnterError::AlreadyHere && machine.is_log_due(now);
                drop(machine);
                if is_due {
                    log_refusal(error);
                }
                return Err(error.into());
            }
        };
        let due = room.instant(machine.matchmaker.poll_timeout_of(key));
        room.announce(machine);
        Ok(Place::new(Waiting { room, key, matched, due, timer: None }))
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        Ok(self.room.lock().matchmaker.census())
    }
}

impl Room {
    fn now(&self) -> Duration {
        HEAD_START + self.opened.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Paced> {
        lock(&self.machine)
    }

    /// Converts a time of the machine. Returns `None` if it is beyond the clock's end.
    fn instant(&self, timeout: Option<Duration>) -> Option<Instant> {
        self.opened.checked_add(timeout?.saturating_sub(HEAD_START))
    }

    /// Resumes searches that are due. Returns when this place must call again.
    fn pass_time(self: &Arc<Self>, place: PlaceKey) -> Option<Duration> {
        let now = self.now();
        let mut machine = self.lock();
        let timeout = machine.pass_time(now, place);
        self.announce(machine);
        timeout
    }

    /// Hands out the matches that were made, and unlocks the machine before.
    ///
    /// The lock must be free then: a side that has left drops its match, which takes the lock
    /// again.
    fn announce(self: &Arc<Self>, mut machine: MutexGuard<'_, Paced>) {
        let first = machine.matchmaker.poll_match();
        let rest: Vec<_> = std::iter::from_fn(|| machine.matchmaker.poll_match()).collect();
        drop(machine);
        for made in first.into_iter().chain(rest) {
            self.introduce(made);
        }
    }

    fn introduce(self: &Arc<Self>, Made { pair, sides: [a, b] }: Made<oneshot::Sender<Match>>) {
        let chat = ChatId::random();
        let (pipe_a, pipe_b) = Pipe::pair(&self.limits, || {
            let room = Arc::clone(self);
            Box::new(move |_| room.lock().matchmaker.handle_part(pair))
        });
        // A side that has left returns its match. Dropping it tells the other side.
        drop(a.seat.send(Match::with_pipe(chat, Arc::clone(&b.ticket), pipe_a)));
        drop(b.seat.send(Match::with_pipe(chat, a.ticket, pipe_b)));
    }
}

impl Paced {
    /// Returns true if a refused search may be logged now.
    fn is_log_due(&mut self, now: Duration) -> bool {
        let is_due = self.quiet_until <= now;
        if is_due {
            self.quiet_until = now.saturating_add(LOG_INTERVAL);
        }
        is_due
    }

    fn pass_time(&mut self, now: Duration, place: PlaceKey) -> Option<Duration> {
        if self.paused_until <= now {
            self.matchmaker.handle_timeout(now);
            if self.matchmaker.poll_timeout().is_some_and(|due| due <= now) {
                self.paused_until = now.saturating_add(PACE);
            }
        }
        let due = self.matchmaker.poll_timeout_of(place)?;
        if due > now {
            return Some(due);
        }
        // Other searches were due before. The more places wait, the later each asks again, so that
        // one timeout does not wake them all.
        let waiting = u32::try_from(self.matchmaker.census().waiting).unwrap_or(u32::MAX);
        Some(now.saturating_add((PACE * (1 + (waiting / 64).min(9))).min(OVERDUE_RETRY)))
    }
}

/// Logs which limit refused a search, by the name of the server's flag.
fn log_refusal(error: EnterError) {
    let advice = match error {
        EnterError::PersonLimit => "--waiting-per-person is reached",
        EnterError::OriginLimit => {
            "--waiting-per-address is reached; if this is a proxy, name it with --trusted-proxy"
        }
        EnterError::AlreadyHere => return,
    };
    tracing::warn!("refused a search: {advice}");
}

impl From<EnterError> for LobbyError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::AlreadyHere => Self::AlreadyHere,
            EnterError::PersonLimit | EnterError::OriginLimit => Self::TooManyWaiting,
        }
    }
}

impl Waiting {
    /// Polls for the time of the next search. Pending for ever if there is none.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

impl Future for Waiting {
    type Output = Result<Match, LobbyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Poll::Ready(made) = Pin::new(&mut self.matched).poll(cx) {
                let made = made
                    .expect("the machine drops a seat only when it is left, and this one is not");
                return Poll::Ready(Ok(made));
            }
            ready!(self.poll_due(cx));
            let timeout = self.room.pass_time(self.key);
            self.due = self.room.instant(timeout);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let departed = self.room.lock().matchmaker.handle_leave(self.key);
        // The lock is free again.
        drop(departed);
    }
}

impl fmt::Debug for MemoryLobby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLobby")
            .field("census", &self.room.lock().matchmaker.census())
            .finish()
    }
}

#[cfg(all(test, not(purrr_loom)))]
mod tests {
    use std::sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        matching::{
            bucket::Bucket,
            rules::{Anyone, Interests},
        },
        model::{ids::PeerId, profile::Search},
    };

    /// Asks for interests, and for anyone after a while. Refuses every pair.
    #[derive(Debug, Default)]
    struct Watching {
        lobby: OnceLock<MemoryLobby>,
        hashed: AtomicUsize,
    }

    const ANYONE_AFTER: Duration = Duration::from_secs(5);

    impl Pairing for Watching {
        fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
            let lobby = self.lobby.get().expect("the lobby is set before the first search");
            assert!(lobby.room.machine.try_lock().is_ok(), "asked under the lock");
            self.hashed.fetch_add(1, Ordering::Relaxed);
            let mut buckets = Interests::default().buckets(ticket, waited);
            if waited >= ANYONE_AFTER {
                buckets.extend(Anyone.buckets(ticket, waited));
            }
            buckets
        }

        fn widen_at(&self) -> &[Duration] {
            &[ANYONE_AFTER]
        }

        fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn interests_are_hashed_once_per_ticket_and_outside_the_lock() {
        const TICKETS: usize = 400;
        let (lobby, rule) = (MemoryLobby::default(), Arc::new(Watching::default()));
        rule.lobby.set(lobby.clone()).expect("it is set once");
        let interests: Vec<_> = (0..32).map(|tag| format!("{tag}")).collect();
        let mut places = Vec::new();
        for peer in 0..TICKETS {
            let mut ticket = Ticket::new(PeerId::from_bits(peer as u64));
            ticket.search = Search::for_interests(interests.iter().map(String::as_str));
            places.push(lobby.enter(ticket, Arc::clone(&rule) as _).await.unwrap());
        }
        // Once for each of the two widening steps.
        assert_eq!(rule.hashed.load(Ordering::Relaxed), 2 * TICKETS);
        let waiting = futures::future::select_all(places);
        tokio::time::timeout(Duration::from_secs(600), waiting).await.expect_err("all refuse");
        assert_eq!(lobby.census().await.unwrap().waiting, 0);
        assert_eq!(rule.hashed.load(Ordering::Relaxed), 2 * TICKETS);
    }
}

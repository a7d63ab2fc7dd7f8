//! A lobby within one process: [`MemoryLobby`].

use std::{fmt, future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::{
    backend::{
        lobby::{Lobby, LobbyError, Match, Place},
        pipe::Pipe,
    },
    matching::{
        matchmaker::{Made, Matchmaker, PlaceKey},
        rule::Pairing,
    },
    model::{census::Census, ids::ChatId, limits::Limits, ticket::Ticket},
    sync::{Mutex, MutexGuard, lock},
};

/// A [`Lobby`] within one process: a [`Matchmaker`] behind a mutex that is never held across an await. Clones share it.
///
/// There is no task behind it: each waiting [`Place`] has a timer of its own for when its search goes on.
#[derive(Clone)]
pub struct MemoryLobby {
    room: Arc<Room>,
}

struct Room {
    machine: Mutex<Matchmaker<oneshot::Sender<Match>>>,
    limits: Limits,
    opened: Instant,
}

/// A waiting peer's key to the machine. Dropping it leaves the lobby.
struct Seat {
    room: Arc<Room>,
    key: PlaceKey,
}

/// The machine's time when a lobby is created, so that a ticket may have waited for up to a year before.
const HEAD_START: Duration = Duration::from_secs(365 * 24 * 3600);

impl MemoryLobby {
    /// Creates an empty lobby whose chats are bounded by the `queue_*` fields of `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let machine = Mutex::new(Matchmaker::new(rand::random()));
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
        let (seat, mut matched) = oneshot::channel();
        let mut machine = room.lock();
        let key = machine
            .handle_enter(room.now(), Arc::new(ticket), rule, seat)
            .map_err(|_| LobbyError::AlreadyHere)?;
        let mut timeout = machine.poll_timeout_of(key);
        room.announce(machine);
        let seat = Seat { room, key };
        Ok(Place::new(async move {
            loop {
                tokio::select! {
                    biased;
                    made = &mut matched => return Ok(seat.expect(made)),
                    () = seat.room.reached(timeout) => timeout = seat.room.pass_time(seat.key),
                }
            }
        }))
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        Ok(self.room.lock().census())
    }
}

impl Room {
    fn now(&self) -> Duration {
        HEAD_START + self.opened.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Matchmaker<oneshot::Sender<Match>>> {
        lock(&self.machine)
    }

    /// Resolves at a time of the machine, or never if there is none or it is beyond the clock's end.
    async fn reached(&self, timeout: Option<Duration>) {
        match timeout
            .and_then(|timeout| self.opened.checked_add(timeout.saturating_sub(HEAD_START)))
        {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }

    /// Resumes the searches that are due. Returns when the next one of this place is.
    fn pass_time(self: &Arc<Self>, place: PlaceKey) -> Option<Duration> {
        let mut machine = self.lock();
        machine.handle_timeout(self.now());
        let timeout = machine.poll_timeout_of(place);
        self.announce(machine);
        timeout
    }

    /// Hands out the matches that were made, and unlocks the machine before.
    ///
    /// The lock must be free then: a side that has left drops its match, which takes the lock again.
    fn announce(self: &Arc<Self>, mut machine: MutexGuard<'_, Matchmaker<oneshot::Sender<Match>>>) {
        let first = machine.poll_match();
        let rest: Vec<_> = std::iter::from_fn(|| machine.poll_match()).collect();
        drop(machine);
        for made in first.into_iter().chain(rest) {
            self.introduce(made);
        }
    }

    fn introduce(self: &Arc<Self>, Made { pair, sides: [a, b] }: Made<oneshot::Sender<Match>>) {
        let chat = ChatId::random();
        let (pipe_a, pipe_b) = Pipe::pair(&self.limits, || {
            let room = Arc::clone(self);
            Box::new(move || room.lock().handle_part(pair))
        });
        // A side that has left returns its match. Dropping it tells the other side.
        drop(a.seat.send(Match::with_pipe(chat, Arc::clone(&b.ticket), pipe_a)));
        drop(b.seat.send(Match::with_pipe(chat, a.ticket, pipe_b)));
    }
}

impl Seat {
    fn expect(&self, made: Result<Match, oneshot::error::RecvError>) -> Match {
        made.expect("the machine gives up a seat only by matching it or when it is left, and it is not left")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.lock().handle_leave(self.key);
    }
}

impl fmt::Debug for MemoryLobby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLobby").field("census", &self.room.lock().census()).finish()
    }
}

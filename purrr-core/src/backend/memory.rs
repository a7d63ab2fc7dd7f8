//! The backend for one process: [`MemoryLobby`] and [`MemoryRelay`].

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
        relay::{Relay, RelayError},
    },
    matching::{
        matchmaker::{Made, Matchmaker, PlaceKey},
        rule::Pairing,
    },
    model::{census::Census, ids::ChatId, limits::Limits, ticket::Ticket},
    sync::{Mutex, MutexGuard, lock},
};

/// A [`Lobby`] within one process: a [`Matchmaker`] behind a plain mutex that is never held across an await.
///
/// There is no task behind it: each waiting [`Place`] keeps its own alarm for when its search goes on.
#[derive(Clone)]
pub struct MemoryLobby {
    room: Arc<Room>,
}

/// The [`Relay`] that goes with [`MemoryLobby`]: its matches bring their pipe along.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryRelay;

struct Room {
    machine: Mutex<Matchmaker<oneshot::Sender<Match>>>,
    limits: Limits,
    opened: Instant,
}

/// A place that is being waited in; dropping it leaves.
struct Seat {
    room: Arc<Room>,
    key: PlaceKey,
}

/// What the machine's clock shows when a lobby opens. Nobody can have waited since before that clock began.
const HEAD_START: Duration = Duration::from_secs(365 * 24 * 3600);

impl MemoryLobby {
    /// An empty lobby whose chats are bounded by the `pipe_*` fields of `limits`.
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
        let mut alarm = machine.poll_timeout_of(key);
        room.announce(machine);
        let seat = Seat { room, key };
        Ok(Place::new(async move {
            loop {
                tokio::select! {
                    biased;
                    made = &mut matched => return Ok(seat.expect(made)),
                    () = seat.room.reaches(alarm) => alarm = seat.room.pass_time(seat.key),
                }
            }
        }))
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        Ok(self.room.lock().census())
    }
}

#[async_trait]
impl Relay for MemoryRelay {
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError> {
        let mut pipe = chat.take_pipe().ok_or(RelayError::Foreign)?;
        if pipe.begin().await { Ok(pipe) } else { Err(RelayError::Gone) }
    }
}

impl Room {
    fn now(&self) -> Duration {
        HEAD_START + self.opened.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Matchmaker<oneshot::Sender<Match>>> {
        lock(&self.machine)
    }

    /// Resolves at a time of the machine's, or never if there is none or it is beyond the clock's end.
    async fn reaches(&self, alarm: Option<Duration>) {
        match alarm.and_then(|alarm| self.opened.checked_add(alarm.saturating_sub(HEAD_START))) {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }

    /// Lets searches go on, and returns when this place's next does.
    fn pass_time(self: &Arc<Self>, place: PlaceKey) -> Option<Duration> {
        let mut machine = self.lock();
        machine.handle_timeout(self.now());
        let alarm = machine.poll_timeout_of(place);
        self.announce(machine);
        alarm
    }

    /// Tells everybody who was matched, with the lock released: a side that is gone drops its match, which takes the
    /// lock again.
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
        // A side that has gone hands its match back; dropping it tells the other side.
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

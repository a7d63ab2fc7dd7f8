//! The face of the library: [`Hub`], which ties lobby, rule and relay together, and [`Chat`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Sink, Stream};
use tokio::sync::{Notify, futures::Notified};

use crate::{
    frame::Frame,
    limits::Limits,
    lobby::{Census, ChatId, Lobby, LobbyError, PeerId, Speaks, Ticket},
    memory::{MemoryLobby, MemoryRelay},
    pairing::{Interests, Pairing},
    protocol::{Code, Event, Hello, Search},
    relay::{Pipe, Reason, Received, Relay, RelayError},
    serve::{Ended, Input, serve},
};

/// Pairs peers and carries what they say to each other. Cheap to clone; all clones are the same hub.
///
/// ```
/// use purrr_core::{Hub, Profile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), purrr_core::PairError> {
/// let hub = Hub::memory();
/// let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
/// let (mut ann, mut bob) = (ann?, bob?);
/// ann.say("hello").await.ok();
/// assert_eq!(bob.recv().await.unwrap().as_text(), Some("hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

/// Puts a [`Hub`] together. Defaults: in memory, by [`Interests`], with the default [`Limits`].
#[derive(Debug, Default)]
pub struct HubBuilder {
    backend: Option<(Arc<dyn Lobby>, Arc<dyn Relay>)>,
    rule: Option<Arc<dyn Pairing>>,
    limits: Limits,
}

/// What is known of a peer when it arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Who it is.
    pub hello: Hello,
    /// Whom it would like to meet.
    pub search: Search,
    /// What its client can take.
    pub speaks: Speaks,
}

/// A running chat, as one of its two peers has it. Dropping it tells the partner.
#[derive(Debug)]
pub struct Chat {
    hub: Arc<Inner>,
    id: ChatId,
    partner: Arc<Ticket>,
    pipe: Pipe,
    _presence: Presence,
}

/// Why [`Hub::pair`] found nobody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The hub is being drained.
    #[error("the hub is going away and makes no more pairs")]
    Draining,
    /// The lobby failed.
    #[error("the lobby failed")]
    Lobby(#[source] LobbyError),
    /// The relay failed.
    #[error("the relay failed")]
    Relay(#[source] RelayError),
}

/// The chat is over; nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chat is over")]
#[non_exhaustive]
pub struct ChatOver;

/// What a hub has done since it was built. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions begun, and [`Chat`]s asked for.
    pub arrivals: u64,
    /// Times that a peer was matched: two for each pair.
    pub matches: u64,
    /// Frames that peers sent to their partners.
    pub frames: u64,
    /// Bytes of those frames' contents.
    pub bytes: u64,
    /// What was refused, by code.
    pub refused: Vec<(Code, u64)>,
}

impl Hub {
    /// Puts a hub together.
    #[must_use]
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// A hub in memory with all the defaults.
    #[must_use]
    pub fn memory() -> Self {
        Self::builder().build()
    }

    /// Waits for a partner.
    ///
    /// # Errors
    ///
    /// [`PairError::Draining`] once [`drain`](Self::drain) was called; otherwise what the backend failed with.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lobby. If a partner had just been found, it is told.
    pub async fn pair(&self, profile: Profile) -> Result<Chat, PairError> {
        let presence = self.inner.arrive();
        let Profile { hello, search, speaks } = profile;
        let ticket = Ticket { hello, search, speaks, ..Ticket::new(PeerId::random()) };
        let change = self.inner.phase_change();
        if self.is_draining() {
            return Err(PairError::Draining);
        }
        tokio::select! {
            found = self.inner.search(ticket) => match found {
                Ok(Found { chat: id, partner, pipe }) => {
                    let hub = Arc::clone(&self.inner);
                    Ok(Chat { hub, id, partner, pipe, _presence: presence })
                }
                Err(SearchError::Lobby(error)) => Err(PairError::Lobby(error)),
                Err(SearchError::Relay(error)) => Err(PairError::Relay(error)),
            },
            () = change => Err(PairError::Draining),
        }
    }

    /// Runs one peer's session over a transport until either goes away.
    ///
    /// The transport is read only as fast as the partner reads, and written no faster than it takes; a stream that ends
    /// and a sink that fails both mean that the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the session as if the connection were lost.
    pub fn serve<T, I>(&self, transport: T, profile: Profile) -> impl Future<Output = Ended>
    where
        T: Stream<Item = I> + Sink<Event>,
        I: Into<Input>,
    {
        serve(&self.inner, transport, profile)
    }

    /// How many peers are here: sessions, and chats that were asked for by [`pair`](Self::pair).
    #[must_use]
    pub fn online(&self) -> u64 {
        self.inner.online()
    }

    /// How many wait and how many chat.
    ///
    /// # Errors
    ///
    /// What the lobby failed with.
    pub async fn census(&self) -> Result<Census, LobbyError> {
        self.inner.lobby.census().await
    }

    /// The limits this hub was built with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats.read()
    }

    /// Whether [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.phase() != Phase::Open
    }

    /// Makes no more pairs, tells everyone, lets chats finish for `window` and then ends them. Returns when nobody is
    /// here any more, or one second after the window at the latest.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no more pairs are made, but nobody ends the chats.
    pub async fn drain(&self, window: Duration) {
        /// For the last words to be sent.
        const GOODBYE: Duration = Duration::from_secs(1);
        self.inner.enter(Phase::Draining);
        if tokio::time::timeout(window, self.inner.empty()).await.is_err() {
            self.inner.enter(Phase::Closed);
            tokio::time::timeout(GOODBYE, self.inner.empty()).await.ok();
        }
    }
}

impl HubBuilder {
    /// Uses another backend. Its lobby and its relay belong together.
    #[must_use]
    pub fn backend(mut self, lobby: Arc<dyn Lobby>, relay: Arc<dyn Relay>) -> Self {
        self.backend = Some((lobby, relay));
        self
    }

    /// Pairs by another rule.
    #[must_use]
    pub fn rule(mut self, rule: impl Pairing) -> Self {
        self.rule = Some(Arc::new(rule));
        self
    }

    /// Accepts more or less.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The hub.
    #[must_use]
    pub fn build(self) -> Hub {
        let Self { backend, rule, limits } = self;
        let (lobby, relay) = backend
            .unwrap_or_else(|| (Arc::new(MemoryLobby::new(limits.clone())), Arc::new(MemoryRelay)));
        let rule = rule.unwrap_or_else(|| Arc::new(Interests::default()));
        Hub {
            inner: Arc::new(Inner {
                lobby,
                relay,
                rule,
                limits: Arc::new(limits),
                phase: AtomicU8::new(Phase::Open as u8),
                phase_changed: Notify::new(),
                crowd: Arc::default(),
                stats: Counters::default(),
            }),
        }
    }
}

impl Profile {
    /// Somebody with a name who would meet anyone.
    pub fn named(name: &str) -> Self {
        Self { hello: Hello::named(name), ..Self::default() }
    }

    /// The same peer, looking for somebody in particular.
    #[must_use]
    pub fn seeking(mut self, search: Search) -> Self {
        self.search = search;
        self
    }
}

impl Chat {
    /// Names the chat, the same for both.
    #[must_use]
    pub const fn id(&self) -> ChatId {
        self.id
    }

    /// Who the partner is.
    #[must_use]
    pub fn partner(&self) -> &Hello {
        &self.partner.hello
    }

    /// Sends a frame, waiting until the partner's queue has room.
    ///
    /// # Errors
    ///
    /// [`ChatOver`] once either side has parted.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), ChatOver> {
        let weight = frame.weight();
        self.pipe.send(frame).await.map_err(|_| ChatOver)?;
        self.hub.count_frame(weight);
        Ok(())
    }

    /// Sends a text.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn say(&mut self, text: &str) -> Result<(), ChatOver> {
        self.send(Frame::text(text)).await
    }

    /// Receives the next frame.
    ///
    /// # Errors
    ///
    /// Why the chat is over, after everything that the partner sent before.
    ///
    /// # Cancel safety
    ///
    /// Safe: a frame is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Frame, Reason> {
        loop {
            let change = self.hub.phase_change();
            if self.hub.phase() == Phase::Closed {
                return Err(Reason::Ended);
            }
            tokio::select! {
                biased;
                received = self.pipe.recv() => return match received {
                    Received::Frame(frame) => {
                        self.pipe.acknowledge(u64::from(frame.wants_receipt()));
                        Ok(frame)
                    }
                    Received::Parted(reason) => Err(reason),
                },
                () = change => {}
            }
        }
    }

    /// Leaves the partner.
    pub fn leave(self) {
        self.pipe.part(Reason::Left);
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open = 0,
    Draining = 1,
    Closed = 2,
}

pub(crate) struct Inner {
    lobby: Arc<dyn Lobby>,
    relay: Arc<dyn Relay>,
    rule: Arc<dyn Pairing>,
    limits: Arc<Limits>,
    phase: AtomicU8,
    phase_changed: Notify,
    crowd: Arc<Crowd>,
    stats: Counters,
}

/// Who is here, counted.
#[derive(Debug, Default)]
struct Crowd {
    size: AtomicU64,
    emptied: Notify,
}

/// Counts a peer as here until it is dropped.
#[derive(Debug)]
pub(crate) struct Presence(Arc<Crowd>);

#[derive(Debug, Default)]
struct Counters {
    arrivals: AtomicU64,
    matches: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    refused: [AtomicU64; Code::ALL.len()],
}

impl Inner {
    pub(crate) fn arrive(&self) -> Presence {
        self.stats.arrivals.fetch_add(1, Ordering::Relaxed);
        self.crowd.size.fetch_add(1, Ordering::Relaxed);
        Presence(Arc::clone(&self.crowd))
    }

    pub(crate) fn online(&self) -> u64 {
        self.crowd.size.load(Ordering::Relaxed)
    }

    pub(crate) fn limits_shared(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// Enters the lobby, waits and opens the chat. Dropping the future undoes whatever of it was done.
    pub(crate) fn search(
        self: &Arc<Self>,
        ticket: Ticket,
    ) -> Pin<Box<dyn Future<Output = Result<Found, SearchError>> + Send>> {
        let hub = Arc::clone(self);
        Box::pin(async move {
            let place = hub.lobby.enter(ticket, Arc::clone(&hub.rule)).await?;
            let mut made = place.await?;
            let pipe = hub.relay.open(&mut made).await?;
            hub.stats.matches.fetch_add(1, Ordering::Relaxed);
            Ok(Found { chat: made.chat(), partner: Arc::clone(made.partner()), pipe })
        })
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

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.phase_changed.notify_waiters();
    }

    /// When to come back: spread over five seconds, so that those who were sent away do not all return at once.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        fastrand::u64(1_000..=6_000)
    }

    pub(crate) fn count_frame(&self, weight: usize) {
        self.stats.frames.fetch_add(1, Ordering::Relaxed);
        self.stats.bytes.fetch_add(weight as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, code: Code) {
        self.stats.refused[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    async fn empty(&self) {
        loop {
            let emptied = self.crowd.emptied.notified();
            if self.online() == 0 {
                return;
            }
            emptied.await;
        }
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

impl Drop for Presence {
    fn drop(&mut self) {
        if self.0.size.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

impl Counters {
    fn read(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            arrivals: of(&self.arrivals),
            matches: of(&self.matches),
            frames: of(&self.frames),
            bytes: of(&self.bytes),
            refused: Code::ALL
                .into_iter()
                .map(|code| (code, of(&self.refused[code as usize])))
                .collect(),
        }
    }
}

//! The face of the library: [`Hub`], which ties lobby, rule and relay together, and [`Chat`].

pub(crate) mod driver;
mod presence;
pub(crate) mod shared;
mod stats;
pub(crate) mod transport;

use std::{sync::Arc, time::Duration};

use futures::{Sink, Stream};
use shared::{Found, Guest, Inner, Phase, SearchError};
use tokio::time::timeout;

pub use self::stats::Stats;
use crate::{
    backend::{
        lobby::{Census, ChatId, Lobby, LobbyError, PeerId, PersonId, Speaks, Ticket},
        memory::{MemoryLobby, MemoryRelay},
        pipe::{Pipe, Reason, Received, Relay, RelayError},
    },
    codec::{Event, Hello, Search},
    hub::{
        driver::{Ended, Input, serve},
        transport::Gate,
    },
    matching::rule::{Interests, Pairing},
    model::{frame::Frame, limits::Limits},
    people::ResumeToken,
    rate::bucket::Allowance,
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
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Profile {
    /// Who it is.
    pub hello: Hello,
    /// Whom it would like to meet.
    pub search: Search,
    /// What its client can take.
    pub speaks: Speaks,
    /// Who is behind the peer, if the embedder knows: the same person never meets itself, nor whom it has blocked.
    /// Default: somebody nobody knows yet. A resume token of another person then changes nothing.
    pub person: Option<PersonId>,
    /// The token of an earlier session of the same person, if its transport knows one. One that is nobody's, or not any
    /// more, changes nothing.
    pub resume: Option<ResumeToken>,
    /// What several peers may do together, beside what [`Limits::rates`] says of each. Default: this one shares nothing.
    pub allowance: Option<Arc<Allowance>>,
    /// Which the transport of the peer has a clone of. Default: it has none, and is not polled while its peer is held up.
    pub gate: Option<Gate>,
}

/// A running chat, as one of its two peers has it. Dropping it tells the partner.
#[derive(Debug)]
pub struct Chat {
    guest: Guest,
    id: ChatId,
    partner: Arc<Ticket>,
    pipe: Pipe,
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

    /// Waits for a partner. Of the profile, [`Profile::allowance`] and [`Profile::gate`] are for [`serve`](Self::serve) only,
    /// and so are [`Limits::rates`]: an embedder that sends for somebody minds how fast.
    ///
    /// # Errors
    ///
    /// [`PairError::Draining`] once [`drain`](Self::drain) was called; otherwise what the backend failed with.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lobby. If a partner had just been found, it is told.
    pub async fn pair(&self, profile: Profile) -> Result<Chat, PairError> {
        let Profile { hello, search, speaks, person, resume, .. } = profile;
        let guest = Guest::arrive(&self.inner, person, resume);
        let ticket = Ticket { hello, search, speaks, ..Ticket::new(PeerId::random()) };
        let change = self.inner.phase_change();
        if self.is_draining() {
            return Err(PairError::Draining);
        }
        tokio::select! {
            // A chat that has begun has begun.
            biased;
            found = guest.search(ticket) => match found {
                Ok(Found { chat: id, partner, pipe }) => Ok(Chat { guest, id, partner, pipe }),
                Err(SearchError::Lobby(error)) => Err(PairError::Lobby(error)),
                Err(SearchError::Relay(error)) => Err(PairError::Relay(error)),
            },
            () = change => Err(PairError::Draining),
        }
    }

    /// Runs one peer's session over a transport until either goes away.
    ///
    /// The transport is read only as fast as the partner reads, and written no faster than it takes; a stream that ends
    /// and a sink that fails both mean that the connection is lost. How a transport that has a life of its own is polled
    /// while no command is wanted, [`Gate`] says.
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
    /// Whoever has no chat is let go at some moment of the first half of the window, each at another one, and whoever
    /// comes meanwhile at once. So nobody's next server is stormed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no more pairs are made, but nobody ends the chats.
    pub async fn drain(&self, window: Duration) {
        /// For the last words to be sent.
        const GOODBYE: Duration = Duration::from_secs(1);
        self.inner.begin_drain(window);
        if timeout(window, self.inner.crowd.empty()).await.is_err() {
            self.inner.enter(Phase::Closed);
            timeout(GOODBYE, self.inner.crowd.empty()).await.ok();
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
        Hub { inner: Arc::new(Inner::new((lobby, relay), rule, limits)) }
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
    /// [`ChatOver`] once either side has parted or the hub has ended the chat.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    pub async fn send(&mut self, frame: Frame) -> Result<(), ChatOver> {
        if self.guest.hub.phase() == Phase::Closed {
            return Err(ChatOver);
        }
        let weight = frame.weight();
        tokio::select! {
            biased;
            sent = self.pipe.send(frame) => sent.map_err(|_| ChatOver)?,
            () = self.guest.hub.closed() => return Err(ChatOver),
        }
        self.guest.hub.stats.count_frame(weight);
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
        tokio::select! {
            biased;
            received = self.pipe.recv() => match received {
                Received::Frame(frame) => {
                    let owed = frame.wants_receipt() && self.partner.speaks.receipts;
                    self.pipe.acknowledge(u64::from(owed));
                    Ok(frame)
                }
                Received::Parted(reason) => Err(reason),
            },
            () = self.guest.hub.closed() => Err(Reason::Ended),
        }
    }

    /// By which this person is known again: see [`Profile::resume`].
    #[must_use]
    pub const fn resume_token(&self) -> ResumeToken {
        self.guest.token()
    }

    /// Leaves the partner.
    pub fn leave(self) {
        self.pipe.part(Reason::Left);
    }

    /// Leaves the partner, and never meets that person again. The partner sees that it was left.
    pub fn block(self) {
        self.guest.block(self.partner.person);
        self.leave();
    }
}

//! The entry point of the library: [`Hub`] and its [`HubBuilder`].

use std::{sync::Arc, time::Duration};

use futures::{Sink, Stream};
use tokio::time::timeout;

use crate::{
    backend::{bundle::Backend, lobby::LobbyError},
    hub::{
        call::Answer,
        channels::{Commands, Events, channels},
        chat::{Chat, ResumeError, detached::resume},
        driver::serve,
        observer::{Observer, Observers},
        pair_error::PairError,
        peer::ActivePeer,
        profile::Profile,
        search::{Found, SearchError, Searching},
        shared::{Phase, Shared},
        stats::Stats,
        transport::Input,
    },
    matching::{rule::Pairing, rules::Interests},
    model::{
        census::Census,
        event::Event,
        ids::{PeerId, ResumeToken},
        limits::Limits,
        reason::CloseReason,
        ticket::Ticket,
    },
    session::{check_hello, normalize_search},
};

/// Matches peers and relays frames between them. Cheap to clone; all clones are the same hub.
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
    shared: Arc<Shared>,
}

/// Builds a [`Hub`]. Defaults: a backend in memory, the rule [`Interests`], the default [`Limits`].
#[derive(Debug, Default)]
pub struct HubBuilder {
    backend: Option<Backend>,
    rule: Option<Arc<dyn Pairing>>,
    limits: Limits,
    observers: Observers,
}

impl Hub {
    /// Returns a builder with the defaults.
    #[must_use]
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// Creates a hub in memory with all the defaults.
    #[must_use]
    pub fn memory() -> Self {
        Self::builder().build()
    }

    /// Waits for a partner and returns the chat with it.
    ///
    /// [`Limits::rates`], [`Profile::allowance`] and [`Profile::gate`] are for
    /// [`serve`](Self::serve) only: an embedder limits the rate of what it sends itself.
    ///
    /// # Errors
    ///
    /// [`PairError::Refused`] if the profile exceeds a limit, [`PairError::Draining`] once
    /// [`drain`](Self::drain) was called, otherwise the error of the backend.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the lobby. A partner that was just found is told.
    pub async fn pair(&self, profile: Profile) -> Result<Chat, PairError> {
        let Profile { hello, search, capabilities, person, resume, origin, .. } = profile;
        let Profile { budget, hints, .. } = profile;
        check_hello(self.limits(), &hello).map_err(PairError::Refused)?;
        let search = normalize_search(self.limits(), search).map_err(PairError::Refused)?;
        let peer = ActivePeer::arrive(&self.shared, PeerId::random(), person, origin);
        let mut ticket = Ticket { hello, search, capabilities, origin, ..Ticket::new(peer.id()) };
        if let Some(hints) = hints {
            (ticket.attributes, ticket.exclusions) = (hints.attributes, hints.exclusions);
        }
        if self.is_draining() {
            return Err(PairError::Draining);
        }
        let (peer, ticket) = match resume {
            None => (peer, ticket),
            // Boxed, otherwise every call would hold room for a resume while it waits.
            Some(token) => Box::pin(resumed(peer, ticket, token)).await,
        };
        let search = peer.search(ticket.clone());
        let mut found = self.shared.found_unless_draining(search).await?;
        found.pipe.set_budget(budget);
        Ok(Chat::new(peer, ticket, found))
    }

    /// Returns the chat that was [detached](Chat::detach) with this token, with all that the partner
    /// has sent meanwhile.
    ///
    /// The token is used up. That of [`Chat::resume_token`] is good next. Of two calls with the same
    /// token one wins.
    ///
    /// # Errors
    ///
    /// [`ResumeError::Unknown`] if no chat is held for the token, [`ResumeError::Draining`] once
    /// [`drain`](Self::drain) was called, otherwise the error of the backend.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the token may be used up. The chat then ends
    /// when its window is over.
    pub async fn resume(&self, token: ResumeToken) -> Result<Chat, ResumeError> {
        resume(&self.shared, token).await
    }

    /// Begins a session over channels, for an embedder without a transport.
    ///
    /// The peer arrives when the future is first polled, so spawn it. It resolves when the session
    /// ends: dropping the [`Commands`] or the [`Events`] ends it as lost. `delivered` means that a
    /// message is in the channel of its receiver.
    ///
    /// ```
    /// use purrr_core::{Command, Event, Hub, Profile, Search, model::CloseReason};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = Hub::memory();
    /// let (mut commands, mut events, session) = hub.session(Profile::named("Ann"));
    /// let session = tokio::spawn(session);
    /// assert!(matches!(events.recv().await, Some(Event::Welcome { .. })));
    /// commands.send(Command::Find(Search::default())).await?;
    /// assert!(matches!(events.recv().await, Some(Event::Waiting(_))));
    /// drop(commands);
    /// assert_eq!(session.await?, CloseReason::Lost);
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(
        &self,
        profile: Profile,
    ) -> (Commands, Events, impl Future<Output = CloseReason> + Send + use<>) {
        let (commands, events, transport) = channels();
        let hub = self.clone();
        (commands, events, async move { hub.serve(transport, profile).await })
    }

    /// Runs one peer's session over a transport until either ends. Returns why.
    ///
    /// Backpressure goes both ways: the transport is read as fast as the partner reads, and written
    /// as fast as it takes. A stream that ends and a sink that fails both mean that the connection
    /// is lost. With a [`Gate`](crate::hub::Gate) the transport is polled for heartbeats even while
    /// no command is wanted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the session as if the connection were lost.
    pub fn serve<T, I>(&self, transport: T, profile: Profile) -> impl Future<Output = CloseReason>
    where
        T: Stream<Item = I> + Sink<Event>,
        I: Into<Input>,
    {
        serve(&self.shared, transport, profile)
    }

    /// Returns how many peers of this hub are present: sessions, and callers of
    /// [`pair`](Self::pair) with their chats.
    #[must_use]
    pub fn online(&self) -> u64 {
        self.shared.peers.get()
    }

    /// Returns how many peers wait and how many chats run.
    ///
    /// # Errors
    ///
    /// The error of the lobby.
    pub async fn census(&self) -> Result<Census, LobbyError> {
        self.shared.backend.lobby.census().await
    }

    /// Returns the limits that this hub was built with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Returns the counters of this hub.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.read(self.shared.resume.detached())
    }

    /// Returns true once [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.phase() != Phase::Open
    }

    /// Makes no more matches, lets chats finish for `window`, and then ends them.
    ///
    /// Returns once no peer is present, or one second after the window at the latest. Sessions
    /// without a chat close at random times within the first half of the window, to avoid a
    /// thundering herd of reconnects. Sessions that begin meanwhile close at once.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no more matches are made, and running chats are not ended.
    pub async fn drain(&self, window: Duration) {
        /// Time for the last events to be written.
        const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
        self.shared.begin_drain(window);
        if timeout(window, self.shared.peers.empty()).await.is_err() {
            self.shared.enter(Phase::Closed);
            timeout(CLOSE_TIMEOUT, self.shared.peers.empty()).await.ok();
        }
    }
}

impl HubBuilder {
    /// Sets the backend. Its three parts belong together.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Sets the pairing rule.
    #[must_use]
    pub fn rule(mut self, rule: impl Pairing) -> Self {
        self.rule = Some(Arc::new(rule));
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds an observer, which hears what happens. Several may be added.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer) -> Self {
        self.observers.add(Arc::new(observer));
        self
    }

    /// Builds the hub.
    #[must_use]
    pub fn build(self) -> Hub {
        let Self { backend, rule, limits, observers } = self;
        let backend = backend.unwrap_or_else(|| Backend::memory(&limits));
        let rule = rule.unwrap_or_else(|| Arc::new(Interests::default()));
        Hub { shared: Arc::new(Shared::new(backend, rule, limits, observers)) }
    }
}

impl Shared {
    /// Waits for the end of a search, unless the hub is drained before.
    pub(super) async fn found_unless_draining(
        &self,
        search: Searching,
    ) -> Result<Found, PairError> {
        let change = self.phase_change();
        if self.phase() != Phase::Open {
            return Err(PairError::Draining);
        }
        tokio::select! {
            // A chat that has begun is returned, also if the drain begins in the same moment.
            biased;
            found = search => found.map_err(|error| match error {
                SearchError::Lobby(error) => PairError::Lobby(error),
                SearchError::Relay(error) => PairError::Relay(error),
                SearchError::People(error) => PairError::People(error),
            }),
            () = change => Err(PairError::Draining),
        }
    }
}

/// Redeems a token, and returns the peer as the person that it is from then on.
async fn resumed(mut peer: ActivePeer, ticket: Ticket, token: ResumeToken) -> (ActivePeer, Ticket) {
    if let Answer::Resumed(person) = peer.resume_on_arrival(token).await {
        peer.set_person(person);
    }
    (peer, ticket)
}

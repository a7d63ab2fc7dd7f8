//! The face of the library: [`Hub`], and the [`HubBuilder`] that puts one together.

use futures::{Sink, Stream};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

use crate::{
    backend::{
        lobby::{Lobby, LobbyError},
        memory::{MemoryLobby, MemoryRelay},
        relay::{Relay, RelayError},
    },
    hub::{
        chat::Chat,
        driver::serve,
        profile::Profile,
        search::{ActivePeer, Found, SearchError},
        shared::{Phase, Shared},
        stats::Stats,
        transport::Input,
    },
    matching::{rule::Pairing, rules::Interests},
    model::{
        census::Census, event::Event, ids::PeerId, limits::Limits, reason::CloseReason,
        ticket::Ticket,
    },
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
    inner: Arc<Shared>,
}

/// Puts a [`Hub`] together. Defaults: in memory, by [`Interests`], with the default [`Limits`].
#[derive(Debug, Default)]
pub struct HubBuilder {
    backend: Option<(Arc<dyn Lobby>, Arc<dyn Relay>)>,
    rule: Option<Arc<dyn Pairing>>,
    limits: Limits,
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
        let Profile { hello, search, capabilities, person, resume, .. } = profile;
        let guest = ActivePeer::arrive(&self.inner, person, resume);
        let ticket = Ticket { hello, search, capabilities, ..Ticket::new(PeerId::random()) };
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
    /// while no command is wanted, [`Gate`](crate::hub::Gate) says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the session as if the connection were lost.
    pub fn serve<T, I>(&self, transport: T, profile: Profile) -> impl Future<Output = CloseReason>
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
        if timeout(window, self.inner.presence.empty()).await.is_err() {
            self.inner.enter(Phase::Closed);
            timeout(GOODBYE, self.inner.presence.empty()).await.ok();
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
        Hub { inner: Arc::new(Shared::new((lobby, relay), rule, limits)) }
    }
}

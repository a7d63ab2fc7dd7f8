//! Runs the suite on the backend in memory, and on broken ones, each of which must fail the check
//! for its bug.

mod broker;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use purrr_core::{
    Anyone, Frame, Limits, Lobby, Pairing, Relay,
    backend::{
        Backend, Identity, LobbyError, Match, MemoryLobby, MemoryPeople, MemoryRelay, People,
        PeopleError, PersonAt, Pipe, Place, Received, RelayError,
        conformance::{Cluster, Suite, check_all},
    },
    matching::Bucket,
    model::{Census, ChatEnd, ChatId, OriginKey, PeerId, PersonId, ResumeToken, Ticket},
};

use self::broker::{Broker, bridged};
use crate::intercepted::{Intercept, Intercepted};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    OwnChat,
    TwoPlaces,
    NoLeaving,
    MatchesKept,
    OpensAgain,
    FramesSwallowed,
    PartingSwallowed,
    Deaf,
    Unbounded,
    AlwaysLeft,
    WaitsForEver,
    NeverFrees,
    RuleIgnored,
    MeetsEverybody,
    RepeatsPartners,
    NeverWidens,
    WidensAtOnce,
    ForgetsWaiting,
    CountsNobody,
    TokensReused,
    TokensOfAnyone,
    BlocksForgotten,
    BlocksOneSided,
    AddressesForgotten,
    AddressesOneSided,
    OwnAddressBlocked,
    SharedAddressBlocked,
    PartnersForgotten,
    NeverDeparts,
    NeverWaits,
    NoEstimate,
    OneLane,
    Repeats,
    HangsWhenDead,
    WaitsWhenDead,
    SilentWhenDead,
}

#[derive(Debug)]
struct Broken {
    inner: MemoryLobby,
    bug: Bug,
    broker: Broker,
    entered: AtomicU64,
    seen: Mutex<HashSet<PeerId>>,
}

#[async_trait]
impl Lobby for Broken {
    async fn enter(&self, mut ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        let bug = self.bug;
        if self.broker.is_dead() {
            return match bug {
                Bug::HangsWhenDead => std::future::pending().await,
                _ => Err(LobbyError::Unavailable("dead".into())),
            };
        }
        let rule: Arc<dyn Pairing> = match bug {
            Bug::RuleIgnored => Arc::new(Anyone),
            Bug::NeverWidens => Arc::new(Narrow(rule)),
            _ => rule,
        };
        let is_new = self.seen.lock().expect("no test panics under this lock").insert(ticket.peer);
        if !is_new && bug == Bug::NeverFrees {
            return Err(LobbyError::AlreadyHere);
        }
        match bug {
            Bug::TwoPlaces => {
                ticket.peer = PeerId::from_bits(self.entered.fetch_add(1, Ordering::Relaxed));
            }
            Bug::MeetsEverybody => ticket = Ticket::new(ticket.peer),
            Bug::RepeatsPartners => ticket.exclusions.recent = Box::default(),
            Bug::WidensAtOnce => ticket.waited = Duration::from_secs(3600),
            Bug::ForgetsWaiting => ticket.waited = Duration::ZERO,
            _ => {}
        }
        let mut place = self.inner.enter(ticket, rule).await?;
        if bug != Bug::WaitsWhenDead {
            place = self.broker.while_alive(place);
        }
        match bug {
            Bug::NoLeaving => {
                let (tell, told) = tokio::sync::oneshot::channel();
                tokio::spawn(async move { tell.send(place.await) });
                Ok(Place::new(async move { told.await.expect("the task goes on") }))
            }
            Bug::OwnChat => Ok(Place::new(async move {
                let mut made = place.await?;
                let partner = Arc::clone(made.partner());
                let pipe = made.take_pipe().expect("in memory");
                Ok(Match::with_pipe(ChatId::random(), partner, pipe))
            })),
            Bug::MatchesKept => Ok(Place::new(async move {
                let mut made = place.await?;
                std::mem::forget(made.take_pipe());
                let (pipe, other) = Pipe::pair(&Limits::default(), || Box::new(|_| ()));
                std::mem::forget(other);
                Ok(Match::with_pipe(made.chat(), Arc::clone(made.partner()), pipe))
            })),
            _ => Ok(place),
        }
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        match self.bug {
            Bug::CountsNobody => Ok(Census::default()),
            _ => self.inner.census().await,
        }
    }
}

/// Looks only where it looked at first.
#[derive(Debug)]
struct Narrow(Arc<dyn Pairing>);

impl Pairing for Narrow {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        self.0.buckets(ticket, Duration::ZERO)
    }
}

#[derive(Debug)]
struct BrokenRelay(Bug, Broker);

#[async_trait]
impl Relay for BrokenRelay {
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError> {
        let opened = MemoryRelay.open(chat).await;
        let lonely = || Pipe::pair(&Limits::default(), || Box::new(|_| ()));
        match self.0 {
            Bug::OpensAgain if opened.is_err() => Ok(lonely().0),
            Bug::FramesSwallowed => {
                std::mem::forget(opened);
                let (pipe, other) = lonely();
                std::mem::forget(other);
                Ok(pipe)
            }
            Bug::PartingSwallowed => opened.map(|mut pipe| {
                let (ours, mut theirs) = lonely();
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            Ok(frame) = received(pipe.recv()) => drop(theirs.send(frame).await),
                            Ok(frame) = received(theirs.recv()) => drop(pipe.send(frame).await),
                            else => std::future::pending::<()>().await,
                        }
                    }
                });
                ours
            }),
            Bug::Deaf
            | Bug::AlwaysLeft
            | Bug::Unbounded
            | Bug::OneLane
            | Bug::Repeats
            | Bug::SilentWhenDead => opened.map(|pipe| bridged(pipe, self.0, self.1.clone())),
            Bug::WaitsForEver if opened.is_err() => std::future::pending().await,
            _ => opened,
        }
    }
}

#[derive(Debug)]
struct BrokenPeople {
    bug: Bug,
    owners: Mutex<HashMap<ResumeToken, PersonId>>,
}

impl BrokenPeople {
    fn new(bug: Bug) -> Intercepted<Self> {
        let by = Self { bug, owners: Mutex::default() };
        Intercepted { inner: MemoryPeople::default(), by }
    }
}

#[async_trait]
impl Intercept for BrokenPeople {
    fn arrive(&self, inner: &MemoryPeople, peer: Identity) {
        self.owners.lock().expect("no test panics under this lock").insert(peer.token, peer.person);
        inner.arrive(peer);
    }

    fn depart(&self, inner: &MemoryPeople, token: ResumeToken) {
        if self.bug != Bug::NeverDeparts {
            inner.depart(token);
        }
    }

    async fn resume(
        &self,
        inner: &MemoryPeople,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        match self.bug {
            Bug::TokensReused => {
                Ok(self.owners.lock().expect("no test panics under this lock").get(&other).copied())
            }
            Bug::TokensOfAnyone => inner.resume(token, other, None).await,
            _ => inner.resume(token, other, authenticated).await,
        }
    }

    async fn keeps_apart(
        &self,
        inner: &MemoryPeople,
        a: PersonAt,
        b: PersonAt,
    ) -> Result<bool, PeopleError> {
        let exclusions = inner.exclusions(a.person).await?;
        match self.bug {
            Bug::BlocksOneSided => Ok(exclusions.blocks(b.person)),
            Bug::AddressesOneSided if exclusions.blocked().is_empty() => Ok(false),
            Bug::OwnAddressBlocked if exclusions.blocks_origin(b.origin) => Ok(true),
            _ => inner.keeps_apart(a, b).await,
        }
    }

    async fn met(
        &self,
        inner: &MemoryPeople,
        peer: Identity,
        partner: PersonId,
    ) -> Result<(), PeopleError> {
        match self.bug {
            Bug::PartnersForgotten => Ok(()),
            _ => inner.met(peer, partner).await,
        }
    }

    async fn block(
        &self,
        inner: &MemoryPeople,
        peer: Identity,
        other: PersonAt,
    ) -> Result<(), PeopleError> {
        match self.bug {
            Bug::BlocksForgotten => Ok(()),
            Bug::AddressesForgotten => inner.block(peer, other.person.into()).await,
            Bug::SharedAddressBlocked => inner.block(peer.at(OriginKey::NONE), other).await,
            _ => inner.block(peer, other).await,
        }
    }

    fn begin_search(&self, inner: &MemoryPeople) {
        if self.bug != Bug::NeverWaits {
            inner.begin_search();
        }
    }

    fn end_search(&self, inner: &MemoryPeople, waited: Option<Duration>) {
        match self.bug {
            Bug::NeverWaits => {}
            Bug::NoEstimate => inner.end_search(None),
            _ => inner.end_search(waited),
        }
    }
}

async fn received(next: impl Future<Output = Received>) -> Result<Frame, ChatEnd> {
    match next.await {
        Received::Frame(frame) => Ok(frame),
        Received::Parted(reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

/// Returns a new backend with this bug, whose broker is between its nodes.
fn broken(bug: Bug) -> (Backend, Broker) {
    let broker = Broker::default();
    let lobby = Broken {
        inner: MemoryLobby::default(),
        bug,
        broker: broker.clone(),
        entered: AtomicU64::new(1),
        seen: Mutex::default(),
    };
    let relay = BrokenRelay(bug, broker.clone());
    let people = BrokenPeople::new(bug);
    let backend = Backend::new(Arc::new(lobby), Arc::new(relay), Arc::new(people));
    (backend, broker)
}

/// Returns two nodes of a new backend with this bug.
async fn two_nodes(bug: Bug) -> Cluster {
    let (backend, broker) = broken(bug);
    Cluster::new([backend.clone(), backend]).with_faults(broker)
}

#[tokio::test(start_paused = true)]
async fn memory_backend_passes_every_check() {
    let new = || Backend::memory(&Limits::default());
    assert_eq!(check_all(&new).await, []);
}

#[tokio::test(start_paused = true)]
async fn memory_backend_passes_with_small_queues() {
    for queue_items in [1, 2, 16] {
        let mut limits = Limits::default();
        limits.queue_items = queue_items;
        let new = move || Backend::memory(&limits);
        assert_eq!(check_all(&new).await, [], "{queue_items}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_with_faults_pass_every_check() {
    assert_eq!(Suite::default().check(|| two_nodes(Bug::None)).await, []);
}

#[tokio::test(start_paused = true)]
async fn broken_backend_fails_the_check_for_its_bug() {
    for (bug, check) in [
        (Bug::OwnChat, "both see one chat"),
        (Bug::TwoPlaces, "one place for a peer"),
        (Bug::NoLeaving, "dropping a place leaves"),
        (Bug::MatchesKept, "dropping a match tells the partner"),
        (Bug::OpensAgain, "a match opens once"),
        (Bug::FramesSwallowed, "frames arrive in order"),
        (Bug::PartingSwallowed, "the parting comes last"),
        (Bug::Deaf, "receipts arrive"),
        (Bug::Deaf, "progress arrives"),
        (Bug::Unbounded, "queues are bounded"),
        (Bug::AlwaysLeft, "every reason arrives"),
        (Bug::PartingSwallowed, "a parting ends sending"),
        (Bug::WaitsForEver, "an opening has an end"),
        (Bug::NeverFrees, "a chat is left once"),
        (Bug::RuleIgnored, "rules are obeyed"),
        (Bug::MeetsEverybody, "who must not meet does not"),
        (Bug::RepeatsPartners, "who met lately meets later"),
        (Bug::NeverWidens, "a search widens by itself"),
        (Bug::WidensAtOnce, "a search widens by itself"),
        (Bug::ForgetsWaiting, "who has waited goes on"),
        (Bug::CountsNobody, "the census counts"),
        (Bug::TokensReused, "a token is good once"),
        (Bug::TokensOfAnyone, "a token is its person's"),
        (Bug::BlocksForgotten, "blocks survive reconnects"),
        (Bug::BlocksOneSided, "blocks survive reconnects"),
        (Bug::AddressesForgotten, "blocks cover the address"),
        (Bug::AddressesOneSided, "blocks cover the address"),
        (Bug::OwnAddressBlocked, "blocks cover the address"),
        (Bug::SharedAddressBlocked, "blocks cover the address"),
        (Bug::PartnersForgotten, "recent partners are excluded"),
        (Bug::NeverDeparts, "present peers are counted"),
        (Bug::NeverWaits, "searches are counted"),
        (Bug::NoEstimate, "searches are counted"),
    ] {
        let violations = check_all(&|| broken(bug).0).await;
        assert!(
            violations.iter().any(|violation| violation.check == check),
            "{bug:?} was not caught by {check:?}, only by {violations:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn broken_cluster_fails_the_check_for_its_bug() {
    for (bug, check, what) in [
        (Bug::OneLane, "a stall stops one direction of one chat", "holds up"),
        (Bug::Deaf, "a stall stops one direction of one chat", "receipts"),
        (Bug::Repeats, "repeated messages change nothing", "repeated"),
        (Bug::HangsWhenDead, "a dead broker is told", "entering"),
        (Bug::WaitsWhenDead, "a dead broker is told", "a place waits"),
        (Bug::SilentWhenDead, "a dead broker is told", "neither goes on nor ends"),
    ] {
        let violations = Suite::default().check(|| two_nodes(bug)).await;
        let found = violations.iter().find(|violation| violation.check == check);
        assert!(
            found.is_some_and(|violation| violation.what.contains(what)),
            "{bug:?} was not caught by {check:?}, only by {violations:?}"
        );
    }
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let names: HashSet<_> = Suite::names().collect();
    assert_eq!(names.len(), Suite::names().count());
}

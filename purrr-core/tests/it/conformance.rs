//! The suite against our own backend, and against broken ones, each of which must fail the check for what it broke.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use purrr_core::{
    Anyone, Limits, Lobby, Pairing, Relay,
    backend::{
        LobbyError, Match, MemoryLobby, MemoryRelay, Pipe, Place, RelayError,
        conformance::{Backend, check_all},
    },
    matching::Bucket,
    model::{Census, ChatId, PeerId, Ticket},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    OwnChat,
    TwoPlaces,
    NoLeaving,
    MatchesKept,
    OpensAgain,
    FramesSwallowed,
    PartingSwallowed,
    RuleIgnored,
    MeetsEverybody,
    RepeatsPartners,
    NeverWidens,
    ForgetsWaiting,
    CountsNobody,
}

#[derive(Debug)]
struct Broken {
    inner: MemoryLobby,
    bug: Bug,
    entered: AtomicU64,
}

#[async_trait]
impl Lobby for Broken {
    async fn enter(&self, mut ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        let bug = self.bug;
        let rule: Arc<dyn Pairing> = match bug {
            Bug::RuleIgnored => Arc::new(Anyone),
            Bug::NeverWidens => Arc::new(Narrow(rule)),
            _ => rule,
        };
        match bug {
            Bug::TwoPlaces => {
                ticket.peer = PeerId::from_bits(self.entered.fetch_add(1, Ordering::Relaxed));
            }
            Bug::MeetsEverybody => ticket = Ticket::new(ticket.peer),
            Bug::RepeatsPartners => ticket.exclusions.recent = Box::default(),
            Bug::ForgetsWaiting => ticket.waited = Duration::ZERO,
            _ => {}
        }
        let place = self.inner.enter(ticket, rule).await?;
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
                let (pipe, other) = Pipe::pair(&Limits::default(), || Box::new(|| ()));
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
struct BrokenRelay(Bug);

#[async_trait]
impl Relay for BrokenRelay {
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError> {
        let opened = MemoryRelay.open(chat).await;
        let lonely = || Pipe::pair(&Limits::default(), || Box::new(|| ()));
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
            _ => opened,
        }
    }
}

async fn received(
    next: impl Future<Output = purrr_core::backend::Received>,
) -> Result<purrr_core::Frame, purrr_core::model::ChatEnd> {
    match next.await {
        purrr_core::backend::Received::Frame(frame) => Ok(frame),
        purrr_core::backend::Received::Parted(reason) => Err(reason),
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_backend_keeps_every_promise() {
    let new = || Backend { lobby: Arc::new(MemoryLobby::default()), relay: Arc::new(MemoryRelay) };
    assert_eq!(check_all(&new).await, []);
}

#[tokio::test(start_paused = true)]
async fn each_broken_backend_fails_the_check_for_what_it_broke() {
    for (bug, check) in [
        (Bug::OwnChat, "both see one chat"),
        (Bug::TwoPlaces, "one place for a peer"),
        (Bug::NoLeaving, "dropping a place leaves"),
        (Bug::MatchesKept, "dropping a match tells the partner"),
        (Bug::OpensAgain, "a match opens once"),
        (Bug::FramesSwallowed, "frames arrive in order"),
        (Bug::PartingSwallowed, "the parting comes last"),
        (Bug::RuleIgnored, "rules are obeyed"),
        (Bug::MeetsEverybody, "who must not meet does not"),
        (Bug::RepeatsPartners, "who met lately meets later"),
        (Bug::NeverWidens, "a search widens by itself"),
        (Bug::ForgetsWaiting, "who has waited goes on"),
        (Bug::CountsNobody, "the census counts"),
    ] {
        let new = move || Backend {
            lobby: Arc::new(Broken {
                inner: MemoryLobby::default(),
                bug,
                entered: AtomicU64::new(1),
            }),
            relay: Arc::new(BrokenRelay(bug)),
        };
        let violations = check_all(&new).await;
        assert!(
            violations.iter().any(|violation| violation.check == check),
            "{bug:?} was not caught by {check:?}, only by {violations:?}"
        );
    }
}

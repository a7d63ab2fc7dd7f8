//! Sessions whose people backend answers late, or not at all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use purrr_core::{
    Command, Hello, Hub, Limits, PairError, Profile,
    backend::{Backend, Identity, People, PeopleError},
    hub::Gate,
    model::{CloseReason, PersonId, ResumeToken},
};
use tokio::time::{Instant, sleep};

use crate::{
    intercepted::{Intercept, Intercepted},
    serve::{
        peer::{Peer, find, settled},
        wire::{Far, Fault, wire},
    },
};

const LATENCY: Duration = Duration::from_secs(1);

const ANN: PersonId = PersonId::from_bits(1);
const BOB: PersonId = PersonId::from_bits(2);
const CAT: PersonId = PersonId::from_bits(3);
const DAN: PersonId = PersonId::from_bits(4);

/// A backend over a network: each call takes a while, and fails while the backend is down.
type Remote = Intercepted<Network>;

#[derive(Debug, Default)]
struct Network {
    down: AtomicBool,
}

#[async_trait]
impl Intercept for Network {
    async fn before_call(&self) -> Result<(), PeopleError> {
        sleep(LATENCY).await;
        if self.down.load(Ordering::Relaxed) {
            return Err(PeopleError::Unavailable("down".into()));
        }
        Ok(())
    }
}

fn hub() -> (Hub, Arc<Remote>) {
    let people = Arc::<Remote>::default();
    let mut backend = Backend::memory(&Limits::default());
    backend.people = people.clone();
    (Hub::builder().backend(backend).build(), people)
}

fn profile(person: PersonId) -> Profile {
    let mut profile = Profile::named("stranger");
    profile.person = Some(person);
    profile
}

/// Two persons in a chat.
async fn pair(hub: &Hub, ann: Profile, bob: Profile) -> (Peer, Peer) {
    let ann = Peer::connect_as(hub, "Ann", ann).await;
    let bob = Peer::connect_as(hub, "Bob", bob).await;
    for peer in [&ann, &bob] {
        peer.send(find());
    }
    for peer in [&ann, &bob] {
        peer.gets(["waiting", "matched"]).await;
    }
    (ann, bob)
}

#[tokio::test(start_paused = true)]
async fn pending_resume_holds_back_commands_and_not_welcome() {
    let (hub, _) = hub();
    let mut profile = Profile::named("Ann");
    profile.resume = Some(ResumeToken::random());
    let begun = Instant::now();
    // `welcome` is awaited here.
    let ann = Peer::connect_as(&hub, "Ann", profile).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    ann.send(Command::Unsupported { what: "anything" });
    ann.gets(["error: not-supported"]).await;
    assert_eq!(begun.elapsed(), LATENCY);

    let resume = Some(ResumeToken::random());
    ann.send(Command::Hello { hello: Hello::named("Ann"), resume });
    ann.send(Command::Unsupported { what: "anything" });
    ann.gets(["error: unknown-session", "error: not-supported"]).await;
    assert_eq!(begun.elapsed(), 2 * LATENCY);
}

#[tokio::test(start_paused = true)]
async fn failed_resume_is_told_and_uses_no_token_up() {
    let (hub, people) = hub();
    let token = ResumeToken::random();
    people.arrive(Identity::new(ANN, token));
    let ann = Peer::connect(&hub, "Ann").await;
    let resume = || Command::Hello { hello: Hello::named("Ann"), resume: Some(token) };
    people.by.down.store(true, Ordering::Relaxed);
    ann.send(resume());
    ann.gets(["error: unavailable"]).await;
    people.by.down.store(false, Ordering::Relaxed);
    ann.send(resume());
    sleep(2 * LATENCY).await;
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn failed_exclusions_end_the_search() {
    let (hub, people) = hub();
    people.by.down.store(true, Ordering::Relaxed);
    let ann = Peer::waiting(&hub, "Ann").await;
    ann.gets(["error: unavailable", "idle"]).await;
    let paired = hub.pair(Profile::named("Bob")).await;
    assert!(matches!(paired, Err(PairError::People(_))), "{paired:?}");
}

#[tokio::test(start_paused = true)]
async fn search_waits_for_a_pending_block() {
    let (hub, people) = hub();
    let (ann, bob) = pair(&hub, profile(ANN), profile(BOB)).await;
    for command in [Command::Block, find()] {
        ann.send(command);
    }
    ann.gets(["idle"]).await;
    settled().await;
    assert!(!people.inner.keeps_apart(ANN.into(), BOB.into()).await.unwrap());
    ann.gets(["waiting"]).await;
    assert!(people.inner.keeps_apart(ANN.into(), BOB.into()).await.unwrap());
    bob.gets(["left: left"]).await;
    bob.send(find());
    bob.gets(["waiting"]).await;
    sleep(Duration::from_secs(60)).await;
    ann.gets_nothing().await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn partner_may_leave_during_a_pending_block() {
    let (hub, people) = hub();
    let (ann, bob) = pair(&hub, profile(ANN), profile(BOB)).await;
    let begun = Instant::now();
    ann.send(Command::Block);
    ann.gets(["idle"]).await;
    // The partner is told at once, and not only when the block is stored.
    bob.gets(["left: left"]).await;
    bob.send(Command::Leave);
    bob.gets(["idle"]).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    sleep(LATENCY).await;
    settled().await;
    assert!(people.inner.keeps_apart(ANN.into(), BOB.into()).await.unwrap());
    ann.send(find());
    ann.gets(["waiting"]).await;
}

#[tokio::test(start_paused = true)]
async fn failed_block_is_told() {
    let (hub, people) = hub();
    let (ann, bob) = pair(&hub, profile(ANN), profile(BOB)).await;
    people.by.down.store(true, Ordering::Relaxed);
    ann.send(Command::Block);
    ann.gets(["idle", "error: unavailable"]).await;
    bob.gets(["left: left"]).await;
    assert_eq!(hub.stats().blocks, 0);
}

#[tokio::test(start_paused = true)]
async fn disconnect_does_not_drop_a_pending_block() {
    let (hub, people) = hub();
    for (gate, bob) in [(None, BOB), (Some(Gate::default()), CAT)] {
        let mut ann = profile(ANN);
        ann.gate = gate;
        let (ann, bob) = pair(&hub, ann, profile(bob)).await;
        ann.send(Command::Block);
        ann.far.hang_up();
        ann.ends_after(["idle"], CloseReason::Lost).await;
        bob.gets(["left: left"]).await;
    }
    for other in [BOB, CAT] {
        assert!(people.inner.keeps_apart(ANN.into(), other.into()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn failed_write_does_not_drop_a_pending_block() {
    let (hub, people) = hub();
    for (fault, bob) in [(Fault::Ready, BOB), (Fault::Send, CAT), (Fault::Flush, DAN)] {
        let (ann, bob) = pair(&hub, profile(ANN), profile(bob)).await;
        let line = ann.far.clone();
        let begun = Instant::now();
        ann.far.send_with(Command::Block, move || line.fail(fault));
        bob.gets(["left: left"]).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "the partner is told at once");
        assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
        assert_eq!(begun.elapsed(), LATENCY);
    }
    for other in [BOB, CAT, DAN] {
        assert!(people.inner.keeps_apart(ANN.into(), other.into()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn slow_transport_does_not_drop_a_pending_block() {
    let (hub, people) = hub();
    let (ann, bob) = pair(&hub, profile(ANN), profile(BOB)).await;
    ann.far.take_only(0);
    bob.say("unread");
    sleep(hub.limits().stall - LATENCY / 2).await;
    ann.send(Command::Block);
    bob.gets(["left: left"]).await;
    assert_eq!(ann.session.await.unwrap(), CloseReason::Slow);
    assert!(people.inner.keeps_apart(ANN.into(), BOB.into()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn session_dropped_during_a_call_departs() {
    let (hub, people) = hub();
    let (wire, _far): (_, Far) = wire();
    let mut profile = Profile::named("Ann");
    profile.resume = Some(ResumeToken::random());
    let session = hub.serve(wire, profile);
    assert_eq!((hub.online(), people.online()), (1, 1));
    let ended = tokio::time::timeout(LATENCY / 2, session).await;
    assert!(ended.is_err());
    assert_eq!((hub.online(), people.online()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn block_of_a_chat_in_process_keeps_persons_apart() {
    let (hub, people) = hub();
    let (ann, bob) = tokio::join!(hub.pair(profile(ANN)), hub.pair(profile(BOB)));
    let (ann, mut bob) = (ann.unwrap(), bob.unwrap());
    let block = ann.block();
    let heard = async {
        let heard = bob.recv().await;
        // The partner is told at once, and not only when the block is stored.
        assert!(!people.inner.keeps_apart(ANN.into(), BOB.into()).await.unwrap());
        heard
    };
    let (blocked, heard) = tokio::join!(block, heard);
    blocked.unwrap();
    assert_eq!(heard, Err(purrr_core::model::ChatEnd::Left));
    assert!(people.inner.keeps_apart(BOB.into(), ANN.into()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn hubs_that_share_a_backend_match_their_peers() {
    let backend = Backend::memory(&Limits::default());
    let [one, other] = [backend.clone(), backend].map(|it| Hub::builder().backend(it).build());
    let ann = Peer::waiting(&one, "Ann").await;
    let bob = Peer::waiting(&other, "Bob").await;
    assert_eq!(ann.gets_matched("Bob").await, bob.gets_matched("Ann").await);
    assert_eq!((one.online(), other.online()), (1, 1));
}

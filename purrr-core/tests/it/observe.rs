//! What observers of a hub hear.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use purrr_core::{
    Code, Command, Hub, Profile,
    backend::Backend,
    hub::{ChatSide, EndedBy, Ending, Observer, Participant},
    model::{ChatEnd, CloseReason, PersonId},
};

use crate::serve::peer::{Peer, find, settled};

const ANN: PersonId = PersonId::from_bits(1);
const BOB: PersonId = PersonId::from_bits(2);
const CID: PersonId = PersonId::from_bits(3);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(PersonId, String)>>>);

impl Log {
    fn note(&self, peer: Participant, what: impl Into<String>) {
        self.0.lock().expect("no observer panics").push((peer.person, what.into()));
    }

    /// Takes what was heard of one person.
    fn of(&self, person: PersonId) -> Vec<String> {
        let mut log = self.0.lock().expect("no observer panics");
        log.extract_if(.., |(of, _)| *of == person).map(|(_, what)| what).collect()
    }
}

impl Observer for Log {
    fn arrived(&self, peer: Participant) {
        self.note(peer, "arrived");
    }

    fn resumed(&self, peer: Participant, before: PersonId) {
        self.note(peer, format!("was {}", before.to_bits()));
    }

    fn searching(&self, peer: Participant) {
        self.note(peer, "searching");
    }

    fn stopped_searching(&self, peer: Participant) {
        self.note(peer, "stopped");
    }

    fn matched(&self, side: &ChatSide, waited: Duration) {
        let waited = waited.as_secs();
        self.note(side.peer, format!("met {} after {waited}", side.partner.person.to_bits()));
    }

    fn ended(&self, side: &ChatSide, ending: &Ending) {
        let Ending { reason, by, lasted, .. } = ending;
        self.note(side.peer, format!("{reason:?} by {by:?} after {}", lasted.as_secs()));
    }

    fn blocked(&self, peer: Participant, person: PersonId) {
        self.note(peer, format!("blocked {}", person.to_bits()));
    }

    fn refused(&self, peer: Participant, code: Code) {
        self.note(peer, code.as_str());
    }

    fn departed(&self, peer: Participant, reason: Option<CloseReason>) {
        self.note(peer, format!("departed {reason:?}"));
    }
}

fn person(person: PersonId) -> Profile {
    let mut profile = Profile::named("someone");
    profile.person = Some(person);
    profile
}

fn observed() -> (Hub, Log) {
    let log = Log::default();
    (Hub::builder().observe(log.clone()).build(), log)
}

#[tokio::test(start_paused = true)]
async fn observer_hears_paired_callers_from_arrival_to_departure() {
    let (hub, log) = observed();
    let mut ann = Box::pin(hub.pair(person(ANN)));
    assert!(ann.as_mut().now_or_never().is_none());
    tokio::time::sleep(Duration::from_secs(7)).await;
    let (ann, bob) = tokio::join!(ann, hub.pair(person(BOB)));
    let (ann, bob) = (ann.unwrap(), bob.unwrap());
    assert_eq!(log.of(ANN), ["arrived", "searching", "met 2 after 7"]);
    assert_eq!(log.of(BOB), ["arrived", "searching", "met 1 after 0"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    ann.block().await.unwrap();
    drop(bob);
    assert_eq!(log.of(ANN), ["blocked 2", "Left by Peer after 5", "departed None"]);
    assert_eq!(log.of(BOB), ["Left by Partner after 5", "departed None"]);
    drop(hub.pair(person(CID)).now_or_never());
    assert_eq!(log.of(CID), ["arrived", "searching", "stopped", "departed None"]);
}

#[tokio::test(start_paused = true)]
async fn observer_hears_sessions_from_arrival_to_departure() {
    let (hub, log) = observed();
    let ann = Peer::connect_as(&hub, "Ann", person(ANN)).await;
    let bob = Peer::connect_as(&hub, "Bob", person(BOB)).await;
    ann.say("too early");
    ann.send(find());
    ann.send(Command::Cancel);
    ann.gets(["error: not-paired", "waiting", "idle"]).await;
    let heard = ["arrived", Code::NotPaired.as_str(), "searching", "stopped"];
    assert_eq!(log.of(ANN), heard);
    ann.send(find());
    bob.send(find());
    settled().await;
    assert_eq!(log.of(ANN), ["searching", "met 2 after 0"]);
    bob.far.hang_up();
    settled().await;
    assert_eq!(log.of(ANN), ["Lost by Partner after 0"]);
    let heard = ["arrived", "searching", "met 1 after 0", "Lost by Peer after 0"];
    let of_bob = log.of(BOB);
    assert_eq!(of_bob[..4], heard);
    assert_eq!(of_bob[4..], ["departed Some(Lost)"]);
    hub.drain(Duration::ZERO).await;
    assert_eq!(log.of(ANN), ["departed Some(Drained)"]);
}

#[tokio::test(start_paused = true)]
async fn observer_hears_of_resumed_person() {
    let (hub, log) = observed();
    let (ann, bob) = tokio::join!(hub.pair(person(ANN)), hub.pair(person(BOB)));
    let (ann, _bob) = (ann.unwrap(), bob.unwrap());
    let mut again = Profile::named("again");
    again.resume = Some(ann.resume_token());
    drop(ann);
    log.of(ANN);
    assert!(hub.pair(again).now_or_never().is_none());
    let heard = log.of(ANN);
    assert!(heard[0].starts_with("was "), "{heard:?}");
    assert_eq!(heard[1..], ["searching", "stopped", "departed None"]);
}

/// Two hubs of one backend tell of their own peers only.
#[tokio::test(start_paused = true)]
async fn observer_hears_of_its_hubs_side_only() {
    let log = Log::default();
    let backend = Backend::memory(&purrr_core::Limits::default());
    let one = Hub::builder().backend(backend.clone()).observe(log.clone()).build();
    let other = Hub::builder().backend(backend).build();
    let (ann, bob) = tokio::join!(one.pair(person(ANN)), other.pair(person(BOB)));
    drop((ann, bob));
    assert_eq!(log.of(BOB), [""; 0]);
    assert_eq!(log.of(ANN).last().unwrap(), "departed None");
}

#[tokio::test(start_paused = true)]
async fn observers_are_all_told() {
    let (log, another) = (Log::default(), Log::default());
    let hub = Hub::builder().observe(Arc::new(log.clone())).observe(another.clone()).build();
    let (ann, bob) = tokio::join!(hub.pair(person(ANN)), hub.pair(person(BOB)));
    bob.unwrap().leave();
    drop(ann);
    let heard = log.of(ANN);
    assert_eq!(heard[3], format!("{:?} by {:?} after 0", ChatEnd::Left, EndedBy::Partner));
    assert_eq!(another.of(ANN), heard);
}

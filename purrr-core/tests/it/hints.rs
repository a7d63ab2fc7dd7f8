//! What an embedder says of a peer that arrives: attributes for rules, blocks and whom to avoid.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use purrr_core::{
    Chat, Event, Hub, PairError, Pairing, Profile,
    matching::Bucket,
    model::{Attributes, PersonId, Ticket},
};

use crate::serve::peer::{Peer, find, settled};

const ANN: PersonId = PersonId::from_bits(1);
const BOB: PersonId = PersonId::from_bits(2);

#[derive(Debug)]
struct Mentoring;

impl Pairing for Mentoring {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![Bucket::of("mentor", &!ticket.attributes.flag("mentor"))]
    }

    fn stands_in(&self, ticket: &Ticket, _: Duration) -> Option<Vec<Bucket>> {
        Some(vec![Bucket::of("mentor", &ticket.attributes.flag("mentor"))])
    }
}

fn mentor(name: &str, mentor: bool) -> Profile {
    Profile::named(name).with_attributes(Attributes::default().with("mentor", mentor))
}

#[tokio::test(start_paused = true)]
async fn rule_reads_attributes_of_callers_and_sessions() {
    let hub = Hub::builder().rule(Arc::new(Mentoring)).build();
    let mut mentees = ["Ann", "Bob"].map(|name| Box::pin(hub.pair(mentor(name, false))));
    for mentee in &mut mentees {
        assert!(mentee.now_or_never().is_none());
    }
    let cid = Peer::connect_as(&hub, "Cid", mentor("Cid", true)).await;
    cid.send(find());
    let [ann, _bob] = mentees;
    assert_eq!(ann.await.unwrap().partner().name.as_deref(), Some("Cid"));
    cid.gets(["waiting"]).await;
    match cid.far.next().await {
        // The partner is told of the name, and of no attribute.
        Some(event @ Event::Matched { .. }) => {
            assert!(!format!("{event:?}").contains("mentor"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn block_from_store_keeps_apart_whichever_searches() {
    for order in [[0, 1], [1, 0]] {
        let hub = Hub::memory();
        let profiles =
            [Profile::named("Ann").person(ANN).blocking([BOB]), Profile::named("Bob").person(BOB)];
        let [first, second] = order.map(|index| hub.pair(profiles[index].clone()));
        let mut first = Box::pin(first);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(tokio::time::timeout(Duration::from_secs(60), second).await.is_err());
        let (first, cid) = tokio::join!(first, hub.pair(Profile::named("Cid")));
        assert_eq!(first.unwrap().id(), cid.unwrap().id());
    }
}

#[tokio::test(start_paused = true)]
async fn block_from_store_holds_for_every_search_of_a_session() {
    let hub = Hub::memory();
    let ann =
        Peer::connect_as(&hub, "Ann", Profile::named("Ann").person(ANN).blocking([BOB])).await;
    let cid = Peer::connect(&hub, "Cid").await;
    for peer in [&ann, &cid] {
        peer.send(find());
    }
    settled().await;
    ann.send(purrr_core::Command::Next);
    settled().await;
    cid.send(find());
    settled().await;
    ann.far.taken();
    let bob = hub.pair(Profile::named("Bob").person(BOB));
    assert_eq!(soon(bob).await.partner().name.as_deref(), Some("Cid"));
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn avoided_person_is_met_after_a_while() {
    let hub = Hub::memory();
    let patience = Duration::from_secs(30);
    let ann = hub.pair(Profile::named("Ann").person(ANN).avoiding([BOB], patience));
    let bob = hub.pair(Profile::named("Bob").person(BOB));
    let began = tokio::time::Instant::now();
    let (ann, bob) = tokio::join!(ann, bob);
    assert_eq!(ann.unwrap().id(), bob.unwrap().id());
    assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
}

async fn soon(pair: impl Future<Output = Result<Chat, PairError>>) -> Chat {
    tokio::time::timeout(Duration::from_secs(60), pair)
        .await
        .expect("one fits")
        .expect("the hub is open")
}

//! Stories of one address against all others: its share of the chats, and blocks that cover it.

use std::{cell::Cell, rc::Rc, time::Duration};

use purrr_core::{
    Hub, Limits, PairError, Profile,
    backend::LobbyError,
    model::{OriginKey, PersonId},
};
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

const HOUR: Duration = Duration::from_secs(3_600);
const MANY_ADDRESSES: u64 = 1_000;

fn profile(name: &str, origin: u64) -> Profile {
    let mut profile = Profile::named(name);
    profile.origin = OriginKey::from_bits(origin);
    profile
}

/// How many chats the honest peers had, and how many of them with an attacker.
#[derive(Debug, Default)]
struct Tally {
    chats: Cell<u32>,
    with_attackers: Cell<u32>,
}

/// A peer that chats for as long as this, or until its partner leaves, and then searches again.
async fn chat_on(hub: Hub, profile: Profile, lasts: fn() -> Duration, tally: Rc<Tally>) {
    let is_honest = profile.hello.name.as_deref() == Some("honest");
    loop {
        let mut chat = match hub.pair(profile.clone()).await {
            Ok(chat) => chat,
            Err(PairError::Lobby(LobbyError::TooManyWaiting)) => {
                sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        if is_honest {
            tally.chats.set(tally.chats.get() + 1);
            if chat.partner().name.as_deref() == Some("attacker") {
                tally.with_attackers.set(tally.with_attackers.get() + 1);
            }
        }
        // Nothing is said, so a chat that yields anything is over.
        if timeout(lasts(), chat.recv()).await.is_err() {
            chat.leave();
        }
        sleep(Duration::from_millis(fastrand::u64(0..1_000))).await;
    }
}

/// 60 connections of one address as 6 persons, who leave each chat after a second, and 40 peers of
/// 40 addresses.
#[tokio::test(start_paused = true)]
async fn one_address_does_not_take_most_chats() {
    fastrand::seed(1);
    let (hub, tally) = (Hub::memory(), Rc::<Tally>::default());
    let stories = LocalSet::new();
    for connection in 0..60 {
        let mut profile = profile("attacker", 1);
        profile.person = Some(PersonId::from_bits(1 + connection % 6));
        let lasts = || Duration::from_secs(1);
        stories.spawn_local(chat_on(hub.clone(), profile, lasts, Rc::clone(&tally)));
    }
    for person in 100..140 {
        let mut profile = profile("honest", person);
        profile.person = Some(PersonId::from_bits(person));
        let lasts = || Duration::from_secs(fastrand::u64(10..60));
        stories.spawn_local(chat_on(hub.clone(), profile, lasts, Rc::clone(&tally)));
    }
    stories.run_until(sleep(HOUR / 6)).await;
    let [chats, attacked] = [&tally.chats, &tally.with_attackers].map(Cell::get);
    println!("{attacked} of {chats}");
    assert!(chats > 500, "the honest peers had {chats} chats");
    assert!(attacked < chats / 4, "{attacked} of {chats} chats were with one address");
}

/// A blocked person reconnects without a token, from the same address, and searches as the blocker
/// does.
#[tokio::test(start_paused = true)]
async fn blocked_person_does_not_return_under_another_name() {
    let hub = Hub::memory();
    let ann = async {
        let mut again = profile("Ann", 1);
        again.person = Some(PersonId::from_bits(1));
        hub.pair(again).await.unwrap()
    };
    let bob = || async { hub.pair(profile("Bob", 2)).await.unwrap() };
    let (chat, _gone) = tokio::join!(ann, bob());
    chat.block().await.unwrap();
    for attempt in 0..5 {
        let mut ann = profile("Ann", 1);
        ann.person = Some(PersonId::from_bits(1));
        // Either may be the one that waits.
        let (ann, bob) = (hub.pair(ann), hub.pair(profile("Bob", 2)));
        let met = if attempt % 2 == 0 {
            timeout(HOUR, async { tokio::join!(ann, bob) }).await.is_ok()
        } else {
            timeout(HOUR, async { tokio::join!(bob, ann) }).await.is_ok()
        };
        assert!(!met, "the two met again after {attempt} h");
        // Bob is told nothing: other peers still meet him.
        let (bob, cat) = tokio::join!(hub.pair(profile("Bob", 2)), hub.pair(profile("Cat", 3)));
        assert_eq!(bob.unwrap().partner().name.as_deref(), Some("Cat"));
        drop(cat);
    }
    sleep(2 * HOUR).await;
    let mut ann = profile("Ann", 1);
    ann.person = Some(PersonId::from_bits(1));
    let (ann, bob) = tokio::join!(hub.pair(ann), hub.pair(profile("Bob", 2)));
    assert_eq!(ann.unwrap().partner().name.as_deref(), Some("Bob"));
    drop(bob);
}

/// Strangers of 8 addresses meet, block each other and leave, more than are remembered.
#[tokio::test(start_paused = true)]
async fn flood_of_strangers_does_not_end_a_block_of_connected_peers() {
    let mut limits = Limits::default();
    limits.remembered = 500;
    let hub = Hub::builder().limits(limits).build();
    let person = |person: u64| {
        let mut profile = profile("peer", person);
        profile.person = Some(PersonId::from_bits(person));
        profile
    };
    // Both stay connected: Ann waits in a second window, where the two cannot meet.
    let (ann, bob) = tokio::join!(hub.pair(person(1)), hub.pair(person(2)));
    ann.unwrap().block().await.unwrap();
    drop(bob);
    let waiting = [person(1), person(2)].map(|mut profile| {
        profile.search =
            purrr_core::Search::for_interests([profile.origin.to_bits().to_string().as_str()]);
        tokio::spawn({
            let hub = hub.clone();
            async move { hub.pair(profile).await.map(drop) }
        })
    });
    sleep(Duration::from_secs(1)).await;
    for number in 0..2_000 {
        let stranger = |index: u64| {
            let mut profile = profile("stranger", MANY_ADDRESSES + (number + index) % 8);
            profile.search = purrr_core::Search::for_interests(["strangers"]);
            profile
        };
        let (one, other) = tokio::join!(hub.pair(stranger(0)), hub.pair(stranger(1)));
        one.unwrap().block().await.unwrap();
        other.unwrap().block().await.unwrap();
    }
    // Searches of other windows, which ask the backend anew.
    let again = async { tokio::join!(hub.pair(person(1)), hub.pair(person(2))) };
    assert!(timeout(HOUR, again).await.is_err(), "the block is forgotten");
    for waiting in waiting {
        assert!(!waiting.is_finished(), "the block is forgotten");
        waiting.abort();
    }
}

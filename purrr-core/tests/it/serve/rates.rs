//! Rate limits of a peer, and what happens above them.

use std::{sync::Arc, time::Duration};

use purrr_core::{
    Code, Command, Event, Frame, Hello, Hub, Limits, Problem, Profile, Rates, codec,
    hub::Input,
    model::{Body, CloseReason, PersonId, Rate, Signal, SignalKind},
    rate::Allowance,
};
use tokio::time::{Instant, sleep};

use crate::serve::peer::{Peer, find, numbered, settled, told};

/// A hub that lets so much through.
fn hub_at(change: impl FnOnce(&mut Rates)) -> Hub {
    let mut rates = Rates::default();
    change(&mut rates);
    hub_with(Some(rates))
}

fn hub_with(rates: Option<Rates>) -> Hub {
    let mut limits = Limits::default();
    limits.rates = rates;
    Hub::builder().limits(limits).build()
}

fn typing(on: bool) -> Command {
    Command::Send { chat: None, frame: Frame::new(Body::Typing(on)) }
}

/// All that was told so far, each with how often it came in a row.
async fn heard(peer: &Peer) -> Vec<(String, usize)> {
    settled().await;
    let mut heard: Vec<(String, usize)> = Vec::new();
    for event in peer.far.taken().iter().map(told) {
        match heard.last_mut() {
            Some((last, times)) if *last == event => *times += 1,
            _ => heard.push((event, 1)),
        }
    }
    heard
}

fn times(event: &str, times: usize) -> (String, usize) {
    (event.to_owned(), times)
}

#[tokio::test(start_paused = true)]
async fn default_rates_pass_lively_chat() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    for _ in 0..2_500 {
        ann.say("hi");
    }
    let offer = Body::Signal(Signal::new(SignalKind::Offer, Some("candidate".into())));
    for _ in 0..64 {
        ann.send(Command::Send { chat: None, frame: Frame::new(offer.clone()) });
    }
    for id in 0..70 {
        ann.send(Command::Send { chat: None, frame: Frame::new(Body::Read { id }) });
    }
    for _ in 0..500 {
        ann.send(typing(true));
        ann.send(typing(false));
    }
    assert_eq!(
        heard(&bob).await.iter().map(|(_, times)| times).sum::<usize>(),
        2_500 + 64 + 70 + 1_000
    );
    assert_eq!(heard(&ann).await, []);
    // A peer that goes on to the next twice a second for a minute.
    for _ in 0..120 {
        ann.send(Command::Next);
        ann.send(Command::Leave);
        ann.send(find());
        ann.send(Command::Leave);
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(heard(&ann).await.iter().filter(|(event, _)| event.contains("error")).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_error_has_retry_after() {
    let hub = hub_at(|rates| rates.message_rate = Rate::new(2, 3));
    let (ann, bob, _) = Peer::pair(&hub).await;
    for id in 1..=4 {
        ann.send(numbered(id));
    }
    bob.gets(["no. 1", "no. 2", "no. 3"]).await;
    let refused = loop {
        match ann.far.next().await {
            Some(Event::Error(problem)) => break problem,
            Some(Event::Delivered { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((refused.code, refused.id), (Code::RateLimited, Some(4)));
    assert_eq!(refused.retry_after_ms, Some(500));
    // Other things have buckets of their own.
    ann.send(typing(true));
    bob.gets(["typing true"]).await;
    sleep(Duration::from_millis(500)).await;
    ann.send(numbered(4));
    bob.gets(["no. 4"]).await;
    bob.say("me too");
    ann.gets(["delivered 1", "delivered 2", "delivered 3"]).await;
    ann.gets(["delivered 4", "me too"]).await;
}

#[tokio::test(start_paused = true)]
async fn byte_rate_counts_every_frame_type() {
    let hub = hub_at(|rates| rates.byte_rate = Rate::new(1_000, 10_000));
    let (ann, bob, _) = Peer::pair(&hub).await;
    for _ in 0..4 {
        ann.say(&"x".repeat(3_000));
    }
    assert_eq!(heard(&bob).await, [times(&"x".repeat(3_000), 3)]);
    assert_eq!(heard(&ann).await, [times("error: rate-limited", 1)]);
    sleep(Duration::from_secs(2)).await;
    ann.say(&"y".repeat(3_000));
    bob.gets([&*"y".repeat(3_000)]).await;
}

#[tokio::test(start_paused = true)]
async fn typing_above_rate_is_coalesced() {
    for last in [true, false] {
        let hub = hub_at(|rates| rates.typing_rate = Rate::new(10, 1_000));
        let (ann, bob, _) = Peer::pair(&hub).await;
        for round in 0..3_000 {
            ann.send(typing(if round == 2_999 { last } else { round % 2 == 0 }));
            if round % 100 == 0 {
                ann.say("unharmed");
            }
        }
        let heard_at_once = heard(&bob).await;
        let count = |wanted: &str| -> usize {
            let wanted = heard_at_once.iter().filter(|(event, _)| event.starts_with(wanted));
            wanted.map(|(_, times)| times).sum()
        };
        assert_eq!((count("typing"), count("unharmed")), (1_000, 30));
        let begun = Instant::now();
        bob.gets([if last { "typing true" } else { "typing false" }]).await;
        assert!(begun.elapsed() <= Duration::from_millis(100));
        bob.gets_nothing().await;
        ann.gets_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn typing_flood_is_harmless() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    let (mut messages, mut told_typing) = (0, 0);
    for second in 0..60 {
        for round in 0..1_000 {
            ann.send(typing(round % 2 == 0));
            if round % 100 == 0 {
                ann.say("hi");
            }
            sleep(Duration::from_millis(1)).await;
        }
        for (event, times) in heard(&bob).await {
            match &*event {
                "hi" => messages += times,
                _ => told_typing += times,
            }
        }
        assert_eq!(messages, (second + 1) * 10);
    }
    // What a bucket holds, and what comes back in a minute.
    assert!((3_000..=1_000 + 60 * 51).contains(&told_typing), "{told_typing}");
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn coalesced_typing_waits_for_room_and_ends_with_chat() {
    let mut limits = Limits::default();
    (limits.queue_items, limits.recent_partners) = (1, 0);
    limits.rates = Some({
        let mut rates = Rates::default();
        rates.typing_rate = Rate::new(1, 1);
        rates
    });
    let hub = Hub::builder().limits(limits).build();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_only(0);
    for on in [true, false] {
        ann.send(typing(on));
    }
    ann.say("held");
    // The typing is due while the queue is full.
    sleep(Duration::from_secs(2)).await;
    bob.far.take_all();
    bob.gets(["typing true", "held", "typing false"]).await;

    for on in [true, false] {
        ann.send(typing(on));
    }
    bob.gets(["typing true"]).await;
    bob.gets_nothing().await;
    ann.send(Command::Next);
    bob.send(Command::Next);
    for peer in [&ann, &bob] {
        let events: Vec<_> = heard(peer).await.into_iter().map(|(event, _)| event).collect();
        assert_eq!(events.last().map(String::as_str), Some("matched"), "{events:?}");
    }
    sleep(Duration::from_secs(5)).await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn flood_ends_only_its_session() {
    let hub = hub_at(|rates| {
        (rates.message_rate, rates.refusal_rate) = (Rate::new(10, 100), Rate::new(10, 50));
    });
    let (ann, bob, _) = Peer::pair(&hub).await;
    let (cat, dan, _) = Peer::pair(&hub).await;
    for _ in 0..10_000 {
        ann.say("hi");
    }
    assert_eq!(heard(&bob).await, [times("hi", 100), times("left: lost", 1)]);
    assert_eq!(heard(&ann).await, [times("error: rate-limited", 51)]);
    ann.ends_after([], CloseReason::Flooded).await;
    cat.say("still here");
    dan.gets(["still here"]).await;
    bob.send(find());
    bob.gets(["waiting"]).await;
}

#[tokio::test(start_paused = true)]
async fn occasional_refusals_keep_session() {
    let hub = hub_at(|rates| {
        (rates.message_rate, rates.refusal_rate) = (Rate::new(10, 10), Rate::new(20, 50));
    });
    let (ann, bob, _) = Peer::pair(&hub).await;
    for _ in 0..600 {
        ann.say("hi");
        ann.say("hi");
        sleep(Duration::from_millis(100)).await;
    }
    // 10 at once, and 10 in each of 60 seconds. The last is due when the story is over.
    assert_eq!(heard(&bob).await, [times("hi", 609)]);
    assert_eq!(heard(&ann).await, [times("error: rate-limited", 591)]);
    assert!(!ann.session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn leave_is_never_rate_limited() {
    let hub =
        hub_at(|rates| (rates.message_rate, rates.find_rate) = (Rate::new(1, 1), Rate::new(1, 1)));
    for (command, told, partner_told) in
        [(Command::Leave, "idle", "left: left"), (Command::Block, "idle", "left: left")]
    {
        let (ann, bob, _) = Peer::pair(&hub).await;
        ann.say("one");
        ann.say("two");
        ann.send(Command::Next);
        ann.send(command);
        ann.gets(["error: rate-limited", "error: rate-limited", told]).await;
        bob.gets(["one", partner_told]).await;
    }
    let ann = Peer::waiting(&hub, "Ann").await;
    for _ in 0..3 {
        ann.send(Command::Cancel);
    }
    ann.gets(["idle"; 3]).await;
    ann.send(find());
    ann.gets(["error: rate-limited"]).await;
    sleep(Duration::from_secs(1)).await;
    ann.send(find());
    ann.gets(["waiting"]).await;
}

#[tokio::test(start_paused = true)]
async fn hello_while_waiting_costs_a_search() {
    let hub = hub_at(|rates| rates.find_rate = Rate::new(1, 3));
    let ann = Peer::waiting(&hub, "Ann").await;
    for name in ["Anna", "Anne", "Annie"] {
        ann.send(Command::Hello { hello: Hello::named(name), resume: None });
    }
    // The search and two hellos are three.
    ann.gets(["error: rate-limited"]).await;
    sleep(Duration::from_secs(1)).await;
    ann.send(Command::Hello { hello: Hello::named("Annie"), resume: None });
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_places_of_one_person_are_limited() {
    let hub = Hub::memory();
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut profile = Profile::default();
        profile.person = Some(PersonId::from_bits(1));
        let peer = Peer::connect_as(&hub, "Ann", profile.clone()).await;
        peer.send(find());
        peer.gets(["waiting"]).await;
        peers.push((peer, profile));
    }
    let fifth = Peer::connect_as(&hub, "Ann", peers[0].1.clone()).await;
    fifth.send(find());
    fifth.gets(["waiting", "error: too-many", "idle"]).await;
    peers[0].0.send(Command::Cancel);
    peers[0].0.gets(["idle"]).await;
    fifth.send(find());
    fifth.gets(["waiting"]).await;
}

#[tokio::test(start_paused = true)]
async fn next_storm_is_rate_limited() {
    let hub = Hub::memory();
    let ann = Peer::connect(&hub, "Ann").await;
    for _ in 0..1_000 {
        ann.send(Command::Next);
        ann.send(Command::Leave);
    }
    let heard = heard(&ann).await;
    let searches: usize =
        heard.iter().filter(|(event, _)| event == "waiting").map(|(_, times)| times).sum();
    assert_eq!(searches, 200);
    ann.far.take_all();
    assert!(!ann.session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn no_rates_no_refusals() {
    let hub = hub_with(None);
    let (ann, bob, _) = Peer::pair(&hub).await;
    for _ in 0..20_000 {
        ann.send(typing(true));
    }
    for _ in 0..20_000 {
        ann.say("hi");
    }
    assert_eq!(heard(&bob).await, [times("typing true", 20_000), times("hi", 20_000)]);
    for _ in 0..20_000 {
        ann.send(Input::Invalid(garbage()));
    }
    assert_eq!(heard(&ann).await, [times("error: bad-message", 20_000)]);
}

/// Peers that share an allowance for two, at 100 messages at once and 1 a second for each.
struct Household {
    hub: Hub,
    allowance: Arc<Allowance>,
}

impl Household {
    fn new() -> Self {
        let mut rates = Rates::default();
        rates.message_rate = Rate::new(1, 100);
        let two = 2.try_into().expect("two is not zero");
        let allowance = Arc::new(Allowance::new(&rates, two, Instant::now().into_std()));
        Self { hub: hub_with(Some(rates)), allowance }
    }

    /// One of them, in a chat with a peer from elsewhere.
    async fn pair(&self) -> [Peer; 2] {
        let mut profile = Profile::named("Ann");
        profile.allowance = Some(Arc::clone(&self.allowance));
        let ann = Peer::connect_as(&self.hub, "Ann", profile).await;
        let bob = Peer::waiting(&self.hub, "Bob").await;
        ann.send(find());
        ann.gets(["waiting"]).await;
        ann.gets_matched("Bob").await;
        bob.gets_matched("Ann").await;
        [ann, bob]
    }
}

/// Says so much at once; how much of that arrives.
async fn say([ann, bob]: &[Peer; 2], times: usize) -> usize {
    for _ in 0..times {
        ann.say("hi");
    }
    heard(bob).await.iter().map(|(_, times)| times).sum()
}

#[tokio::test(start_paused = true)]
async fn shared_allowance_limits_all_peers() {
    let household = Household::new();
    let mut arrived = 0;
    for _ in 0..4 {
        let pair = household.pair().await;
        arrived += say(&pair, 100).await;
        // What she took of it and did not use goes back.
        let [ann, bob] = pair;
        ann.far.hang_up();
        bob.gets(["left: lost"]).await;
        bob.far.hang_up();
        bob.gets(["gone"]).await;
    }
    assert_eq!(arrived, 200);
}

#[tokio::test(start_paused = true)]
async fn own_refusal_costs_no_shared_allowance() {
    let household = Household::new();
    let flooding = household.pair().await;
    assert_eq!(say(&flooding, 500).await, 100);
    flooding[0].far.hang_up();
    let other = household.pair().await;
    assert_eq!(say(&other, 100).await, 100);
}

#[tokio::test(start_paused = true)]
async fn shared_refusal_costs_no_own_allowance() {
    let household = Household::new();
    let [first, second, third] =
        [household.pair().await, household.pair().await, household.pair().await];
    // In the lots that are taken at once.
    for (pair, says, arrives) in [(&first, 96, 96), (&second, 96, 96), (&third, 100, 8)] {
        assert_eq!(say(pair, says).await, arrives);
    }
    // In half of the time that it takes to fill a bucket of one's own, that of two is filled for one.
    sleep(Duration::from_secs(50)).await;
    assert_eq!(say(&third, 92).await, 92);
}

fn garbage() -> Problem {
    codec::parse(&"[]".into()).expect_err("a list is no message")
}

#[tokio::test(start_paused = true)]
async fn unreadable_messages_above_rate_end_session() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    for _ in 0..10 {
        ann.send(Input::Invalid(garbage()));
        ann.gets(["error: bad-message"]).await;
        sleep(Duration::from_secs(5)).await;
    }
    // What is an object and cannot be done is a mistake of another kind.
    for _ in 0..100 {
        ann.send(Input::Invalid(codec::parse(&r#"{"type":"dance"}"#.into()).unwrap_err()));
        ann.send(Input::Invalid(codec::parse(&r#"{"type":"message"}"#.into()).unwrap_err()));
        ann.gets(["error: unknown-type", "error: bad-message"]).await;
    }
    sleep(Duration::from_secs(5)).await;
    ann.say("hi");
    bob.gets(["hi"]).await;
    for _ in 0..3 {
        ann.send(Input::Invalid(garbage()));
    }
    bob.gets(["left: lost"]).await;
    ann.ends_after(["error: bad-message"; 3], CloseReason::Garbled).await;
}

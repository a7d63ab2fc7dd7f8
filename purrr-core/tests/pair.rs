//! Stories about `Hub::pair` and `Chat`: what dropping means, how a chat ends, and what a drain does to it.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use purrr_core::{
    Anyone, Chat, Frame, Hub, Limits, Lobby, MemoryLobby, MemoryRelay, PairError, PeerId, Profile,
    Reason, Ticket,
    frame::{Body, Message},
};
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn both_see_one_chat_and_each_other() {
    let hub = Hub::memory();
    let (mut ann, mut bob) = pair(&hub).await;
    assert_eq!(ann.id(), bob.id());
    assert_eq!(ann.partner().name.as_deref(), Some("Bob"));
    assert_eq!(bob.partner().name.as_deref(), Some("Ann"));
    assert_eq!(hub.online(), 2);
    ann.say("hello").await.unwrap();
    bob.say("hi").await.unwrap();
    assert_eq!(heard(&mut bob).await, "hello");
    assert_eq!(heard(&mut ann).await, "hi");
}

#[tokio::test(start_paused = true)]
async fn dropping_pair_before_the_match_leaves_the_lobby() {
    let hub = Hub::memory();
    let mut ann = Box::pin(hub.pair(Profile::named("Ann")));
    assert!(ann.as_mut().now_or_never().is_none());
    assert_eq!((hub.online(), census(&hub).await), (1, (1, 0)));
    drop(ann);
    assert_eq!((hub.online(), census(&hub).await), (0, (0, 0)));
    assert!(hub.pair(Profile::named("Bob")).now_or_never().is_none(), "nobody is there");
}

#[tokio::test(start_paused = true)]
async fn dropping_pair_after_the_match_tells_the_partner() {
    let hub = Hub::memory();
    let mut ann = Box::pin(hub.pair(Profile::named("Ann")));
    assert!(ann.as_mut().now_or_never().is_none());
    let bob = hub.pair(Profile::named("Bob")).now_or_never().expect("Ann waits");
    let mut bob = bob.unwrap();
    bob.say("are you there?").await.unwrap();
    // The match lies ready for Ann, and is never taken.
    drop(ann);
    assert_eq!(bob.recv().await, Err(Reason::Lost));
    assert_eq!((hub.online(), census(&hub).await), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn whoever_was_given_up_before_the_chat_began_goes_on_waiting() {
    let lobby = Arc::new(MemoryLobby::default());
    let hub = Hub::builder().backend(Arc::clone(&lobby) as _, Arc::new(MemoryRelay)).build();
    let mut bob = Box::pin(hub.pair(Profile::named("Bob")));
    assert!(bob.as_mut().now_or_never().is_none());
    let ann = lobby.enter(Ticket::new(PeerId::random()), Arc::new(Anyone)).await.unwrap();
    assert_eq!(census(&hub).await, (0, 1), "Ann and Bob are matched");
    // She cancels before Bob has heard of it.
    drop(ann);
    assert!(bob.as_mut().now_or_never().is_none());
    assert_eq!(census(&hub).await, (1, 0));
    let cid = hub.pair(Profile::named("Cid")).await.unwrap();
    assert_eq!(bob.await.unwrap().id(), cid.id());
    assert_eq!(hub.stats().matches, 2, "the two sides of the one chat that there was");
}

#[tokio::test(start_paused = true)]
async fn each_way_to_end_a_chat_comes_after_what_was_said() {
    type End = fn(Chat);
    let ends: [(End, Reason); 2] = [(drop, Reason::Lost), (Chat::leave, Reason::Left)];
    for (end, reason) in ends {
        let hub = Hub::memory();
        let (mut ann, mut bob) = pair(&hub).await;
        bob.say("never read").await.unwrap();
        ann.say("one").await.unwrap();
        ann.say("two").await.unwrap();
        end(ann);
        assert_eq!(census(&hub).await, (0, 0));
        assert!(bob.say("too late").await.is_err());
        assert_eq!(heard(&mut bob).await, "one");
        assert_eq!(heard(&mut bob).await, "two");
        for _ in 0..2 {
            assert_eq!(bob.recv().await, Err(reason));
        }
        assert_eq!(hub.online(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_has_sent_nothing_and_a_recv_has_taken_nothing() {
    let hub = hub_of(1);
    let (mut ann, mut bob) = pair(&hub).await;
    assert_eq!(bob.recv().now_or_never(), None);
    ann.say("one").await.unwrap();
    assert_eq!(ann.say("given up").now_or_never(), None);
    assert_eq!(heard(&mut bob).await, "one");
    assert_eq!(bob.recv().now_or_never(), None);
    ann.say("two").await.unwrap();
    assert_eq!(heard(&mut bob).await, "two");
    assert_eq!(hub.stats().frames, 2);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_waits_goes_on_when_the_partner_reads_or_parts() {
    let hub = hub_of(1);
    let (mut ann, mut bob) = pair(&hub).await;
    ann.say("one").await.unwrap();
    let reads = async {
        assert_eq!(heard(&mut bob).await, "one");
    };
    assert_eq!(tokio::join!(ann.say("two"), reads).0, Ok(()));
    let parts = async { bob.leave() };
    assert!(tokio::join!(ann.say("three"), parts).0.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_drain_refuses_whoever_waits_and_whoever_comes() {
    let hub = Hub::memory();
    let waits = hub.pair(Profile::named("Ann"));
    let begun = Instant::now();
    let (waits, ()) = soon(async { tokio::join!(waits, hub.drain(WINDOW)) }).await;
    assert!(matches!(waits, Err(PairError::Draining)), "{waits:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let late = soon(hub.pair(Profile::named("Bob"))).await;
    assert!(matches!(late, Err(PairError::Draining)), "{late:?}");
    assert_eq!((hub.online(), census(&hub).await), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_chat_goes_on_while_the_hub_drains_and_the_drain_ends_with_it() {
    let hub = Hub::memory();
    let (mut ann, mut bob) = pair(&hub).await;
    let begun = Instant::now();
    let talk = async {
        tokio::time::sleep(WINDOW / 2).await;
        assert!(hub.is_draining());
        ann.say("still here").await.unwrap();
        assert_eq!(heard(&mut bob).await, "still here");
        ann.leave();
        assert_eq!(bob.recv().await, Err(Reason::Left));
        drop(bob);
    };
    tokio::join!(hub.drain(WINDOW), talk);
    assert_eq!(begun.elapsed(), WINDOW / 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_window_is_over_a_chat_ends_after_what_was_said() {
    let hub = hub_of(2);
    let (mut ann, mut bob) = pair(&hub).await;
    for text in ["one", "two"] {
        ann.say(text).await.unwrap();
    }
    let begun = Instant::now();
    let last_of_ann = async {
        // Bob does not read, so this waits until the hub's time is up.
        assert!(soon(ann.say("three")).await.is_err());
        assert_eq!(begun.elapsed(), WINDOW);
        assert_eq!(ann.recv().await, Err(Reason::Ended));
        assert_eq!(heard(&mut bob).await, "one");
        assert!(ann.say("there is room again").await.is_err());
        assert_eq!(heard(&mut bob).await, "two");
        assert_eq!(bob.recv().await, Err(Reason::Ended));
        drop((ann, bob));
    };
    tokio::join!(hub.drain(WINDOW), last_of_ann);
    assert_eq!(begun.elapsed(), WINDOW);
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_nobody_lets_go_of_is_not_waited_for() {
    let hub = Hub::memory();
    let (ann, bob) = pair(&hub).await;
    let begun = Instant::now();
    hub.drain(WINDOW).await;
    assert_eq!(begun.elapsed(), WINDOW + Duration::from_secs(1));
    drop((ann, bob));
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn stats_count_pairs_frames_and_bytes() {
    let hub = Hub::memory();
    let (mut ann, _bob) = pair(&hub).await;
    ann.say("12345").await.unwrap();
    let message = Message { id: Some(1), text: Some("123".into()), ..Message::default() };
    ann.send(Frame::new(Body::Message(message))).await.unwrap();
    let stats = hub.stats();
    assert_eq!((stats.arrivals, stats.matches, stats.frames, stats.bytes), (2, 2, 2, 8));
}

async fn pair(hub: &Hub) -> (Chat, Chat) {
    let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
    (ann.expect("Bob is there"), bob.expect("Ann is there"))
}

async fn heard(chat: &mut Chat) -> String {
    let frame = chat.recv().await.expect("something was said");
    frame.as_text().expect("texts were said").to_owned()
}

/// What comes of something that must not wait for ever. The clock is virtual, so that patience costs nothing.
async fn soon<T>(something: impl Future<Output = T>) -> T {
    tokio::time::timeout(2 * WINDOW, something).await.expect("it does not wait for ever")
}

/// How many wait, and how many pairs there are.
async fn census(hub: &Hub) -> (u64, u64) {
    let census = hub.census().await.expect("the lobby works");
    (census.waiting, census.pairs)
}

/// A hub whose pipes hold so few frames each way.
fn hub_of(pipe_items: usize) -> Hub {
    let mut limits = Limits::default();
    limits.pipe_items = pipe_items;
    Hub::builder().limits(limits).build()
}

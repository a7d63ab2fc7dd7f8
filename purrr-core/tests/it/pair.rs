//! Stories about `Hub::pair` and `Chat`: what dropping means, how a chat ends, and what a drain does to it.

use std::time::Duration;

use futures::FutureExt;
use purrr_core::{Chat, Frame, Hub, Limits, PairError, Profile, model::ChatEnd};
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn pair_gives_both_sides_the_same_chat() {
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
async fn dropped_pair_leaves_lobby() {
    let hub = Hub::memory();
    let mut ann = Box::pin(hub.pair(Profile::named("Ann")));
    assert!(ann.as_mut().now_or_never().is_none());
    assert_eq!((hub.online(), census(&hub).await), (1, (1, 0)));
    drop(ann);
    assert_eq!((hub.online(), census(&hub).await), (0, (0, 0)));
    assert!(hub.pair(Profile::named("Bob")).now_or_never().is_none(), "no partner waits");
}

#[tokio::test(start_paused = true)]
async fn dropped_match_keeps_partner_waiting() {
    // Ann gives up before Bob has heard of the match, while he waits for her, and when each of them
    // waits for the other.
    for (ann_first, looks) in [(false, 0), (true, 0), (true, 1)] {
        let hub = Hub::memory();
        let [ann, mut bob] = ["Ann", "Bob"].map(|name| Box::pin(hub.pair(Profile::named(name))));
        let mut ann = ann;
        let mut order = [&mut ann, &mut bob];
        if !ann_first {
            order.reverse();
        }
        for pair in order {
            assert!(pair.as_mut().now_or_never().is_none());
        }
        assert_eq!(census(&hub).await, (0, 1), "Ann and Bob are matched");
        for _ in 0..looks {
            assert!(bob.as_mut().now_or_never().is_none(), "Ann has not opened the chat");
        }
        drop(ann);
        assert!(bob.as_mut().now_or_never().is_none());
        assert_eq!((hub.online(), census(&hub).await), (1, (1, 0)));
        let (bob, cid) = tokio::join!(bob, hub.pair(Profile::named("Cid")));
        assert_eq!(bob.unwrap().id(), cid.unwrap().id());
        assert_eq!(hub.stats().matches, 2, "the two sides of the one chat that there was");
    }
}

#[tokio::test(start_paused = true)]
async fn unpolled_pair_does_not_block_partner() {
    let hub = Hub::memory();
    let mut ann = Box::pin(hub.pair(Profile::named("Ann")));
    assert!(ann.as_mut().now_or_never().is_none());
    // Matched with Ann, who is not polled any more.
    let mut bob = Box::pin(hub.pair(Profile::named("Bob")));
    assert!(bob.as_mut().now_or_never().is_none());
    tokio::time::sleep(Limits::default().stall + Duration::from_secs(1)).await;
    let (bob, cid) = tokio::join!(bob, hub.pair(Profile::named("Cid")));
    assert_eq!(bob.unwrap().id(), cid.unwrap().id());
    // And when she is polled, she goes on waiting as well.
    assert!(ann.as_mut().now_or_never().is_none());
    assert_eq!(census(&hub).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn chat_end_comes_after_frames() {
    type End = fn(Chat);
    let ends: [(End, ChatEnd); 2] = [(drop, ChatEnd::Lost), (Chat::leave, ChatEnd::Left)];
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
async fn send_and_recv_are_cancel_safe() {
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
async fn blocked_send_resumes_on_read_or_left() {
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
async fn drain_refuses_waiting_and_new_pairs() {
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
async fn drain_waits_for_last_chat() {
    let hub = Hub::memory();
    let (mut ann, mut bob) = pair(&hub).await;
    let begun = Instant::now();
    let talk = async {
        tokio::time::sleep(WINDOW / 2).await;
        assert!(hub.is_draining());
        ann.say("still here").await.unwrap();
        assert_eq!(heard(&mut bob).await, "still here");
        ann.leave();
        assert_eq!(bob.recv().await, Err(ChatEnd::Left));
        drop(bob);
    };
    tokio::join!(hub.drain(WINDOW), talk);
    assert_eq!(begun.elapsed(), WINDOW / 2);
}

#[tokio::test(start_paused = true)]
async fn drain_timeout_ends_chat_after_frames() {
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
        assert_eq!(ann.recv().await, Err(ChatEnd::Ended));
        assert_eq!(heard(&mut bob).await, "one");
        assert!(ann.say("there is room again").await.is_err());
        assert_eq!(heard(&mut bob).await, "two");
        assert_eq!(bob.recv().await, Err(ChatEnd::Ended));
        drop((ann, bob));
    };
    tokio::join!(hub.drain(WINDOW), last_of_ann);
    assert_eq!(begun.elapsed(), WINDOW);
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_does_not_wait_for_unread_chat() {
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
    ann.send(Frame::text("123").with_id(1)).await.unwrap();
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
fn hub_of(queue_items: usize) -> Hub {
    let mut limits = Limits::default();
    limits.queue_items = queue_items;
    // Longer than any drain of these stories.
    limits.stall = 2 * WINDOW;
    Hub::builder().limits(limits).build()
}

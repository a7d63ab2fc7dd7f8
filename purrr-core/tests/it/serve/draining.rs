//! A hub that goes away.

use std::time::Duration;

use purrr_core::{Command, Hub, Limits, Profile, model::CloseReason};
use tokio::time::Instant;

use crate::serve::peer::{Peer, find};

const WINDOW: Duration = Duration::from_secs(60);
/// What `Hub::drain` allows for last words.
const GOODBYE: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn drain_closes_idle_sessions_within_half_window() {
    let hub = Hub::memory();
    let idle = Peer::connect(&hub, "Idle").await;
    let waiting = Peer::waiting(&hub, "Waiting").await;
    let begun = Instant::now();
    let told = async {
        idle.gets(["draining"]).await;
        waiting.gets(["draining", "idle"]).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    };
    tokio::join!(hub.drain(WINDOW), told);
    assert!(begun.elapsed() <= WINDOW / 2, "{:?}", begun.elapsed());
    idle.ends_after([], CloseReason::Drained).await;
    waiting.ends_after([], CloseReason::Drained).await;
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_jitters_idle_disconnects() {
    const CROWD: usize = 200;
    const STEPS: usize = 10;
    fastrand::seed(7);
    let hub = Hub::memory();
    let mut crowd = Vec::new();
    for place in 0..CROWD {
        crowd.push(match place % 2 {
            0 => Peer::connect(&hub, "Idle").await,
            // No other peer has this interest, so that every peer waits.
            _ => Peer::waiting_for(&hub, "Waiting", &place.to_string()).await,
        });
    }
    let draining = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain(WINDOW).await }
    });
    let mut here = CROWD;
    for step in 1..=STEPS {
        tokio::time::sleep(WINDOW / 2 / STEPS as u32).await;
        let gone = here - hub.online() as usize;
        here -= gone;
        // Twenty each time on average; by the seed, never nearly none or nearly all of them.
        assert!((5..=40).contains(&gone), "{gone} went in step {step}");
    }
    // The clock's grain is a millisecond.
    tokio::time::timeout(Duration::from_millis(2), draining).await.unwrap().unwrap();
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_without_window_closes_at_once() {
    let hub = Hub::memory();
    let idle = Peer::connect(&hub, "Idle").await;
    let (ann, bob, _) = Peer::pair(&hub).await;
    let waiting = Peer::waiting(&hub, "Waiting").await;
    let begun = Instant::now();
    hub.drain(Duration::ZERO).await;
    assert!(begun.elapsed() <= Duration::from_millis(1), "{:?}", begun.elapsed());
    for peer in [ann, bob] {
        peer.ends_after(["left: ended"], CloseReason::Drained).await;
    }
    idle.ends_after([], CloseReason::Drained).await;
    waiting.ends_after([], CloseReason::Drained).await;
}

#[tokio::test(start_paused = true)]
async fn command_while_draining_is_answered_and_closed() {
    for (asked, answers) in [
        (find(), &["error: draining", "idle"][..]),
        (Command::Next, &["error: draining", "idle"]),
        (Command::Leave, &["idle"]),
    ] {
        let hub = Hub::memory();
        let ann = Peer::connect(&hub, "Ann").await;
        let begun = Instant::now();
        let asks = async {
            ann.gets(["draining"]).await;
            ann.send(asked);
            for answer in answers {
                ann.gets([*answer]).await;
            }
        };
        tokio::join!(hub.drain(WINDOW), asks);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        ann.ends_after([], CloseReason::Drained).await;
    }
}

#[tokio::test(start_paused = true)]
async fn session_begun_while_draining_is_closed() {
    let hub = Hub::memory();
    hub.drain(WINDOW).await;
    Peer::connect(&hub, "Late").await.ends_after(["draining"], CloseReason::Drained).await;
}

#[tokio::test(start_paused = true)]
async fn drain_ends_with_last_chat() {
    for (last, told, partner_told) in [
        (Command::Leave, &["idle"][..], "left: left"),
        (Command::Next, &["error: draining", "idle"], "left: next"),
    ] {
        let hub = Hub::memory();
        let (ann, bob, _) = Peer::pair(&hub).await;
        let draining = tokio::spawn({
            let hub = hub.clone();
            async move { hub.drain(WINDOW).await }
        });
        ann.gets(["draining"]).await;
        bob.gets(["draining"]).await;
        let begun = Instant::now();
        tokio::time::sleep(WINDOW / 2).await;
        ann.send(find());
        ann.gets(["error: already-paired"]).await;
        ann.say("so long");
        ann.send(last);
        for told in told {
            ann.gets([*told]).await;
        }
        ann.ends_after([], CloseReason::Drained).await;
        bob.ends_after(["so long", partner_told], CloseReason::Drained).await;
        draining.await.unwrap();
        assert_eq!(begun.elapsed(), WINDOW / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn drain_timeout_ends_chats() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    let begun = Instant::now();
    hub.drain(WINDOW).await;
    assert_eq!(begun.elapsed(), WINDOW);
    for peer in [ann, bob] {
        peer.ends_after(["draining", "left: ended"], CloseReason::Drained).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_drain_can_restart() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    let given_up = tokio::time::timeout(WINDOW / 2, hub.drain(WINDOW)).await;
    assert!(given_up.is_err());
    for peer in [&ann, &bob] {
        peer.gets(["draining"]).await;
    }
    let begun = Instant::now();
    hub.drain(WINDOW).await;
    assert_eq!(begun.elapsed(), WINDOW);
    for peer in [ann, bob] {
        peer.ends_after(["left: ended"], CloseReason::Drained).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unread_goodbye_does_not_delay_drain() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_only(0);
    let begun = Instant::now();
    hub.drain(WINDOW).await;
    // The other one has been stuck since the news that the hub drains, and with it went the chat.
    assert!(begun.elapsed() <= WINDOW + GOODBYE);
    ann.ends_after(["draining", "error: partner-slow", "left: lost"], CloseReason::Drained).await;
    bob.ends_after([], CloseReason::Slow).await;
}

#[tokio::test(start_paused = true)]
async fn drain_closes_partner_of_slow_consumer() {
    let mut limits = Limits::default();
    limits.queue_items = 1;
    let hub = Hub::builder().limits(limits).build();
    let ann = Peer::waiting(&hub, "Ann").await;
    let _bob = hub.pair(Profile::named("Bob")).await.unwrap();
    ann.gets_matched("Bob").await;
    ann.say("queued");
    ann.say("held");
    let full = Instant::now();
    let last_of_ann = async {
        let last = ["draining", "error: partner-slow", "left: lost"];
        ann.ends_after(last, CloseReason::Drained).await;
        assert_eq!(full.elapsed(), hub.limits().stall);
    };
    tokio::join!(hub.drain(WINDOW), last_of_ann);
}

#[tokio::test(start_paused = true)]
async fn unclosed_transport_does_not_delay_drain() {
    let hub = Hub::memory();
    let ann = Peer::connect(&hub, "Ann").await;
    ann.far.let_close(false);
    let begun = Instant::now();
    hub.drain(WINDOW).await;
    assert!(begun.elapsed() <= WINDOW / 2 + hub.limits().stall, "{:?}", begun.elapsed());
    ann.ends_after(["draining"], CloseReason::Slow).await;
}

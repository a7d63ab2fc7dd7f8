//! What goes on in a transport while its peer is held up by a partner that does not read.

use std::time::Duration;

use purrr_core::{Command, Hub, Limits, hub::Input, model::CloseReason};
use tokio::time::{Instant, sleep};

use crate::serve::peer::{Peer, settled};

const STALL: Duration = Duration::from_secs(10);

fn hub() -> Hub {
    let mut limits = Limits::default();
    // Behind the one frame that is held, nothing is read.
    (limits.queue_items, limits.read_ahead_items, limits.stall) = (1, 0, STALL);
    Hub::builder().limits(limits).build()
}

/// Two who can be polled while they are held up, each with a queue that is full and a frame that
/// waits for room.
async fn pair_that_holds(hub: &Hub) -> (Peer, Peer) {
    let (ann, bob) = (Peer::gated(hub, "Ann").await, Peer::gated(hub, "Bob").await);
    for (peer, other) in [(&ann, "Bob"), (&bob, "Ann")] {
        peer.send(crate::serve::peer::find());
        peer.gets(["waiting"]).await;
        if other == "Ann" {
            peer.gets_matched(other).await;
        }
    }
    ann.gets_matched("Bob").await;
    for peer in [&ann, &bob] {
        peer.far.take_only(0);
        for text in ["queued", "held", "unread"] {
            peer.say(text);
        }
    }
    settled().await;
    (ann, bob)
}

#[tokio::test(start_paused = true)]
async fn mutual_backpressure_on_slow_lines_is_no_stall() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    for _ in 0..20 {
        sleep(STALL - Duration::from_millis(2)).await;
        for peer in [&ann, &bob] {
            peer.send(Input::WriteProgress);
        }
    }
    settled().await;
    for peer in [&ann, &bob] {
        peer.far.take_all();
        peer.gets(["queued", "held", "unread"]).await;
        peer.gets_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn mutual_backpressure_ends_the_stalled_side() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    let stuck = Instant::now();
    for _ in 0..5 {
        ann.send(Input::WriteProgress);
        sleep(STALL / 4).await;
    }
    ann.far.take_all();
    ann.gets(["error: partner-slow", "left: lost", "error: not-paired"]).await;
    assert!(stuck.elapsed() >= STALL);
    bob.ends_after([], CloseReason::Slow).await;
}

#[tokio::test(start_paused = true)]
async fn held_frame_stops_reading_commands() {
    let (ann, _bob) = pair_that_holds(&hub()).await;
    let read = ann.far.read();
    for _ in 0..10 {
        ann.send(Command::Leave);
        ann.send(Input::WriteProgress);
        ann.send(Input::Unresponsive);
        ann.send(Input::Responsive);
    }
    settled().await;
    assert_eq!(ann.far.read() - read, 30);
}

#[tokio::test(start_paused = true)]
async fn lost_sender_ends_at_once_and_held_frame_is_sent() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    let vanished = Instant::now();
    ann.far.vanish();
    assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
    assert_eq!(vanished.elapsed(), Duration::ZERO);
    bob.far.take_all();
    bob.gets(["queued", "held", "left: lost"]).await;
}

#[tokio::test(start_paused = true)]
async fn partner_of_lost_sender_ends_within_stall() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    ann.far.vanish();
    assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
    let lost = Instant::now();
    bob.ends_after([], CloseReason::Slow).await;
    assert!(lost.elapsed() <= STALL);
}

#[tokio::test(start_paused = true)]
async fn command_through_closed_gate_ends_session() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    ann.far.ignore_gate();
    bob.far.take_all();
    // What she was held up with is sent before, or not at all, but never overtaken.
    let end = loop {
        match bob.far.next().await.as_ref().map(crate::serve::peer::told).as_deref() {
            Some("queued" | "held" | "unread") => {}
            other => break other.map(str::to_owned),
        }
    };
    assert_eq!(end.as_deref(), Some("left: lost"));
    assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
}

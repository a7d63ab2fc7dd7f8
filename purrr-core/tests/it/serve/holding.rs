//! What goes on in a transport while its peer is held up by a partner that does not read.

use std::time::Duration;

use purrr_core::{Command, Hub, Limits, hub::Input, model::CloseReason};
use tokio::time::{Instant, sleep};

use crate::serve::peer::{Peer, settled};

const STALL: Duration = Duration::from_secs(10);

fn hub() -> Hub {
    let mut limits = Limits::default();
    (limits.queue_items, limits.stall) = (1, STALL);
    Hub::builder().limits(limits).build()
}

/// Two who can be polled while they are held up, each with a queue that is full and a frame that waits for room.
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
async fn two_who_send_much_to_each_other_on_slow_lines_are_not_taken_for_stuck() {
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
async fn of_two_who_hold_each_other_up_the_one_that_does_not_move_is_lost() {
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
async fn no_command_is_read_while_one_is_held_whatever_else_comes() {
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
async fn whoever_vanishes_while_it_is_held_up_is_gone_when_what_it_said_is_sent() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    let vanished = Instant::now();
    ann.far.vanish();
    settled().await;
    assert!(!ann.session.is_finished());
    bob.far.take_all();
    bob.gets(["queued", "held", "left: lost"]).await;
    assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
    assert!(vanished.elapsed() < STALL);
}

#[tokio::test(start_paused = true)]
async fn whoever_vanishes_is_not_waited_for_longer_than_a_stall() {
    let (ann, bob) = pair_that_holds(&hub()).await;
    ann.far.vanish();
    assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
    bob.ends_after([], CloseReason::Slow).await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_yields_commands_through_a_closed_gate_is_broken() {
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

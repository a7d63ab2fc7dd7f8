//! Transports that take little, late or nothing, and what that costs whom.

use std::time::Duration;

use purrr_core::{Command, Frame, Hub, Limits, Profile, hub::Input, model::CloseReason};
use tokio::{
    runtime,
    time::{Instant, advance, sleep},
};

use crate::serve::peer::{Peer, settled};

const STALL: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn blocked_transport_stalls() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_only(1);
    ann.say("one");
    ann.say("two");
    let stuck = Instant::now();
    bob.gets(["one"]).await;
    ann.gets(["error: partner-slow", "left: lost"]).await;
    assert_eq!(stuck.elapsed(), STALL);
    bob.ends_after([], CloseReason::Slow).await;
    assert_eq!(stuck.elapsed(), STALL);
}

#[tokio::test(start_paused = true)]
async fn unflushed_transport_stalls() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    ann.say("one");
    let stuck = Instant::now();
    ann.gets(["error: partner-slow", "left: lost"]).await;
    assert_eq!(stuck.elapsed(), STALL);
    bob.ends_after(["one"], CloseReason::Slow).await;
}

#[tokio::test(start_paused = true)]
async fn slow_consumer_is_disconnected_after_stall() {
    let hub = hub_of(1, usize::MAX);
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_only(0);
    for text in ["queued", "held", "unread"] {
        ann.say(text);
    }
    bob.send(Command::Unsupported { what: "report" });
    let full = Instant::now();
    // Bob's transport takes one thing that is Bob's own, so Bob has longer than Ann waits.
    let shy = Duration::from_secs(3);
    sleep(shy).await;
    bob.far.take_only(1);
    bob.gets(["error: not-supported"]).await;
    assert_eq!(full.elapsed(), shy);

    ann.gets(["error: partner-slow", "left: lost"]).await;
    assert_eq!(full.elapsed(), STALL);
    // What was read no further than the transport is refused, and not kept for the next.
    ann.gets(["error: not-paired"]).await;
    bob.ends_after([], CloseReason::Slow).await;
    assert_eq!(full.elapsed(), shy + STALL);
}

#[tokio::test(start_paused = true)]
async fn partner_slow_precedes_left() {
    let hub = hub_of(1, usize::MAX);
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_only(0);
    ann.say("not taken");
    let stuck = Instant::now();
    sleep(Duration::from_secs(3)).await;
    ann.say("held");
    ann.gets(["error: partner-slow", "left: lost"]).await;
    assert_eq!(stuck.elapsed(), STALL);
    bob.ends_after([], CloseReason::Slow).await;
}

#[tokio::test(start_paused = true)]
async fn in_process_slow_consumer_stalls() {
    let hub = hub_of(1, usize::MAX);
    let ann = Peer::waiting(&hub, "Ann").await;
    let mut bob = hub.pair(Profile::named("Bob")).await.unwrap();
    ann.gets_matched("Bob").await;
    ann.say("queued");
    ann.say("held");
    let full = Instant::now();
    ann.gets(["error: partner-slow", "left: lost"]).await;
    assert_eq!(full.elapsed(), STALL);
    assert_eq!(bob.recv().await.as_ref().map(Frame::as_text), Ok(Some("queued")));
    assert_eq!(bob.recv().await, Err(purrr_core::model::ChatEnd::Lost));
}

#[tokio::test(start_paused = true)]
async fn write_progress_resets_stall_timer() {
    let hub = hub_of(1, usize::MAX);
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_only(0);
    for text in ["queued", "held"] {
        ann.say(text);
    }
    for _ in 0..20 {
        settled().await;
        advance(STALL - Duration::from_millis(2)).await;
        bob.send(Input::WriteProgress);
    }
    let last = Instant::now();
    ann.gets_nothing().await;
    bob.far.take_only(1);
    bob.gets(["queued"]).await;
    bob.far.take_all();
    bob.gets(["held"]).await;
    ann.gets_nothing().await;
    assert!(last.elapsed() < STALL);

    bob.far.take_only(0);
    ann.say("again");
    let stuck = Instant::now();
    ann.gets(["error: partner-slow", "left: lost"]).await;
    assert_eq!(stuck.elapsed(), STALL);
    bob.ends_after([], CloseReason::Slow).await;
}

#[tokio::test(start_paused = true)]
async fn read_resets_stall_timer() {
    let hub = hub_of(1, usize::MAX);
    let (ann, bob, _) = Peer::pair(&hub).await;
    let nearly = STALL - Duration::from_millis(1);
    bob.far.take_only(0);
    for text in 0..10 {
        ann.say(&text.to_string());
    }
    for text in 0..10 {
        sleep(nearly).await;
        bob.far.take_only(1);
        bob.gets([&*text.to_string()]).await;
    }
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn write_or_room_resets_stall_timer() {
    let taking_meanwhile = Duration::from_secs(6);
    for (room, second) in [(usize::MAX, Some("two")), (1, None)] {
        let hub = Hub::memory();
        let (ann, bob, _) = Peer::pair(&hub).await;
        bob.far.let_flush(false);
        bob.far.take_only(room);
        // Long enough for the minimum rate.
        ann.say(&"x".repeat(60_000));
        let stuck = Instant::now();
        sleep(taking_meanwhile).await;
        match second {
            Some(second) => ann.say(second),
            None => bob.far.take_only(1),
        }
        ann.gets(["error: partner-slow", "left: lost"]).await;
        assert_eq!(stuck.elapsed(), taking_meanwhile + STALL);
        assert_eq!(bob.session.await.unwrap(), CloseReason::Slow);
    }
}

#[test]
fn next_resets_stall_timer() {
    // Timers are looked at after every turn of a task, so that the stall's is seen between the two
    // turns of a peer that has just searched.
    let mut runtime = runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).event_interval(1).build();
    runtime.expect("a runtime with a clock").block_on(async {
        let hub = Hub::memory();
        let (ann, bob, _) = Peer::pair(&hub).await;
        bob.far.take_only(0);
        ann.say("unread");
        sleep(STALL - Duration::from_millis(2)).await;
        let reading = bob.far.clone();
        bob.far.send_with(Command::Next, move || reading.take_all());
        advance(Duration::from_millis(3)).await;
        bob.gets(["waiting"]).await;
        let _cid = Peer::waiting(&hub, "Cid").await;
        bob.gets_matched("Cid").await;
    });
}

#[tokio::test(start_paused = true)]
async fn full_transport_is_flushed() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.take_between_flushes(1);
    bob.far.let_flush(false);
    let texts = ["1", "2", "3", "4", "5"];
    for text in texts {
        ann.say(text);
    }
    settled().await;
    bob.far.let_flush(true);
    let begun = Instant::now();
    bob.gets(texts).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn unread_frames_stay_within_queue_limits() {
    // How much of what Ann sends is read: what the pipe takes, and one frame that it did not.
    for (items, bytes, frame_bytes, read) in [
        (8, usize::MAX, 10, 8 + 1),
        (1, usize::MAX, 10, 1 + 1),
        (0, usize::MAX, 10, 1 + 1),
        (100, 1_000, 10, 100 + 1),
        (1_000, 1_000, 10, 100 + 1),
        (1_000, 1_000, 400, 2 + 1),
        (1_000, 1_000, 1_000, 1 + 1),
        (1_000, 1_000, 200_000, 1 + 1),
    ] {
        let hub = hub_of(items, bytes);
        let (ann, bob, _) = Peer::pair(&hub).await;
        bob.far.take_only(0);
        let before = ann.far.read();
        for _ in 0..2_000 {
            ann.say(&"x".repeat(frame_bytes));
        }
        settled().await;
        let case = format!("{items} items, {bytes} bytes, frames of {frame_bytes}");
        assert_eq!(ann.far.read() - before, read, "{case}");

        bob.far.take_only(1);
        settled().await;
        assert_eq!(bob.far.taken().len(), 1, "{case}");
        let freed = ann.far.read() - before - read;
        assert_eq!(freed, 1, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn unread_answers_stay_within_backlog() {
    let hub = Hub::memory();
    let ann = Peer::connect(&hub, "Ann").await;
    ann.far.take_only(0);
    let before = ann.far.read();
    for _ in 0..1_000 {
        ann.send(Command::Cancel);
    }
    settled().await;
    assert_eq!(ann.far.read() - before, 16);
    ann.far.take_all();
    ann.gets(["idle"; 1_000]).await;
    ann.gets_nothing().await;
}

/// A hub whose pipes hold so much each way, and whose sessions read nothing ahead.
fn hub_of(queue_items: usize, queue_bytes: usize) -> Hub {
    let mut limits = Limits::default();
    limits.queue_items = queue_items;
    limits.queue_bytes = queue_bytes;
    limits.read_ahead_items = 0;
    limits.stall = STALL;
    Hub::builder().limits(limits).build()
}

//! Leaving while frames are held for a partner that does not read.

use std::time::Duration;

use purrr_core::{Command, Hub, Limits, hub::Input, model::CloseReason};
use tokio::time::{Instant, advance, sleep};

use crate::serve::peer::{Peer, find, settled};

const STALL: Duration = Duration::from_secs(10);

/// The default minimum rate at which a client reads, in bytes a second.
const MIN_RATE: u64 = 8_192;

/// A hub whose pipes hold one frame each way.
fn hub() -> Hub {
    let mut limits = Limits::default();
    (limits.queue_items, limits.stall, limits.rates) = (1, STALL, None);
    Hub::builder().limits(limits).build()
}

/// Ann, for whom three texts are held, and Bob, who reads nothing.
async fn held_up(hub: &Hub) -> (Peer, Peer) {
    let (ann, bob, _) = Peer::pair(hub).await;
    bob.far.take_only(0);
    for text in ["queued", "held", "read ahead"] {
        ann.say(text);
    }
    settled().await;
    (ann, bob)
}

#[tokio::test(start_paused = true)]
async fn leaving_is_done_at_once_while_frames_are_held() {
    for (command, answer, left) in [
        (Command::Leave, "idle", "left: left"),
        (Command::Block, "idle", "left: left"),
        (Command::Next, "waiting", "left: next"),
    ] {
        let hub = hub();
        let (ann, bob) = held_up(&hub).await;
        let begun = Instant::now();
        ann.send(command);
        ann.gets([answer]).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        bob.gets_nothing().await;
        bob.far.take_all();
        bob.gets(["queued", "held", "read ahead", left]).await;
        bob.gets_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn commands_after_leave_act_in_the_new_state() {
    let hub = hub();
    let (ann, bob) = held_up(&hub).await;
    let cat = Peer::waiting(&hub, "Cat").await;
    let begun = Instant::now();
    for command in [Command::Leave, Command::say("late"), find()] {
        ann.send(command);
    }
    ann.gets(["idle", "error: not-paired", "waiting"]).await;
    ann.gets_matched("Cat").await;
    cat.gets_matched("Ann").await;
    ann.say("new");
    cat.gets(["new"]).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    bob.far.take_all();
    bob.gets(["queued", "held", "read ahead", "left: left"]).await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn cancel_is_answered_while_frames_are_held() {
    let hub = hub();
    let (ann, _bob) = held_up(&hub).await;
    let begun = Instant::now();
    ann.send(Command::Cancel);
    ann.gets(["error: already-paired"]).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn end_of_connection_is_done_at_once_while_frames_are_held() {
    let hub = hub();
    for vanishes in [true, false] {
        let (ann, bob) = held_up(&hub).await;
        let begun = Instant::now();
        if vanishes {
            ann.far.vanish()
        } else {
            ann.far.hang_up()
        }
        assert_eq!(ann.session.await.unwrap(), CloseReason::Lost);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        bob.far.take_all();
        bob.gets(["queued", "held", "read ahead", "left: lost"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn read_ahead_is_bounded_in_frames_and_bytes() {
    // Beyond the frame in the queue and the one that is held.
    for (frame_bytes, ahead) in
        [(1, 256), (256, 256), (257, 256), (1_000, 66), (70_000, 1), (200_000, 1)]
    {
        let hub = hub();
        let (ann, bob, _) = Peer::pair(&hub).await;
        bob.far.take_only(0);
        let before = ann.far.read();
        for _ in 0..400 {
            ann.say(&"x".repeat(frame_bytes));
        }
        ann.send(Command::Leave);
        settled().await;
        assert_eq!(ann.far.read() - before, 2 + ahead, "frames of {frame_bytes} bytes");
        ann.gets_nothing().await;
        bob.far.take_all();
        ann.gets(["idle"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leave_behind_full_read_ahead_waits_for_slow_partner_at_most() {
    let hub = hub();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    bob.far.take_only(1);
    let text = "x".repeat(MIN_RATE as usize * 4);
    for _ in 0..10 {
        ann.say(&text);
    }
    ann.send(Command::Leave);
    let stuck = Instant::now();
    // Bob takes some bytes of the first text now and then.
    let trickle = async {
        loop {
            sleep(STALL / 4).await;
            bob.send(Input::WriteProgress);
            if bob.session.is_finished() {
                return;
            }
        }
    };
    let told = async {
        ann.gets(["error: partner-slow", "left: lost"]).await;
        stuck.elapsed()
    };
    let ((), waited) = tokio::join!(trickle, told);
    let least = STALL + Duration::from_secs(4);
    assert!(least <= waited && waited < least + Duration::from_secs(1), "{waited:?}");
    assert_eq!(bob.session.await.unwrap(), CloseReason::Slow);
}

#[tokio::test(start_paused = true)]
async fn leave_behind_full_read_ahead_has_total_time() {
    const TEXTS: u32 = 10;
    let each = Duration::from_secs(4);
    // How long the partner takes for each text: less than the minimum rate allows, and more.
    for (pace, is_slow) in [(each * 9 / 10, false), (each * 2, true)] {
        let hub = hub();
        let (ann, bob, _) = Peer::pair(&hub).await;
        bob.far.let_flush(false);
        bob.far.take_only(1);
        let text = "x".repeat(MIN_RATE as usize * each.as_secs() as usize);
        for _ in 0..TEXTS {
            ann.say(&text);
        }
        ann.send(Command::Leave);
        let begun = Instant::now();
        let taking = async {
            while !bob.session.is_finished() {
                sleep(pace).await;
                bob.far.let_flush(true);
                settled().await;
                bob.far.let_flush(false);
                bob.far.take_only(1);
            }
        };
        let answered = async {
            match is_slow {
                true => ann.gets(["error: partner-slow", "left: lost"]).await,
                false => ann.gets(["idle"]).await,
            }
            begun.elapsed()
        };
        let waited = tokio::select! {
            waited = answered => waited,
            () = async { taking.await; std::future::pending().await } => unreachable!(),
        };
        let most = STALL + each * TEXTS + Duration::from_secs(1);
        assert!(waited > each && waited < most, "{waited:?} of at most {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn partner_has_total_time_for_what_it_is_owed() {
    // The partner has left, so only Bob's own session can end him.
    let hub = hub();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    ann.say(&"x".repeat(MIN_RATE as usize * 20));
    ann.send(Command::Leave);
    ann.gets(["idle"]).await;
    let begun = Instant::now();
    while !bob.session.is_finished() && begun.elapsed() < STALL * 10 {
        advance(STALL / 5).await;
        bob.send(Input::WriteProgress);
        settled().await;
    }
    let lasted = begun.elapsed();
    assert_eq!(bob.session.await.unwrap(), CloseReason::Slow);
    let (least, most) = (STALL + Duration::from_secs(20), STALL + Duration::from_secs(23));
    assert!(least <= lasted && lasted <= most, "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn trickle_of_whole_frames_has_minimum_rate() {
    // A text every 8 s, at more and at less than the minimum rate.
    for (rate, is_slow) in [(MIN_RATE * 2, false), (MIN_RATE / 2, true)] {
        let mut limits = Limits::default();
        (limits.stall, limits.rates) = (STALL, None);
        let hub = Hub::builder().limits(limits).build();
        let (ann, bob, _) = Peer::pair(&hub).await;
        let text = "x".repeat(rate as usize * 8);
        for _ in 0..7 {
            ann.say(&text);
        }
        bob.far.let_flush(false);
        bob.far.take_only(1);
        let begun = Instant::now();
        for _ in 0..6 {
            sleep(Duration::from_secs(8)).await;
            // One is flushed, and the next one taken.
            bob.far.let_flush(true);
            settled().await;
            bob.far.let_flush(false);
            bob.far.take_only(1);
        }
        settled().await;
        assert_eq!(bob.session.is_finished(), is_slow, "{rate}");
        if is_slow {
            assert_eq!(bob.session.await.unwrap(), CloseReason::Slow);
        }
        assert!(begun.elapsed() < Duration::from_secs(50));
    }
}

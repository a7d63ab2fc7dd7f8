//! The same people in rounds, and the program as a process of its own: after a round it holds what
//! it held before.
//!
//! `PURRR_SOAK_SECONDS` says for how long in all (default 9).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    ALONE,
    chaos::{Lived, complaints_of, left_behind, live, number},
    metrics,
    process::Process,
    support::program::Running,
};

/// The first of them is for what the allocator fetches once.
const ROUNDS: u32 = 3;

/// The options that the other test has, and a client that does not come back is soon forgotten.
const OPTIONS: [&str; 24] = [
    "--detached-per-address",
    "10000",
    "--detached-bytes-per-address",
    "268435456",
    "--rate-limits",
    "off",
    "--chat-ping-interval",
    "400ms",
    "--chat-ping-timeout",
    "2s",
    "--ping-interval",
    "1s",
    "--ping-timeout",
    "2s",
    "--header-timeout",
    "2s",
    "--language-after",
    "200ms",
    "--anyone-after",
    "500ms",
    "--recent-partners",
    "2",
    "--recent-for",
    "10s",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_rounds_leak_nothing() {
    let lasts = Duration::from_secs(number("PURRR_SOAK_SECONDS").unwrap_or(9)) / ROUNDS;
    let seed = number("PURRR_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("PURRR_CHAOS_SEED={seed}");
    let _alone = ALONE.lock().await;
    let program = Running::start(&OPTIONS).await;
    let process = Process::new(program.child.id().expect("it runs"));
    let (sockets, tasks) = (process.descriptors(), tasks_of(program.address).await);
    let mut held = Vec::new();
    let mut complaints = String::new();
    for round in 0..ROUNDS {
        let Lived { mut logs, silent, lag } =
            live(program.address, lasts, seed + u64::from(round), false).await;
        complaints.push_str(&left_behind(program.address).await);
        drop(silent);
        complaints.push_str(&complaints_of(&mut logs, lag));
        complaints.push_str(&becomes("sockets", sockets, async || process.descriptors()).await);
        complaints
            .push_str(&becomes("tasks", tasks, async || tasks_of(program.address).await).await);
        if let Some(first) = held.first() {
            let most = first + first / 10;
            complaints.push_str(&becomes("bytes", most, async || process.resident()).await);
        }
        held.push(process.resident());
    }
    eprintln!("bytes after each round: {held:?}");
    program.signal("TERM").await;
    let (status, log) = program.ended().await;
    assert_eq!(status, Some(0), "{log}");
    assert!(complaints.is_empty(), "PURRR_CHAOS_SEED={seed}\n{complaints}");
}

/// Waits until there are no more than `most` of something; how many there are if it does not come
/// to that.
async fn becomes(what: &str, most: usize, count: impl AsyncFn() -> usize) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = count().await;
        if now <= most {
            return String::new();
        }
        if Instant::now() > deadline {
            return format!("{now} {what} instead of {most}\n");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Tasks that the program has, with the one that says so.
async fn tasks_of(address: SocketAddr) -> usize {
    let metrics = metrics(address).await;
    let told = metrics.lines().find_map(|line| line.strip_prefix("purrr_tasks "));
    told.expect("the tasks are told").parse().expect("a number")
}

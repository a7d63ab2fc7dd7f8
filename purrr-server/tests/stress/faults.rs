//! What clients, networks and operators can do to the server that is running, and what becomes of
//! it.
//!
//! Each story starts the program as a process of its own and does its worst twice. What was
//! measured the second time is printed as a row of the table in `docs/fault-injection.md`; the
//! first time is for what the allocator fetches once. All the while two bystanders chat and a probe
//! asks whether the server is alive, and afterwards nothing may be left.
//!
//! The stories are small unless `PURRR_FAULTS=full` asks for their whole size, with the server's
//! defaults for all times.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod bystanders;
mod contents;
mod crowd;
mod ends;
mod floods;
mod leaving;
mod people;
mod requests;
mod resume;
mod slowness;
mod target;
mod untaken;

use std::time::{Duration, Instant};

use bystanders::Bystanders;
use target::Target;

use crate::ALONE;

/// Something to be borne.
struct Story {
    /// How the table calls it.
    name: String,
    /// What the server is started with.
    options: Vec<&'static str>,
    /// How many files the server may have open.
    files: Option<u32>,
    /// Bytes that the allocator may keep at hand afterwards.
    kept: usize,
    /// Two more bystanders search for each other meanwhile.
    searching: bool,
}

/// The default of `--max-payload`, and the threads of which each may keep that much at hand.
const MAX_PAYLOAD: usize = 12_000_000;
const THREADS: usize = 2;

impl Story {
    fn new(name: impl Into<String>) -> Self {
        let options = vec!["--rate-limits", "off", "--max-connections-per-address", "0"];
        Self { name: name.into(), options, files: None, kept: 0, searching: false }
    }

    /// The same with messages so large that a thread may keep the room for one.
    const fn large(mut self) -> Self {
        self.kept = THREADS * MAX_PAYLOAD;
        self
    }

    /// The same with bystanders that search.
    const fn searched(mut self) -> Self {
        self.searching = true;
        self
    }

    /// The same with rate limits, and with addresses that the clients name as a proxy does.
    fn behind_proxy(mut self) -> Self {
        self.options = vec!["--trusted-proxy", "127.0.0.1"];
        self
    }

    /// The same with these options unless all is at its full size.
    fn hurried(mut self, options: &[&'static str]) -> Self {
        if !is_full() {
            self.options.extend(options);
        }
        self
    }
}

/// Does the worst twice while two people chat; the server then is as it was. `fault` returns what
/// became of it.
async fn check(story: Story, fault: impl AsyncFn(&Target) -> String) {
    let _alone = ALONE.lock().await;
    let target = Target::start(&story.options, story.files).await;
    let bystanders = Bystanders::start(target.address, story.files.is_some(), story.searching);
    fault(&target).await;
    target.is_as_it_was(&bystanders).await;

    let before = target.process.resident();
    bystanders.forget();
    target.process.forget_peak();
    let (began, cpu) = (Instant::now(), target.process.cpu());
    let outcome = fault(&target).await;
    let (lasted, cpu) = (began.elapsed(), target.process.cpu() - cpu);
    target.is_as_it_was(&bystanders).await;
    let (peak, after) =
        (target.process.peak(), target.is_as_small_as(before + before / 10 + story.kept).await);
    let seen = bystanders.stop();
    target.ends().await;
    let searches = seen.longest_search().map_or_else(String::new, |longest| {
        format!("; searches took {:.1} ms at most", longest.as_secs_f64() * 1e3)
    });
    let [before, peak, after] = [before, peak, after].map(|bytes| bytes as f64 / 1e6);
    eprintln!(
        "| {} | {outcome}{searches} | {seen} | {before:.1} → {peak:.1} → {after:.1} | {:.2} in {:.1} |",
        story.name,
        cpu.as_secs_f64(),
        lasted.as_secs_f64(),
    );
}

pub(crate) fn is_full() -> bool {
    std::env::var("PURRR_FAULTS").is_ok_and(|size| size == "full")
}

/// How many there are of something, or how large it is.
pub(crate) fn size(small: usize, full: usize) -> usize {
    if is_full() { full } else { small }
}

/// How long anything may take before a story fails. Generous, since nothing waits for it when all
/// is well.
const PATIENCE: Duration = Duration::from_secs(120);

/// Awaits something that must happen.
async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing happened for {PATIENCE:?}"))
}

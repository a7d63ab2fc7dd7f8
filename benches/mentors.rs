//! What a hub of mentees costs that wait for mentors: `cargo bench --bench mentors`.
//!
//! 20,000 mentees wait, each as a task of its own. Printed are the processor time that the process
//! takes while none comes, and how long each of 1,000 mentors waits for a mentee, from the call of
//! [`Hub::pair`] to the chat. A mentee whose chat has ended waits again.

#![expect(clippy::print_stdout, reason = "the figures are printed")]

use std::{env, fs, thread, time::Duration};

use benches::mentoring::Mentoring;
use purrr_core::{Hub, Profile, model::Attributes};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

/// How large a run is.
struct Size {
    mentees: u64,
    mentors: usize,
    idle: Duration,
}

const FULL: Size = Size { mentees: 20_000, mentors: 1_000, idle: Duration::from_secs(10) };
const SMOKE: Size = Size { mentees: 100, mentors: 10, idle: Duration::from_millis(100) };

fn main() {
    let is_smoke = env::args().any(|argument| argument == "--test");
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(measure(if is_smoke { SMOKE } else { FULL }));
}

async fn measure(Size { mentees, mentors, idle }: Size) {
    let hub = Hub::builder().rule(Mentoring).build();
    for _ in 0..mentees {
        tokio::spawn(mentee(hub.clone()));
    }
    until_waiting(&hub, mentees).await;

    let before = processor_time();
    sleep(idle).await;
    let after = processor_time();
    if let (Some(before), Some(after)) = (before, after) {
        println!("{mentees} mentees wait for {idle:?}: {:?} of processor time", after - before);
    }

    let (before, mut waits) = (processor_time(), Vec::new());
    for _ in 0..mentors {
        let began = Instant::now();
        let chat = hub.pair(profile(true)).await.expect("a mentee waits");
        waits.push(began.elapsed());
        chat.leave();
        until_waiting(&hub, mentees).await;
    }
    let after = processor_time();
    waits.sort_unstable();
    let [median, p99] = [50, 99].map(|percent| waits[(mentors - 1) * percent / 100]);
    let longest = waits[mentors - 1];
    println!("{mentors} mentors: median {median:?}, p99 {p99:?}, longest {longest:?}");
    if let (Some(before), Some(after)) = (before, after) {
        let each = (after - before) / u32::try_from(mentors).expect("a small number");
        println!("with the chat and its end: {each:?} of processor time each");
    }
}

/// Waits, chats until the mentor leaves, and waits again.
async fn mentee(hub: Hub) {
    while let Ok(mut chat) = hub.pair(profile(false)).await {
        while chat.recv().await.is_ok() {}
    }
}

fn profile(mentor: bool) -> Profile {
    Profile::default().with_attributes(Attributes::default().with("mentor", mentor))
}

async fn until_waiting(hub: &Hub, mentees: u64) {
    while hub.census().await.expect("a lobby in memory").waiting < mentees {
        tokio::task::yield_now().await;
    }
}

/// How long this thread, which runs all tasks, has been on a processor, if the system tells.
fn processor_time() -> Option<Duration> {
    // The kernel brings the figure up to date when a thread yields, and else only now and then.
    thread::yield_now();
    let figures = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    figures.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

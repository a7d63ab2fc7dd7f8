//! Two hundred people of both dialects who do as they like, and an audit of what each of them saw.
//!
//! `PURRR_CHAOS_SECONDS` says for how long (default 5, and a few more until the last frozen one is
//! found), and `PURRR_CHAOS_SEED` what they like; a failure names its seed. The seed repeats what
//! people choose, not how the machine interleaves it.

mod audit;
mod client;
pub(crate) mod dialect;
pub(crate) mod log;
#[cfg(target_os = "linux")]
mod soak;
mod story;
pub(crate) mod wire;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use audit::{Findings, audit};
use client::{Client, Remains, World};
use dialect::{Heard, Native, Saying, Tongue};
use log::{Dialect, Log, News};
use purrr_core::Limits;
use purrr_server::ServerConfig;
use story::{Bounds, Fault};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use wire::Wire;

use crate::{ALONE, metrics, support::Server};

const PEOPLE: usize = 200;

/// Interval and timeout of heartbeats while waiting or in a chat.
const ASKED_EVERY: Duration = Duration::from_millis(400);
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// The longest time from a client's last sign of life to its end, on an idle machine: an answer
/// just given rests for a second before the next question.
const FOUND_WITHIN: Duration = Duration::from_secs(3);

fn config() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.routes.chat_ping_interval = ASKED_EVERY;
    config.routes.chat_ping_timeout = ANSWERED_WITHIN;
    config.routes.ping_interval = Duration::from_secs(1);
    config.routes.ping_timeout = ANSWERED_WITHIN;
    config.guards.header_timeout = Duration::from_secs(2);
    // Two hundred of one address, who go on to the next faster than people can.
    config.routes.rate_limits = false;
    config.routes.language_after = Duration::from_millis(200);
    config.routes.anyone_after = Duration::from_millis(500);
    // All of one address, and many go for good.
    config.limits.detached_per_address = config.limits.detached;
    config.limits.detached_bytes_per_address = config.limits.detached_bytes;
    // So that people do meet again unless one of them has blocked the other.
    config.limits.recent_partners = 2;
    config.limits.recent_relax = Duration::from_millis(300);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_keeps_invariants_and_leaves_nothing() {
    let seconds = number("PURRR_CHAOS_SECONDS").unwrap_or(5);
    let seed = number("PURRR_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("PURRR_CHAOS_SECONDS={seconds} PURRR_CHAOS_SEED={seed}");
    let _alone = ALONE.lock().await;
    let mut server = Server::with(config()).await;
    let before = alive_tasks();

    let Lived { mut logs, silent, lag } =
        live(server.address, Duration::from_secs(seconds), seed, true).await;
    let mut complaints = left_behind(server.address).await;
    let census = server.hub.census().await.expect("a lobby in memory does not fail");
    let hub = [server.hub.online(), census.waiting, census.pairs];
    if hub != [0; 3] {
        complaints.push_str(&format!("no client is there, and {hub:?} online, waiting, pairs\n"));
    }
    drop(silent);
    complaints.push_str(&tasks_beyond(before).await);
    complaints.push_str(&complaints_of(&mut logs, lag));
    assert!(complaints.is_empty(), "PURRR_CHAOS_SEED={seed}\n{complaints}");
    server.shut_down();
    server.stopped().await;
}

/// What is left of a while that people lived.
struct Lived {
    logs: Vec<Log>,
    /// Connections on which a client has gone silent. They are still open.
    silent: Vec<Vec<Wire>>,
    /// By how much a turn of a task was late at most.
    lag: Duration,
}

/// Has people do as they like for a while.
async fn live(address: SocketAddr, lasts: Duration, seed: u64, remembered: bool) -> Lived {
    let pulse = Pulse::start(address);
    let began = Instant::now();
    let world = World {
        address,
        began,
        ends: began + lasts,
        short_freeze: ANSWERED_WITHIN / 2,
        long_freeze: FOUND_WITHIN + Duration::from_millis(1_500),
        remembered,
    };
    let mut people = JoinSet::new();
    for person in 0..PEOPLE {
        // A third of them on each wire, and of each third again a third without a key.
        let dialect = [Dialect::Native, Dialect::Socket, Dialect::Polling][person % 3];
        let mut log = Log::new(person, dialect, person / 3 % 3 > 0);
        // Two of three native ones, with and without a key.
        log.resumes = dialect == Dialect::Native && person / 9 % 3 > 0;
        people.spawn(Client::new(world, log, seed ^ ((person as u64) << 32)).live());
    }
    let remains = people.join_all().await;
    let lived = began.elapsed();
    let lag = pulse.stop().await;
    eprintln!("{lived:.1?}, a turn late by at most {lag:.1?}");
    let (logs, silent) = remains.into_iter().map(|Remains { log, silent }| (log, silent)).unzip();
    Lived { logs, silent, lag }
}

/// What was wrong with what they saw.
fn complaints_of(logs: &mut [Log], lag: Duration) -> String {
    logs.sort_by_key(|log| log.person);
    let findings = audit(logs, bounds(lag));
    eprintln!("{}", findings.counts);
    let mut complaints = String::new();
    if findings.counts.resumed == 0 {
        complaints.push_str("no client came back to what it was in\n");
    }
    complain(&mut complaints, logs, &findings);
    complaints
}

/// What may be asked of the server while everything on this machine can be late by this much: a
/// question and its answer are four turns of a task.
fn bounds(lag: Duration) -> Bounds {
    let late = lag * 4;
    Bounds {
        reset: Duration::from_secs(1) + late,
        silence: FOUND_WITHIN + Duration::from_secs(1) + late,
        harmless: ANSWERED_WITHIN.saturating_sub(late),
        window: Limits::default().resume_window,
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {value}")))
}

// ---- What is left over --------------------------------------------------------------------------

/// Waits until the server has found out by itself that no client is there, and holds the session of
/// none; what it still counts then if it does not.
async fn left_behind(address: SocketAddr) -> String {
    let deadline = Instant::now() + Limits::default().resume_window + Duration::from_secs(20);
    loop {
        let complaints = gauges_in_use(&metrics(address).await);
        if complaints.is_empty() || Instant::now() > deadline {
            return complaints;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The lines of the metrics that count clients or memory, and what they do not count at all.
fn gauges_in_use(metrics: &str) -> String {
    let mut complaints = String::new();
    for name in
        ["purrr_online", "purrr_waiting", "purrr_pairs", "purrr_connections", "purrr_detached"]
    {
        let is_it =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        if !metrics.lines().any(|line| is_it(&line)) {
            complaints.push_str(&format!("no {name} in the metrics\n"));
        }
        for line in metrics.lines().filter(is_it).filter(|line| !line.ends_with(" 0")) {
            complaints.push_str(&format!("{line}\n"));
        }
    }
    complaints
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until there are as many tasks as before; how many there are if not.
async fn tasks_beyond(before: usize) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive_tasks() != before {
        if Instant::now() > deadline {
            return format!("{} tasks instead of {before}\n", alive_tasks());
        }
        sleep(Duration::from_millis(20)).await;
    }
    String::new()
}

/// Adds how often each thing was wrong, and for the first few of each the lines where that is to be
/// seen.
fn complain(complaints: &mut String, logs: &[Log], findings: &Findings) {
    const SHOWN: usize = 2;
    let mut times: HashMap<_, usize> = HashMap::new();
    for Fault { kind, seen, what } in &findings.faults {
        let times = times.entry(kind).or_default();
        *times += 1;
        if *times > SHOWN {
            continue;
        }
        complaints.push_str(&format!("\n== {kind:?}: {what}\n"));
        for (person, line) in seen {
            let log = logs.get(*person).map(|log| log.tail(*line));
            complaints.push_str(&log.unwrap_or_default());
        }
    }
    if !times.is_empty() {
        complaints.push_str(&format!("\n{times:?}\n"));
    }
}

// ---- How late everything is ---------------------------------------------------------------------

/// Measures by how much a turn of a task is late at most: of timers on this runtime, and of a
/// client that only asks and is answered.
///
/// The server may be another process. On a busy machine it can be seconds late while timers here
/// are not.
struct Pulse {
    beating: JoinHandle<Duration>,
    stop: watch::Sender<bool>,
}

/// Between two measurements.
const BEAT: Duration = Duration::from_millis(10);

impl Pulse {
    fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let beating = tokio::spawn(async move {
            let (timers, answers) =
                tokio::join!(timers_late(&stopped), answers_take(address, &stopped));
            // A question takes a turn of the server and one of the client.
            timers.max(answers / 2)
        });
        Self { beating, stop }
    }

    async fn stop(self) -> Duration {
        self.stop.send(true).ok();
        self.beating.await.expect("a pulse does not panic")
    }
}

async fn timers_late(stopped: &watch::Receiver<bool>) -> Duration {
    let mut latest = Duration::ZERO;
    while !*stopped.borrow() {
        let began = Instant::now();
        sleep(BEAT).await;
        latest = latest.max(began.elapsed().saturating_sub(BEAT));
    }
    latest
}

async fn answers_take(address: SocketAddr, stopped: &watch::Receiver<bool>) -> Duration {
    let (mut longest, mut line) = (Duration::ZERO, None::<Wire>);
    while !*stopped.borrow() {
        let began = Instant::now();
        let mut wire = match line.take() {
            Some(wire) => wire,
            None => Wire::websocket(address, "/ws").await,
        };
        Native::default().say(Saying::Fence).into_iter().for_each(|raw| wire.queue(raw));
        // A server that is late by more than the timeout of a ping closes the connection.
        let is_closed = loop {
            let Some(raw) = wire.next().await else { break true };
            if let Heard::News(News::Fence) = Native::default().hear(raw) {
                break false;
            }
        };
        longest = longest.max(began.elapsed());
        if !is_closed {
            line = Some(wire);
        }
        sleep(BEAT).await;
    }
    if let Some(wire) = line {
        wire.close().await;
    }
    longest
}

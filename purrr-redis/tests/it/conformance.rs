//! The contracts of the core's traits, over Redis.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use purrr_core::{
    Limits,
    backend::conformance::{Cluster, Faults, Suite},
};
use purrr_redis::Options;
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

use crate::server::Server;

/// How long a side waits for its partner to open.
const STALL: Duration = Duration::from_secs(2);

/// Bounds that a slow machine keeps, too.
fn suite() -> Suite {
    Suite::default()
        .soon(Duration::from_secs(40))
        .quiet(Duration::from_millis(200))
        .opening(20 * STALL)
}

async fn cluster(nodes: usize) -> Cluster {
    let server = Server::start().await;
    let mut limits = Limits::default();
    limits.stall = STALL;
    let mut backends = Vec::new();
    for _ in 0..nodes {
        let options = Options::default().limits(limits.clone());
        backends.push(options.connect(&server.url()).await.expect("a server that runs"));
    }
    Cluster::new(backends)
        .with_faults(RealFaults { server: Mutex::new(server), echo: Mutex::default() })
}

#[derive(Debug)]
struct RealFaults {
    server: Mutex<Server>,
    echo: Mutex<Option<JoinHandle<()>>>,
}

#[async_trait]
impl Faults for RealFaults {
    async fn kill_broker(&self) -> bool {
        self.server.lock().await.kill().await;
        true
    }

    /// Publishes every packet once more, up to 50 ms late, and cuts the nodes' listeners off now
    /// and then, so that packets are lost.
    async fn repeat_messages(&self) -> bool {
        let (url, mut commands) = {
            let server = self.server.lock().await;
            (server.url(), server.commands().await)
        };
        let client = redis::Client::open(url).expect("an address");
        let mut listener = client.get_async_pubsub().await.expect("a server that runs");
        listener.psubscribe("purrr:node:*").await.expect("a server that runs");
        *self.echo.lock().await = Some(tokio::spawn(async move {
            let mut echoed = HashSet::new();
            let mut packets = listener.into_on_message();
            while let Some(packet) = packets.next().await {
                let (channel, bytes) =
                    (packet.get_channel_name().to_owned(), packet.get_payload_bytes().to_vec());
                let mut hasher = DefaultHasher::new();
                (&channel, &bytes).hash(&mut hasher);
                // The second time it is what this task has published.
                if !echoed.insert(hasher.finish()) {
                    continue;
                }
                let mut echo = commands.clone();
                let late = Duration::from_millis(fastrand::u64(0..50));
                tokio::spawn(async move {
                    sleep(late).await;
                    let publish = redis::cmd("PUBLISH").arg(channel).arg(bytes).to_owned();
                    publish.query_async::<()>(&mut echo).await.ok();
                });
                if fastrand::u8(0..40) == 0 {
                    // Those of the nodes only: this task's own is of a pattern.
                    cut_listeners(&mut commands).await;
                }
            }
        }));
        true
    }
}

async fn cut_listeners(commands: &mut redis::aio::MultiplexedConnection) {
    let listed = redis::cmd("CLIENT").arg(&["LIST", "TYPE", "pubsub"]).to_owned();
    let listed: String = listed.query_async(commands).await.unwrap_or_default();
    for client in listed.lines().filter(|line| line.contains(" psub=0 ")) {
        let id = client.split_whitespace().find_map(|field| field.strip_prefix("id="));
        let kill = redis::cmd("CLIENT").arg(&["KILL", "ID", id.unwrap_or("0")]).to_owned();
        kill.query_async::<()>(commands).await.ok();
    }
}

impl Drop for RealFaults {
    fn drop(&mut self) {
        if let Some(echo) = self.echo.get_mut().take() {
            echo.abort();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_passes_every_check() {
    assert_eq!(suite().check(|| cluster(1)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_pass_every_check() {
    assert_eq!(suite().check(|| cluster(2)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_pass_every_check() {
    assert_eq!(suite().check(|| cluster(3)).await, []);
}

//! A backend of several processes: nodes on a small broker of the tests' own.
//!
//! The broker is another process, 5 ms away in each direction. It holds a backend in memory and
//! knows no rule: it asks the nodes whether the two of a match fit. Frames go through it, and each
//! chat has a window of its own, so that a stall holds up no other chat.

mod link;
mod node;
mod server;
mod talk;
mod wire;

use std::{env, io, net::SocketAddr, process::Stdio, time::Duration};

#[cfg(feature = "conformance")]
use purrr_core::backend::{
    Backend,
    conformance::{Cluster, Faults, Suite},
};
use purrr_core::{Hub, Profile, model::ChatEnd};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use self::node::Node;

/// Names the role of a child process.
const ROLE: &str = "PURRR_TEST_ROLE";

/// Tells a child process where the broker is.
const BROKER: &str = "PURRR_TEST_BROKER";

/// What a child writes before the broker's address.
const READY: &str = "the broker listens on ";

/// How long an answer of another process may take. Nothing here must be faster.
const SOON: Duration = Duration::from_secs(10);

/// How long a side waits for its partner to open.
const STALL: Duration = SOON;

/// Runs this program as another process. Killed when it is dropped.
fn child(role: &str, broker: &str) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["broker::child_process", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env(BROKER, broker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this program runs")
}

/// Starts a broker. Returns its process and its address.
async fn start_broker() -> (Child, SocketAddr) {
    let mut broker = child("broker", "");
    let mut lines = BufReader::new(broker.stdout.take().expect("piped")).lines();
    loop {
        let line = lines.next_line().await.expect("a line").expect("the broker has started");
        if let Some((_, address)) = line.split_once(READY) {
            return (broker, address.parse().expect("an address"));
        }
    }
}

/// Does nothing in a run of the tests, and what its role says in a [`child`].
#[test]
fn child_process() {
    let Ok(role) = env::var(ROLE) else { return };
    // The child ends with the test that has started it.
    std::thread::spawn(|| {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match &*role {
        "broker" => runtime.block_on(server::serve()),
        "hub" => runtime.block_on(bob()),
        _ => panic!("no such role"),
    }
}

async fn hub(broker: SocketAddr) -> Hub {
    Hub::builder().backend(Node::connect(broker).await.backend()).build()
}

/// The side of the other process: repeats what it hears, and leaves.
async fn bob() {
    let broker = env::var(BROKER).expect("the broker's address").parse().expect("an address");
    let hub = hub(broker).await;
    let mut chat = hub.pair(Profile::named("Bob")).await.expect("a partner");
    while let Ok(frame) = chat.recv().await {
        let text = frame.as_text().expect("a text").to_owned();
        chat.say(&text).await.expect("a chat");
        if text == "bye" {
            break;
        }
    }
    chat.leave();
    // Until the test has seen it, and ends this process.
    std::future::pending().await
}

#[tokio::test]
async fn hubs_of_two_processes_chat_through_broker() {
    let (_broker, address) = start_broker().await;
    let _other = child("hub", &address.to_string());
    let hub = hub(address).await;
    let mut chat = hub.pair(Profile::named("Ann")).await.expect("a partner");
    assert_eq!(chat.partner().name.as_deref(), Some("Bob"));
    for text in ["hello", "how are you?", "bye"] {
        chat.say(text).await.expect("a chat");
        let heard = timeout(SOON, chat.recv()).await.expect("an answer");
        assert_eq!(heard.expect("a frame").as_text(), Some(text));
    }
    let end = timeout(SOON, chat.recv()).await.expect("the end");
    assert_eq!(end, Err(ChatEnd::Left));
}

/// The nodes' faults.
#[cfg(feature = "conformance")]
#[derive(Debug)]
struct BrokerFaults {
    broker: tokio::sync::Mutex<Child>,
    nodes: Vec<Node>,
}

#[cfg(feature = "conformance")]
#[async_trait::async_trait]
impl Faults for BrokerFaults {
    async fn kill_broker(&self) -> bool {
        self.broker.lock().await.kill().await.is_ok()
    }

    async fn repeat_messages(&self) -> bool {
        self.nodes.iter().for_each(Node::disturb);
        true
    }
}

#[cfg(feature = "conformance")]
async fn cluster(nodes: usize) -> Cluster {
    let (broker, address) = start_broker().await;
    let mut connected = Vec::new();
    for _ in 0..nodes {
        connected.push(Node::connect(address).await);
    }
    let backends: Vec<Backend> = connected.iter().map(Node::backend).collect();
    let broker = tokio::sync::Mutex::new(broker);
    Cluster::new(backends).with_faults(BrokerFaults { broker, nodes: connected })
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn nodes_on_broker_pass_every_check() {
    let suite = Suite::default().soon(SOON).quiet(Duration::from_millis(200)).opening(3 * STALL);
    assert_eq!(suite.check(|| cluster(2)).await, []);
}

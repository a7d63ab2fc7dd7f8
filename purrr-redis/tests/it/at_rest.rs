//! What is in Redis, and what happens when it is not there any more.

use std::time::Duration;

use purrr_core::{
    Hub, Profile,
    backend::{Backend, Identity},
    model::{ChatEnd, OriginKey, PersonId},
};
use redis::aio::MultiplexedConnection;
use tokio::time::{sleep, timeout};

use crate::server::Server;

const SOON: Duration = Duration::from_secs(40);

async fn two_nodes(server: &Server) -> [Backend; 2] {
    let node = async || purrr_redis::connect(&server.url()).await.expect("a server that runs");
    [node().await, node().await]
}

fn hub(backend: &Backend) -> Hub {
    Hub::builder().backend(backend.clone()).build()
}

async fn keys(commands: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("*").query_async(commands).await.expect("a server that runs")
}

/// Returns what a key holds, as Redis would write it to a disk.
async fn dump(commands: &mut MultiplexedConnection, key: &str) -> Vec<u8> {
    redis::cmd("DUMP").arg(key).query_async(commands).await.expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_no_name_no_text_no_id_and_nothing_for_ever() {
    const TEXT: &str = "a text for one reader";
    let server = Server::start().await;
    let mut commands = server.commands().await;
    let nodes = two_nodes(&server).await;
    let [ann, bob] = [&nodes[0], &nodes[1]].map(hub);
    // Ids that are easy to find, if they are there.
    let [one, other] = [0x0123_4567_89ab_cdef, 0x1122_3344_5566_7788].map(PersonId::from_bits);
    let (a, b) = tokio::join!(
        ann.pair(Profile::named("Ann Example").person(one)),
        bob.pair(Profile::named("Bob Example").person(other)),
    );
    let (mut a, mut b) = (a.expect("a partner"), b.expect("a partner"));
    a.say(TEXT).await.expect("a chat");
    let heard = timeout(SOON, b.recv()).await.expect("a frame").expect("a frame");
    assert_eq!(heard.as_text(), Some(TEXT));
    let address = OriginKey::from_bits(0x0099_aabb_ccdd_eeff);
    let blocker = Identity::random();
    nodes[0].people.arrive(blocker);
    let blocked = Identity::new(other, Identity::random().token).at(address);
    nodes[0].people.block(blocker, blocked.person_at()).await.expect("a server that runs");

    let keys = keys(&mut commands).await;
    // Who lives, who leads, whom the two met, whom the third one has blocked.
    for kind in ["nodes", "leader", "numbers", "epochs", "t:", "m:", "b:", "o:", "w:"] {
        let prefix = format!("purrr:{kind}");
        assert!(keys.iter().any(|key| key.starts_with(&prefix)), "{kind} is not in {keys:?}");
    }
    let mut secrets: Vec<Vec<u8>> = vec![TEXT.into(), "Example".into()];
    for bits in [one.to_bits(), other.to_bits(), address.to_bits()] {
        secrets.extend([format!("{bits:x}").into(), bits.to_string().into()]);
        secrets.extend([bits.to_be_bytes().into(), bits.to_le_bytes().into()]);
    }
    for key in keys {
        let lives: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut commands).await.unwrap();
        assert!(lives > 0, "{key} has no time to live");
        let mut held = dump(&mut commands, &key).await;
        held.extend(key.bytes());
        for secret in &secrets {
            let found = held.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{key} holds {:?}", String::from_utf8_lossy(secret));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_anew_when_redis_was_emptied() {
    let server = Server::start().await;
    let nodes = two_nodes(&server).await;
    let [ann, bob] = [&nodes[0], &nodes[1]].map(hub);
    let pair =
        async || tokio::try_join!(ann.pair(Profile::named("Ann")), bob.pair(Profile::named("Bob")));
    let (mut a, mut b) = timeout(SOON, pair()).await.expect("in time").expect("a chat");
    redis::cmd("FLUSHALL").query_async::<()>(&mut server.commands().await).await.unwrap();
    // Both are told.
    for chat in [&mut a, &mut b] {
        let end = timeout(SOON, chat.recv()).await.expect("told of the end");
        assert_eq!(end, Err(ChatEnd::Lost));
    }
    let again = async {
        loop {
            match pair().await {
                Ok((a, b)) => return (a.id(), b.id()),
                // Of a node that is not back yet.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let (a, b) = timeout(SOON, again).await.expect("a chat of nodes that are back");
    assert_eq!(a, b);
}

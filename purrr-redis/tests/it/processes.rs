//! Nodes in two processes, one of which is killed.

use std::{env, io, process::Stdio, time::Duration};

use purrr_core::{Chat, Hub, Profile, model::ChatEnd};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::server::Server;

/// Tells a child process where Redis is.
const URL: &str = "PURRR_TEST_REDIS";

/// How long anything may take: a lease and an election, on a slow machine.
const SOON: Duration = Duration::from_secs(40);

/// Runs the node of [`child_process`] as another process. Killed when it is dropped.
fn child(server: &Server) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["processes::child_process", "--exact", "--nocapture"])
        .env(URL, server.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("this program runs")
}

async fn hub(url: &str) -> Hub {
    let backend = purrr_redis::connect(url).await.expect("a server that runs");
    Hub::builder().backend(backend).build()
}

/// Does nothing in a run of the tests. In a [`child`] it chats with one peer after the other, and
/// repeats what it hears.
#[test]
fn child_process() {
    let Ok(url) = env::var(URL) else { return };
    // The child ends with the test that has started it.
    std::thread::spawn(|| {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let hub = hub(&url).await;
        loop {
            let Ok(mut chat) = hub.pair(Profile::named("Bob")).await else {
                // Its lease has ended, and it joins anew.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            while let Ok(frame) = chat.recv().await {
                let text = frame.as_text().expect("a text").to_owned();
                if chat.say(&text).await.is_err() || text == "bye" {
                    break;
                }
            }
            chat.leave();
        }
    });
}

/// Starts a node in another process, and then one in this. The first one leads.
async fn leader_and_node(server: &Server) -> (Child, Hub) {
    let other = child(server);
    let mut commands = server.commands().await;
    let leads = async {
        while redis::cmd("EXISTS").arg("purrr:leader").query_async::<u8>(&mut commands).await
            != Ok(1)
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, leads).await.expect("a leader");
    (other, hub(&server.url()).await)
}

async fn pair(hub: &Hub, name: &'static str) -> Chat {
    let paired = timeout(SOON, hub.pair(Profile::named(name))).await.expect("in time");
    paired.expect("a partner")
}

/// Says a text, which the other process repeats.
async fn hear_again(chat: &mut Chat, text: &str) {
    chat.say(text).await.expect("a chat");
    let heard = timeout(SOON, chat.recv()).await.expect("an answer");
    assert_eq!(heard.expect("a frame").as_text(), Some(text));
}

/// Awaits the end of a chat.
async fn end(chat: &mut Chat) -> ChatEnd {
    timeout(SOON, chat.recv()).await.expect("told of the end").expect_err("no frame")
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_two_processes_chat_until_one_is_killed() {
    let server = Server::start().await;
    let (mut other, hub) = leader_and_node(&server).await;
    let mut chat = pair(&hub, "Ann").await;
    assert_eq!(chat.partner().name.as_deref(), Some("Bob"));
    for text in ["hello", "how are you?", "bye"] {
        hear_again(&mut chat, text).await;
    }
    assert_eq!(end(&mut chat).await, ChatEnd::Left);

    let mut chat = pair(&hub, "Cat").await;
    hear_again(&mut chat, "hello").await;
    other.kill().await.expect("a child of this process");
    assert_eq!(end(&mut chat).await, ChatEnd::Lost);

    // The node that is left makes the matches now.
    let (dan, eve) = tokio::join!(pair(&hub, "Dan"), pair(&hub, "Eve"));
    assert_eq!(dan.id(), eve.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_was_paused_joins_anew() {
    let server = Server::start().await;
    let (other, hub) = leader_and_node(&server).await;
    let pid = other.id().expect("a child that runs").to_string();
    let signal = async |name: &str| {
        let sent = Command::new("kill").args([name, pid.as_str()]).status().await;
        assert!(sent.expect("the program kill").success());
    };
    let mut chat = pair(&hub, "Ann").await;
    hear_again(&mut chat, "hello").await;
    signal("-STOP").await;
    // Its lease ends, and the other node leads.
    assert_eq!(end(&mut chat).await, ChatEnd::Lost);
    let (dan, eve) = tokio::join!(pair(&hub, "Dan"), pair(&hub, "Eve"));
    assert_eq!(dan.id(), eve.id());
    signal("-CONT").await;
    let mut chat = pair(&hub, "Cat").await;
    assert_eq!(chat.partner().name.as_deref(), Some("Bob"));
    hear_again(&mut chat, "back again").await;
}

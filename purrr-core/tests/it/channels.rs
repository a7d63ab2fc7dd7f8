//! Sessions over channels, by `Hub::session`; and many callers at once.

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use purrr_core::{
    Command, Event, Hub, Profile, Search,
    hub::{Commands, Events},
    model::CloseReason,
};
use tokio::task::{JoinHandle, JoinSet};

use crate::serve::peer::told;

fn begin(hub: &Hub, name: &str) -> (Commands, Events, JoinHandle<CloseReason>) {
    let (commands, events, session) = hub.session(Profile::named(name));
    (commands, events, tokio::spawn(session))
}

async fn gets(events: &mut Events, expected: &[&str]) {
    for expected in expected {
        let event = events.recv().await;
        assert_eq!(event.as_ref().map_or("gone".to_owned(), told), *expected);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_over_channels_meet_talk_and_part() {
    let hub = Hub::memory();
    let (mut ann, mut to_ann, ann_ends) = begin(&hub, "Ann");
    let (mut bob, mut to_bob, bob_ends) = begin(&hub, "Bob");
    for commands in [&mut ann, &mut bob] {
        commands.send(Command::Find(Search::default())).await.unwrap();
    }
    gets(&mut to_ann, &["welcome", "waiting", "matched"]).await;
    gets(&mut to_bob, &["welcome", "waiting", "matched"]).await;
    SinkExt::send(&mut ann.clone(), Command::say("hello")).await.unwrap();
    gets(&mut to_bob, &["hello"]).await;
    bob.send(Command::Leave).await.unwrap();
    gets(&mut to_bob, &["idle"]).await;
    assert!(matches!(to_ann.next().await, Some(Event::Left { .. })));
    drop(ann);
    assert_eq!(ann_ends.await.unwrap(), CloseReason::Lost);
    drop(to_bob);
    bob.send(Command::Find(Search::default())).await.ok();
    assert_eq!(bob_ends.await.unwrap(), CloseReason::Lost);
    assert!(bob.send(Command::Leave).await.is_err());
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn unread_events_stall_session_and_hold_up_sender() {
    let hub = Hub::memory();
    let (mut ann, mut to_ann, _ann) = begin(&hub, "Ann");
    let (mut bob, _to_bob, bob_ends) = begin(&hub, "Bob");
    for commands in [&mut ann, &mut bob] {
        commands.send(Command::Find(Search::default())).await.unwrap();
    }
    gets(&mut to_ann, &["welcome", "waiting", "matched"]).await;
    let floods = async {
        for number in 0..1_000 {
            if ann.send(Command::say(number.to_string())).await.is_err() {
                break;
            }
        }
    };
    let (_, ended) = tokio::join!(floods, bob_ends);
    assert_eq!(ended.unwrap(), CloseReason::Slow);
    loop {
        match to_ann.recv().await {
            Some(Event::Left { .. }) => break,
            Some(_) => {}
            None => panic!("the chat did not end"),
        }
    }
}

/// Callers come and give up at random moments. The others meet, and none is left over.
#[tokio::test]
async fn thousand_tasks_pair_while_some_give_up() {
    const TASKS: usize = 1_000;
    let hub = Hub::memory();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let hub = hub.clone();
        tasks.spawn(async move {
            // A third gives up before, as or after it is matched, and comes again.
            for patience in 0..task % 3 {
                let pair = hub.pair(Profile::named("flighty"));
                tokio::select! {
                    biased;
                    () = yields(patience + task % 7) => {}
                    chat = pair => drop(chat),
                }
            }
            loop {
                let mut chat = hub.pair(Profile::named(&task.to_string())).await.unwrap();
                chat.say(&task.to_string()).await.ok();
                match chat.recv().await {
                    Ok(frame) => {
                        let text = frame.as_text().unwrap();
                        let name = chat.partner().name.as_deref();
                        assert!(name == Some(text), "{name:?} said {text}");
                        return;
                    }
                    // That partner gave up in the moment of the match.
                    Err(_) => continue,
                }
            }
        });
    }
    let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("a task was lost");
    assert_eq!(hub.online(), 0);
    let census = hub.census().await.unwrap();
    assert_eq!((census.waiting, census.pairs), (0, 0));
    assert!(hub.pair(Profile::named("late")).now_or_never().is_none());
}

async fn yields(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

//! Sessions that outlive their connection: invariants 12 and 13.

use std::time::Duration;

use purrr_core::{
    Code, Command, Event, Frame, Hello, Hub, Limits, Profile,
    hub::Input,
    model::{Body, ChatId, CloseReason, Closing, Message, Recover, ResumeToken},
};
use tokio::time::{Instant, sleep};

use crate::serve::peer::{Peer, find, numbered, settled};

/// A connection of a client that counts what it receives, and the token that it was given.
struct Client {
    peer: Peer,
    token: ResumeToken,
}

impl Client {
    async fn connect(hub: &Hub, name: &'static str) -> Self {
        let client = Self::arrive(hub, name).await;
        client.peer.send(announce(name));
        client
    }

    async fn arrive(hub: &Hub, name: &'static str) -> Self {
        let (peer, token) = Peer::connect_with_token(hub, name, Profile::named(name)).await;
        Self { peer, token }
    }

    /// Connects again with the token of a connection that was lost.
    async fn resume(&self, hub: &Hub, chat: Option<ChatId>, received: u64) -> Self {
        let again = Self::arrive(hub, "Ann").await;
        again.peer.send(claim("Ann", self.token, chat, received));
        again
    }

    /// Loses the connection without a word.
    async fn is_lost(&self) {
        self.peer.far.vanish();
        settled().await;
    }

    async fn gets_resumed(&self, received: u64, missing: u64) {
        match self.peer.far.next().await {
            Some(Event::Resumed(resumed)) => {
                assert_eq!((resumed.received, resumed.missing), (received, missing));
            }
            other => panic!("was not resumed: {other:?}"),
        }
    }
}

fn announce(name: &str) -> Command {
    Command::Recover(Box::new(Recover::announcing(Hello::named(name))))
}

fn claim(name: &str, token: ResumeToken, chat: Option<ChatId>, received: u64) -> Command {
    let mut recover = Recover::announcing(Hello::named(name)).claiming(token);
    (recover.chat, recover.received) = (chat, received);
    Command::Recover(Box::new(recover))
}

fn ack(received: u64) -> Command {
    Command::Ack { chat: None, received }
}

/// A hub whose queues hold four frames.
fn small_queues() -> Hub {
    let mut limits = Limits::default();
    (limits.queue_items, limits.read_ahead_items, limits.rates) = (4, 4, None);
    Hub::builder().limits(limits).build()
}

async fn pair(hub: &Hub) -> (Client, Client, ChatId) {
    let (ann, bob) = (Client::connect(hub, "Ann").await, Client::connect(hub, "Bob").await);
    for client in [&ann, &bob] {
        client.peer.send(find());
        client.peer.gets(["waiting"]).await;
    }
    let chat = ann.peer.gets_matched("Bob").await;
    assert_eq!(bob.peer.gets_matched("Ann").await, chat);
    (ann, bob, chat)
}

#[tokio::test(start_paused = true)]
async fn lost_connection_is_resumed_with_every_frame_once() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    for text in ["one", "two", "three"] {
        bob.peer.say(text);
    }
    ann.peer.gets(["one", "two", "three"]).await;
    ann.peer.say("mine");
    bob.peer.gets(["mine"]).await;
    ann.is_lost().await;
    assert_eq!(hub.stats().detached, 1);
    bob.peer.say("four");
    sleep(Duration::from_secs(1)).await;
    bob.peer.gets_nothing().await;

    // Of what was written, the client has read one.
    let again = ann.resume(&hub, Some(chat), 1).await;
    again.gets_resumed(1, 0).await;
    again.peer.gets(["two", "three", "four"]).await;
    bob.peer.gets_nothing().await;
    again.peer.say("here again");
    bob.peer.gets(["here again"]).await;
    assert_eq!((hub.stats().detached, hub.stats().resumed, hub.online()), (0, 1, 2));

    // The token rotates: the one of the last connection is good.
    again.is_lost().await;
    let used_up = ann.resume(&hub, Some(chat), 4).await;
    used_up.peer.gets(["error: unknown-session"]).await;
    let third = again.resume(&hub, Some(chat), 4).await;
    third.gets_resumed(2, 0).await;
    third.peer.send(Command::Leave);
    third.peer.gets(["idle"]).await;
    bob.peer.gets(["left: left"]).await;
}

#[tokio::test(start_paused = true)]
async fn session_claimed_over_a_connection_that_is_lost_at_once_is_held() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    bob.peer.say("one");
    ann.is_lost().await;
    let again = Client::arrive(&hub, "Ann").await;
    again.peer.send(claim("Ann", ann.token, Some(chat), 0));
    // Read before the session is handed over.
    again.peer.far.hang_up();
    settled().await;
    bob.peer.gets_nothing().await;
    assert_eq!((hub.stats().resumed, hub.stats().detached), (1, 1));
    let third = again.resume(&hub, Some(chat), 0).await;
    third.gets_resumed(0, 0).await;
    third.peer.gets(["one"]).await;
}

#[tokio::test(start_paused = true)]
async fn client_can_leave_a_lost_partner_whose_queue_is_full() {
    let hub = small_queues();
    let (ann, bob, chat) = pair(&hub).await;
    ann.is_lost().await;
    // Four for the queue, five that are read ahead, and three behind them.
    let frames: Vec<String> = (1..=12).map(|number| number.to_string()).collect();
    for frame in &frames {
        bob.peer.say(frame);
    }
    bob.peer.send(Command::Leave);
    sleep(Duration::from_millis(1_400)).await;
    bob.peer.gets_nothing().await;
    sleep(Duration::from_millis(200)).await;
    bob.peer.gets(["Away"]).await;
    bob.peer.gets(["error: partner-away"; 3]).await;
    bob.peer.gets(["idle"]).await;
    let again = ann.resume(&hub, Some(chat), 0).await;
    again.gets_resumed(0, 0).await;
    for frame in &frames[..9] {
        again.peer.gets([frame]).await;
    }
    again.peer.gets(["left: left"]).await;
}

#[tokio::test(start_paused = true)]
async fn refused_read_mark_has_no_id() {
    let hub = small_queues();
    let (ann, bob, _) = pair(&hub).await;
    ann.is_lost().await;
    sleep(Duration::from_secs(2)).await;
    bob.peer.gets(["Away"]).await;
    for number in 1..=4 {
        bob.peer.say(&number.to_string());
    }
    let mark = Frame::new(Body::Read { id: 7 });
    let own = Frame::new(Body::Message(Message::default())).with_id(7);
    for (frame, id) in [(mark, None), (own, Some(7))] {
        bob.peer.send(Command::Send { chat: None, frame });
        match bob.peer.far.next().await {
            Some(Event::Error(problem)) => {
                assert_eq!((problem.code, problem.id), (Code::PartnerAway, id));
            }
            other => panic!("was not refused: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn partner_is_told_away_then_back() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    ann.is_lost().await;
    sleep(Duration::from_millis(1_400)).await;
    bob.peer.gets_nothing().await;
    sleep(Duration::from_millis(200)).await;
    bob.peer.gets(["Away"]).await;
    bob.peer.send(numbered(1));
    settled().await;
    let again = Client::arrive(&hub, "Ann").await;
    // With another name than before.
    again.peer.send(claim("Anna", ann.token, Some(chat), 0));
    again.gets_resumed(0, 0).await;
    again.peer.gets(["no. 1"]).await;
    match bob.peer.far.next().await {
        Some(Event::Back { name, .. }) => assert_eq!(name.as_deref(), Some("Anna")),
        other => panic!("{other:?}"),
    }
    // Delivered is what the client has acknowledged.
    bob.peer.gets_nothing().await;
    again.peer.send(ack(1));
    bob.peer.gets(["delivered 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn window_ends_the_chat_as_lost() {
    let hub = Hub::memory();
    let windows = [
        (vec![], 30),
        (vec![Input::Closing(Closing::GoingAway)], 5),
        (vec![Command::Background.into(), ack(0).into()], 300),
        (vec![Command::Background.into(), Input::Closing(Closing::GoingAway)], 300),
        (vec![Command::Background.into(), Command::say("back").into()], 30),
    ];
    for (inputs, window) in windows {
        let (ann, bob, chat) = pair(&hub).await;
        let says = inputs.len() == 2 && window == 30;
        for input in inputs {
            ann.peer.send(input);
        }
        settled().await;
        if says {
            bob.peer.gets(["back"]).await;
        }
        let lost = Instant::now();
        ann.is_lost().await;
        bob.peer.gets(["Away", "left: lost"]).await;
        assert_eq!(lost.elapsed().as_secs(), window);
        settled().await;
        // A token cannot revive a chat that has ended.
        let again = ann.resume(&hub, Some(chat), 0).await;
        again.peer.gets(["left: lost"]).await;
        assert_eq!(hub.stats().detached, 0);
    }
    assert_eq!(hub.stats().expired, 5);
}

#[tokio::test(start_paused = true)]
async fn deliberate_ends_are_not_held() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    ann.peer.send(Input::Closing(Closing::Deliberate));
    ann.peer.far.hang_up();
    settled().await;
    bob.peer.gets(["left: lost"]).await;
    ann.resume(&hub, Some(chat), 0).await.peer.gets(["error: unknown-session"]).await;

    // Nor is a client that did not announce that it can resume.
    let (eve, dan, _) = Peer::pair(&hub).await;
    eve.far.vanish();
    dan.gets(["left: lost"]).await;
    assert_eq!(hub.stats().expired, 0);
}

#[tokio::test(start_paused = true)]
async fn claim_takes_over_an_open_connection() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    bob.peer.say("one");
    ann.peer.gets(["one"]).await;
    let again = ann.resume(&hub, Some(chat), 0).await;
    again.gets_resumed(0, 0).await;
    again.peer.gets(["one"]).await;
    ann.peer.ends_after([], CloseReason::Replaced).await;
    bob.peer.gets_nothing().await;
    bob.peer.say("two");
    again.peer.gets(["two"]).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_claims_one_wins() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    ann.is_lost().await;
    let (first, second) = (Client::arrive(&hub, "Ann").await, Client::arrive(&hub, "Ann").await);
    for again in [&first, &second] {
        again.peer.send(claim("Ann", ann.token, Some(chat), 0));
    }
    first.gets_resumed(0, 0).await;
    second.peer.gets(["error: unknown-session"]).await;
    bob.peer.say("still here");
    first.peer.gets(["still here"]).await;
}

#[tokio::test(start_paused = true)]
async fn claim_learns_the_true_end_of_the_chat() {
    let hub = Hub::memory();
    for is_noticed in [true, false] {
        let (ann, bob, chat) = pair(&hub).await;
        if is_noticed {
            ann.is_lost().await;
        }
        bob.peer.say("bye");
        bob.peer.send(Command::Next);
        bob.peer.gets(["waiting"]).await;
        // Otherwise the end was written to a line that was dead already.
        if !is_noticed {
            ann.peer.gets(["bye", "left: next"]).await;
            ann.is_lost().await;
        }
        let again = ann.resume(&hub, Some(chat), 0).await;
        again.gets_resumed(0, 0).await;
        again.peer.gets(["bye", "left: next"]).await;
        again.peer.send(ack(2));
        settled().await;
        again.is_lost().await;
        assert_eq!(hub.stats().detached, 0);
        again.resume(&hub, Some(chat), 2).await.peer.gets(["error: unknown-session"]).await;
        bob.peer.send(Command::Leave);
        bob.peer.gets(["idle"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lost_search_keeps_waited_time() {
    let hub = Hub::memory();
    let begun = Instant::now();
    let ann = Client::connect(&hub, "Ann").await;
    ann.peer.send(Command::Find(purrr_core::Search::for_interests(["chess"])));
    ann.peer.gets(["waiting"]).await;
    sleep(Duration::from_secs(4)).await;
    ann.is_lost().await;
    let bob = Peer::waiting(&hub, "Bob").await;
    sleep(Duration::from_secs(8)).await;
    let again = ann.resume(&hub, None, 0).await;
    again.peer.gets(["waiting"]).await;
    again.peer.gets_matched("Bob").await;
    bob.gets_matched("Ann").await;
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn claim_of_another_chat_is_matched_anew() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    bob.peer.say("one");
    settled().await;
    ann.is_lost().await;
    let again = ann.resume(&hub, Some(ChatId::random()), 7).await;
    assert_eq!(again.peer.gets_matched("Bob").await, chat);
    again.peer.gets(["one"]).await;
}

#[tokio::test(start_paused = true)]
async fn both_sides_lost_at_once_both_return() {
    let hub = Hub::memory();
    let (ann, bob, chat) = pair(&hub).await;
    ann.peer.say("to Bob");
    bob.peer.say("to Ann");
    settled().await;
    ann.peer.far.vanish();
    bob.is_lost().await;
    sleep(Duration::from_secs(20)).await;
    let ann = ann.resume(&hub, Some(chat), 0).await;
    ann.gets_resumed(1, 0).await;
    ann.peer.gets(["Away", "to Ann"]).await;
    let bob = bob.resume(&hub, Some(chat), 0).await;
    bob.gets_resumed(1, 0).await;
    bob.peer.gets(["to Bob"]).await;
    ann.peer.gets(["Back { name: Some(\"Ann\"), public_key: None }"]).await;
    ann.peer.say("hello again");
    bob.peer.gets(["hello again"]).await;
}

#[tokio::test(start_paused = true)]
async fn detached_sessions_are_bounded() {
    let mut limits = Limits::default();
    limits.detached = 1;
    let hub = Hub::builder().limits(limits).build();
    let (ann, bob, _) = pair(&hub).await;
    let (cat, dan, _) = pair(&hub).await;
    ann.is_lost().await;
    cat.is_lost().await;
    dan.peer.gets(["left: lost"]).await;
    bob.peer.gets(["Away"]).await;

    // What the partner may write is bounded as well, and it is told.
    for id in 0..40 {
        let frame = Frame::text("x".repeat(1_000)).with_id(id);
        bob.peer.send(Command::Send { chat: None, frame });
    }
    settled().await;
    let refused = bob.peer.far.taken();
    assert!((20..30).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|event| matches!(event, Event::Error(_))));
    // It may go on at any time.
    bob.peer.send(Command::Leave);
    bob.peer.gets(["idle"]).await;
}

#[tokio::test(start_paused = true)]
async fn drain_ends_detached_sessions() {
    let hub = Hub::memory();
    let (ann, bob, _) = pair(&hub).await;
    ann.is_lost().await;
    let draining = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain(Duration::from_secs(8)).await }
    });
    bob.peer.gets(["draining", "left: ended"]).await;
    draining.await.expect("a drain does not panic");
    assert_eq!(hub.online(), 0);
}

/// Two clients whose queues are full wait for no acknowledgement of each other.
#[tokio::test(start_paused = true)]
async fn full_queues_of_acknowledging_clients_do_not_deadlock() {
    let hub = small_queues();
    let (ann, bob, _) = pair(&hub).await;
    for round in 0..50 {
        for client in [&ann, &bob] {
            client.peer.send(numbered(round));
        }
    }
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..20 {
        for (client, taken) in [&ann, &bob].into_iter().zip(&mut taken) {
            taken.extend(client.peer.far.taken());
            let received = taken.iter().filter(|event| matches!(event, Event::Received(_)));
            client.peer.send(ack(received.count() as u64));
        }
        settled().await;
    }
    for taken in taken {
        let of = |is: fn(&Event) -> bool| taken.iter().filter(|event| is(event)).count();
        assert_eq!(of(|event| matches!(event, Event::Received(_))), 50);
        assert_eq!(of(|event| matches!(event, Event::Delivered { .. })), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_gone_are_counted() {
    let hub = small_queues();
    let (ann, bob, chat) = pair(&hub).await;
    for id in 0..10 {
        ann.peer.send(numbered(id));
        bob.peer.send(numbered(id));
    }
    settled().await;
    // Of both sides, the one that reads no input for now lets the flush acknowledge.
    ann.is_lost().await;
    bob.is_lost().await;
    let mut gone = 0;
    for client in [&ann, &bob] {
        let again = client.resume(&hub, Some(chat), 0).await;
        let Some(Event::Resumed(resumed)) = again.peer.far.next().await else { panic!() };
        let missing = resumed.missing;
        gone += missing;
        let mut received = missing;
        loop {
            settled().await;
            let before = received;
            for event in again.peer.far.taken() {
                let Event::Received(frame) = event else { continue };
                assert_eq!(frame.as_text(), Some(format!("no. {received}").as_str()));
                received += 1;
            }
            again.peer.send(ack(received));
            if received == before {
                break;
            }
        }
        // One frame was in the wire of the partner when that was lost.
        assert!((9..=10).contains(&received), "{received}");
    }
    assert!(gone > 0);
}

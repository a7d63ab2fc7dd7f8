//! What a `Chat` promises beside frames: limits, stall, receipts, halves, the next partner, blocks.

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use purrr_core::{
    Chat, Code, Command, Event, Frame, Hello, Hub, Limits, PairError, Profile, Search,
    hub::{Commands, Connection, Events, ResumeError, SendError},
    model::{ChatEnd, ChatId, PersonId, Recover, ResumeToken},
};
use tokio::time::{Instant, timeout};

const ANN: PersonId = PersonId::from_bits(1);
const BOB: PersonId = PersonId::from_bits(2);

async fn pair(hub: &Hub) -> (Chat, Chat) {
    let [ann, bob] = [("Ann", ANN), ("Bob", BOB)]
        .map(|(name, person)| hub.pair(Profile::named(name).person(person)));
    let (ann, bob) = tokio::join!(ann, bob);
    (ann.expect("Bob is there"), bob.expect("Ann is there"))
}

fn hub(change: impl FnOnce(&mut Limits)) -> Hub {
    let mut limits = Limits::default();
    change(&mut limits);
    Hub::builder().limits(limits).build()
}

fn code(sent: Result<(), SendError>) -> Option<Code> {
    match sent {
        Err(SendError::Refused(problem)) => Some(problem.code),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn partner_that_does_not_read_ends_chat_after_stall() {
    let hub = hub(|limits| limits.queue_items = 1);
    let (mut ann, mut bob) = pair(&hub).await;
    let stall = hub.limits().stall;
    ann.say("one").await.unwrap();
    let began = Instant::now();
    assert_eq!(timeout(2 * stall, ann.say("two")).await, Ok(Err(SendError::Over)));
    assert_eq!(began.elapsed(), stall);
    assert_eq!(ann.recv().await, Err(ChatEnd::Slow));
    assert_eq!(ann.say("three").await, Err(SendError::Over));
    assert_eq!(bob.recv().await.unwrap().as_text(), Some("one"));
    assert_eq!(bob.recv().await, Err(ChatEnd::Lost));
}

#[tokio::test(start_paused = true)]
async fn partner_that_reads_slowly_is_no_stall() {
    let hub = hub(|limits| limits.queue_items = 1);
    let (mut ann, mut bob) = pair(&hub).await;
    let nearly = hub.limits().stall - Duration::from_secs(1);
    ann.say("0").await.unwrap();
    let reads = async {
        for number in 0..4 {
            tokio::time::sleep(nearly).await;
            assert_eq!(bob.recv().await.unwrap().as_text(), Some(&*number.to_string()));
        }
    };
    let says = async {
        for number in 1..4 {
            ann.say(&number.to_string()).await.unwrap();
        }
    };
    tokio::join!(reads, says);
}

#[tokio::test(start_paused = true)]
async fn what_exceeds_a_limit_is_refused_and_chat_goes_on() {
    let hub = hub(|limits| {
        (limits.message_bytes, limits.name_chars, limits.interests) = (5, 5, 1);
    });
    let (mut ann, mut bob) = pair(&hub).await;
    assert_eq!(code(ann.say("123456").await), Some(Code::TooLong));
    assert_eq!(code(SinkExt::send(&mut ann, Frame::text("123456")).await), Some(Code::TooLong));
    ann.say("12345").await.unwrap();
    assert_eq!(bob.recv().await.unwrap().as_text(), Some("12345"));
    let long = hub.pair(Profile::named("123456")).await;
    assert!(matches!(long, Err(PairError::Refused(problem)) if problem.code == Code::TooLong));
    let search = purrr_core::Search::for_interests(["a", "b"]);
    let many = hub.pair(Profile::named("Cid").seeking(search)).await;
    assert!(matches!(many, Err(PairError::Refused(problem)) if problem.code == Code::TooMany));
    assert_eq!(hub.online(), 2);
}

#[tokio::test(start_paused = true)]
async fn receipts_tell_own_messages_that_arrived() {
    let hub = hub(|limits| limits.receipts = 2);
    let (mut ann, mut bob) = pair(&hub).await;
    let message = |id| Frame::text("hello").with_id(id);
    ann.send(message(7)).await.unwrap();
    ann.say("without an id").await.unwrap();
    ann.send(message(9)).await.unwrap();
    assert_eq!(code(ann.send(message(10)).await), Some(Code::TooMany));
    assert_eq!(ann.receipt().now_or_never(), None);
    let reads = async {
        for _ in 0..3 {
            bob.recv().await.unwrap();
        }
    };
    let (first, ()) = tokio::join!(ann.receipt(), reads);
    assert_eq!((first, ann.receipt().await), (Some(7), Some(9)));
    // A caller that asks for no receipts is not held up by them.
    for id in 20..40 {
        ann.send(message(id)).await.unwrap();
        bob.recv().await.unwrap();
    }
    assert_eq!(ann.receipt().await, Some(38));
    drop(bob);
    assert_eq!((ann.receipt().await, ann.receipt().await), (Some(39), None));
}

#[tokio::test(start_paused = true)]
async fn halves_belong_to_two_tasks() {
    let hub = hub(|limits| limits.queue_items = 1);
    let (ann, bob) = pair(&hub).await;
    let echo = tokio::spawn(async move {
        let mut bob = bob;
        while let Ok(frame) = bob.recv().await {
            bob.send(frame).await.unwrap();
        }
        bob.recv().await
    });
    let (mut says, hears) = ann.split();
    assert_eq!((hears.partner().name.as_deref(), hears.partner_person()), (Some("Bob"), BOB));
    let heard = tokio::spawn(async move {
        let mut hears = hears;
        let heard: Vec<_> =
            hears.by_ref().map(|frame| frame.as_text().unwrap().len()).collect().await;
        (heard, hears.recv().await)
    });
    for length in 0..100 {
        says.say(&"x".repeat(length)).await.unwrap();
    }
    // The other half hears of it also while nothing arrives.
    tokio::time::sleep(Duration::from_secs(1)).await;
    says.leave();
    assert_eq!(echo.await.unwrap(), Err(ChatEnd::Left));
    assert_eq!(heard.await.unwrap(), ((0..100).collect(), Err(ChatEnd::Left)));
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn chat_is_a_stream_and_a_sink() {
    let hub = hub(|limits| limits.queue_items = 2);
    let (mut ann, bob) = pair(&hub).await;
    let mut frames =
        futures::stream::iter((0..20).map(|number| Ok(Frame::text(number.to_string()))));
    let reads =
        bob.map(|frame| frame.as_text().unwrap().parse::<usize>().unwrap()).collect::<Vec<_>>();
    let sends = async {
        ann.send_all(&mut frames).await.unwrap();
        SinkExt::close(&mut ann).await.unwrap();
        assert_eq!(ann.recv().await, Err(ChatEnd::Left));
    };
    assert_eq!(tokio::join!(reads, sends).0, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn halves_end_when_drain_is_over() {
    let hub = Hub::memory();
    let (ann, _bob) = pair(&hub).await;
    let (mut says, mut hears) = ann.split();
    let window = Duration::from_secs(5);
    let (heard, receipt, ()) = tokio::join!(hears.recv(), says.receipt(), hub.drain(window));
    assert_eq!((heard, receipt), (Err(ChatEnd::Ended), None));
    assert_eq!(says.say("late").await, Err(SendError::Over));
}

#[tokio::test(start_paused = true)]
async fn next_partner_is_another_and_last_one_is_told() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    let (id, token) = (ann.id(), ann.resume_token());
    let (ann, cid) = tokio::join!(ann.next_partner(), hub.pair(Profile::named("Cid")));
    let (mut ann, mut cid) = (ann.unwrap(), cid.unwrap());
    assert_eq!(bob.recv().await, Err(ChatEnd::Next));
    assert_eq!(ann.partner().name.as_deref(), Some("Cid"));
    assert_eq!((cid.partner().name.as_deref(), cid.partner_person()), (Some("Ann"), ANN));
    assert!(ann.id() == cid.id() && ann.id() != id && ann.resume_token() == token);
    ann.send(Frame::text("hello").with_id(1)).await.unwrap();
    assert_eq!(cid.recv().await.unwrap().as_text(), Some("hello"));
    assert_eq!(ann.receipt().await, Some(1));
    // Given up, it leaves the lobby and the hub.
    let mut waits = Box::pin(ann.next_partner());
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!(cid.recv().await, Err(ChatEnd::Next));
    drop((waits, cid, bob));
    assert_eq!((hub.online(), hub.census().await.unwrap().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn next_partner_is_refused_while_draining() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    let end = async {
        assert!(matches!(ann.next_partner().await, Err(PairError::Draining)));
        assert_eq!(bob.recv().await, Err(ChatEnd::Next));
        drop(bob);
    };
    tokio::join!(hub.drain(Duration::from_secs(60)), end);
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn blocked_partner_is_not_met_again() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    assert_eq!(ann.partner_person(), BOB);
    ann.block().await.unwrap();
    assert_eq!(bob.recv().await, Err(ChatEnd::Left), "a block is not told");
    assert_eq!(hub.stats().blocks, 1);
    drop(bob);
    // Longer than recent partners are avoided.
    let again = [("Ann", ANN), ("Bob", BOB)]
        .map(|(name, person)| hub.pair(Profile::named(name).person(person)));
    let met = timeout(hub.limits().recent_for, futures::future::join_all(again)).await;
    assert!(met.is_err(), "they met again");
}

#[tokio::test(start_paused = true)]
async fn detached_chat_is_resumed_with_every_frame_once() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    bob.say("before").await.unwrap();
    let (id, first) = (ann.id(), ann.resume_token());
    let token = ann.detach().unwrap();
    assert_eq!((token, hub.stats().detached), (first, 1));
    bob.say("meanwhile").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut ann = hub.resume(token).await.unwrap();
    assert_eq!((ann.id(), hub.stats().detached, hub.stats().resumed), (id, 0, 1));
    for text in ["before", "meanwhile"] {
        assert_eq!(ann.recv().await.unwrap().as_text(), Some(text));
    }
    ann.say("back").await.unwrap();
    assert_eq!(bob.recv().await.unwrap().as_text(), Some("back"));
    let used = hub.resume(token).await.unwrap_err();
    assert!(matches!(used, ResumeError::Unknown), "a token is good for one use");
    assert_ne!(ann.resume_token(), token);
    let token = ann.detach().unwrap();
    let mut ann = hub.resume(token).await.unwrap();
    bob.leave();
    assert_eq!(ann.recv().await, Err(ChatEnd::Left));
    drop(ann);
    assert_eq!(hub.online(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_resumes_of_a_chat_one_wins() {
    let hub = Hub::memory();
    let (ann, _bob) = pair(&hub).await;
    let token = ann.detach().unwrap();
    let (one, other) = tokio::join!(hub.resume(token), hub.resume(token));
    assert!(one.is_ok() != other.is_ok());
}

#[tokio::test(start_paused = true)]
async fn detached_chat_expires() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    let token = ann.detach().unwrap();
    let began = Instant::now();
    assert_eq!(bob.recv().await, Err(ChatEnd::Lost));
    assert_eq!(began.elapsed(), hub.limits().resume_window);
    assert!(matches!(hub.resume(token).await, Err(ResumeError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn detached_chat_ends_with_the_drain() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    let token = ann.detach().unwrap();
    let drained = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain(Duration::from_secs(60)).await }
    });
    assert_eq!(bob.recv().await, Err(ChatEnd::Ended));
    assert!(matches!(hub.resume(token).await, Err(ResumeError::Draining)));
    drop(bob);
    drained.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn chat_that_cannot_be_held_is_returned() {
    let mut limits = Limits::default();
    limits.detached = 1;
    let hub = Hub::builder().limits(limits).build();
    let (ann, bob) = pair(&hub).await;
    let token = ann.detach().unwrap();
    let mut bob = bob.detach().unwrap_err();
    bob.say("hello").await.unwrap();
    let mut ann = hub.resume(token).await.unwrap();
    assert_eq!(ann.recv().await.unwrap().as_text(), Some("hello"));
    ann.leave();
    assert_eq!(bob.recv().await, Err(ChatEnd::Left));
}

#[tokio::test(start_paused = true)]
async fn person_that_returns_by_token_ends_its_detached_chat() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    let token = ann.detach().unwrap();
    let mut profile = Profile::named("Ann");
    profile.resume = Some(token);
    let _search = tokio::spawn({
        let hub = hub.clone();
        async move { hub.pair(profile).await.map(drop) }
    });
    let ended = timeout(Duration::from_secs(1), bob.recv()).await;
    assert_eq!(ended, Ok(Err(ChatEnd::Lost)));
}

#[tokio::test(start_paused = true)]
async fn token_of_a_session_resumes_no_chat() {
    let hub = Hub::memory();
    let (ann, mut bob) = pair(&hub).await;
    let attached = ann.resume_token();
    assert!(matches!(hub.resume(attached).await, Err(ResumeError::Unknown)));
    ann.leave();
    assert_eq!(bob.recv().await, Err(ChatEnd::Left));
}

// ---- The partner's connection --------------------------------------------------------------------

/// A client that resumes, without a transport.
struct Client {
    commands: Commands,
    events: Events,
    token: ResumeToken,
}

impl Client {
    async fn connect(hub: &Hub) -> Self {
        let (commands, mut events, session) = hub.session(Profile::default());
        tokio::spawn(session);
        let Some(Event::Welcome { resume: token, .. }) = events.recv().await else {
            panic!("a welcome is first")
        };
        Self { commands, events, token }
    }

    /// Matched with a chat in process.
    async fn pair(hub: &Hub, name: &str) -> (Self, ChatId, Chat) {
        let mut client = Self::connect(hub).await;
        let announced = Recover::announcing(Hello::named(name));
        client.commands.send(Command::Recover(Box::new(announced))).await.expect("a session");
        client.commands.send(Command::Find(Search::default())).await.expect("a session");
        let chat = hub.pair(Profile::named("Bob")).await.expect("the client waits");
        while !matches!(client.events.recv().await, Some(Event::Matched { .. })) {}
        (client, chat.id(), chat)
    }

    /// Goes on with the chat over another connection.
    async fn resume(hub: &Hub, name: &str, token: ResumeToken, chat: ChatId) -> Self {
        let mut client = Self::connect(hub).await;
        let mut recover = Recover::announcing(Hello::named(name)).claiming(token);
        recover.chat = Some(chat);
        client.commands.send(Command::Recover(Box::new(recover))).await.expect("a session");
        assert!(matches!(client.events.recv().await, Some(Event::Resumed(_))));
        client
    }

    async fn say(&mut self, text: &str) {
        let frame = Frame::text(text);
        self.commands.send(Command::Send { chat: None, frame }).await.expect("a session");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_connection_of_a_client_is_told_in_process() {
    let hub = Hub::memory();
    let (ann, chat, mut bob) = Client::pair(&hub, "Ann").await;
    let token = ann.token;
    let lost = Instant::now();
    drop(ann);
    assert_eq!(bob.connection().await, Some(Connection::Away));
    assert_eq!(lost.elapsed(), Duration::from_millis(1_500));
    assert_eq!(bob.connection().now_or_never(), None, "told once");

    let mut ann = Client::resume(&hub, "Anna", token, chat).await;
    assert_eq!(bob.connection().await, Some(Connection::Back(Hello::named("Anna"))));
    assert_eq!(bob.partner().name.as_deref(), Some("Anna"));
    ann.say("here").await;
    assert_eq!(bob.recv().await.unwrap().as_text(), Some("here"));
    assert_eq!(bob.connection().now_or_never(), None, "a frame tells nothing of it");
    ann.commands.send(Command::Leave).await.unwrap();
    assert_eq!(bob.connection().await, None);
    assert_eq!(bob.recv().await, Err(ChatEnd::Left));
}

#[tokio::test(start_paused = true)]
async fn partner_is_back_behind_what_it_said_before() {
    let hub = Hub::memory();
    for receives in [false, true] {
        let (mut ann, chat, bob) = Client::pair(&hub, "Ann").await;
        ann.say("one").await;
        ann.say("two").await;
        let token = ann.token;
        drop(ann);
        let (mut says, mut hears) = bob.split();
        assert_eq!(says.connection().await, Some(Connection::Away));
        let _ann = Client::resume(&hub, "Anna", token, chat).await;
        assert_eq!(says.connection().now_or_never(), None);
        // What was said before may be meant for another key.
        let told = tokio::spawn(async move { says.connection().await });
        for text in ["one", "two"] {
            tokio::task::yield_now().await;
            assert!(!told.is_finished());
            assert_eq!(hears.recv().await.unwrap().as_text(), Some(text));
        }
        // Whether the other half goes on to receive or not.
        if receives {
            assert_eq!(hears.recv().now_or_never(), None);
        }
        assert_eq!(told.await.unwrap(), Some(Connection::Back(Hello::named("Anna"))));
    }
}

#[tokio::test(start_paused = true)]
async fn connection_is_told_while_another_task_receives() {
    let hub = Hub::memory();
    let (mut ann, bob) = pair(&hub).await;
    let (mut says, mut hears) = bob.split();
    let hearing = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Ok(frame) = hears.recv().await {
            heard.push(frame);
        }
        heard
    });
    for _ in 0..3 {
        let token = ann.detach().unwrap();
        assert_eq!(says.connection().await, Some(Connection::Away));
        ann = hub.resume(token).await.unwrap();
        assert_eq!(says.connection().await, Some(Connection::Back(Hello::named("Ann"))));
        ann.say("here").await.unwrap();
    }
    // It was not missed.
    ann = hub.resume(ann.detach().unwrap()).await.unwrap();
    assert_eq!(says.connection().now_or_never(), None);
    ann.leave();
    assert_eq!(says.connection().await, None);
    assert_eq!(hearing.await.unwrap().len(), 3);
}

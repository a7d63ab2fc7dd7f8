//! Matching, relaying, and how a chat ends.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use purrr_core::{
    Bytes, Chat, Code, Command, Event, Frame, Hello, Hub, Limits, PairError, Problem, Profile,
    hub::Input,
    model::{Body, ChatId, CloseReason, Image, Message, Signal, SignalKind},
};
use tokio::time::{Instant, sleep_until};

use crate::serve::{
    peer::{Peer, find, numbered},
    wire::Fault,
};

#[tokio::test(start_paused = true)]
async fn every_frame_type_is_relayed() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    let picture = Image::new("image/png", Bytes::from_static(&[0x89, b'P', b'N', b'G']));
    let [mut reply, mut image] = [Message::default(), Message::default()];
    (reply.text, reply.reply) = (Some("hello".into()), Some(3));
    image.image = Some(picture.into());
    let bodies = [
        Body::Message(reply),
        Body::Message(image),
        Body::Typing(true),
        Body::Read { id: 9 },
        Body::Signal(Signal::new(SignalKind::Candidate, Some("candidate".into()))),
    ];
    for (from, to) in [(&ann, &bob), (&bob, &ann)] {
        for body in &bodies {
            let frame = Frame::new(body.clone());
            from.send(Command::Send { chat: None, frame: frame.clone() });
            assert_eq!(to.far.next().await, Some(Event::Received(frame)));
        }
    }
    ann.gets_nothing().await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn immediate_match_coalesces_writes() {
    let hub = Hub::memory();
    let (ann, bob) = (Peer::connect(&hub, "Ann").await, Peer::connect(&hub, "Bob").await);
    let before = [&ann, &bob].map(|peer| peer.far.flushed());
    ann.send(find());
    bob.send(find());
    for (peer, before) in [&ann, &bob].into_iter().zip(before) {
        peer.gets(["waiting", "matched"]).await;
        assert_eq!(peer.far.flushed(), before + 1);
    }
    // Who is alone is told that it waits, and is not kept waiting for that.
    Peer::waiting(&hub, "Cid").await;
}

#[tokio::test(start_paused = true)]
async fn receipts_reach_client_that_only_listens() {
    let unreadable = || Input::Invalid(Problem::new(Code::BadMessage, "what is that?"));
    let stories: [(Vec<Input>, &[&str]); 4] = [
        (vec![find().into()], &["waiting"]),
        (vec![find().into(), unreadable()], &["waiting", "error: bad-message"]),
        (vec![find().into(), numbered(7).into()], &["waiting", "error: not-paired about 7"]),
        (
            vec![find().into(), Command::Cancel.into(), find().into()],
            &["waiting", "idle", "waiting"],
        ),
    ];
    for (said, expected) in stories {
        let hub = Hub::memory();
        let ann = Peer::connect(&hub, "Ann").await;
        for input in said {
            ann.send(input);
        }
        ann.far.hang_up();
        for event in expected {
            ann.gets([event]).await;
        }
        ann.ends_after([], CloseReason::Lost).await;
        // No peer is matched with one that is gone.
        Peer::waiting(&hub, "Bob").await.gets_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn delivered_follows_partner_flush() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    ann.send(numbered(7));
    ann.say("without a number");
    ann.send(numbered(8));
    bob.gets(["no. 7", "without a number", "no. 8"]).await;
    ann.gets_nothing().await;
    bob.far.let_flush(true);
    ann.gets(["delivered 7", "delivered 8"]).await;
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn no_receipts_without_capability() {
    let mut limits = Limits::default();
    limits.receipts = 1;
    let hub = Hub::builder().limits(limits).build();
    let mut profile = Profile::named("Ann");
    profile.capabilities.receipts = false;
    let ann = Peer::connect_as(&hub, "Ann", profile).await;
    let bob = Peer::connect(&hub, "Bob").await;
    for peer in [&ann, &bob] {
        peer.send(find());
        peer.gets(["waiting"]).await;
    }
    ann.gets_matched("Bob").await;
    bob.gets_matched("Ann").await;
    bob.far.let_flush(false);
    ann.send(numbered(1));
    ann.send(numbered(2));
    bob.gets(["no. 1", "no. 2"]).await;
    bob.far.let_flush(true);
    bob.send(numbered(3));
    bob.gets(["delivered 3"]).await;
    ann.gets(["no. 3"]).await;
    ann.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn receipt_precedes_left() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    ann.far.take_only(0);
    ann.send(numbered(1));
    bob.gets(["no. 1"]).await;
    bob.send(Command::Leave);
    bob.gets(["idle"]).await;
    ann.far.take_all();
    ann.gets(["delivered 1", "left: left"]).await;
}

#[tokio::test(start_paused = true)]
async fn receipt_of_last_chat_is_dropped() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    ann.send(numbered(1));
    ann.send(Command::Leave);
    bob.gets(["no. 1", "left: left"]).await;
    let cat = Peer::waiting(&hub, "Cat").await;
    bob.send(find());
    bob.gets(["waiting"]).await;
    bob.gets_matched("Cat").await;
    cat.gets_matched("Bob").await;
    bob.far.take_only(0);
    cat.send(numbered(2));
    cat.gets_nothing().await;
    bob.far.let_flush(true);
    cat.gets_nothing().await;
    bob.far.take_all();
    bob.gets(["no. 2"]).await;
    cat.gets(["delivered 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn missing_receipt_does_not_block_next_chat() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    ann.send(numbered(1));
    bob.gets(["no. 1"]).await;
    ann.send(Command::Next);
    ann.gets(["waiting"]).await;
    let cat = Peer::waiting(&hub, "Cat").await;
    ann.gets_matched("Cat").await;
    cat.gets_matched("Ann").await;
    ann.send(numbered(2));
    cat.gets(["no. 2"]).await;
    ann.gets(["delivered 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn in_process_recv_counts_as_delivered() {
    let hub = Hub::memory();
    let ann = Peer::waiting(&hub, "Ann").await;
    let mut bob = hub.pair(Profile::named("Bob")).await.unwrap();
    ann.gets_matched("Bob").await;
    ann.send(numbered(1));
    ann.gets_nothing().await;
    assert_eq!(bob.recv().await.as_ref().map(Frame::as_text), Ok(Some("no. 1")));
    ann.gets(["delivered 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn receipts_limit() {
    let mut limits = Limits::default();
    limits.receipts = 2;
    let hub = Hub::builder().limits(limits).build();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.far.let_flush(false);
    for id in 1..=3 {
        ann.send(numbered(id));
    }
    ann.say("without a number");
    bob.gets(["no. 1", "no. 2", "without a number"]).await;
    ann.gets(["error: too-many about 3"]).await;
    bob.far.let_flush(true);
    ann.gets(["delivered 1", "delivered 2"]).await;
    ann.send(numbered(3));
    bob.gets(["no. 3"]).await;
    ann.gets(["delivered 3"]).await;
}

#[tokio::test(start_paused = true)]
async fn frame_of_other_chat_is_dropped() {
    let hub = Hub::memory();
    let (ann, bob, chat) = Peer::pair(&hub).await;
    let send = |chat, text: &str| Command::Send { chat, frame: Frame::text(text) };
    ann.send(send(Some(ChatId::from_bits(0)), "late"));
    ann.send(send(Some(chat), "meant"));
    ann.send(send(None, "unmarked"));
    bob.gets(["meant", "unmarked"]).await;
    ann.gets_nothing().await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn impossible_commands_get_errors() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    let unreadable = Problem::new(Code::BadMessage, "not JSON");
    for (input, told) in [
        (Input::Command(find()), "error: already-paired"),
        (Command::Cancel.into(), "error: already-paired"),
        (Command::Unsupported { what: "report" }.into(), "error: not-supported"),
        (Input::Invalid(unreadable), "error: bad-message"),
    ] {
        ann.send(input);
        ann.gets([told]).await;
    }
    ann.say("still here");
    bob.gets(["still here"]).await;
}

#[tokio::test(start_paused = true)]
async fn frames_without_partner_are_refused() {
    let hub = Hub::memory();
    let ann = Peer::connect(&hub, "Ann").await;
    ann.send(numbered(1));
    ann.gets(["error: not-paired about 1"]).await;
    ann.send(find());
    ann.send(numbered(2));
    ann.gets(["waiting", "error: not-paired about 2"]).await;
    let bob = Peer::waiting(&hub, "Bob").await;
    ann.gets_matched("Bob").await;
    bob.gets_matched("Ann").await;
    bob.send(Command::Leave);
    ann.gets(["left: left"]).await;
    ann.send(numbered(3));
    ann.gets(["error: not-paired about 3"]).await;
    assert_eq!(hub.stats().frames, 0);
}

#[tokio::test(start_paused = true)]
async fn every_chat_end_reaches_both_sides() {
    for (command, told, partner_told) in
        [(Command::Leave, "idle", "left: left"), (Command::Next, "waiting", "left: next")]
    {
        let hub = Hub::memory();
        let (ann, bob, _) = Peer::pair(&hub).await;
        ann.say("last words");
        ann.send(command);
        ann.gets([told]).await;
        bob.gets(["last words", partner_told]).await;
        ann.gets_nothing().await;
        bob.gets_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_search_end_leaves_lobby() {
    for command in [Command::Cancel, Command::Leave] {
        let hub = Hub::memory();
        let ann = Peer::waiting(&hub, "Ann").await;
        ann.send(find());
        ann.send(Command::Next);
        ann.send(command.clone());
        ann.send(command);
        ann.gets(["waiting", "waiting", "idle", "idle"]).await;
        let bob = Peer::waiting(&hub, "Bob").await;
        bob.gets_nothing().await;
        ann.send(find());
        ann.gets(["waiting"]).await;
        ann.gets_matched("Bob").await;
        bob.gets_matched("Ann").await;
    }
}

#[tokio::test(start_paused = true)]
async fn next_matches_waiting_peer() {
    let hub = Hub::memory();
    let (ann, bob, first) = Peer::pair(&hub).await;
    let cat = Peer::waiting(&hub, "Cat").await;
    ann.send(Command::Next);
    ann.gets(["waiting"]).await;
    let second = ann.gets_matched("Cat").await;
    assert_eq!(cat.gets_matched("Ann").await, second);
    assert_ne!(first, second);
    bob.gets(["left: next"]).await;
    cat.say("hi");
    ann.gets(["hi"]).await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn cancel_after_match_is_refused() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    ann.send(Command::Cancel);
    ann.gets(["error: already-paired"]).await;
    ann.say("well then");
    bob.gets(["well then"]).await;
}

#[tokio::test(start_paused = true)]
async fn cancel_racing_match_wins() {
    for while_it_is_read in [false, true] {
        let hub = Hub::memory();
        let ann = Peer::waiting(&hub, "Ann").await;
        let bob = Arc::new(Mutex::new(None));
        let bob_comes = {
            let (hub, bob) = (hub.clone(), Arc::clone(&bob));
            move || *bob.lock().unwrap() = Some(Coming::meets_somebody(&hub))
        };
        if while_it_is_read {
            ann.far.send_with(Command::Cancel, bob_comes);
        } else {
            bob_comes();
            ann.send(Command::Cancel);
        }
        ann.gets(["idle"]).await;
        ann.gets_nothing().await;
        let bob = bob.lock().unwrap().take().expect("Ann still waited");
        bob.goes_on_waiting(&hub).await;
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_racing_match_leaves_no_partner() {
    let hub = Hub::memory();
    let ann = Peer::waiting(&hub, "Ann").await;
    let bob = Coming::meets_somebody(&hub);
    ann.far.hang_up();
    ann.ends_after([], CloseReason::Lost).await;
    bob.goes_on_waiting(&hub).await;
}

/// A peer that was matched and whose partner does not know it yet.
struct Coming(Pin<Box<dyn Future<Output = Result<Chat, PairError>> + Send>>);

impl Coming {
    fn meets_somebody(hub: &Hub) -> Self {
        let pairs = pairs(hub);
        let coming = hub.clone();
        let mut coming = Self(Box::pin(async move { coming.pair(Profile::named("Bob")).await }));
        assert!(coming.0.as_mut().now_or_never().is_none(), "the partner knows of it");
        assert_eq!(self::pairs(hub), pairs + 1);
        coming
    }

    async fn goes_on_waiting(mut self, hub: &Hub) {
        assert!(self.0.as_mut().now_or_never().is_none());
        assert_eq!(pairs(hub), 0);
        let (bob, cid) = tokio::join!(self.0, hub.pair(Profile::named("Cid")));
        let [bob, cid] = [bob, cid].map(|chat| chat.expect("they meet").id());
        assert_eq!(bob, cid);
    }
}

fn pairs(hub: &Hub) -> u64 {
    let census = hub.census().now_or_never().expect("the lobby in memory does not wait");
    census.expect("nor does it fail").pairs
}

#[tokio::test(start_paused = true)]
async fn unresponsive_peer_keeps_waited_time() {
    let hub = Hub::memory();
    let ann = Peer::waiting_for(&hub, "Ann", "chess").await;
    let since = Instant::now();
    for (news, after) in [(Input::Unresponsive, 4), (Input::Responsive, 7)] {
        sleep_until(since + Duration::from_secs(after)).await;
        ann.send(news);
    }
    // Bob has no interests, so the two meet when Ann would take anyone.
    let bob = Peer::waiting(&hub, "Bob").await;
    ann.gets_matched("Bob").await;
    bob.gets_matched("Ann").await;
    assert_eq!(since.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn resume_only_before_first_chat() {
    let hub = Hub::memory();
    let (cat, dan) = tokio::join!(hub.pair(Profile::named("Cat")), hub.pair(Profile::named("Dan")));
    let resume = Some(cat.as_ref().expect("Dan is there").resume_token());
    drop((cat, dan));
    let as_cat = || Command::Hello { hello: Hello::named("Cat"), resume };
    let (ann, bob, _) = Peer::pair(&hub).await;
    ann.send(Command::Leave);
    ann.gets(["idle"]).await;
    bob.gets(["left: left"]).await;
    // Or Bob could be blocked by Ann, and met again by her as Cat.
    ann.send(as_cat());
    ann.gets(["error: unknown-session"]).await;
    let eve = Peer::connect(&hub, "Eve").await;
    eve.send(as_cat());
    eve.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn connection_loss_gives_left_lost() {
    type Vanish = fn(&Peer);
    let ways: [(&str, Vanish); 5] = [
        ("the stream ends", |bob| bob.far.hang_up()),
        ("the sink is not ready", |bob| bob.far.fail(Fault::Ready)),
        ("the sink does not take it", |bob| bob.far.fail(Fault::Send)),
        ("the sink does not flush", |bob| bob.far.fail(Fault::Flush)),
        ("the session is dropped", |bob| bob.session.abort()),
    ];
    for (way, vanish) in ways {
        let hub = Hub::memory();
        let (ann, bob, _) = Peer::pair(&hub).await;
        bob.say("last words");
        ann.gets(["last words"]).await;
        // On its way when Bob vanishes: some ways show only in what is sent.
        ann.say("are you there?");
        vanish(&bob);
        ann.gets(["left: lost"]).await;
        ann.gets_nothing().await;
        match bob.session.await {
            Ok(ended) => assert_eq!(ended, CloseReason::Lost, "{way}"),
            Err(error) => assert!(error.is_cancelled(), "{way}"),
        }
        assert_eq!(hub.online(), 1, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_before_disconnect_are_relayed() {
    let hub = Hub::memory();
    let (ann, bob, _) = Peer::pair(&hub).await;
    bob.say("bye");
    bob.send(Command::Leave);
    bob.far.hang_up();
    ann.gets(["bye", "left: left"]).await;
}

#[tokio::test(start_paused = true)]
async fn lost_connection_leaves_lobby() {
    let hub = Hub::memory();
    let ann = Peer::waiting(&hub, "Ann").await;
    ann.far.hang_up();
    ann.ends_after([], CloseReason::Lost).await;
    let bob = Peer::waiting(&hub, "Bob").await;
    bob.gets_nothing().await;
    assert_eq!(hub.census().await.unwrap().waiting, 1);
}

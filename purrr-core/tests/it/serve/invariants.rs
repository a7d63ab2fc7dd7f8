//! What holds whatever the peers do: what a side sees of a chat and in which order.

use std::time::Duration;

use purrr_core::{Command, Event, Frame, Hub, Limits, model::ChatId};
use tokio::time::Instant;

use crate::serve::{
    peer::{Peer, find, settled},
    wire::Far,
};

#[tokio::test(start_paused = true)]
async fn invariant_4_matched_frames_left_in_order_without_room() {
    let hub = hub_of(3, 0);
    let ann = Peer::waiting(&hub, "Ann").await;
    ann.far.take_only(0);
    let bob = Peer::waiting(&hub, "Bob").await;
    bob.gets_matched("Ann").await;
    for text in ["a", "b", "c"] {
        bob.say(text);
    }
    bob.send(Command::Next);
    bob.gets(["waiting"]).await;
    ann.gets_nothing().await;
    ann.far.take_all();
    ann.gets_matched("Bob").await;
    ann.gets(["a", "b", "c", "left: next"]).await;
    ann.send(find());
    ann.gets(["waiting"]).await;
    ann.gets_matched("Bob").await;
}

#[tokio::test(start_paused = true)]
async fn invariant_5_frames_arrive_once_in_order() {
    const FRAMES: usize = 10_000;
    let mut limits = Limits::default();
    // More at once than anybody may say.
    (limits.queue_items, limits.rates) = (4, None);
    let hub = Hub::builder().limits(limits).build();
    let (ann, bob, _) = Peer::pair(&hub).await;
    let begun = Instant::now();
    for frame in 0..FRAMES {
        ann.say(&frame.to_string());
        bob.say(&frame.to_string());
    }
    let read_all = async |far: &Far, sips: &[usize]| {
        let mut expected = 0..FRAMES;
        for sip in sips.iter().cycle() {
            far.take_only(*sip);
            for expected in expected.by_ref().take(*sip) {
                assert_eq!(heard(far.next().await), expected.to_string());
            }
            if expected.is_empty() {
                return;
            }
        }
    };
    tokio::join!(read_all(&ann.far, &[1, 5, 2]), read_all(&bob.far, &[7, 1, 1, 3]));
    // A peer that had waited for a deadline would have moved the clock.
    assert_eq!(begun.elapsed(), Duration::ZERO);
    ann.far.take_all();
    bob.far.take_all();
    ann.gets_nothing().await;
    bob.gets_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn invariant_6_late_frame_does_not_reach_next_partner() {
    let hub = hub_of(2, 0);
    let (ann, bob, chat) = Peer::pair(&hub).await;
    let cat = Peer::waiting(&hub, "Cat").await;
    ann.far.take_only(0);
    for text in ["under way", "under way too", "held"] {
        bob.say(text);
    }
    settled().await;
    // Bob wanted to say this too, in the chat that Ann leaves in the same moment.
    let late = Command::Send { chat: Some(chat), frame: Frame::text("late") };
    for peer in [&bob, &ann] {
        peer.send(Command::Next);
        peer.send(late.clone());
        peer.send(late.clone());
    }
    settled().await;
    ann.far.take_all();
    ann.gets(["waiting", "error: not-paired", "error: not-paired"]).await;
    ann.gets_matched("Cat").await;
    ann.gets_nothing().await;
    cat.gets_matched("Ann").await;
    cat.gets_nothing().await;

    let dan = Peer::waiting(&hub, "Dan").await;
    dan.gets_matched("Bob").await;
    dan.gets_nothing().await;
    bob.gets(["left: next", "waiting", "error: not-paired", "error: not-paired"]).await;
    bob.gets_matched("Dan").await;
    for (from, to) in [(&cat, &ann), (&ann, &cat), (&bob, &dan)] {
        from.send(late.clone());
        from.say("new");
        to.gets(["new"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_8_full_mailboxes_do_not_deadlock() {
    let texts = ["1", "2", "3", "4", "5", "6"];
    for read_ahead in [0, 2] {
        let hub = hub_of(2, read_ahead);
        let (ann, bob, _) = Peer::pair(&hub).await;
        for peer in [&ann, &bob] {
            peer.far.take_only(0);
            for text in texts {
                peer.say(text);
            }
        }
        settled().await;
        // The search, what fills the queue, one that is held, and what is read ahead.
        let read = 1 + 3 + read_ahead;
        assert_eq!((ann.far.read(), bob.far.read()), (read, read));
        let begun = Instant::now();
        // Bob still cannot send, and reads all the same.
        bob.far.take_all();
        bob.gets(texts).await;
        assert_eq!((ann.far.read(), bob.far.read()), (1 + 6, read));
        ann.far.take_all();
        ann.gets(texts).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

mod histories {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use purrr_core::{Code, Profile, model::CloseReason};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::serve::wire::wire;

    const VISITORS: usize = 4;

    /// What a visitor does, or what its transport does to it.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Deed {
        Find,
        Next,
        Leave,
        Cancel,
        Say,
        TakeOnly(usize),
        TakeAll,
        HangUp,
        /// Everybody does what there is to do.
        Settle,
        /// So long that a stuck peer is given up.
        Stall,
    }

    fn deeds() -> impl Strategy<Value = Vec<(usize, Deed)>> {
        let deed = prop_oneof![
            6 => Just(Deed::Find),
            2 => Just(Deed::Next),
            1 => Just(Deed::Leave),
            1 => Just(Deed::Cancel),
            9 => Just(Deed::Say),
            2 => (0..4usize).prop_map(Deed::TakeOnly),
            2 => Just(Deed::TakeAll),
            1 => Just(Deed::HangUp),
            8 => Just(Deed::Settle),
            1 => Just(Deed::Stall),
        ];
        prop::collection::vec((0..VISITORS, deed), 1..120)
    }

    /// A peer, and what it knows from the events that it was told.
    struct Visitor {
        far: Far,
        session: JoinHandle<CloseReason>,
        waits: bool,
        chat: Option<ChatId>,
        /// The last chat, for what is said too late.
        last: Option<ChatId>,
        said: u64,
        heard: u64,
        /// What was asked for and not answered, oldest first.
        asked: VecDeque<Deed>,
        /// The partner was slow, so that the next thing to hear is that it is lost.
        slow: bool,
    }

    impl Visitor {
        fn arrive(hub: &Hub) -> Self {
            let (wire, far) = wire();
            let hub = hub.clone();
            let session = tokio::spawn(async move { hub.serve(wire, Profile::default()).await });
            Self {
                far,
                session,
                waits: false,
                chat: None,
                last: None,
                said: 0,
                heard: 0,
                asked: VecDeque::new(),
                slow: false,
            }
        }

        fn ask(&mut self, deed: Deed, command: Command) {
            self.asked.push_back(deed);
            self.far.send(command);
        }

        /// Says who says it in which chat, numbered, so that the receiver knows whether it should.
        fn say(&mut self) {
            let Some(chat) = self.chat.or(self.last) else { return };
            let frame = Frame::text(format!("{chat} {}", self.said));
            self.said += 1;
            self.far.send(Command::Send { chat: Some(chat), frame });
        }

        fn listen(&mut self) {
            for event in self.far.taken() {
                self.hear(event);
            }
        }

        fn hear(&mut self, event: Event) {
            assert!(!self.slow || matches!(event, Event::Left { .. }), "{event:?}");
            match event {
                Event::Welcome { .. } => {}
                Event::Waiting { .. } => {
                    let asked = self.asked.pop_front();
                    assert!(matches!(asked, Some(Deed::Find | Deed::Next)), "{asked:?}");
                    assert!(asked == Some(Deed::Next) || self.chat.is_none());
                    self.part();
                    self.waits = true;
                }
                Event::Idle => {
                    let asked = self.asked.pop_front();
                    assert!(matches!(asked, Some(Deed::Leave | Deed::Cancel)), "{asked:?}");
                    assert!(asked == Some(Deed::Leave) || self.chat.is_none());
                    self.part();
                    self.waits = false;
                }
                Event::Matched { chat, .. } => {
                    assert!(self.waits && self.chat.is_none());
                    (self.waits, self.chat, self.said, self.heard) = (false, Some(chat), 0, 0);
                }
                Event::Received(frame) => {
                    let chat = self.chat.expect("frames come within a chat");
                    assert_eq!(frame.as_text(), Some(&*format!("{chat} {}", self.heard)));
                    self.heard += 1;
                }
                Event::Left { .. } => {
                    assert!(self.chat.is_some());
                    self.part();
                    self.slow = false;
                }
                Event::Error(problem) => match problem.code {
                    Code::NotPaired => {}
                    Code::PartnerSlow => self.slow = true,
                    Code::AlreadyPaired => {
                        let asked = self.asked.pop_front();
                        assert!(matches!(asked, Some(Deed::Find | Deed::Cancel)), "{asked:?}");
                        assert!(self.chat.is_some());
                    }
                    code => panic!("{code:?}"),
                },
                other => panic!("{other:?}"),
            }
        }

        fn part(&mut self) {
            self.last = self.chat.take().or(self.last);
        }
    }

    async fn play(history: &[(usize, Deed)], read_ahead: usize) {
        let hub = hub_of(2, read_ahead);
        let mut gone = Vec::new();
        let mut visitors: Vec<Visitor> = (0..VISITORS).map(|_| Visitor::arrive(&hub)).collect();
        for (who, deed) in history {
            let visitor = &mut visitors[*who];
            visitor.listen();
            match deed {
                Deed::Find => visitor.ask(*deed, find()),
                Deed::Next => visitor.ask(*deed, Command::Next),
                Deed::Leave => visitor.ask(*deed, Command::Leave),
                Deed::Cancel => visitor.ask(*deed, Command::Cancel),
                Deed::Say => visitor.say(),
                Deed::TakeOnly(events) => visitor.far.take_only(*events),
                Deed::TakeAll => visitor.far.take_all(),
                Deed::HangUp => {
                    visitor.far.hang_up();
                    visitor.far.take_all();
                    gone.push(std::mem::replace(visitor, Visitor::arrive(&hub)).session);
                }
                Deed::Settle => settled().await,
                Deed::Stall => tokio::time::sleep(hub.limits().stall * 2).await,
            }
            for visitor in visitors.iter_mut().filter(|visitor| visitor.session.is_finished()) {
                gone.push(std::mem::replace(visitor, Visitor::arrive(&hub)).session);
            }
        }
        for visitor in &visitors {
            visitor.far.take_all();
        }
        // Long enough for recent partners to meet again.
        tokio::time::sleep(hub.limits().recent_relax).await;
        settled().await;
        for session in gone {
            assert!(matches!(session.await, Ok(CloseReason::Lost | CloseReason::Slow)));
        }
        for visitor in &mut visitors {
            visitor.listen();
            assert_eq!(visitor.asked, [], "all was answered");
            assert!(!visitor.session.is_finished());
        }
        check_the_end(&hub, &visitors).await;
    }

    /// No peer is lost: one without exactly one partner waits alone, or did not search.
    async fn check_the_end(hub: &Hub, visitors: &[Visitor]) {
        let waiting = visitors.iter().filter(|visitor| visitor.waits).count();
        assert!(waiting <= 1, "{waiting} wait who could be paired");
        let mut chatting = 0;
        for (index, visitor) in visitors.iter().enumerate() {
            let Some(chat) = visitor.chat else { continue };
            chatting += 1;
            let mut partners = visitors
                .iter()
                .enumerate()
                .filter(|(other, partner)| *other != index && partner.chat == Some(chat));
            let (_, partner) = partners.next().expect("the partner sees the chat too");
            assert!(partners.next().is_none(), "three in a chat");
            assert_eq!(partner.heard, visitor.said, "what was said in the chat was heard");
        }
        let census = hub.census().await.expect("the lobby works");
        assert_eq!((census.waiting, census.pairs * 2), (waiting as u64, chatting));
        assert_eq!(hub.online(), VISITORS as u64);
    }

    proptest! {
        #[test]
        fn any_history_of_four_peers_keeps_invariants(history in deeds(), read_ahead in 0..4usize) {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap()
                .block_on(play(&history, read_ahead));
        }
    }
}

fn heard(event: Option<Event>) -> String {
    match event {
        Some(Event::Received(frame)) => frame.as_text().expect("texts were said").to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A hub whose pipes hold so few frames each way, and whose sessions read so few behind them.
fn hub_of(queue_items: usize, read_ahead: usize) -> Hub {
    let mut limits = Limits::default();
    (limits.queue_items, limits.read_ahead_items) = (queue_items, read_ahead);
    Hub::builder().limits(limits).build()
}

//! Each thing that must not be, planted into logs in which it is not, and found.

use std::time::Duration;

use super::{Bounds, audit};
use crate::chaos::{
    log::{
        Ask::{Block, Cancel, Fence, Find, FindAgain, Leave, Next},
        Content, Dialect, Entry, Event, Log, Name, News, Payload,
    },
    story::FaultKind,
};

const BOUNDS: Bounds = Bounds {
    reset: Duration::from_secs(1),
    silence: Duration::from_secs(4),
    harmless: Duration::from_secs(2),
    window: Duration::from_secs(30),
};

/// Three people, Ann, Bob and Cid, who have done nothing yet.
struct Scene {
    logs: [Log; 3],
    clock: Duration,
}

const ANN: Name = Name { person: 0, life: 1, search: 1 };
const BOB: Name = Name { person: 1, life: 1, search: 1 };
const CID: Name = Name { person: 2, life: 1, search: 1 };

const ANN_AGAIN: Name = Name { search: 2, ..ANN };
const BOB_AGAIN: Name = Name { search: 2, ..BOB };

impl Scene {
    fn new() -> Self {
        let log = |person| Log::new(person, Dialect::Native, false);
        Self { logs: [log(0), log(1), log(2)], clock: Duration::ZERO }
    }

    /// Ann and Bob are in a chat.
    fn chat() -> Self {
        let mut scene = Self::new();
        scene.meet(ANN, BOB, "x");
        scene
    }

    fn meet(&mut self, one: Name, other: Name, chat: &str) {
        for name in [one, other] {
            self.did(name, Event::Connected).did(name, Event::Asked(Find(name)));
            self.heard(name, News::Waiting);
        }
        self.matched(one, other, chat).matched(other, one, chat);
    }

    fn did(&mut self, who: Name, event: Event) -> &mut Self {
        self.clock += Duration::from_millis(10);
        self.logs[who.person].entries.push(Entry { at: self.clock, event });
        self
    }

    fn heard(&mut self, who: Name, news: News) -> &mut Self {
        self.did(who, Event::Heard(news))
    }

    fn matched(&mut self, who: Name, partner: Name, chat: &str) -> &mut Self {
        let keyed = self.logs[partner.person].keyed;
        let chat = Some(chat.to_owned());
        self.heard(who, News::Matched { chat, partner: Some(partner), keyed })
    }

    /// Ann says so many things to Bob, who has not got them yet.
    fn say(&mut self, count: u64) -> &mut Self {
        for counter in 0..count {
            self.did(ANN, Event::Sent(said(ANN, BOB, counter)));
        }
        self
    }

    fn got(&mut self, counter: u64) -> &mut Self {
        self.heard(BOB, News::Received(said(ANN, BOB, counter), None))
    }

    fn left(&mut self, who: Name, reason: &str) -> &mut Self {
        self.heard(who, News::Left(Some(reason.to_owned())))
    }

    fn leaves(&mut self, who: Name) -> &mut Self {
        self.did(who, Event::Asked(Leave)).heard(who, News::Idle)
    }

    fn pass(&mut self, seconds: u64) -> &mut Self {
        self.clock += Duration::from_secs(seconds);
        self
    }

    #[track_caller]
    fn shows(&self, expected: &[FaultKind]) {
        let faults = audit(&self.logs, BOUNDS).faults;
        let kinds: Vec<FaultKind> = faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, expected, "{faults:#?}");
    }
}

fn said(from: Name, to: Name, counter: u64) -> Content {
    Content::Text(Payload { from, to, counter, padding: 3 })
}

#[test]
fn audit_passes_good_chat() {
    let mut scene = Scene::chat();
    scene.say(3).got(0).heard(ANN, News::Delivered(1)).got(1).got(2);
    scene.leaves(ANN).left(BOB, "left").did(ANN, Event::Closed).shows(&[]);
}

#[test]
fn audit_match_needs_search() {
    let mut scene = Scene::new();
    scene.did(ANN, Event::Connected).did(ANN, Event::Asked(Find(ANN))).heard(ANN, News::Waiting);
    scene.did(ANN, Event::Asked(Cancel)).heard(ANN, News::Idle).matched(ANN, BOB, "x");
    scene.shows(&[FaultKind::MatchedUnasked]);

    // The dialect in which a cancelled search is not answered.
    let mut scene = Scene::new();
    scene.logs[0].dialect = Dialect::Socket;
    scene.did(ANN, Event::Connected).did(ANN, Event::Asked(Find(ANN))).heard(ANN, News::Waiting);
    scene.did(ANN, Event::Asked(Leave)).did(ANN, Event::Asked(Fence)).heard(ANN, News::Fence);
    scene.matched(ANN, BOB, "x").shows(&[FaultKind::MatchedUnasked]);
}

#[test]
fn audit_search_after_chat_is_new() {
    // Bob gives up just when he is matched; Ann, who repeats her search, may get to know both.
    let repeat = |answer: News| {
        let mut scene = Scene::new();
        for name in [ANN, BOB] {
            scene.did(name, Event::Connected).did(name, Event::Asked(Find(name)));
        }
        scene.did(BOB, Event::Asked(Cancel)).heard(BOB, News::Idle);
        scene.did(ANN, Event::Asked(FindAgain)).did(ANN, Event::Asked(Fence));
        scene.matched(ANN, BOB, "x");
        if answer == News::Waiting {
            scene.left(ANN, "lost").heard(ANN, answer).heard(ANN, News::Fence);
        } else {
            scene.heard(ANN, answer).left(ANN, "lost");
        }
        scene.did(CID, Event::Connected).did(CID, Event::Asked(Find(CID)));
        scene.matched(ANN, CID, "y").matched(CID, ANN, "y");
        scene
    };
    repeat(News::Waiting).shows(&[]);
    // Answered in the chat, it was no search.
    for answer in [News::Refused("already-paired".to_owned()), News::Fence] {
        repeat(answer).shows(&[FaultKind::MatchedUnasked, FaultKind::OneSided]);
    }
}

#[test]
fn audit_two_chats_at_once() {
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Asked(Next(ANN_AGAIN))).matched(ANN, CID, "y");
    scene.did(CID, Event::Connected).did(CID, Event::Asked(Find(CID))).matched(CID, ANN_AGAIN, "y");
    scene.shows(&[FaultKind::TwoAtOnce]);
}

#[test]
fn audit_self_match() {
    let mut scene = Scene::new();
    scene.did(ANN, Event::Connected).did(ANN, Event::Asked(Find(ANN))).matched(ANN, ANN_AGAIN, "x");
    scene.shows(&[FaultKind::WithThemself, FaultKind::Unknown]);
}

#[test]
fn audit_frame_without_chat() {
    let mut scene = Scene::chat();
    scene.say(1).leaves(ANN).left(BOB, "left").left(BOB, "left");
    scene.shows(&[FaultKind::OutsideChat, FaultKind::Missing]);

    let mut scene = Scene::chat();
    scene.say(1).left(BOB, "left").got(0).leaves(ANN).heard(ANN, News::Delivered(1));
    scene.shows(&[FaultKind::OutsideChat, FaultKind::OutsideChat, FaultKind::Missing]);
}

#[test]
fn audit_waiting_or_idle_in_chat() {
    for news in [News::Waiting, News::Idle] {
        Scene::chat().heard(ANN, news).shows(&[FaultKind::OutOfTurn]);
    }
    // The answer to a search, given after it was asked to end, ends no chat.
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Asked(Leave)).heard(ANN, News::Waiting);
    scene.shows(&[FaultKind::OutOfTurn]);
}

#[test]
fn audit_typing_and_read_marks_reset() {
    let mut scene = Scene::chat();
    scene.logs[1].dialect = Dialect::Polling;
    scene.leaves(ANN).heard(BOB, News::Left(None)).shows(&[FaultKind::PageKept]);

    // Which is no frame of the partner's, whether or not the parting comes after it.
    let mut scene = Scene::chat();
    scene.logs[1].dialect = Dialect::Polling;
    scene.heard(BOB, News::Received(Content::Typing(false), None)).shows(&[]);
    scene.leaves(ANN).heard(BOB, News::Left(None)).shows(&[]);

    // What was marked as read is unmarked, and only then.
    for (marked, unmarked) in [(true, false), (false, true), (true, true)] {
        let mut scene = Scene::chat();
        scene.logs[1].dialect = Dialect::Polling;
        if marked {
            scene.did(ANN, Event::Sent(Content::Read(0)));
            scene.heard(BOB, News::Received(Content::Read(0), None));
        }
        if unmarked {
            scene.heard(BOB, News::Received(Content::Unread, None));
        }
        scene.heard(BOB, News::Received(Content::Typing(false), None));
        scene.leaves(ANN).heard(BOB, News::Left(None));
        scene.shows(if marked == unmarked { &[] } else { &[FaultKind::PageKept] });
    }
}

#[test]
fn audit_refused_or_unanswered() {
    let mut scene = Scene::chat();
    scene.heard(ANN, News::Refused("not-paired".to_owned())).shows(&[]);
    scene.heard(ANN, News::Refused("unknown-session".to_owned())).shows(&[FaultKind::Refused]);

    let mut scene = Scene::chat();
    scene.did(ANN, Event::Asked(Fence)).did(ANN, Event::NoAnswer).left(BOB, "lost");
    scene.shows(&[FaultKind::NoAnswer]);
}

#[test]
fn audit_closed_without_silence() {
    for (seconds, faults) in [(1, &[FaultKind::Cut][..]), (3, &[])] {
        let mut scene = Scene::chat();
        scene.did(ANN, Event::Froze).pass(seconds).left(BOB, "lost");
        scene.did(ANN, Event::Thawed).did(ANN, Event::Lost { resumes: false }).shows(faults);
    }
}

#[test]
fn audit_blocked_match() {
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Asked(Block)).heard(ANN, News::Idle).left(BOB, "left");
    // Not even after both have come back.
    for name in [ANN, BOB] {
        scene.did(name, Event::Vanished { reset: true });
    }
    scene.meet(ANN_AGAIN, BOB_AGAIN, "y");
    scene.shows(&[FaultKind::MetBlocked]);

    let mut scene = Scene::chat();
    scene.did(ANN, Event::Asked(Block)).left(ANN, "next");
    scene.heard(ANN, News::Refused("not-paired".to_owned()));
    scene.did(BOB, Event::Asked(Next(BOB_AGAIN))).heard(BOB, News::Waiting);
    scene.did(ANN, Event::Asked(Find(ANN_AGAIN))).heard(ANN, News::Waiting);
    scene.matched(ANN, BOB_AGAIN, "y").matched(BOB, ANN_AGAIN, "y").shows(&[]);

    let mut scene = Scene::chat();
    scene.did(ANN, Event::Asked(Block)).heard(ANN, News::Idle).left(BOB, "left");
    scene.did(BOB, Event::Closed);
    scene.meet(ANN_AGAIN, Name { life: 2, ..BOB_AGAIN }, "y");
    scene.shows(&[]);
}

#[test]
fn audit_key_mismatch() {
    let mut scene = Scene::new();
    scene.logs[1].keyed = true;
    scene.meet(ANN, BOB, "x");
    scene.shows(&[FaultKind::KeyMismatch, FaultKind::KeyMismatch]);
}

#[test]
fn audit_one_sided_chat() {
    let search = |scene: &mut Scene| {
        for name in [ANN, BOB] {
            scene.did(name, Event::Connected).did(name, Event::Asked(Find(name)));
            scene.heard(name, News::Waiting);
        }
    };
    let mut scene = Scene::new();
    search(&mut scene);
    scene.matched(ANN, BOB, "x").shows(&[FaultKind::OneSided]);
    scene.did(BOB, Event::Asked(Leave)).heard(BOB, News::Idle).left(ANN, "lost").shows(&[]);

    let mut scene = Scene::new();
    search(&mut scene);
    scene.matched(ANN, BOB, "x").matched(BOB, ANN, "y");
    scene.shows(&[FaultKind::TwoChats, FaultKind::TwoChats]);

    // Cid is told of a chat with a peer that is in another one.
    let mut scene = Scene::chat();
    scene.did(CID, Event::Connected).did(CID, Event::Asked(Find(CID))).matched(CID, BOB, "z");
    scene.shows(&[FaultKind::OneSided]);

    let mut scene = Scene::new();
    scene.did(ANN, Event::Connected).did(ANN, Event::Asked(Find(ANN))).matched(ANN, BOB, "x");
    scene.shows(&[FaultKind::Unknown]);
}

#[test]
fn audit_frame_order() {
    for (came, fault) in [
        (&[0, 0][..], FaultKind::Twice),
        (&[0, 2], FaultKind::OutOfOrder),
        (&[1], FaultKind::OutOfOrder),
        (&[0, 1, 2, 3], FaultKind::NeverSent),
    ] {
        let mut scene = Scene::chat();
        scene.say(3);
        for counter in came {
            scene.got(*counter);
        }
        scene.shows(&[fault]);
    }
    // Nor a picture for a text, nor a sign of typing that was never given.
    for content in [Content::Typing(true), Content::Read(1)] {
        let mut scene = Scene::chat();
        scene.heard(BOB, News::Received(content, None)).shows(&[FaultKind::NeverSent]);
    }
    let mut scene = Scene::chat();
    let payload = Payload { from: ANN, to: BOB, counter: 0, padding: 3 };
    scene.say(1).heard(BOB, News::Received(Content::Image(payload), None));
    scene.shows(&[FaultKind::NeverSent]);
}

#[test]
fn audit_read_mark_across_dialects() {
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Sent(Content::Read(4)));
    scene.heard(BOB, News::Received(Content::Read(5), None));
    scene.shows(&[FaultKind::NeverSent]);
    scene.logs[0].dialect = Dialect::Socket;
    scene.shows(&[]);
    scene.heard(BOB, News::Received(Content::Read(5), None)).shows(&[FaultKind::NeverSent]);
}

#[test]
fn audit_frame_of_other_chat() {
    for astray in [said(ANN, CID, 0), said(ANN_AGAIN, BOB, 0), Content::garbled("???")] {
        let mut scene = Scene::chat();
        scene.heard(BOB, News::Received(astray, None));
        scene.shows(&[FaultKind::Stray, FaultKind::NeverSent]);
    }
}

#[test]
fn audit_missing_frames() {
    Scene::chat().say(2).got(0).leaves(ANN).left(BOB, "left").shows(&[FaultKind::Missing]);
    // The side that left first did not wait for it.
    Scene::chat().say(2).got(0).leaves(BOB).left(ANN, "left").shows(&[]);
    // And who was lost may have lost it.
    let mut scene = Scene::chat();
    scene.say(2).got(0).did(ANN, Event::Vanished { reset: true }).left(BOB, "lost").shows(&[]);
}

#[test]
fn audit_delivered_but_missing() {
    let receipts = |came: u64, receipts: &[u64]| {
        let mut scene = Scene::chat();
        scene.say(3);
        for counter in 0..came {
            scene.got(counter);
        }
        for id in receipts {
            scene.heard(ANN, News::Delivered(*id));
        }
        scene
    };
    receipts(3, &[1, 2, 3]).shows(&[]);
    receipts(1, &[1, 2]).leaves(BOB).shows(&[FaultKind::FalseReceipt]);
    receipts(3, &[1, 3]).shows(&[FaultKind::FalseReceipt]);
    receipts(3, &[1, 1]).shows(&[FaultKind::FalseReceipt]);
    receipts(3, &[1, 2, 3, 4]).shows(&[FaultKind::FalseReceipt]);
    // The connection had taken it when it ended.
    receipts(1, &[1, 2]).did(BOB, Event::Vanished { reset: true }).left(ANN, "lost").shows(&[]);
}

#[test]
fn audit_late_left() {
    for (event, in_time, late) in [
        (Event::Vanished { reset: true }, 0, 2),
        (Event::Vanished { reset: false }, 3, 5),
        (Event::Froze, 3, 5),
    ] {
        for (seconds, reason, faults) in [
            (in_time, "lost", &[][..]),
            (in_time, "left", &[FaultKind::ToldLate]),
            (late, "lost", &[FaultKind::ToldLate]),
        ] {
            let mut scene = Scene::chat();
            scene.did(ANN, event.clone()).pass(seconds).left(BOB, reason).pass(5);
            if event == Event::Froze {
                scene.did(ANN, Event::Thawed).did(ANN, Event::Lost { resumes: false });
            }
            scene.shows(faults);
        }
    }
    // Or that the other side had given up before it knew of the chat.
    for (seconds, faults) in [(3, &[][..]), (5, &[FaultKind::ToldLate])] {
        let mut scene = Scene::new();
        scene.did(BOB, Event::Connected).did(BOB, Event::Asked(Find(BOB)));
        scene.did(BOB, Event::Asked(Cancel)).heard(BOB, News::Idle);
        scene.did(ANN, Event::Connected).did(ANN, Event::Asked(Find(ANN))).matched(ANN, BOB, "x");
        scene.pass(seconds).left(ANN, "lost").shows(faults);
    }
    // Nor is it kept waiting for the answer to its own leave.
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Vanished { reset: false }).did(BOB, Event::Asked(Leave)).pass(6);
    scene.heard(BOB, News::Idle).shows(&[FaultKind::ToldLate]);
    // A peer that was away itself is told when it is back.
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Vanished { reset: false }).did(BOB, Event::Froze).pass(6);
    scene.did(BOB, Event::Thawed).left(BOB, "lost").shows(&[]);
}

#[test]
fn audit_match_with_gone_peer() {
    for (seconds, faults) in [(2, &[][..]), (5, &[FaultKind::MetGhost])] {
        let mut scene = Scene::new();
        scene
            .did(ANN, Event::Connected)
            .did(ANN, Event::Asked(Find(ANN)))
            .heard(ANN, News::Waiting);
        scene.did(ANN, Event::Vanished { reset: false }).pass(seconds);
        scene.did(BOB, Event::Connected).did(BOB, Event::Asked(Find(BOB))).matched(BOB, ANN, "x");
        scene.left(BOB, "lost").shows(faults);
    }
}

/// Ann and Bob are in a chat that both resume.
fn chat_that_is_resumed() -> Scene {
    let mut scene = Scene::new();
    for log in &mut scene.logs {
        log.resumes = true;
    }
    scene.meet(ANN, BOB, "x");
    scene
}

fn resumed(chat: &str, received: u64, missing: u64, delivered: Option<u64>) -> News {
    News::Resumed { chat: chat.to_owned(), received, missing, delivered }
}

#[test]
fn audit_frames_across_resume() {
    // Which of Ann's four frames Bob hears before he loses his connection, and which after that.
    for (before, after, faults) in [
        (&[0, 1][..], &[2, 3][..], &[][..]),
        (&[], &[0, 1, 2, 3], &[]),
        (&[0, 1], &[1, 2, 3], &[FaultKind::Twice]),
        (&[0, 1], &[3, 2], &[FaultKind::OutOfOrder]),
        (&[0, 1], &[3], &[FaultKind::OutOfOrder]),
        (&[0, 1], &[2], &[FaultKind::Missing]),
    ] {
        for reset in [true, false] {
            let mut scene = chat_that_is_resumed();
            scene.say(3);
            for counter in before {
                scene.got(*counter);
            }
            scene.did(BOB, Event::Dropped { reset }).heard(ANN, News::Away);
            scene.did(ANN, Event::Sent(said(ANN, BOB, 3))).pass(20);
            scene.did(BOB, Event::Connected).heard(BOB, resumed("x", 0, 0, None));
            scene.heard(ANN, News::Back);
            for counter in after {
                scene.got(*counter);
            }
            scene.leaves(ANN).left(BOB, "left").shows(faults);
        }
    }
}

#[test]
fn audit_resume_answer() {
    for (answer, faults) in [
        (resumed("x", 2, 0, Some(2)), &[][..]),
        (resumed("x", 3, 0, None), &[FaultKind::NotResumed]),
        (resumed("x", 2, 1, None), &[FaultKind::NotResumed]),
        (resumed("y", 2, 0, None), &[FaultKind::NotResumed]),
        (News::Left(Some("lost".to_owned())), &[FaultKind::NotResumed]),
        (News::Idle, &[FaultKind::NotResumed, FaultKind::OutOfTurn]),
    ] {
        let mut scene = chat_that_is_resumed();
        scene.say(2).got(0).got(1).did(ANN, Event::Dropped { reset: true });
        scene.did(ANN, Event::Connected).heard(ANN, answer).shows(faults);
    }
    // A search goes on, or has come to a chat.
    let waits = || {
        let mut scene = Scene::new();
        scene.logs[0].resumes = true;
        scene.did(ANN, Event::Connected).did(ANN, Event::Asked(Find(ANN)));
        scene.heard(ANN, News::Waiting).did(ANN, Event::Dropped { reset: true });
        scene.did(BOB, Event::Connected).did(BOB, Event::Asked(Find(BOB)));
        scene
    };
    waits().heard(ANN, News::Waiting).matched(ANN, BOB, "x").matched(BOB, ANN, "x").shows(&[]);
    waits().matched(BOB, ANN, "x").matched(ANN, BOB, "x").shows(&[]);
    waits().heard(ANN, News::Idle).shows(&[FaultKind::NotResumed]);
}

#[test]
fn audit_receipts_across_resume() {
    for (delivered, then, faults) in [
        (Some(2), 3, &[][..]),
        (None, 2, &[]),
        (Some(2), 2, &[FaultKind::FalseReceipt]),
        (Some(1), 3, &[FaultKind::FalseReceipt]),
    ] {
        let mut scene = chat_that_is_resumed();
        scene.say(3).got(0).got(1).got(2).heard(ANN, News::Delivered(1));
        scene.did(ANN, Event::Dropped { reset: true }).heard(ANN, resumed("x", 3, 0, delivered));
        scene.heard(ANN, News::Delivered(then)).shows(faults);
    }
}

#[test]
fn audit_session_is_held_for_its_window() {
    for (seconds, faults) in
        [(29, &[FaultKind::ToldEarly][..]), (31, &[]), (36, &[FaultKind::ToldLate])]
    {
        let mut scene = chat_that_is_resumed();
        scene.did(ANN, Event::Vanished { reset: false }).pass(seconds);
        scene.left(BOB, "lost").shows(faults);
    }
    let mut scene = Scene::chat();
    scene.did(ANN, Event::Vanished { reset: false }).pass(31).left(BOB, "lost");
    scene.shows(&[FaultKind::ToldLate]);
}

#[test]
fn audit_frame_without_room() {
    let scene = |refused: &[Option<u64>]| {
        let mut scene = chat_that_is_resumed();
        scene.did(BOB, Event::Dropped { reset: true }).say(3);
        for id in refused {
            scene.heard(ANN, News::NoRoom(*id));
        }
        scene.heard(BOB, resumed("x", 0, 0, None)).got(0).got(2);
        scene.leaves(ANN).left(BOB, "left");
        scene
    };
    for refused in [Some(2), None] {
        scene(&[refused]).shows(&[]);
    }
    for refused in [&[][..], &[Some(1)]] {
        let kinds: Vec<_> = audit(&scene(refused).logs, BOUNDS).faults;
        assert!(!kinds.is_empty(), "{refused:?}");
    }
    Scene::new().heard(ANN, News::NoRoom(None)).shows(&[FaultKind::OutsideChat]);
}

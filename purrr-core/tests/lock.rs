//! The lobby in memory under every order in which threads can take its locks.
//!
//! Run by `RUSTFLAGS="--cfg purrr_loom" cargo test --package purrr-core --test lock`. A peer that waits although it
//! was matched, or that is never told, shows as a deadlock.
#![cfg(purrr_loom)]
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{future::block_on, thread};
use purrr_core::{
    Anyone, Frame, Limits, Lobby, Relay,
    backend::{LobbyError, Match, MemoryLobby, MemoryRelay, Pipe, Received, RelayError},
    model::{Census, ChatEnd, ChatId, PeerId, Ticket},
};

/// A peer's place, as far as it has come.
type Place = Pin<Box<purrr_core::backend::Place>>;

fn model(story: impl Fn(&MemoryLobby) + Send + Sync + 'static) {
    loom::model(move || {
        let lobby = MemoryLobby::new(Limits::default());
        story(&lobby);
        assert_eq!(census(&lobby), Census::new(0, 0), "a peer was left over");
    });
}

fn enter(lobby: &MemoryLobby, peer: u64) -> Result<Place, LobbyError> {
    let ticket = Ticket::new(PeerId::from_bits(peer));
    block_on(lobby.enter(ticket, Arc::new(Anyone))).map(Box::pin)
}

/// Looks once whether there is a match.
fn look(place: &mut Place) -> Option<Match> {
    match place.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(made) => Some(made.unwrap()),
        Poll::Pending => None,
    }
}

fn open(mut made: Match) -> Pipe {
    block_on(MemoryRelay.open(&mut made)).unwrap()
}

fn open_both([mut ann, mut bob]: [Match; 2]) -> [Pipe; 2] {
    let (ann, bob) =
        block_on(futures::future::join(MemoryRelay.open(&mut ann), MemoryRelay.open(&mut bob)));
    [ann.unwrap(), bob.unwrap()]
}

/// The two ends of a chat that has begun.
fn pair(lobby: &MemoryLobby) -> [Pipe; 2] {
    let places = [1, 2].map(|peer| enter(lobby, peer).unwrap());
    open_both(places.map(|place| block_on(place).unwrap()))
}

/// That the other side gave the match up.
fn assert_gone(mut made: Match) {
    let opened = block_on(MemoryRelay.open(&mut made));
    assert!(matches!(opened, Err(RelayError::Gone)), "{opened:?}");
}

fn census(lobby: &MemoryLobby) -> Census {
    block_on(lobby.census()).unwrap()
}

fn spawn<T: 'static>(
    lobby: &MemoryLobby,
    run: impl FnOnce(MemoryLobby) -> T + 'static,
) -> thread::JoinHandle<T> {
    let lobby = lobby.clone();
    thread::spawn(move || run(lobby))
}

fn whom(made: &Match) -> (ChatId, u64) {
    (made.chat(), made.partner().peer.to_bits())
}

#[test]
fn simultaneous_enter_gives_both_the_same_match() {
    model(|lobby| {
        let ann = spawn(lobby, |lobby| block_on(enter(&lobby, 1).unwrap()).unwrap());
        let bob = block_on(enter(lobby, 2).unwrap()).unwrap();
        let ann = ann.join().unwrap();
        assert_eq!(whom(&ann), (bob.chat(), 2));
        assert_eq!(whom(&bob), (ann.chat(), 1));
        assert_eq!(census(lobby), Census::new(0, 1));
    });
}

#[test]
fn simultaneous_enter_of_three_matches_two() {
    model(|lobby| {
        let others = [1, 2].map(|peer| spawn(lobby, move |lobby| enter(&lobby, peer).unwrap()));
        let third = enter(lobby, 3).unwrap();
        let [first, second] = others.map(|other| other.join().unwrap());
        assert_eq!(census(lobby), Census::new(1, 1));
        let found = [first, second, third].map(|mut place| (look(&mut place), place));
        let made: Vec<&Match> = found.iter().filter_map(|(made, _)| made.as_ref()).collect();
        let [a, b] = made[..] else { panic!("{made:?}") };
        assert_eq!(a.chat(), b.chat());
        assert_ne!(a.partner().peer, b.partner().peer);
    });
}

#[test]
fn simultaneous_enter_of_one_peer_gives_one_place() {
    model(|lobby| {
        let first = spawn(lobby, |lobby| enter(&lobby, 1));
        let second = enter(lobby, 1);
        let places = [first.join().unwrap(), second];
        let refused = places.iter().filter(|it| matches!(it, Err(LobbyError::AlreadyHere)));
        assert_eq!(refused.count(), 1);
        assert_eq!(census(lobby), Census::new(1, 0));
    });
}

/// A peer whose partner left before the chat began is told that there is none; a peer without one still waits, and
/// meets the next.
fn is_told_or_waits(lobby: &MemoryLobby, mut left: Place) {
    if let Some(made) = look(&mut left) {
        assert_gone(made);
        assert_eq!(census(lobby), Census::new(0, 0));
    } else {
        assert_eq!(census(lobby), Census::new(1, 0));
        let next = block_on(enter(lobby, 9).unwrap()).unwrap();
        assert_eq!(whom(&block_on(left).unwrap()), (next.chat(), 9));
    }
}

#[test]
fn cancel_racing_match() {
    model(|lobby| {
        let ann = enter(lobby, 1).unwrap();
        let bob = spawn(lobby, |lobby| enter(&lobby, 2).unwrap());
        drop(ann);
        is_told_or_waits(lobby, bob.join().unwrap());
    });
}

#[test]
fn poll_racing_match_is_matched_or_gone() {
    model(|lobby| {
        let mut ann = enter(lobby, 1).unwrap();
        let bob = spawn(lobby, |lobby| enter(&lobby, 2).unwrap());
        let made = look(&mut ann);
        drop(ann);
        let mut bob = bob.join().unwrap();
        match made {
            Some(ann) => assert_eq!(whom(&look(&mut bob).unwrap()), (ann.chat(), 1)),
            None => is_told_or_waits(lobby, bob),
        }
    });
}

#[test]
fn open_racing_drop() {
    for begins in [false, true] {
        model(move |lobby| {
            let places = [1, 2].map(|peer| enter(lobby, peer).unwrap());
            let [mut ann, bob] = places.map(|place| block_on(place).unwrap());
            let gives_up = thread::spawn(move || {
                let mut opening = MemoryRelay.open(&mut ann);
                // Looks once whether the other side has begun, or not even that.
                begins && opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
            });
            let bob = block_on(async {
                let mut bob = bob;
                MemoryRelay.open(&mut bob).await
            });
            let seen = gives_up.join().unwrap();
            match bob {
                // She may have gone without looking again, but he is told that she has.
                Ok(mut chat) => assert_eq!(block_on(chat.recv()), Received::Parted(ChatEnd::Lost)),
                Err(error) => assert!(!seen && matches!(error, RelayError::Gone), "{error}"),
            }
        });
    }
}

#[test]
fn short_chat_opens_for_both() {
    model(|lobby| {
        let places = [1, 2].map(|peer| enter(lobby, peer).unwrap());
        let [ann, bob] = places.map(|place| block_on(place).unwrap());
        let hasty = thread::spawn(move || open(ann).part(ChatEnd::Next));
        let mut bob = open(bob);
        assert_eq!(block_on(bob.recv()), Received::Parted(ChatEnd::Next));
        hasty.join().unwrap();
    });
}

/// A match is on its way to two who both leave before it arrives, while a third comes.
#[test]
fn two_cancels_racing_match() {
    model(|lobby| {
        let ann = enter(lobby, 1).unwrap();
        let bob = spawn(lobby, |lobby| drop(enter(&lobby, 2).unwrap()));
        let eve = spawn(lobby, |lobby| enter(&lobby, 3).unwrap());
        drop(ann);
        bob.join().unwrap();
        is_told_or_waits(lobby, eve.join().unwrap());
    });
}

#[test]
fn left_peer_is_free_for_next_chat() {
    model(|lobby| {
        let [ann, bob] = pair(lobby);
        let late = spawn(lobby, move |_| bob.part(ChatEnd::Left));
        let eve = spawn(lobby, |lobby| block_on(enter(&lobby, 3).unwrap()).unwrap());
        ann.part(ChatEnd::Next);
        let ann = block_on(enter(lobby, 1).unwrap()).unwrap();
        late.join().unwrap();
        let [mut eve, ann] = open_both([eve.join().unwrap(), ann]);
        // The late end of the last chat is not the end of this one.
        assert_eq!(census(lobby), Census::new(0, 1));
        ann.part(ChatEnd::Left);
        assert_eq!(block_on(eve.recv()), Received::Parted(ChatEnd::Left));
    });
}

#[test]
fn frame_racing_left_arrives_first() {
    model(|lobby| {
        let [mut ann, mut bob] = pair(lobby);
        let speaker = thread::spawn(move || {
            ann.try_send(Frame::text("bye")).unwrap();
            ann.part(ChatEnd::Left);
        });
        assert_eq!(block_on(bob.recv()), Received::Frame(Frame::text("bye")));
        assert_eq!(block_on(bob.recv()), Received::Parted(ChatEnd::Left));
        assert_eq!(census(lobby), Census::new(0, 0));
        speaker.join().unwrap();
    });
}

/// A reader that saw an empty queue does not lock again until it is woken.
#[test]
fn wakeup_racing_poll() {
    model(|lobby| {
        let [mut ann, mut bob] = pair(lobby);
        let speaker = thread::spawn(move || {
            ann.try_send(Frame::text("one")).unwrap();
            ann.try_send(Frame::text("two")).unwrap();
            ann.acknowledge(1);
            ann
        });
        // By one task, which so has the same waker all along.
        let mut receipts = 0;
        let heard = block_on(async {
            let heard = [bob.recv().await, bob.recv().await];
            poll_fn(|cx| {
                receipts = bob.take_receipts();
                let nothing = bob.poll_recv(cx).is_pending();
                assert!(nothing, "no peer has said more");
                if receipts == 0 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            heard
        });
        assert_eq!(heard, ["one", "two"].map(|text| Received::Frame(Frame::text(text))));
        assert_eq!(receipts, 1);
        drop(speaker.join().unwrap());
    });
}

//! Memory per waiting ticket, with 5 interests of 8 characters, and per remembered person, counted
//! by the allocator.
//!
//! Every peer is of one person, so that no two are matched (see `pairing.rs`). Tags are allocated
//! for each ticket, as they are when they come off a wire. A smoke run (`--test`) counts a smaller
//! crowd.

#![expect(clippy::print_stdout, reason = "what was counted is printed")]

mod counting;

use std::{
    env,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use counting::BYTES;
use purrr_core::{
    Interests, Limits, Lobby, Search,
    backend::{Identity, MemoryLobby, MemoryPeople, People, PersonAt},
    matching::{Matchmaker, Request},
    model::{Interest, OriginKey, PeerId, PersonId, Ticket},
};
use tokio::runtime::Builder;

const TAGS_EACH: u64 = 5;

fn main() {
    let smoke = env::args().any(|argument| argument == "--test");
    // What grows by doubling is nearly full at the first number, and just above a doubling at the
    // last.
    let crowds: &[u64] = if smoke { &[1_000] } else { &[100_000, 120_000, 132_000] };
    println!("bytes per waiting ticket with {TAGS_EACH} interests");
    println!("| waiting | tags | ticket | machine, ticket included | lobby, all included |");
    println!("|--:|---|--:|--:|--:|");
    for crowd in crowds {
        for (name, tags) in [("of 1,000", 1_000), ("all different", u64::MAX)] {
            let per = |bytes: usize| bytes as u64 / crowd;
            let tickets: Vec<Arc<Ticket>> = Vec::with_capacity(*crowd as usize);
            let (ticket, tickets) = counted(|| {
                let mut tickets = tickets;
                tickets.extend((0..*crowd).map(|peer| Arc::new(ticket(peer, tags))));
                tickets
            });
            drop(tickets);
            let (machine, _) = counted(|| machine(*crowd, tags));
            let (lobby, _) = counted(|| lobby(*crowd, tags));
            let [ticket, machine, lobby] = [ticket, machine, lobby].map(per);
            println!("| {crowd} | {name} | {ticket} | {machine} | {lobby} |");
        }
    }
    println!("\nbytes per absent person that is remembered, each of an address of its own");
    println!("| persons | met | blocked, each at another address | bytes |");
    println!("|--:|--:|--:|--:|");
    let persons = if smoke { 100 } else { 132_000 };
    for (persons, met, blocked) in
        [(persons, 1, 0), (persons, 5, 0), (persons, 1, 1), (persons / 100, 5, 256)]
    {
        let (bytes, _) = counted(|| remembered(persons, met, blocked));
        println!("| {persons} | {met} | {blocked} | {} |", bytes as u64 / persons);
    }
}

/// A registry of persons that have met and blocked so many, and have left.
fn remembered(persons: u64, met: u64, blocked: u64) -> MemoryPeople {
    let mut limits = Limits::default();
    limits.remembered = persons as usize;
    let people = MemoryPeople::new(limits);
    // Blocked persons are remembered as well, so all block the same ones.
    let other = |number: u64| PersonId::from_bits(u64::MAX - number);
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without sockets needs nothing that could be missing");
    runtime.block_on(async {
        for person in 0..persons {
            let peer = Identity::random().at(OriginKey::from_bits(person + 1));
            people.arrive(peer);
            for number in 0..met {
                people.met(peer, other(number)).await.expect("memory does not fail");
            }
            for number in 0..blocked {
                let origin = OriginKey::from_bits(u64::MAX - number);
                let other = PersonAt::from(other(number)).at(origin);
                people.block(peer, other).await.expect("memory does not fail");
            }
            people.depart(peer.token);
        }
    });
    people
}

/// What is there in the end that was not there before.
fn counted<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = BYTES.load(Ordering::Relaxed);
    let made = make();
    (BYTES.load(Ordering::Relaxed) - before, made)
}

fn machine(crowd: u64, tags: u64) -> Matchmaker<u64> {
    let mut machine = Matchmaker::new(1);
    let rule = Arc::new(Interests::default());
    for peer in 0..crowd {
        let request = Request::new(Arc::new(ticket(peer, tags)), rule.clone());
        let entered = machine.handle_enter(Duration::ZERO, request, peer);
        entered.expect("every peer enters once");
    }
    machine
}

/// The lobby with its places.
fn lobby(crowd: u64, tags: u64) -> impl Sized {
    let mut limits = Limits::default();
    limits.waiting_per_person = 0;
    let lobby = MemoryLobby::new(limits);
    let rule = Arc::new(Interests::default());
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without sockets needs nothing that could be missing");
    let places = runtime.block_on(async {
        let mut places = Vec::with_capacity(crowd as usize);
        for peer in 0..crowd {
            let entered = lobby.enter(ticket(peer, tags), rule.clone()).await;
            places.push(entered.expect("every peer enters once"));
        }
        places
    });
    (lobby, places)
}

/// A ticket that draws its tags from so many.
fn ticket(peer: u64, tags: u64) -> Ticket {
    let mut ticket = Ticket::new(PeerId::from_bits(peer));
    ticket.person = PersonId::from_bits(u64::MAX);
    let mut random = fastrand::Rng::with_seed(peer);
    let tag = |place| if tags == u64::MAX { peer * TAGS_EACH + place } else { random.u64(..tags) };
    ticket.search = Search::for_interests(
        (0..TAGS_EACH).map(tag).map(|tag| Interest::from(&*format!("{tag:08}"))),
    );
    ticket
}

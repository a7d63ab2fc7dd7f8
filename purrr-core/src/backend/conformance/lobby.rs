//! Checks of a lobby: places, matches, rules and the census.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::subject::{Subject, ensure, to_text};
use crate::{
    backend::lobby::LobbyError,
    matching::{bucket::Bucket, rule::Pairing, rules::Anyone},
    model::{
        census::Census,
        ids::{OriginKey, PeerId},
        ticket::{Exclusions, Ticket},
    },
};

/// Longer than any search of these checks.
const LONG: Duration = Duration::from_secs(3600);

pub(super) async fn both_see_one_chat(subject: Subject) -> Result<(), String> {
    let (ann, bob) = subject.pair().await?;
    ensure(ann.chat() == bob.chat(), "the two have different chats")?;
    let partners = [ann.partner().peer, bob.partner().peer].map(PeerId::to_bits);
    ensure(partners == [2, 1], "a partner is another peer")
}

pub(super) async fn one_place_for_a_peer(subject: Subject) -> Result<(), String> {
    let _waiting = subject.enter(1, Anyone).await?;
    let ticket = Ticket::new(PeerId::from_bits(1));
    let again = subject.node(1).lobby.enter(ticket, Arc::new(Anyone)).await;
    ensure(matches!(again, Err(LobbyError::AlreadyHere)), "a peer that waits may enter again")
}

pub(super) async fn dropping_a_place_leaves(subject: Subject) -> Result<(), String> {
    drop(subject.enter(1, Anyone).await?);
    let mut bob = subject.enter(2, Anyone).await?;
    if let Ok(made) = timeout(subject.quiet(), &mut bob).await {
        // Between nodes a match may have been on its way. Then it must not become a chat.
        ensure(!subject.is_one_node(), "a peer that left was matched")?;
        subject.open_gone(2, made.map_err(to_text)?).await?;
        bob = subject.enter(2, Anyone).await?;
        let matched = timeout(subject.quiet(), &mut bob).await.is_ok();
        ensure(!matched, "a peer that left was matched twice")?;
    }
    // A peer that left may enter again, and is matched then.
    let ann = subject.enter(1, Anyone).await?;
    subject.matched(ann, bob).await.map(drop)
}

pub(super) async fn dropping_a_match_tells(subject: Subject) -> Result<(), String> {
    let (ann, bob) = subject.pair().await?;
    drop(ann);
    subject.open_gone(2, bob).await?;
    // The same when it is dropped while the other side waits for it.
    let (ann, bob) = subject.pair().await?;
    let give_up = async {
        sleep(subject.quiet()).await;
        drop(ann);
        Ok(())
    };
    tokio::try_join!(subject.open_gone(2, bob), give_up)?;
    // And when the side that gives up had begun to open it.
    let (mut ann, bob) = subject.pair().await?;
    let opened = timeout(subject.quiet(), subject.node(1).relay.open(&mut ann)).await;
    ensure(!matches!(opened, Ok(Ok(_))), "a chat began without the other side")?;
    drop((opened, ann));
    subject.open_abandoned(2, bob).await
}

/// Matches no one.
#[derive(Debug)]
pub(super) struct NoMatch;

impl Pairing for NoMatch {
    fn buckets(&self, _: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![Bucket::new("conformance", "no match")]
    }

    fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
        false
    }
}

pub(super) async fn rules_are_obeyed(subject: Subject) -> Result<(), String> {
    let mut ann = subject.enter(1, NoMatch).await?;
    let _bob = subject.enter(2, NoMatch).await?;
    let matched = timeout(subject.quiet(), &mut ann).await.is_ok();
    ensure(!matched, "two were matched that the rule keeps apart")
}

pub(super) async fn who_must_not_meet_does_not(subject: Subject) -> Result<(), String> {
    let mut ann = Ticket::new(PeerId::from_bits(1));
    ann.origin = OriginKey::from_bits(7);
    let bob = Ticket::new(PeerId::from_bits(2));
    let same = Ticket { person: ann.person, ..bob.clone() };
    let blocking =
        Ticket { exclusions: Exclusions::default().blocking([ann.person]), ..bob.clone() };
    let mut blocking_address = bob.clone();
    blocking_address.exclusions = Exclusions::default().blocking_origins([ann.origin]);
    let mut encrypting = bob;
    encrypting.hello.encrypts = true;
    for other in [same, blocking, blocking_address, encrypting] {
        // The second ticket is the one that searches, and either may be the one with the reason.
        for [first, second] in [[&ann, &other], [&other, &ann]] {
            let _first = subject.enter_with(first.clone(), Anyone).await?;
            let mut second = subject.enter_with(second.clone(), Anyone).await?;
            let matched = timeout(subject.quiet(), &mut second).await.is_ok();
            ensure(!matched, "two were matched that must never meet")?;
        }
    }
    Ok(())
}

pub(super) async fn who_met_lately_meets_later(subject: Subject) -> Result<(), String> {
    let [mut ann, mut bob] = [1, 2].map(|peer| Ticket::new(PeerId::from_bits(peer)));
    ann.exclusions.recent = [bob.person].into();
    let later = 4 * subject.quiet();
    for ticket in [&mut ann, &mut bob] {
        ticket.exclusions.relax_after = later;
    }
    // The time of the match is compared, since entering may take long on a slow machine.
    let began = Instant::now();
    let ann = subject.enter_with(ann, Anyone).await?;
    let bob = subject.enter_with(bob, Anyone).await?;
    subject.matched(ann, bob).await?;
    ensure(began.elapsed() >= later, "recent partners were matched too early")
}

/// Matches no one until it has waited so long.
#[derive(Debug)]
struct Shy([Duration; 1]);

impl Pairing for Shy {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let alone = Bucket::new("conformance: alone", &ticket.peer.to_string());
        let open = Bucket::new("conformance: open", "");
        if waited < self.0[0] { vec![alone] } else { vec![alone, open] }
    }

    fn widen_at(&self) -> &[Duration] {
        &self.0
    }
}

pub(super) async fn a_search_widens_by_itself(subject: Subject) -> Result<(), String> {
    let after = 4 * subject.quiet();
    let ann = subject.enter(1, Shy([after])).await?;
    // Each is found by the other once both have widened.
    let began = Instant::now();
    let bob = subject.enter(2, Shy([after])).await?;
    subject.matched(ann, bob).await?;
    ensure(began.elapsed() >= after, "a search widened before it was due")
}

pub(super) async fn who_has_waited_goes_on(subject: Subject) -> Result<(), String> {
    let enter = async |peer| {
        let waited = 2 * LONG;
        let ticket = Ticket { waited, ..Ticket::new(PeerId::from_bits(peer)) };
        subject.enter_with(ticket, Shy([LONG])).await
    };
    let (ann, bob) = (enter(1).await?, enter(2).await?);
    subject.matched(ann, bob).await.map(drop)
}

pub(super) async fn the_census_counts(subject: Subject) -> Result<(), String> {
    let pair = subject.chat().await?;
    let waiting = subject.enter(3, Anyone).await?;
    every_census(&subject, Census::new(1, 1), "one waits and two chat, and the census differs")
        .await?;
    drop((pair, waiting));
    every_census(&subject, Census::default(), "all have left, and the census differs").await
}

/// Waits until every node counts so many.
pub(super) async fn every_census(
    subject: &Subject,
    expected: Census,
    otherwise: &str,
) -> Result<(), String> {
    for node in subject.nodes() {
        let counts = || async move { Ok(node.lobby.census().await.map_err(to_text)? == expected) };
        subject.takes_effect(counts, otherwise).await?;
    }
    Ok(())
}

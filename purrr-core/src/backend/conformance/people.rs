//! Checks of what a backend knows of persons, and of its numbers.

use std::{future::ready, time::Duration};

use super::subject::{Subject, ensure, to_text};
use crate::{
    backend::people::{Identity, PersonAt},
    model::{
        event::QueueStatus,
        ids::{OriginKey, PersonId, ResumeToken},
        ticket::Exclusions,
    },
};

/// The wait of each search whose end is counted.
const WAITED: Duration = Duration::from_secs(3600);

pub(super) async fn a_token_is_good_once(subject: Subject) -> Result<(), String> {
    let ann = subject.arrive(1);
    block(&subject, 1, ann, PersonId::from_bits(9).into()).await?;
    subject.people(1).depart(ann.token);
    let [first, second] = [2, 1].map(|node| subject.arrive(node));
    let resumes = "a token does not resume its person";
    subject.resume_as(2, first, ann.token, ann.person, resumes).await?;
    let again = subject.resume(1, second, ann.token, None).await?;
    ensure(again.is_none(), "a token was redeemed twice")?;
    // A token may be redeemed while its peer looks present, as after a half-open connection.
    let resumes = "the token of a present peer does not resume its person";
    subject.resume_as(1, second, first.token, ann.person, resumes).await?;
    let other = subject.arrive(2);
    let resumed = subject.resume(2, first, other.token, None).await?;
    ensure(resumed.is_none(), "a peer whose token was redeemed became another person")
}

pub(super) async fn a_token_is_its_persons(subject: Subject) -> Result<(), String> {
    let [ann, bob] = [1, 2].map(|node| subject.arrive(node));
    let unknown = subject.resume(2, bob, ResumeToken::random(), None).await?;
    ensure(unknown.is_none(), "an unknown token was redeemed")?;
    let own = subject.resume(2, bob, bob.token, None).await?;
    ensure(own.is_none(), "a peer redeemed its own token")?;
    let other = subject.resume(2, bob, ann.token, Some(bob.person)).await?;
    ensure(other.is_none(), "an authenticated person became another one")?;
    let kept = "a refused resume used the token up";
    subject.resume_as(2, bob, ann.token, ann.person, kept).await
}

pub(super) async fn blocks_survive_reconnects(subject: Subject) -> Result<(), String> {
    let [ann, bob] = [1, 2].map(|node| subject.arrive(node));
    block(&subject, 1, ann, bob.person_at()).await?;
    for (node, peer) in [(1, ann), (2, bob)] {
        subject.people(node).depart(peer.token);
    }
    for (node, peer) in [(2, ann), (1, bob)] {
        let again = subject.arrive(node);
        let known = "a person of a block is not known again";
        subject.resume_as(node, again, peer.token, peer.person, known).await?;
    }
    for exclusions in exclusions(&subject, ann.person).await? {
        ensure(exclusions.blocks(bob.person), "a blocked person is not excluded")?;
    }
    for [a, b] in [[ann, bob], [bob, ann]] {
        let apart = subject.keeps_apart(a.person_at(), b.person_at()).await?;
        ensure(apart, "a block does not keep both apart")?;
    }
    let apart = subject.keeps_apart(ann.person_at(), PersonId::from_bits(9).into()).await?;
    ensure(!apart, "two persons are kept apart without a block")
}

pub(super) async fn blocks_cover_the_address(subject: Subject) -> Result<(), String> {
    let [home, school, street] = [1, 2, 3].map(OriginKey::from_bits);
    let [ann, bob, cat] = [(1, home), (2, school), (3, street)].map(|(person, origin)| {
        let person = PersonId::from_bits(person);
        Identity { person, ..Identity::random() }.at(origin)
    });
    for (node, peer) in [(1, ann), (2, bob), (3, cat)] {
        subject.people(node).arrive(peer);
    }
    block(&subject, 1, ann, bob.person_at()).await?;
    for exclusions in exclusions(&subject, ann.person).await? {
        let excluded = exclusions.blocked_origins() == [school];
        ensure(excluded, "the address of a block is not excluded")?;
    }
    let again = PersonAt { person: PersonId::from_bits(9), origin: school };
    for [a, b] in [[ann.person_at(), again], [again, ann.person_at()]] {
        let apart = subject.keeps_apart(a, b).await?;
        ensure(apart, "a blocked address does not keep both apart")?;
    }
    let apart = subject.keeps_apart(ann.at(school).person_at(), again).await?;
    ensure(!apart, "a blocked address keeps two apart who share it")?;
    for other in [bob, cat] {
        for exclusions in exclusions(&subject, other.person).await? {
            let none = exclusions.blocked_origins().is_empty();
            ensure(none, "a block excludes an address for others")?;
        }
    }
    let apart = subject.keeps_apart(cat.person_at(), again).await?;
    ensure(!apart, "a block keeps an address apart from another person")?;
    // Of the two who share an address, only the persons are kept apart.
    block(&subject, 3, cat, PersonAt { origin: street, ..again }).await?;
    for exclusions in exclusions(&subject, cat.person).await? {
        let none = exclusions.blocked_origins().is_empty();
        ensure(none, "a block excludes an address that is shared")?;
    }
    Ok(())
}

pub(super) async fn recent_partners_are_excluded(subject: Subject) -> Result<(), String> {
    let ann = subject.arrive(1);
    let [first, second] = [7, 8].map(PersonId::from_bits);
    for partner in [first, second] {
        subject.people(1).met(ann, partner).await.map_err(to_text)?;
    }
    for exclusions in exclusions(&subject, ann.person).await? {
        let latest_first = *exclusions.recent == [second, first];
        ensure(latest_first, "recent partners are not excluded, latest first")?;
        ensure(exclusions.blocked().is_empty(), "a recent partner is blocked")?;
    }
    Ok(())
}

pub(super) async fn present_peers_are_counted(subject: Subject) -> Result<(), String> {
    let [ann, bob] = [1, 2].map(|node| subject.arrive(node));
    online(&subject, 2, "two arrived, and are not both online").await?;
    subject.people(1).depart(ann.token);
    online(&subject, 1, "one departed, and is still online").await?;
    let counts = |status: QueueStatus| status.online == 1;
    status(&subject, counts, "the queue status has another number online").await?;
    subject.people(2).depart(bob.token);
    online(&subject, 0, "all departed, and one is still online").await
}

pub(super) async fn searches_are_counted(subject: Subject) -> Result<(), String> {
    const MANY: u64 = 20;
    for node in 0..MANY {
        subject.people(node).begin_search();
    }
    let all_wait = |status: QueueStatus| status.waiting == MANY;
    status(&subject, all_wait, "not all who search are waiting").await?;
    let no_estimate = |status: QueueStatus| status.estimate.is_none();
    status(&subject, no_estimate, "an estimate without a search that ended").await?;
    for node in 0..MANY {
        subject.people(node).end_search(Some(WAITED));
    }
    let none_waits = |status: QueueStatus| status.waiting == 0;
    status(&subject, none_waits, "a search that ended is still waiting").await?;
    let estimates = |status: QueueStatus| status.estimate == Some(WAITED);
    status(&subject, estimates, "many equal waits, and another estimate").await
}

/// Blocks a person at one node.
async fn block(
    subject: &Subject,
    node: u64,
    peer: Identity,
    other: PersonAt,
) -> Result<(), String> {
    subject.people(node).block(peer, other).await.map_err(to_text)
}

/// Returns what each node excludes for a person.
async fn exclusions(subject: &Subject, person: PersonId) -> Result<Vec<Exclusions>, String> {
    let mut all = Vec::new();
    for node in subject.nodes() {
        all.push(node.people.exclusions(person).await.map_err(to_text)?);
    }
    Ok(all)
}

/// Waits until every node counts so many peers as present.
async fn online(subject: &Subject, expected: u64, otherwise: &str) -> Result<(), String> {
    for node in subject.nodes() {
        let counts = || ready(Ok(node.people.online() == expected));
        subject.eventually(counts, otherwise).await?;
    }
    Ok(())
}

/// Waits until something holds of the queue status of every node.
async fn status(
    subject: &Subject,
    holds: impl Fn(QueueStatus) -> bool,
    otherwise: &str,
) -> Result<(), String> {
    for node in subject.nodes() {
        let counts = || ready(Ok(holds(node.people.queue_status())));
        subject.eventually(counts, otherwise).await?;
    }
    Ok(())
}

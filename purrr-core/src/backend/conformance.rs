//! A test suite for backends: the contracts of [`Lobby`](crate::Lobby), [`Relay`](crate::Relay) and
//! [`People`](crate::backend::People), check by check (feature `conformance`).
//!
//! ```
//! use purrr_core::{Limits, backend::{Backend, conformance::check_all}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let new = || Backend::memory(&Limits::default());
//! assert_eq!(check_all(&new).await, []);
//! # }
//! ```

mod pipes;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    backend::{
        bundle::Backend,
        lobby::{LobbyError, Match, Place},
        people::{Identity, PersonAt},
        pipe::{Pipe, Received},
        relay::RelayError,
    },
    matching::{bucket::Bucket, rule::Pairing, rules::Anyone},
    model::{
        census::Census,
        frame::Frame,
        ids::{OriginKey, PeerId, PersonId, ResumeToken},
        reason::ChatEnd,
        ticket::{Exclusions, Ticket},
    },
};

/// A check that a backend failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {what}")]
#[non_exhaustive]
pub struct Violation {
    /// The name of the check: the promise in short.
    pub check: &'static str,
    /// What was seen instead.
    pub what: String,
}

/// How long anything that must happen may take. Takes no time with a paused clock.
const SOON: Duration = Duration::from_secs(10);

/// How long nothing must happen where nothing may.
const QUIET: Duration = Duration::from_millis(100);

/// Longer than any search of these checks.
const LONG: Duration = Duration::from_secs(3600);

/// How long one check may take, whatever it waits for.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a side may wait for the other to open: longer than [`Limits::stall`](crate::Limits).
const PATIENCE: Duration = Duration::from_secs(60);

type Checked<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
type Check = (&'static str, fn(Backend) -> Checked<'static>);

/// Runs every check, each on a new and empty backend. Returns those that failed.
pub async fn check_all(new: &(dyn Fn() -> Backend + Send + Sync)) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (check, run) in CHECKS {
        let ended = timeout(CHECK_TIMEOUT, run(new())).await;
        let hangs = || Err(format!("did not end within {} s", CHECK_TIMEOUT.as_secs()));
        if let Err(what) = ended.unwrap_or_else(|_| hangs()) {
            violations.push(Violation { check, what });
        }
    }
    violations
}

const CHECKS: [Check; 27] = [
    ("both see one chat", |backend| Box::pin(both_see_one_chat(backend))),
    ("one place for a peer", |backend| Box::pin(one_place_for_a_peer(backend))),
    ("dropping a place leaves", |backend| Box::pin(dropping_a_place_leaves(backend))),
    ("dropping a match tells the partner", |backend| Box::pin(dropping_a_match_tells(backend))),
    ("a match opens once", |backend| Box::pin(a_match_opens_once(backend))),
    ("frames arrive in order", |backend| Box::pin(frames_arrive_in_order(backend))),
    ("the parting comes last", |backend| Box::pin(the_parting_comes_last(backend))),
    ("receipts arrive", |backend| Box::pin(pipes::receipts_arrive(backend))),
    ("progress arrives", |backend| Box::pin(pipes::progress_arrives(backend))),
    ("queues are bounded", |backend| Box::pin(pipes::queues_are_bounded(backend))),
    ("every reason arrives", |backend| Box::pin(pipes::every_reason_arrives(backend))),
    ("a parting ends sending", |backend| Box::pin(pipes::parting_ends_sending(backend))),
    ("an opening has an end", |backend| Box::pin(pipes::an_opening_has_an_end(backend))),
    ("a chat is left once", |backend| Box::pin(pipes::a_chat_is_left_once(backend))),
    ("rules are obeyed", |backend| Box::pin(rules_are_obeyed(backend))),
    ("who must not meet does not", |backend| Box::pin(who_must_not_meet_does_not(backend))),
    ("who met lately meets later", |backend| Box::pin(who_met_lately_meets_later(backend))),
    ("a search widens by itself", |backend| Box::pin(a_search_widens_by_itself(backend))),
    ("who has waited goes on", |backend| Box::pin(who_has_waited_goes_on(backend))),
    ("the census counts", |backend| Box::pin(the_census_counts(backend))),
    ("a token is good once", |backend| Box::pin(a_token_is_good_once(backend))),
    ("a token is its person's", |backend| Box::pin(a_token_is_its_persons(backend))),
    ("blocks survive reconnects", |backend| Box::pin(blocks_survive_reconnects(backend))),
    ("blocks cover the address", |backend| Box::pin(blocks_cover_the_address(backend))),
    ("recent partners are excluded", |backend| Box::pin(recent_partners_are_excluded(backend))),
    ("present peers are counted", |backend| Box::pin(present_peers_are_counted(backend))),
    ("searches are counted", |backend| Box::pin(searches_are_counted(backend))),
];

impl Backend {
    async fn enter(&self, peer: u64, rule: impl Pairing) -> Result<Place, String> {
        self.enter_with(Ticket::new(PeerId::from_bits(peer)), rule).await
    }

    async fn enter_with(&self, ticket: Ticket, rule: impl Pairing) -> Result<Place, String> {
        self.lobby.enter(ticket, Arc::new(rule)).await.map_err(|error| format!("enter: {error}"))
    }

    async fn pair(&self) -> Result<(Match, Match), String> {
        let (ann, bob) = (self.enter(1, Anyone).await?, self.enter(2, Anyone).await?);
        Ok((soon(ann).await?, soon(bob).await?))
    }

    async fn open(&self, mut made: Match) -> Result<Pipe, String> {
        match timeout(SOON, self.relay.open(&mut made)).await {
            Ok(opened) => opened.map_err(|error| format!("open: {error}")),
            Err(_) => Err("a match does not open".to_owned()),
        }
    }

    async fn open_both(&self, ann: Match, bob: Match) -> Result<(Pipe, Pipe), String> {
        tokio::try_join!(self.open(ann), self.open(bob))
    }

    async fn chat(&self) -> Result<(Pipe, Pipe), String> {
        let (ann, bob) = self.pair().await?;
        self.open_both(ann, bob).await
    }

    async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, String> {
        self.people.keeps_apart(a, b).await.map_err(to_text)
    }

    /// Registers a peer of a new person.
    fn person(&self) -> Identity {
        let peer = Identity::random();
        self.people.arrive(peer);
        peer
    }

    async fn resume(
        &self,
        peer: Identity,
        token: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, String> {
        match timeout(SOON, self.people.resume(peer.token, token, authenticated)).await {
            Ok(resumed) => resumed.map_err(to_text),
            Err(_) => Err("a resume does not end".to_owned()),
        }
    }
}

async fn soon(place: Place) -> Result<Match, String> {
    match timeout(SOON, place).await {
        Ok(made) => made.map_err(|error| format!("a place failed: {error}")),
        Err(_) => Err("two that fit were not matched".to_owned()),
    }
}

/// Polls both places at once, since either may be the one whose search is resumed.
async fn both_soon(ann: Place, bob: Place) -> Result<(), String> {
    tokio::try_join!(soon(ann), soon(bob)).map(drop)
}

async fn recv(pipe: &mut Pipe) -> Result<Received, String> {
    timeout(SOON, pipe.recv()).await.map_err(|_| "nothing arrived".to_owned())
}

async fn both_see_one_chat(backend: Backend) -> Result<(), String> {
    let (ann, bob) = backend.pair().await?;
    ensure(ann.chat() == bob.chat(), "the two have different chats")?;
    let partners = [ann.partner().peer, bob.partner().peer].map(PeerId::to_bits);
    ensure(partners == [2, 1], "a partner is another peer")
}

async fn one_place_for_a_peer(backend: Backend) -> Result<(), String> {
    let _waiting = backend.enter(1, Anyone).await?;
    let again = backend.lobby.enter(Ticket::new(PeerId::from_bits(1)), Arc::new(Anyone)).await;
    ensure(matches!(again, Err(LobbyError::AlreadyHere)), "a peer that waits may enter again")
}

async fn dropping_a_place_leaves(backend: Backend) -> Result<(), String> {
    drop(backend.enter(1, Anyone).await?);
    let mut bob = backend.enter(2, Anyone).await?;
    let matched = timeout(QUIET, &mut bob).await.is_ok();
    ensure(!matched, "a peer that left was matched")?;
    // A peer that left may enter again, and is matched then.
    let ann = backend.enter(1, Anyone).await?;
    soon(bob).await?;
    soon(ann).await.map(drop)
}

async fn dropping_a_match_tells(backend: Backend) -> Result<(), String> {
    let (ann, bob) = backend.pair().await?;
    drop(ann);
    gone(&backend, bob).await?;
    // The same when it is dropped while the other side waits for it.
    let (ann, bob) = backend.pair().await?;
    let give_up = async {
        sleep(QUIET).await;
        drop(ann);
        Ok(())
    };
    tokio::try_join!(gone(&backend, bob), give_up)?;
    // And when the side that gives up had begun to open it.
    let (mut ann, bob) = backend.pair().await?;
    let opened = timeout(QUIET, backend.relay.open(&mut ann)).await.is_ok();
    ensure(!opened, "a chat began without the other side")?;
    drop(ann);
    gone(&backend, bob).await
}

/// Opens a match that the other side gives up.
async fn gone(backend: &Backend, mut made: Match) -> Result<(), String> {
    let opened = timeout(SOON, backend.relay.open(&mut made)).await;
    ensure(
        matches!(opened, Ok(Err(RelayError::Gone))),
        "the partner of a dropped match was not told",
    )
}

async fn a_match_opens_once(backend: Backend) -> Result<(), String> {
    let (mut ann, bob) = backend.pair().await?;
    let first = async { backend.relay.open(&mut ann).await.map_err(|error| error.to_string()) };
    let _pipes = tokio::try_join!(first, backend.open(bob))?;
    let again = timeout(SOON, backend.relay.open(&mut ann)).await;
    ensure(matches!(again, Ok(Err(RelayError::Foreign))), "a match opened twice")
}

async fn frames_arrive_in_order(backend: Backend) -> Result<(), String> {
    let (mut ann, mut bob) = backend.chat().await?;
    // Two at a time, which the smallest queue holds once one is read.
    let frame = |number: u32| Frame::text(number.to_string());
    for number in 0..100 {
        for pipe in [&mut ann, &mut bob] {
            let sent = timeout(SOON, pipe.send(frame(number))).await;
            ensure(matches!(sent, Ok(Ok(()))), "a running chat takes no frame")?;
        }
        for pipe in [&mut ann, &mut bob] {
            let expected = Received::Frame(frame(number));
            ensure(recv(pipe).await? == expected, "a frame is missing or out of order")?;
        }
    }
    Ok(())
}

async fn the_parting_comes_last(backend: Backend) -> Result<(), String> {
    let (mut ann, mut bob) = backend.chat().await?;
    ann.send(Frame::text("bye")).await.map_err(|_| "a running chat takes no frame".to_owned())?;
    ann.part(ChatEnd::Next);
    let expected = [
        Received::Frame(Frame::text("bye")),
        Received::Parted(ChatEnd::Next),
        Received::Parted(ChatEnd::Next),
    ];
    for expected in expected {
        ensure(recv(&mut bob).await? == expected, "the parting came early, late or altered")?;
    }
    // The chat is over for both: either may enter again, even while the other still holds its pipe.
    let (_ann, _bob) = (backend.enter(1, Anyone).await?, backend.enter(2, Anyone).await?);
    Ok(())
}

/// Matches no one.
#[derive(Debug)]
struct NoMatch;

impl Pairing for NoMatch {
    fn buckets(&self, _: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![Bucket::new("conformance", "no match")]
    }

    fn accepts(&self, _: &Ticket, _: &Ticket) -> bool {
        false
    }
}

async fn rules_are_obeyed(backend: Backend) -> Result<(), String> {
    let mut ann = backend.enter(1, NoMatch).await?;
    let _bob = backend.enter(2, NoMatch).await?;
    let matched = timeout(QUIET, &mut ann).await.is_ok();
    ensure(!matched, "two were matched that the rule keeps apart")
}

async fn who_must_not_meet_does_not(backend: Backend) -> Result<(), String> {
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
            let _first = backend.enter_with(first.clone(), Anyone).await?;
            let mut second = backend.enter_with(second.clone(), Anyone).await?;
            let matched = timeout(QUIET, &mut second).await.is_ok();
            ensure(!matched, "two were matched that must never meet")?;
        }
    }
    Ok(())
}

async fn who_met_lately_meets_later(backend: Backend) -> Result<(), String> {
    let [mut ann, mut bob] = [1, 2].map(|peer| Ticket::new(PeerId::from_bits(peer)));
    ann.exclusions.recent = [bob.person].into();
    for ticket in [&mut ann, &mut bob] {
        ticket.exclusions.relax_after = 4 * QUIET;
    }
    let mut ann = backend.enter_with(ann, Anyone).await?;
    let bob = backend.enter_with(bob, Anyone).await?;
    let matched = timeout(QUIET, &mut ann).await.is_ok();
    ensure(!matched, "recent partners were matched at once")?;
    both_soon(ann, bob).await
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

async fn a_search_widens_by_itself(backend: Backend) -> Result<(), String> {
    let mut ann = backend.enter(1, Shy([4 * QUIET])).await?;
    let bob = backend.enter(2, Shy([4 * QUIET])).await?;
    let matched = timeout(QUIET, &mut ann).await.is_ok();
    ensure(!matched, "a search widened before it was due")?;
    both_soon(ann, bob).await
}

async fn who_has_waited_goes_on(backend: Backend) -> Result<(), String> {
    let enter = async |peer| {
        let waited = 2 * LONG;
        let ticket = Ticket { waited, ..Ticket::new(PeerId::from_bits(peer)) };
        backend.enter_with(ticket, Shy([LONG])).await
    };
    let (ann, bob) = (enter(1).await?, enter(2).await?);
    both_soon(ann, bob).await
}

async fn the_census_counts(backend: Backend) -> Result<(), String> {
    let count = async || backend.lobby.census().await.map_err(|error| error.to_string());
    let pair = backend.chat().await?;
    let waiting = backend.enter(3, Anyone).await?;
    ensure(count().await? == Census::new(1, 1), "one waits and two chat, and the census differs")?;
    drop((pair, waiting));
    ensure(count().await? == Census::default(), "all have left, and the census differs")
}

async fn a_token_is_good_once(backend: Backend) -> Result<(), String> {
    let ann = backend.person();
    backend.people.block(ann, PersonId::from_bits(9).into()).await.map_err(to_text)?;
    backend.people.depart(ann.token);
    let [first, second] = [backend.person(), backend.person()];
    let resumed = backend.resume(first, ann.token, None).await?;
    ensure(resumed == Some(ann.person), "a token does not resume its person")?;
    let again = backend.resume(second, ann.token, None).await?;
    ensure(again.is_none(), "a token was redeemed twice")?;
    // A token may be redeemed while its peer looks present, as after a half-open connection.
    let taken_over = backend.resume(second, first.token, None).await?;
    let is_ann = taken_over == Some(ann.person);
    ensure(is_ann, "the token of a present peer does not resume its person")?;
    let other = backend.person();
    let resumed = backend.resume(first, other.token, None).await?;
    ensure(resumed.is_none(), "a peer whose token was redeemed became another person")
}

async fn a_token_is_its_persons(backend: Backend) -> Result<(), String> {
    let [ann, bob] = [backend.person(), backend.person()];
    let unknown = backend.resume(bob, ResumeToken::random(), None).await?;
    ensure(unknown.is_none(), "an unknown token was redeemed")?;
    let own = backend.resume(bob, bob.token, None).await?;
    ensure(own.is_none(), "a peer redeemed its own token")?;
    let other = backend.resume(bob, ann.token, Some(bob.person)).await?;
    ensure(other.is_none(), "an authenticated person became another one")?;
    let refused = backend.resume(bob, ann.token, None).await?;
    ensure(refused == Some(ann.person), "a refused resume used the token up")
}

async fn blocks_survive_reconnects(backend: Backend) -> Result<(), String> {
    let [ann, bob] = [backend.person(), backend.person()];
    backend.people.block(ann, bob.person_at()).await.map_err(to_text)?;
    for peer in [ann, bob] {
        backend.people.depart(peer.token);
    }
    for peer in [ann, bob] {
        let again = backend.person();
        let resumed = backend.resume(again, peer.token, None).await?;
        ensure(resumed == Some(peer.person), "a person of a block is not known again")?;
    }
    let exclusions = backend.people.exclusions(ann.person).await.map_err(to_text)?;
    ensure(exclusions.blocks(bob.person), "a blocked person is not excluded")?;
    for [a, b] in [[ann, bob], [bob, ann]] {
        let apart = backend.keeps_apart(a.person_at(), b.person_at()).await?;
        ensure(apart, "a block does not keep both apart")?;
    }
    let apart = backend.keeps_apart(ann.person_at(), PersonId::from_bits(9).into()).await?;
    ensure(!apart, "two persons are kept apart without a block")
}

async fn blocks_cover_the_address(backend: Backend) -> Result<(), String> {
    let [home, school, street] = [1, 2, 3].map(OriginKey::from_bits);
    let [ann, bob, cat] = [(1, home), (2, school), (3, street)].map(|(person, origin)| {
        let person = PersonId::from_bits(person);
        Identity { person, ..Identity::random() }.at(origin)
    });
    for peer in [ann, bob, cat] {
        backend.people.arrive(peer);
    }
    backend.people.block(ann, bob.person_at()).await.map_err(to_text)?;
    let exclusions = backend.people.exclusions(ann.person).await.map_err(to_text)?;
    ensure(exclusions.blocked_origins() == [school], "the address of a block is not excluded")?;
    let again = PersonAt { person: PersonId::from_bits(9), origin: school };
    for [a, b] in [[ann.person_at(), again], [again, ann.person_at()]] {
        ensure(backend.keeps_apart(a, b).await?, "a blocked address does not keep both apart")?;
    }
    let apart = backend.keeps_apart(ann.at(school).person_at(), again).await?;
    ensure(!apart, "a blocked address keeps two apart who share it")?;
    for other in [bob, cat] {
        let exclusions = backend.people.exclusions(other.person).await.map_err(to_text)?;
        ensure(exclusions.blocked_origins().is_empty(), "a block excludes an address for others")?;
    }
    let apart = backend.keeps_apart(cat.person_at(), again).await?;
    ensure(!apart, "a block keeps an address apart from another person")?;
    // Of the two who share an address, only the persons are kept apart.
    backend.people.block(cat, PersonAt { origin: street, ..again }).await.map_err(to_text)?;
    let exclusions = backend.people.exclusions(cat.person).await.map_err(to_text)?;
    ensure(exclusions.blocked_origins().is_empty(), "a block excludes an address that is shared")
}

async fn recent_partners_are_excluded(backend: Backend) -> Result<(), String> {
    let ann = backend.person();
    let partners = [7, 8].map(PersonId::from_bits);
    for partner in partners {
        backend.people.met(ann, partner).await.map_err(to_text)?;
    }
    let exclusions = backend.people.exclusions(ann.person).await.map_err(to_text)?;
    let [first, second] = partners;
    ensure(
        *exclusions.recent == [second, first],
        "recent partners are not excluded, latest first",
    )?;
    ensure(exclusions.blocked().is_empty(), "a recent partner is blocked")
}

async fn present_peers_are_counted(backend: Backend) -> Result<(), String> {
    let people = &backend.people;
    let ann = backend.person();
    let bob = backend.person();
    eventually(|| people.online() == 2, "two arrived, and are not both online").await?;
    people.depart(ann.token);
    eventually(|| people.online() == 1, "one departed, and is still online").await?;
    ensure(people.queue_status().online == 1, "the queue status has another number online")?;
    people.depart(bob.token);
    eventually(|| people.online() == 0, "all departed, and one is still online").await
}

async fn searches_are_counted(backend: Backend) -> Result<(), String> {
    const MANY: usize = 20;
    let people = &backend.people;
    for _ in 0..MANY {
        people.begin_search();
    }
    let waiting = || people.queue_status().waiting;
    eventually(|| waiting() == MANY as u64, "not all who search are waiting").await?;
    ensure(people.queue_status().estimate.is_none(), "an estimate without a search that ended")?;
    for _ in 0..MANY {
        people.end_search(Some(LONG));
    }
    eventually(|| waiting() == 0, "a search that ended is still waiting").await?;
    let estimate = || people.queue_status().estimate;
    eventually(|| estimate() == Some(LONG), "many equal waits, and another estimate").await
}

/// Waits until something holds: a backend over a network may hear of numbers late.
async fn eventually(holds: impl Fn() -> bool, otherwise: &str) -> Result<(), String> {
    for _ in 0..SOON.as_millis() / QUIET.as_millis() {
        if holds() {
            return Ok(());
        }
        sleep(QUIET).await;
    }
    ensure(holds(), otherwise)
}

fn to_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

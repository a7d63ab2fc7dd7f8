//! The node that makes the matches: [`Leader`].
//!
//! It runs the [`Matchmaker`] that one process runs, on the tickets that the nodes tell of. What it
//! knows is lost with it, and told again to the next one.
//!
//! # Contract of use
//!
//! | call | when |
//! |---|---|
//! | [`handle_message`](Leader::handle_message) | a message of a node, or of this one, is next |
//! | [`handle_committed`](Leader::handle_committed) | Redis has allowed an [`Order::Commit`] |
//! | [`handle_gone`](Leader::handle_gone) | the lease of a node has ended |
//! | [`handle_timeout`](Leader::handle_timeout) | at [`poll_timeout`](Leader::poll_timeout) |
//!
//! Drain [`poll_order`](Leader::poll_order) after each. If Redis refuses a match, or does not
//! answer, this leader must be dropped: another one may lead.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use purrr_core::{
    Pairing,
    codec::portable,
    matching::{Bucket, Choice, EnterError, Matchmaker, PairKey, PlaceKey, PlaceLimits, Request},
    model::{PeerId, Ticket},
};

use super::message::{Chat, Epoch, Head, Message, NodeId, Partner, Refusal, Step, Steps};

#[derive(Debug)]
pub(crate) struct Leader {
    epoch: Epoch,
    matchmaker: Matchmaker<Partner>,
    places: HashMap<Partner, Place>,
    proposals: HashMap<u64, Proposal>,
    last_proposal: u64,
    orders: VecDeque<Order>,
}

#[derive(Debug)]
struct Place {
    ticket: Ticket,
    rule: Arc<RemoteRule>,
    since: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting(PlaceKey),
    Proposed(u64),
}

/// Two that fit as far as the leader can tell. Neither is offered to another one meanwhile.
#[derive(Debug)]
struct Proposal {
    pair: PairKey,
    sides: [Partner; 2],
    accepted: [bool; 2],
}

/// What the owner has to do.
#[derive(Debug)]
pub(crate) enum Order {
    Send {
        to: NodeId,
        message: Message,
    },
    /// Ask Redis whether this epoch still leads and both nodes live, and then
    /// [`handle_committed`](Leader::handle_committed).
    Commit {
        proposal: u64,
        nodes: [NodeId; 2],
    },
}

/// The rule of a ticket, as its node has told it.
#[derive(Debug)]
struct RemoteRule {
    peer: PeerId,
    steps: Vec<Step>,
    random: bool,
    widen_at: Vec<Duration>,
    /// Peers that a node has refused in this search.
    refused: Mutex<HashSet<PeerId>>,
}

/// How many refusals one search remembers. Above it all are forgotten, and may be asked for again.
const REFUSALS: usize = 1_024;

impl Leader {
    pub(crate) fn new(epoch: Epoch, seed: u64, limits: PlaceLimits) -> Self {
        Self {
            epoch,
            matchmaker: Matchmaker::new(seed).with_limits(limits),
            places: HashMap::new(),
            proposals: HashMap::new(),
            last_proposal: 0,
            orders: VecDeque::new(),
        }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.matchmaker.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.matchmaker.handle_timeout(now);
        self.propose();
    }

    pub(crate) fn handle_message(&mut self, now: Duration, node: NodeId, message: Message) {
        let Message { head, payload } = message;
        match head {
            Head::Enter { epoch, place, waited, rule } if epoch == self.epoch => {
                self.handle_enter(now, Partner { node, place }, &payload, waited, rule);
            }
            Head::Leave { epoch, place } if epoch == self.epoch => {
                self.remove(now, Partner { node, place });
            }
            Head::Verdict { epoch, proposal, place, accepts } if epoch == self.epoch => {
                self.handle_verdict(now, proposal, Partner { node, place }, accepts);
            }
            _ => {}
        }
        self.propose();
    }

    /// Hands a match out that Redis has allowed.
    pub(crate) fn handle_committed(&mut self, proposal: u64, chat: Chat) {
        // One of the two may have left meanwhile.
        let Some(Proposal { pair, sides: [a, b], .. }) = self.proposals.remove(&proposal) else {
            return;
        };
        self.matchmaker.handle_part(pair);
        for side in [a, b] {
            self.places.remove(&side);
        }
        let sides = if a.node == b.node { vec![(a, b)] } else { vec![(a, b), (b, a)] };
        for (side, partner) in sides {
            let (epoch, place) = (self.epoch, side.place);
            let made = Head::Made { epoch, proposal, place, chat, partner };
            self.orders.push_back(Order::Send { to: side.node, message: made.into() });
        }
    }

    /// Forgets the places of a node whose lease has ended.
    pub(crate) fn handle_gone(&mut self, now: Duration, node: NodeId) {
        let places = self.places.keys().filter(|place| place.node == node);
        let places: Vec<Partner> = places.copied().collect();
        for place in places {
            self.remove(now, place);
        }
        self.propose();
    }

    fn handle_enter(
        &mut self,
        now: Duration,
        place: Partner,
        ticket: &Bytes,
        waited: Duration,
        rule: Steps,
    ) {
        // A place whose node thinks it is unknown here begins anew.
        self.remove(now, place);
        let Ok(ticket) = portable::decode_ticket(ticket) else {
            return self.answer(place, Some(Refusal::AlreadyHere));
        };
        let rule = Arc::new(RemoteRule::new(ticket.peer, rule));
        self.wait(now, place, ticket, rule, now.saturating_sub(waited));
        if self.places.contains_key(&place) {
            self.answer(place, None);
        }
    }

    fn handle_verdict(&mut self, now: Duration, proposal: u64, place: Partner, accepts: bool) {
        let Some(known) = self.proposals.get_mut(&proposal) else { return };
        let Some(index) = known.sides.iter().position(|side| *side == place) else { return };
        if accepts {
            let before = std::mem::replace(&mut known.accepted[index], true);
            if !before && known.accepted == [true; 2] {
                let nodes = known.sides.map(|side| side.node);
                self.orders.push_back(Order::Commit { proposal, nodes });
            }
            return;
        }
        let other = known.sides[1 - index];
        if let (Some(place), Some(other)) = (self.places.get(&place), self.places.get(&other)) {
            place.rule.refuse(other.ticket.peer);
        }
        self.dissolve(now, proposal);
    }

    /// Lets the two of a proposal wait again.
    fn dissolve(&mut self, now: Duration, proposal: u64) {
        let Some(Proposal { pair, sides, .. }) = self.proposals.remove(&proposal) else { return };
        self.matchmaker.handle_part(pair);
        for side in sides {
            if let Some(Place { ticket, rule, since, .. }) = self.places.remove(&side) {
                self.wait(now, side, ticket, rule, since);
            }
        }
    }

    fn remove(&mut self, now: Duration, place: Partner) {
        match self.places.remove(&place).map(|place| place.state) {
            Some(State::Waiting(key)) => drop(self.matchmaker.handle_leave(key)),
            Some(State::Proposed(proposal)) => self.dissolve(now, proposal),
            None => {}
        }
    }

    fn wait(
        &mut self,
        now: Duration,
        place: Partner,
        mut ticket: Ticket,
        rule: Arc<RemoteRule>,
        since: Duration,
    ) {
        ticket.waited = now.saturating_sub(since);
        let request = Request::new(Arc::new(ticket.clone()), Arc::clone(&rule) as Arc<dyn Pairing>);
        match self.matchmaker.handle_enter(now, request, place) {
            Ok(key) => {
                let state = State::Waiting(key);
                self.places.insert(place, Place { ticket, rule, since, state });
                self.propose();
            }
            Err(error) => self.answer(
                place,
                Some(match error {
                    EnterError::PersonLimit | EnterError::OriginLimit => Refusal::TooManyWaiting,
                    _ => Refusal::AlreadyHere,
                }),
            ),
        }
    }

    fn propose(&mut self) {
        while let Some(made) = self.matchmaker.poll_match() {
            self.last_proposal += 1;
            let proposal = self.last_proposal;
            let sides = [made.sides[0].seat, made.sides[1].seat];
            for (index, side) in sides.into_iter().enumerate() {
                if let Some(place) = self.places.get_mut(&side) {
                    place.state = State::Proposed(proposal);
                }
                let ticket = portable::encode_ticket(&made.sides[1 - index].ticket);
                let head = Head::Offer { epoch: self.epoch, proposal, place: side.place };
                let message = Message::new(head, ticket.into());
                self.orders.push_back(Order::Send { to: side.node, message });
            }
            let known = Proposal { pair: made.pair, sides, accepted: [false; 2] };
            self.proposals.insert(proposal, known);
        }
    }

    fn answer(&mut self, place: Partner, refused: Option<Refusal>) {
        let entered = Head::Entered { epoch: self.epoch, place: place.place, refused };
        self.orders.push_back(Order::Send { to: place.node, message: entered.into() });
    }
}

impl RemoteRule {
    fn new(peer: PeerId, Steps { steps, random }: Steps) -> Self {
        let widen_at = steps.iter().skip(1).map(|step| step.due).collect();
        Self { peer, steps, random, widen_at, refused: Mutex::default() }
    }

    fn refuse(&self, peer: PeerId) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= REFUSALS {
            refused.clear();
        }
        refused.insert(peer);
    }

    fn step(&self, waited: Duration) -> Option<&Step> {
        self.steps.iter().rfind(|step| step.due <= waited).or_else(|| self.steps.first())
    }
}

impl Pairing for RemoteRule {
    fn buckets(&self, _: &Ticket, waited: Duration) -> Vec<Bucket> {
        self.step(waited).map(|step| to_buckets(&step.looks)).unwrap_or_default()
    }

    fn stands_in(&self, _: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
        self.step(waited)?.stands.as_deref().map(to_buckets)
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }

    fn choice(&self) -> Choice {
        if self.random { Choice::Random } else { Choice::Oldest }
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        let other = if a.peer == self.peer { b } else { a };
        !self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&other.peer)
    }
}

fn to_buckets(all: &[u128]) -> Vec<Bucket> {
    all.iter().copied().map(Bucket::from_bits).collect()
}

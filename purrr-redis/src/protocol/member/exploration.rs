//! Explores every history of a few members, to the fixpoint.
//!
//! The leaders are worse than any real one: each proposes and makes every match of its world at any
//! time, in any order and without asking Redis, also after another one was elected. Messages
//! between two nodes arrive in order, as [`Link`](crate::protocol::link) promises, each at any
//! time. A node may die, which the others learn at any time.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::*;

/// The place of each node. Nodes are numbered from 0.
const PLACE: PlaceId = 7;

/// The match of two nodes' places by the leader of an epoch.
#[derive(Clone, Copy, Debug)]
struct Proposed {
    epoch: Epoch,
    sides: [usize; 2],
}

/// What may happen in a world.
#[derive(Clone, Debug)]
struct Cast {
    nodes: usize,
    proposals: Vec<Proposed>,
    /// Whether places may be left, matches given up and chats ended.
    leaves: bool,
    /// Whether node 1 may die.
    dies: bool,
    /// Whether a second epoch begins.
    elects: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A leader offers a proposal to one of its sides, whose rule accepts.
    Offer(usize, usize),
    /// A leader hands it out to one of its sides.
    Make(usize, usize),
    Elect(usize),
    Leave(usize),
    /// The peer opens its match.
    Open(usize),
    /// The peer gives its match up, or ends its chat.
    Close(usize),
    Deliver(usize, usize),
    Die,
    LearnOfDeath(usize),
}

/// What the peer of a node has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Waits,
    Left,
    Matched(Chat),
    Opening(Chat),
    Chats(Chat),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    members: Vec<Member>,
    told: Vec<Told>,
    /// The messages on their way, by sender and receiver.
    links: Vec<Vec<VecDeque<Message>>>,
    offered: BTreeSet<(usize, usize)>,
    made: BTreeSet<(usize, usize)>,
    dead: bool,
    learned: BTreeSet<usize>,
    /// The chats that each peer has opened.
    opened: BTreeSet<(usize, Chat)>,
}

const DEAD_NODE: usize = 1;

fn id(node: usize) -> NodeId {
    NodeId(node as u64)
}

impl Cast {
    /// Names the leader of an epoch, which is none of the nodes.
    fn leader(epoch: Epoch) -> (Epoch, NodeId) {
        (epoch, NodeId(90 + epoch))
    }
}

impl World {
    fn new(cast: &Cast, bug: Option<Bug>) -> Self {
        let members = (0..cast.nodes).map(|node| {
            let mut member = Member::new(id(node));
            member.planted = bug;
            member.handle_leader(Duration::ZERO, Some(Cast::leader(1)));
            let rule = Steps { steps: Vec::new(), random: false };
            member.enter(Duration::ZERO, PLACE, Bytes::new(), Duration::ZERO, rule);
            while member.poll_action().is_some() {}
            member
        });
        Self {
            members: members.collect(),
            told: vec![Told::Waits; cast.nodes],
            links: vec![vec![VecDeque::new(); cast.nodes]; cast.nodes],
            offered: BTreeSet::new(),
            made: BTreeSet::new(),
            dead: false,
            learned: BTreeSet::new(),
            opened: BTreeSet::new(),
        }
    }

    fn is_dead(&self, node: usize) -> bool {
        self.dead && node == DEAD_NODE
    }

    fn steps(&self, cast: &Cast) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, proposed) in cast.proposals.iter().enumerate() {
            for side in 0..2 {
                if self.is_dead(proposed.sides[side]) {
                    continue;
                }
                if !self.offered.contains(&(number, side)) {
                    steps.push(Step::Offer(number, side));
                }
                let both = [0, 1].iter().all(|side| self.offered.contains(&(number, *side)));
                if both && !self.made.contains(&(number, side)) {
                    steps.push(Step::Make(number, side));
                }
            }
        }
        for node in (0..cast.nodes).filter(|node| !self.is_dead(*node)) {
            if cast.elects && self.members[node].leader() == Some(Cast::leader(1)) {
                steps.push(Step::Elect(node));
            }
            match self.told[node] {
                Told::Waits if cast.leaves => steps.push(Step::Leave(node)),
                Told::Matched(_) => steps.push(Step::Open(node)),
                _ => {}
            }
            let has_chat =
                matches!(self.told[node], Told::Matched(_) | Told::Opening(_) | Told::Chats(_));
            if cast.leaves && has_chat {
                steps.push(Step::Close(node));
            }
            for from in 0..cast.nodes {
                if !self.links[from][node].is_empty() {
                    steps.push(Step::Deliver(from, node));
                }
            }
            if self.dead && !self.learned.contains(&node) {
                steps.push(Step::LearnOfDeath(node));
            }
        }
        if cast.dies && !self.dead {
            steps.push(Step::Die);
        }
        steps
    }

    fn take(&mut self, cast: &Cast, step: Step) -> Result<(), String> {
        let now = Duration::ZERO;
        match step {
            Step::Offer(number, side) => {
                self.offered.insert((number, side));
                let Proposed { epoch, sides } = cast.proposals[number];
                let head = Head::Offer { epoch, proposal: number as u64, place: PLACE };
                let member = &mut self.members[sides[side]];
                member.handle_message(now, Cast::leader(epoch).1, head.into());
                self.act(sides[side])
            }
            Step::Make(number, side) => {
                self.made.insert((number, side));
                let Proposed { epoch, sides } = cast.proposals[number];
                let partner = Partner { node: id(sides[1 - side]), place: PLACE };
                let (proposal, chat) = (number as u64, number as Chat);
                let head = Head::Made { epoch, proposal, place: PLACE, chat, partner };
                let follows = self.members[sides[side]].leader() == Some(Cast::leader(epoch));
                let before = self.told[sides[side]];
                let member = &mut self.members[sides[side]];
                member.handle_message(now, Cast::leader(epoch).1, head.into());
                self.act(sides[side])?;
                if !follows && self.told[sides[side]] != before {
                    return Err("a match of a leader that was replaced".to_owned());
                }
                Ok(())
            }
            Step::Elect(node) => {
                self.members[node].handle_leader(now, Some(Cast::leader(2)));
                self.act(node)
            }
            Step::Leave(node) => {
                self.members[node].leave(PLACE);
                self.told[node] = Told::Left;
                self.act(node)
            }
            Step::Open(node) => {
                let Told::Matched(chat) = self.told[node] else { return Ok(()) };
                self.told[node] = Told::Opening(chat);
                self.opened.insert((node, chat));
                self.members[node].open(chat);
                self.act(node)
            }
            Step::Close(node) => {
                if let Told::Matched(chat) | Told::Opening(chat) | Told::Chats(chat) =
                    self.told[node]
                {
                    self.told[node] = Told::Over;
                    self.members[node].close(chat, LOST.to_owned());
                }
                self.act(node)
            }
            Step::Deliver(from, to) => {
                let Some(message) = self.links[from][to].pop_front() else { return Ok(()) };
                self.members[to].handle_message(now, id(from), message);
                self.act(to)
            }
            Step::Die => {
                self.dead = true;
                self.links.iter_mut().for_each(|links| links[DEAD_NODE].clear());
                Ok(())
            }
            Step::LearnOfDeath(node) => {
                self.learned.insert(node);
                self.links[DEAD_NODE][node].clear();
                self.members[node].handle_gone(id(DEAD_NODE));
                self.act(node)
            }
        }
    }

    /// Does what a member asks for, and notes what its peer is told.
    fn act(&mut self, node: usize) -> Result<(), String> {
        while let Some(action) = self.members[node].poll_action() {
            match action {
                Action::Send { to: NodeId(to), message } => {
                    let to = to as usize;
                    if to < self.members.len() && !self.is_dead(to) {
                        self.links[node][to].push_back(message);
                    }
                }
                Action::Judge { offer } => self.members[node].judge(offer, true),
                Action::Matched { chat, .. } => match self.told[node] {
                    Told::Waits => self.told[node] = Told::Matched(chat),
                    other => return Err(format!("a match for a peer that has {other:?}")),
                },
                Action::Begun { chat } => {
                    if self.told[node] != Told::Opening(chat) {
                        return Err("a chat began that was not being opened".to_owned());
                    }
                    let others = (0..self.members.len()).filter(|other| *other != node);
                    if !others.into_iter().any(|other| self.opened.contains(&(other, chat))) {
                        return Err("a chat began for one side only".to_owned());
                    }
                    self.told[node] = Told::Chats(chat);
                }
                Action::Gone { chat } => {
                    if self.told[node] != Told::Opening(chat) {
                        return Err("an end of an opening that there is not".to_owned());
                    }
                    self.told[node] = Told::Over;
                }
                Action::News { chat, news: News::Parted(_) } => {
                    if self.told[node] != Told::Chats(chat) {
                        return Err("an end of a chat that there is not".to_owned());
                    }
                    self.told[node] = Told::Over;
                }
                other => return Err(format!("{other:?} in a world without it")),
            }
        }
        Ok(())
    }

    /// Checks a situation in which nothing more happens by itself.
    fn check_end(&self, cast: &Cast) -> Result<(), String> {
        for node in (0..cast.nodes).filter(|node| !self.is_dead(*node)) {
            let (Told::Opening(chat) | Told::Chats(chat)) = self.told[node] else { continue };
            let sides = cast.proposals[chat as usize].sides;
            let other = if sides[0] == node { sides[1] } else { sides[0] };
            let partner = self.told[other];
            if self.is_dead(other)
                || (partner != Told::Opening(chat) && partner != Told::Chats(chat))
            {
                return Err(format!("{:?}, and the partner has {partner:?}", self.told[node]));
            }
            if partner != self.told[node] {
                return Err(format!("one side has {:?}, the other {partner:?}", self.told[node]));
            }
        }
        let lasting = |it: &Side| matches!(it.state, State::Closing | State::Opening);
        let left = self.members.iter().enumerate().filter(|(node, _)| !self.is_dead(*node));
        match left.flat_map(|(_, it)| it.chats.values()).find(|side| lasting(side)) {
            Some(side) => Err(format!("{side:?} is never forgotten")),
            None => Ok(()),
        }
    }
}

/// Takes every history of a world. Returns the number of its situations, or what went wrong first.
fn explore(cast: &Cast, bug: Option<Bug>) -> Result<usize, String> {
    let first = World::new(cast, bug);
    // Of two situations with one hash one would be missed: unlikely among so few.
    let mut seen = HashSet::from([hash_of(&first)]);
    let mut ahead = vec![first];
    while let Some(world) = ahead.pop() {
        let steps = world.steps(cast);
        // The steps of peers may come or not; the others come in the end.
        let by_peers = |step: &Step| matches!(step, Step::Leave(_) | Step::Close(_) | Step::Die);
        if steps.iter().all(by_peers) {
            world.check_end(cast)?;
        }
        for step in steps {
            let mut next = world.clone();
            next.take(cast, step).map_err(|error| format!("{error} after {step:?}"))?;
            if seen.insert(hash_of(&next)) {
                ahead.push(next);
            }
        }
    }
    Ok(seen.len())
}

fn hash_of(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn of(epoch: Epoch, a: usize, b: usize) -> Proposed {
    Proposed { epoch, sides: [a, b] }
}

/// Two nodes, with leaders of two epochs that both make the match.
fn two_epochs() -> Cast {
    let proposals = vec![of(1, 0, 1), of(2, 0, 1)];
    Cast { nodes: 2, proposals, leaves: true, dies: false, elects: true }
}

/// Two nodes, one of which may die.
fn a_death() -> Cast {
    Cast { nodes: 2, proposals: vec![of(1, 0, 1)], leaves: true, dies: true, elects: false }
}

/// The same, while another leader is elected.
fn a_death_in_an_election() -> Cast {
    let proposals = vec![of(1, 0, 1), of(2, 0, 1)];
    Cast { nodes: 2, proposals, leaves: false, dies: true, elects: true }
}

/// Three nodes, and one leader that makes two matches with the same place.
fn repeated_match() -> Cast {
    let proposals = vec![of(1, 0, 1), of(1, 0, 2)];
    Cast { nodes: 3, proposals, leaves: false, dies: false, elects: false }
}

#[test]
fn every_history_of_two_or_three_nodes_keeps_the_invariants() {
    for cast in [two_epochs(), a_death(), a_death_in_an_election(), repeated_match()] {
        let situations = explore(&cast, None).unwrap_or_else(|error| panic!("{error}: {cast:?}"));
        println!("{situations} situations: {cast:?}");
        // Fewer would mean that the world does not do what it says.
        assert!(situations > 100, "{situations}: {cast:?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for (bug, cast) in [
        (Bug::AnyEpoch, two_epochs()),
        (Bug::PlaceKept, repeated_match()),
        (Bug::OneSided, a_death()),
        (Bug::LeftInSilence, a_death()),
        (Bug::EndForgotten, a_death()),
        (Bug::DeadPartnersKept, a_death()),
    ] {
        assert!(explore(&cast, Some(bug)).is_err(), "{bug:?} was not found");
    }
}

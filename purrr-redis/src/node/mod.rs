//! A node: the protocol's machines behind one lock, and what waits for them. [`Node`].
//!
//! The lock is never held across an await, and never while an embedder's rule runs or is dropped.

mod driver;
mod lobby;
mod presence;
mod relay;
mod talk;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use purrr_core::{
    Pairing,
    backend::{LobbyError, Match, Pipe},
    codec::portable,
    matching::PlaceLimits,
    model::{ChatId, PeerId, Ticket},
};
use redis::aio::MultiplexedConnection;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use self::driver::Session;
pub(crate) use self::presence::Presence;
use crate::{
    Options,
    numbers::Numbers,
    protocol::{
        leader::{Leader, Order},
        link::{Link, Packet},
        member::{Action, LOST, Member, News, Offer},
        message::{Chat, Epoch, Message, NodeId, PlaceId, Refusal},
    },
    scripts::{Allowed, View},
};

/// A handle on this process's part in the cluster. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Node(Arc<Shared>);

/// See [`Node::downgrade`].
#[derive(Clone, Debug)]
pub(crate) struct WeakNode(Weak<Shared>);

struct Shared {
    options: Options,
    opened: Instant,
    core: Mutex<Core>,
    /// Tells the driver that there is something to transmit or to commit.
    wake: Arc<Notify>,
    /// `None` while there is no connection.
    commands: Mutex<Option<MultiplexedConnection>>,
    /// Whether the last word of Redis is too old to begin something new.
    degraded: AtomicBool,
    presence: Presence,
}

/// What is under the lock.
struct Core {
    id: NodeId,
    /// The end of this node's lease, as it may count on. `None` before it has joined.
    lease: Option<Duration>,
    member: Member,
    leader: Option<Leader>,
    /// The epoch of a leader that this node has given up, until another one leads.
    resigned: Option<Epoch>,
    links: HashMap<NodeId, Link>,
    /// The nodes that Redis named last, and those that had a link then.
    listed: HashSet<NodeId>,
    linked: HashSet<NodeId>,
    /// Messages to a leader of an epoch that this node has not heard of.
    ahead: Vec<(NodeId, Message)>,
    /// Messages to this very node.
    own: VecDeque<Message>,
    commits: Vec<Commit>,
    last_place: PlaceId,
    seats: HashMap<PlaceId, Seat>,
    /// The peers that wait or chat, each with the place that it entered by.
    busy: HashMap<PeerId, PlaceId>,
    /// This node's sides of matches with other nodes, until they are over.
    sides: HashMap<Chat, Side>,
    others: Numbers,
}

/// A waiting peer.
struct Seat {
    ticket: Ticket,
    rule: Arc<dyn Pairing>,
    entered: Option<oneshot::Sender<Result<(), LobbyError>>>,
    made: oneshot::Sender<Result<Match, LobbyError>>,
}

struct Side {
    peer: PeerId,
    place: PlaceId,
    stage: Stage,
}

enum Stage {
    Matched,
    Opening(oneshot::Sender<Option<mpsc::UnboundedReceiver<News>>>),
    Running(mpsc::UnboundedSender<News>),
}

/// A match that Redis is to allow.
struct Commit {
    epoch: Epoch,
    proposal: u64,
    nodes: [NodeId; 2],
}

/// A question for the rule of a place.
struct Judge {
    offer: Offer,
    rule: Arc<dyn Pairing>,
    ticket: Ticket,
    partner: Ticket,
}

/// What is done after the lock.
#[derive(Default)]
struct After {
    judge: Vec<Judge>,
    /// Dropping these runs code that takes the lock, or an embedder's.
    rules: Vec<Arc<dyn Pairing>>,
    matches: Vec<Result<Match, LobbyError>>,
    pipes: Vec<Pipe>,
}

/// The node's time when it starts, so that a ticket may have waited for up to a year before.
const HEAD_START: Duration = Duration::from_secs(365 * 24 * 3600);

/// The messages to a leader to be that are kept. A node whose message is dropped tells again when
/// it learns of the next leader.
const AHEAD: usize = 65_536;

/// The pause between two timeouts of the leader while more searches are due than one resumes.
const PACE: Duration = Duration::from_millis(10);

/// Redis cannot be reached, or has not been for too long.
#[derive(Debug, thiserror::Error)]
#[error("Redis cannot be reached")]
pub(crate) struct Unreachable;

impl Node {
    pub(crate) fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            options,
            opened: Instant::now(),
            core: Mutex::new(Core::new(Numbers::default())),
            wake: Arc::default(),
            commands: Mutex::default(),
            degraded: AtomicBool::new(true),
            presence: Presence::default(),
        }))
    }

    /// Keeps a node in the cluster from now on.
    pub(crate) async fn join(&self, client: redis::Client) -> Result<(), redis::RedisError> {
        let session = Session::open(self, &client).await?;
        let (node, wake) = (self.downgrade(), Arc::clone(&self.0.wake));
        tokio::spawn(session.keep(node, wake, client));
        Ok(())
    }

    /// Returns what this node counts.
    fn own_numbers(&self) -> Numbers {
        let mut numbers = self.0.presence.numbers();
        let core = self.lock();
        numbers.waiting = core.seats.len() as u64;
        numbers.matched = core.busy.len().saturating_sub(core.seats.len()) as u64;
        numbers
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// Returns the connection, if there is one.
    pub(crate) fn commands(&self) -> Option<MultiplexedConnection> {
        self.0.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a handle that does not keep the node in the cluster.
    pub(crate) fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    /// Returns what this node counts, and what the others did when it heard of them last.
    pub(crate) fn numbers(&self) -> Numbers {
        let mut numbers = self.own_numbers();
        numbers.add(self.lock().others.clone());
        numbers
    }

    fn now(&self) -> Duration {
        HEAD_START + self.0.opened.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.0.degraded.load(Ordering::Relaxed)
    }

    /// Changes the state, does whatever follows, and tells the driver to look.
    fn change<T>(&self, change: impl FnOnce(&mut Core, Duration, &mut After) -> T) -> T {
        let changed = self.change_quietly(change);
        self.0.wake.notify_one();
        changed
    }

    /// The same, for the driver itself.
    fn change_quietly<T>(&self, change: impl FnOnce(&mut Core, Duration, &mut After) -> T) -> T {
        let mut after = After::default();
        let mut core = self.lock();
        let now = self.now();
        if core.lease.is_some_and(|end| end <= now) {
            tracing::warn!("Redis has not renewed this node's lease: its chats with others end");
            core.stop(&mut after);
        }
        let changed = change(&mut core, now, &mut after);
        core.settle(self, now, &mut after);
        drop(core);
        self.finish(after);
        changed
    }

    /// Does what must be done without the lock.
    fn finish(&self, After { judge, rules, matches, pipes }: After) {
        drop((rules, matches, pipes));
        for Judge { offer, rule, ticket, partner } in judge {
            let accepts = rule.accepts(&ticket, &partner);
            drop(rule);
            self.change(|core, _, _| core.member.judge(offer, accepts));
        }
    }

    /// Gives a match or a chat of this node up.
    fn close(&self, chat: Chat, reason: &str) {
        self.change(|core, _, _| core.close(chat, reason));
    }

    fn free(&self, peer: PeerId, place: PlaceId) {
        self.change(|core, _, _| core.free(peer, place));
    }

    fn tell(&self, chat: Chat, message: Message) {
        self.change(|core, _, _| core.member.tell(chat, message));
    }

    /// Creates both ends of a chat within this node.
    fn pair_here(&self, peers: [(PeerId, PlaceId); 2]) -> (Pipe, Pipe) {
        Pipe::pair(&self.0.options.limits, || {
            let node = self.clone();
            Box::new(move |_| {
                for (peer, place) in peers {
                    node.free(peer, place);
                }
            })
        })
    }
}

impl WeakNode {
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Core {
    fn new(others: Numbers) -> Self {
        let id = NodeId(rand::random());
        Self {
            id,
            lease: None,
            member: Member::new(id),
            leader: None,
            resigned: None,
            links: HashMap::new(),
            listed: HashSet::new(),
            linked: HashSet::new(),
            ahead: Vec::new(),
            own: VecDeque::new(),
            commits: Vec::new(),
            last_place: 0,
            seats: HashMap::new(),
            busy: HashMap::new(),
            sides: HashMap::new(),
            others,
        }
    }

    /// Ends everything that involves other nodes, and begins anew under another id.
    fn stop(&mut self, after: &mut After) {
        let mut next = Self::new(mem::take(&mut self.others));
        next.last_place = self.last_place;
        for seat in self.seats.drain().map(|(_, seat)| seat) {
            self.busy.remove(&seat.ticket.peer);
            after.refuse(seat, || LobbyError::Unavailable(Unreachable.into()));
        }
        let sides = mem::take(&mut self.sides);
        for side in sides.into_values() {
            self.free(side.peer, side.place);
        }
        // Chats within this node go on.
        next.busy = mem::take(&mut self.busy);
        *self = next;
    }

    fn free(&mut self, peer: PeerId, place: PlaceId) {
        if self.busy.get(&peer) == Some(&place) {
            self.busy.remove(&peer);
        }
    }

    fn close(&mut self, chat: Chat, reason: &str) {
        self.member.close(chat, reason.to_owned());
        if let Some(side) = self.sides.remove(&chat) {
            self.free(side.peer, side.place);
        }
    }

    /// Handles what the cluster looks like.
    fn handle_view(&mut self, now: Duration, lease: Duration, limits: PlaceLimits, view: View) {
        let View { leader: (epoch, node), nodes, others } = view;
        self.lease = Some(lease);
        self.others = others;
        let gone: Vec<NodeId> =
            self.listed.union(&self.linked).filter(|node| !nodes.contains(node)).copied().collect();
        for node in gone {
            tracing::info!(%node, "a node is gone");
            self.handle_gone(now, node);
        }
        let leads = node == self.id && self.resigned != Some(epoch);
        if !leads {
            self.leader = None;
        } else if self.leader.as_ref().is_none_or(|leader| leader.epoch() != epoch) {
            tracing::info!(epoch, "this node makes the matches from now on");
            self.leader = Some(Leader::new(epoch, rand::random(), limits));
        }
        if self.resigned.is_some_and(|resigned| resigned < epoch) {
            self.resigned = None;
        }
        self.member.handle_leader(now, Some((epoch, node)));
        for (from, message) in mem::take(&mut self.ahead) {
            self.handle_message(now, from, message);
        }
        self.listed = nodes;
        self.linked = self.links.keys().copied().collect();
    }

    fn handle_gone(&mut self, now: Duration, node: NodeId) {
        self.links.remove(&node);
        self.member.handle_gone(node);
        if let Some(leader) = &mut self.leader {
            leader.handle_gone(now, node);
        }
    }

    fn handle_packet(&mut self, now: Duration, packet: Packet) {
        let from = packet.from;
        if self.member.is_dead(from) || from == self.id {
            return;
        }
        let link = self.links.entry(from).or_default();
        for message in link.handle_packet(now, packet) {
            // A message of a later version is left out.
            if let Ok(message) = Message::decode(&message) {
                self.handle_message(now, from, message);
            }
        }
    }

    fn handle_message(&mut self, now: Duration, from: NodeId, message: Message) {
        match message.head.to_leader() {
            None => self.member.handle_message(now, from, message),
            Some(epoch) => match &mut self.leader {
                Some(leader) if leader.epoch() >= epoch => {
                    leader.handle_message(now, from, message);
                }
                // Redis may have told the other node first that this one leads.
                _ if self.member.leader().is_none_or(|(known, _)| known < epoch)
                    && self.ahead.len() < AHEAD =>
                {
                    self.ahead.push((from, message));
                }
                _ => {}
            },
        }
    }

    fn handle_allowed(&mut self, now: Duration, commit: &Commit, allowed: Allowed) {
        let Some(leader) = self.leader.as_mut().filter(|it| it.epoch() == commit.epoch) else {
            return;
        };
        match allowed {
            Allowed::Yes => {
                leader.handle_committed(commit.proposal, ChatId::random().to_bits());
            }
            Allowed::Gone(node) => self.handle_gone(now, node),
            Allowed::NotLeading | Allowed::Unknown => {
                tracing::warn!(epoch = commit.epoch, "this node makes no more matches for now");
                self.resigned = Some(commit.epoch);
                self.leader = None;
            }
        }
    }

    /// Does what the machines ask for, until there is nothing left but what needs no lock.
    fn settle(&mut self, node: &Node, now: Duration, after: &mut After) {
        loop {
            if let Some(action) = self.member.poll_action() {
                self.act(node, action, after);
            } else if let Some(order) = self.leader.as_mut().and_then(Leader::poll_order) {
                match order {
                    Order::Send { to, message } => self.send(to, message),
                    Order::Commit { proposal, nodes } => {
                        let epoch = self.leader.as_ref().map_or(0, Leader::epoch);
                        self.commits.push(Commit { epoch, proposal, nodes });
                    }
                }
            } else if let Some(message) = self.own.pop_front() {
                self.handle_message(now, self.id, message);
            } else {
                return;
            }
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        if to == self.id {
            self.own.push_back(message);
        } else if !self.member.is_dead(to) {
            self.links.entry(to).or_default().send(message.encode());
        }
    }

    fn act(&mut self, node: &Node, action: Action, after: &mut After) {
        match action {
            Action::Send { to, message } => self.send(to, message),
            Action::Entered { place } => {
                let entered = self.seats.get_mut(&place).and_then(|seat| seat.entered.take());
                if let Some(entered) = entered {
                    entered.send(Ok(())).ok();
                }
            }
            Action::Refused { place, why } => {
                let Some(seat) = self.seats.remove(&place) else { return };
                self.free(seat.ticket.peer, place);
                after.refuse(seat, || match why {
                    Refusal::AlreadyHere => LobbyError::AlreadyHere,
                    Refusal::TooManyWaiting => LobbyError::TooManyWaiting,
                });
            }
            Action::Judge { offer } => {
                let Some(seat) = self.seats.get(&offer.place) else { return };
                match portable::decode_ticket(&offer.ticket) {
                    Ok(partner) => {
                        let (rule, ticket) = (Arc::clone(&seat.rule), seat.ticket.clone());
                        after.judge.push(Judge { offer, rule, ticket, partner });
                    }
                    Err(_) => self.member.judge(offer, false),
                }
            }
            Action::Matched { place, chat, ticket } => {
                let Some(seat) = self.seats.remove(&place) else {
                    return self.member.close(chat, LOST.to_owned());
                };
                let peer = seat.ticket.peer;
                self.sides.insert(chat, Side { peer, place, stage: Stage::Matched });
                let giver = node.clone();
                let made = partner_of(&ticket, chat).guarded(move || giver.close(chat, LOST));
                after.give(seat, made);
            }
            Action::MatchedHere { chat, places } => self.match_here(node, chat, places, after),
            Action::Begun { chat } => {
                let Some(side) = self.sides.get_mut(&chat) else { return };
                let (tell, news) = mpsc::unbounded_channel();
                if let Stage::Opening(opening) = mem::replace(&mut side.stage, Stage::Running(tell))
                {
                    opening.send(Some(news)).ok();
                }
            }
            Action::Gone { chat } => {
                let Some(side) = self.sides.remove(&chat) else { return };
                self.free(side.peer, side.place);
                if let Stage::Opening(opening) = side.stage {
                    opening.send(None).ok();
                }
            }
            Action::News { chat, news } => {
                if let Some(Side { stage: Stage::Running(tell), .. }) = self.sides.get(&chat) {
                    tell.send(news).ok();
                }
            }
        }
    }

    /// Hands out a match of two peers of this node, whose frames never leave it.
    fn match_here(
        &mut self,
        node: &Node,
        chat: Chat,
        places: [Option<(PlaceId, Bytes)>; 2],
        after: &mut After,
    ) {
        let sides = places.map(|side| {
            let (place, ticket) = side?;
            Some((place, ticket, self.seats.remove(&place)?))
        });
        let busy = |side: &Option<(PlaceId, Bytes, Seat)>| {
            side.as_ref().map(|(place, _, seat)| (seat.ticket.peer, *place))
        };
        let peers = [busy(&sides[0]), busy(&sides[1])];
        let Some(present) = peers[0].or(peers[1]) else { return };
        let pipes = node.pair_here(peers.map(|peer| peer.unwrap_or(present)));
        // The pipe of a side that has left is dropped, which tells the other one.
        for (side, pipe) in sides.into_iter().zip([pipes.0, pipes.1]) {
            match side {
                Some((_, ticket, seat)) => {
                    let made = partner_of(&ticket, chat);
                    let partner = Arc::clone(made.partner());
                    after.give(seat, Match::with_pipe(made.chat(), partner, pipe));
                }
                None => after.pipes.push(pipe),
            }
        }
    }
}

impl After {
    /// Ends a search with an error, of which its peer is told.
    fn refuse(&mut self, seat: Seat, error: impl Fn() -> LobbyError) {
        if let Some(entered) = seat.entered {
            entered.send(Err(error())).ok();
        }
        self.matches.extend(seat.made.send(Err(error())).err());
        self.rules.push(seat.rule);
    }

    /// Hands a match out. If the peer has left, the match is dropped, which gives it up.
    fn give(&mut self, seat: Seat, made: Match) {
        if let Some(entered) = seat.entered {
            entered.send(Ok(())).ok();
        }
        self.matches.extend(seat.made.send(Ok(made)).err());
        self.rules.push(seat.rule);
    }
}

/// Returns a match with the partner whose ticket was offered before.
fn partner_of(ticket: &[u8], chat: Chat) -> Match {
    let partner = portable::decode_ticket(ticket).expect("read when it was offered");
    Match::new(ChatId::from_bits(chat), Arc::new(partner))
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The driver ends.
        self.wake.notify_one();
    }
}

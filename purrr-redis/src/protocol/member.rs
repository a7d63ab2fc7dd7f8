//! One node's part in the cluster: its waiting places, and its sides of chats with other nodes.
//! [`Member`].
//!
//! # Contract of use
//!
//! | call | when |
//! |---|---|
//! | [`handle_leader`](Member::handle_leader) | the node has learned who leads |
//! | [`handle_message`](Member::handle_message) | a message of any node is next |
//! | [`handle_gone`](Member::handle_gone) | the lease of another node has ended |
//! | [`enter`](Member::enter), [`leave`](Member::leave) | a client searches, cancels |
//! | [`judge`](Member::judge) | the rule of a place has decided about an offer |
//! | [`open`](Member::open), [`close`](Member::close) | a match is opened, it or its chat is over |
//! | [`tell`](Member::tell) | a side of a chat has something for the other one |
//!
//! Drain [`poll_action`](Member::poll_action) after each.
//!
//! # Why no peer has two partners
//!
//! A place is taken out by the first match that names it, and only this node can do that. A match
//! becomes a chat when both nodes have said so: the side that opens last sends [`Head::Open`], and
//! the other one, if it still waits, [`Head::Begun`]. So a leader that acts on old knowledge can at
//! worst propose a chat that one side never opens, and the other side is told at once that there is
//! none.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::message::{Chat, Epoch, Head, Message, NodeId, Partner, PlaceId, Refusal, Steps};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    me: NodeId,
    leader: Option<(Epoch, NodeId)>,
    places: BTreeMap<PlaceId, Waiting>,
    chats: BTreeMap<Chat, Side>,
    /// The chats that were noted as [`State::Early`], the last one last.
    early: VecDeque<Chat>,
    /// Nodes whose lease has ended, the last one last.
    dead: VecDeque<NodeId>,
    actions: VecDeque<Action>,
    #[cfg(test)]
    pub(super) planted: Option<Bug>,
}

/// A bug that the exploration must find.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bug {
    /// Acts on the matches of any leader, also of one that was replaced.
    AnyEpoch,
    /// Keeps a place after a match was made for it.
    PlaceKept,
    /// Begins a chat before the other side has opened it.
    OneSided,
    /// Does not tell a partner whose match came for a place that was left.
    LeftInSilence,
    /// Loses the end of a chat that has not begun on this side.
    EndForgotten,
    /// Does not end the chats of a node that has died.
    DeadPartnersKept,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    ticket: Bytes,
    rule: Steps,
    since: Duration,
    /// The proposal that the rule has accepted, and the partner's ticket.
    accepted: Option<(u64, Bytes)>,
}

/// This node's side of a chat with a peer of another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Side {
    partner: NodeId,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Ended by the partner's node, which was faster than the leader.
    Early,
    /// The match was handed out and is not opened here.
    Matched,
    /// Opened here. Whether the other side has opened it, and still wants it, is not known.
    Opening,
    Running,
    /// Over before it was opened here, which the owner of the match is told when it opens.
    Gone,
    /// Over on this side. The partner's node has not answered.
    Closing,
}

/// What the owner has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Send {
        to: NodeId,
        message: Message,
    },
    Entered {
        place: PlaceId,
    },
    Refused {
        place: PlaceId,
        why: Refusal,
    },
    /// Ask the rule of a place, and [`judge`](Member::judge).
    Judge {
        offer: Offer,
    },
    Matched {
        place: PlaceId,
        chat: Chat,
        ticket: Bytes,
    },
    /// The two of a match are both of this node, unless one has left.
    MatchedHere {
        chat: Chat,
        places: [Option<(PlaceId, Bytes)>; 2],
    },
    Begun {
        chat: Chat,
    },
    /// A chat that was being opened does not come about.
    Gone {
        chat: Chat,
    },
    News {
        chat: Chat,
        news: News,
    },
}

/// A partner that the leader proposes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Offer {
    pub(crate) epoch: Epoch,
    pub(crate) proposal: u64,
    pub(crate) place: PlaceId,
    pub(crate) ticket: Bytes,
}

/// What one side of a running chat tells the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum News {
    Frame(Bytes),
    Took,
    Receipts(u64),
    Progress,
    /// The last.
    Parted(String),
}

/// The reason of a side whose node is gone.
pub(crate) const LOST: &str = "lost";

/// How many nodes that are gone are known by name. A message of one that was forgotten comes at
/// least as many deaths late.
const DEAD: usize = 1_024;

/// The chats that were ended before this node heard of them. Above it the oldest is forgotten, and
/// a match that names it waits until its opening times out.
const EARLY: usize = 4_096;

impl Member {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me,
            leader: None,
            places: BTreeMap::new(),
            chats: BTreeMap::new(),
            early: VecDeque::new(),
            dead: VecDeque::new(),
            actions: VecDeque::new(),
            #[cfg(test)]
            planted: None,
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) const fn leader(&self) -> Option<(Epoch, NodeId)> {
        self.leader
    }

    pub(crate) fn is_dead(&self, node: NodeId) -> bool {
        self.dead.contains(&node)
    }

    /// Follows a leader, and tells a new one of every place that waits. `None` without one.
    pub(crate) fn handle_leader(&mut self, now: Duration, leader: Option<(Epoch, NodeId)>) {
        // What was heard last may be older than what is known.
        let is_older = |known: Epoch| leader.is_some_and(|(epoch, _)| epoch < known);
        if leader == self.leader || self.leader.is_some_and(|(known, _)| is_older(known)) {
            return;
        }
        self.leader = leader;
        // The match that would have named them is of an epoch that is over.
        self.chats.retain(|_, side| side.state != State::Early);
        self.early.clear();
        let places: Vec<PlaceId> = self.places.keys().copied().collect();
        for place in places {
            self.tell_of(now, place);
        }
    }

    /// Ends what there is with a node whose lease has ended.
    pub(crate) fn handle_gone(&mut self, node: NodeId) {
        if self.dead.contains(&node) {
            return;
        }
        if self.dead.len() >= DEAD {
            self.dead.pop_front();
        }
        self.dead.push_back(node);
        #[cfg(test)]
        if self.planted == Some(Bug::DeadPartnersKept) {
            return;
        }
        let chats = self.chats.iter().filter(|(_, side)| side.partner == node);
        let chats: Vec<Chat> = chats.map(|(chat, _)| *chat).collect();
        for chat in chats {
            self.end(chat, node, LOST.to_owned());
            if let Some(Side { state: State::Early, .. }) = self.chats.get(&chat) {
                self.chats.remove(&chat);
            }
        }
    }

    /// Makes a place of this node wait.
    pub(crate) fn enter(
        &mut self,
        now: Duration,
        place: PlaceId,
        ticket: Bytes,
        waited: Duration,
        rule: Steps,
    ) {
        let since = now.saturating_sub(waited);
        self.places.insert(place, Waiting { ticket, rule, since, accepted: None });
        self.tell_of(now, place);
    }

    /// Gives a place up. Does nothing if it was matched.
    pub(crate) fn leave(&mut self, place: PlaceId) {
        if self.places.remove(&place).is_some()
            && let Some((epoch, node)) = self.leader
        {
            self.send(node, Head::Leave { epoch, place }.into());
        }
    }

    /// Tells the leader what the rule of a place says of an offer.
    pub(crate) fn judge(&mut self, offer: Offer, accepts: bool) {
        let Offer { epoch, proposal, place, ticket } = offer;
        let Some((_, node)) = self.leader.filter(|(current, _)| *current == epoch) else { return };
        let Some(waiting) = self.places.get_mut(&place) else { return };
        waiting.accepted = accepts.then_some((proposal, ticket));
        self.send(node, Head::Verdict { epoch, proposal, place, accepts }.into());
    }

    /// Opens this side of a match.
    pub(crate) fn open(&mut self, chat: Chat) {
        let Some(side) = self.chats.get_mut(&chat) else { return };
        let partner = side.partner;
        match side.state {
            State::Matched => {
                side.state = State::Opening;
                self.send(partner, Head::Open { chat }.into());
                #[cfg(test)]
                if self.planted == Some(Bug::OneSided) {
                    self.begin(chat, partner);
                }
            }
            State::Gone => {
                self.chats.remove(&chat);
                self.actions.push_back(Action::Gone { chat });
            }
            State::Early | State::Opening | State::Running | State::Closing => {}
        }
    }

    /// Tells the other side of a running chat something.
    pub(crate) fn tell(&mut self, chat: Chat, message: Message) {
        if let Some(Side { partner, state: State::Running }) = self.chats.get(&chat) {
            self.send(*partner, message);
        }
    }

    /// Ends this side of a chat, or gives its match up. Does nothing if it is over.
    pub(crate) fn close(&mut self, chat: Chat, reason: String) {
        let Some(side) = self.chats.get_mut(&chat) else { return };
        match side.state {
            State::Matched | State::Opening | State::Running => {
                side.state = State::Closing;
                let partner = side.partner;
                self.send(partner, Head::Close { chat, reason }.into());
            }
            State::Gone => drop(self.chats.remove(&chat)),
            State::Early | State::Closing => {}
        }
    }

    pub(crate) fn handle_message(&mut self, now: Duration, from: NodeId, message: Message) {
        if self.dead.contains(&from) {
            return;
        }
        let Message { head, payload } = message;
        match head {
            Head::Entered { epoch, place, refused } => {
                if !self.follows(epoch) || !self.places.contains_key(&place) {
                    return;
                }
                self.actions.push_back(match refused {
                    Some(why) => {
                        self.places.remove(&place);
                        Action::Refused { place, why }
                    }
                    None => Action::Entered { place },
                });
            }
            Head::Offer { epoch, proposal, place } => {
                if self.follows(epoch) && self.places.contains_key(&place) {
                    let offer = Offer { epoch, proposal, place, ticket: payload };
                    self.actions.push_back(Action::Judge { offer });
                }
            }
            Head::Made { epoch, proposal, place, chat, partner } => {
                self.handle_made(now, epoch, proposal, place, chat, partner);
            }
            Head::Open { chat } => {
                if self.begin(chat, from) {
                    self.send(from, Head::Begun { chat }.into());
                }
            }
            Head::Begun { chat } => drop(self.begin(chat, from)),
            Head::Frame { chat } => self.handle_news(from, chat, News::Frame(payload)),
            Head::Took { chat } => self.handle_news(from, chat, News::Took),
            Head::Receipts { chat, count } => {
                self.handle_news(from, chat, News::Receipts(count));
            }
            Head::Progress { chat } => self.handle_news(from, chat, News::Progress),
            Head::Close { chat, reason } => {
                self.send(from, Head::Closed { chat }.into());
                self.end(chat, from, reason);
            }
            Head::Closed { chat } => {
                if let Some(Side { partner, state: State::Closing }) = self.chats.get(&chat)
                    && *partner == from
                {
                    self.chats.remove(&chat);
                }
            }
            // To a leader, which its owner asks for.
            Head::Enter { .. } | Head::Leave { .. } | Head::Verdict { .. } => {}
        }
    }

    fn handle_made(
        &mut self,
        now: Duration,
        epoch: Epoch,
        proposal: u64,
        place: PlaceId,
        chat: Chat,
        partner: Partner,
    ) {
        let follows = self.follows(epoch);
        #[cfg(test)]
        let follows = follows || self.planted == Some(Bug::AnyEpoch);
        if partner.node == self.me {
            if follows {
                let places = [place, partner.place].map(|it| Some((it, self.take(it, proposal)?)));
                if places.iter().any(Option::is_some) {
                    self.actions.push_back(Action::MatchedHere { chat, places });
                }
                self.tell_of(now, place);
                self.tell_of(now, partner.place);
            }
            return;
        }
        let ended = match self.chats.get(&chat).map(|side| side.state) {
            None => self.dead.contains(&partner.node),
            Some(State::Early) => true,
            // Repeated.
            Some(_) => return,
        };
        let ticket = if follows { self.take(place, proposal) } else { None };
        match ticket {
            Some(ticket) => {
                let state = if ended { State::Gone } else { State::Matched };
                self.chats.insert(chat, Side { partner: partner.node, state });
                self.actions.push_back(Action::Matched { place, chat, ticket });
            }
            None => {
                self.chats.remove(&chat);
                #[cfg(test)]
                if self.planted == Some(Bug::LeftInSilence) {
                    return;
                }
                if !ended {
                    let side = Side { partner: partner.node, state: State::Closing };
                    self.chats.insert(chat, side);
                    let reason = LOST.to_owned();
                    self.send(partner.node, Head::Close { chat, reason }.into());
                }
                // The leader believes that the place is matched.
                if follows {
                    self.tell_of(now, place);
                }
            }
        }
    }

    /// Takes a place out for a match that its rule has accepted. Returns the partner's ticket.
    fn take(&mut self, place: PlaceId, proposal: u64) -> Option<Bytes> {
        let (accepted, ticket) = self.places.get(&place)?.accepted.clone()?;
        if accepted != proposal {
            return None;
        }
        #[cfg(test)]
        if self.planted == Some(Bug::PlaceKept) {
            return Some(ticket);
        }
        self.places.remove(&place);
        Some(ticket)
    }

    /// Begins a chat that is being opened on this side, since the other one has opened it. Returns
    /// true if it did.
    ///
    /// An `Open` that arrives before this side opens does not count: the other side may have given
    /// up meanwhile. This side asks it by an `Open` of its own.
    fn begin(&mut self, chat: Chat, from: NodeId) -> bool {
        let Some(side) = self.chats.get_mut(&chat) else { return false };
        if side.partner != from || side.state != State::Opening {
            return false;
        }
        side.state = State::Running;
        self.actions.push_back(Action::Begun { chat });
        true
    }

    fn handle_news(&mut self, from: NodeId, chat: Chat, news: News) {
        if self.chats.get(&chat) == Some(&Side { partner: from, state: State::Running }) {
            self.actions.push_back(Action::News { chat, news });
        }
    }

    /// Ends a chat because the other side has, or is gone.
    fn end(&mut self, chat: Chat, from: NodeId, reason: String) {
        let Some(side) = self.chats.get_mut(&chat) else {
            return self.note_early_end(chat, from);
        };
        if side.partner != from {
            return;
        }
        match side.state {
            State::Matched => side.state = State::Gone,
            State::Opening => {
                self.chats.remove(&chat);
                self.actions.push_back(Action::Gone { chat });
            }
            State::Running => {
                self.chats.remove(&chat);
                self.actions.push_back(Action::News { chat, news: News::Parted(reason) });
            }
            State::Early | State::Gone => {}
            State::Closing => drop(self.chats.remove(&chat)),
        }
    }

    /// Remembers the end of a chat whose match is still on its way.
    fn note_early_end(&mut self, chat: Chat, from: NodeId) {
        #[cfg(test)]
        if self.planted == Some(Bug::EndForgotten) {
            return;
        }
        self.early.push_back(chat);
        if self.early.len() > EARLY
            && let Some(oldest) = self.early.pop_front()
            && let Some(Side { state: State::Early, .. }) = self.chats.get(&oldest)
        {
            self.chats.remove(&oldest);
        }
        self.chats.insert(chat, Side { partner: from, state: State::Early });
    }

    fn follows(&self, epoch: Epoch) -> bool {
        self.leader.is_some_and(|(current, _)| current == epoch)
    }

    /// Tells the leader of a place that waits. What was offered to it before is void.
    fn tell_of(&mut self, now: Duration, place: PlaceId) {
        let Some(waiting) = self.places.get_mut(&place) else { return };
        #[cfg(test)]
        let void = self.planted != Some(Bug::AnyEpoch);
        #[cfg(not(test))]
        let void = true;
        if void {
            waiting.accepted = None;
        }
        let Some((epoch, node)) = self.leader else { return };
        let waited = now.saturating_sub(waiting.since);
        let head = Head::Enter { epoch, place, waited, rule: waiting.rule.clone() };
        let message = Message::new(head, waiting.ticket.clone());
        self.send(node, message);
    }

    fn send(&mut self, to: NodeId, message: Message) {
        if !self.dead.contains(&to) {
            self.actions.push_back(Action::Send { to, message });
        }
    }
}

#[cfg(test)]
mod exploration;

//! What a check does with the nodes that it is given: [`Subject`].

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Cluster, Suite};
use crate::{
    backend::{
        bundle::Backend,
        lobby::{Match, Place},
        people::{Identity, People, PersonAt},
        pipe::{Pipe, Received},
        relay::RelayError,
    },
    matching::{rule::Pairing, rules::Anyone},
    model::{
        frame::Frame,
        ids::{PeerId, PersonId, ResumeToken},
        reason::ChatEnd,
        ticket::Ticket,
    },
};

/// The nodes under test, with the bounds of time.
pub(super) struct Subject {
    pub(super) cluster: Cluster,
    pub(super) suite: Suite,
}

impl Subject {
    pub(super) const fn soon(&self) -> Duration {
        self.suite.soon
    }

    pub(super) const fn quiet(&self) -> Duration {
        self.suite.quiet
    }

    /// Returns true if a call takes effect before the next one on any node.
    pub(super) fn is_one_node(&self) -> bool {
        self.cluster.nodes.len() == 1
    }

    /// Returns the node of a peer. Consecutive numbers are on different nodes.
    pub(super) fn node(&self, peer: u64) -> &Backend {
        let nodes = &self.cluster.nodes;
        &nodes[peer as usize % nodes.len()]
    }

    pub(super) fn nodes(&self) -> &[Backend] {
        &self.cluster.nodes
    }

    pub(super) fn people(&self, peer: u64) -> &dyn People {
        &*self.node(peer).people
    }

    pub(super) async fn enter(&self, peer: u64, rule: impl Pairing) -> Result<Place, String> {
        self.enter_with(Ticket::new(PeerId::from_bits(peer)), rule).await
    }

    pub(super) async fn enter_with(
        &self,
        ticket: Ticket,
        rule: impl Pairing,
    ) -> Result<Place, String> {
        let lobby = &self.node(ticket.peer.to_bits()).lobby;
        match timeout(self.soon(), lobby.enter(ticket, Arc::new(rule))).await {
            Ok(entered) => entered.map_err(|error| format!("enter: {error}")),
            Err(_) => Err("entering a lobby does not end".to_owned()),
        }
    }

    /// Makes a match of peers 1 and 2.
    pub(super) async fn pair(&self) -> Result<(Match, Match), String> {
        self.pair_of([1, 2]).await
    }

    pub(super) async fn pair_of(&self, [ann, bob]: [u64; 2]) -> Result<(Match, Match), String> {
        let (ann, bob) = (self.enter(ann, Anyone).await?, self.enter(bob, Anyone).await?);
        self.matched(ann, bob).await
    }

    /// Awaits both places at once, since either may be the one whose search is resumed.
    pub(super) async fn matched(&self, ann: Place, bob: Place) -> Result<(Match, Match), String> {
        tokio::try_join!(self.one_matched(ann), self.one_matched(bob))
    }

    async fn one_matched(&self, place: Place) -> Result<Match, String> {
        match timeout(self.soon(), place).await {
            Ok(made) => made.map_err(|error| format!("a place failed: {error}")),
            Err(_) => Err("two that fit were not matched".to_owned()),
        }
    }

    /// Opens the match of a peer.
    pub(super) async fn open(&self, peer: u64, mut made: Match) -> Result<Pipe, String> {
        match timeout(self.soon(), self.node(peer).relay.open(&mut made)).await {
            Ok(opened) => opened.map_err(|error| format!("open: {error}")),
            Err(_) => Err("a match does not open".to_owned()),
        }
    }

    /// Opens the match of a peer whose partner gives it up without opening it.
    pub(super) async fn open_gone(&self, peer: u64, made: Match) -> Result<(), String> {
        match self.open_given_up(peer, made).await? {
            None => Ok(()),
            Some(_) => Err("a chat began without the other side".to_owned()),
        }
    }

    /// Opens the match of a peer whose partner had begun to open it, and then gave it up.
    ///
    /// Between nodes, what the two say may cross, and the chat begins for both. Then the partner
    /// must have parted.
    pub(super) async fn open_abandoned(&self, peer: u64, made: Match) -> Result<(), String> {
        match self.open_given_up(peer, made).await? {
            None => Ok(()),
            Some(_) if self.is_one_node() => Err("a chat began that was given up".to_owned()),
            Some(mut pipe) => {
                let parted = self.recv(&mut pipe).await? == Received::Parted(ChatEnd::Lost);
                ensure(parted, "the partner of a chat that was given up was not told")
            }
        }
    }

    /// Opens a match that the partner gives up. Returns the chat if it has begun all the same.
    async fn open_given_up(&self, peer: u64, mut made: Match) -> Result<Option<Pipe>, String> {
        match timeout(self.soon(), self.node(peer).relay.open(&mut made)).await {
            Ok(Err(RelayError::Gone)) => Ok(None),
            Ok(Ok(pipe)) => Ok(Some(pipe)),
            Ok(Err(error)) => Err(format!("open: {error}")),
            Err(_) => Err("the partner of a dropped match was not told".to_owned()),
        }
    }

    /// Begins a chat of peers 1 and 2.
    pub(super) async fn chat(&self) -> Result<(Pipe, Pipe), String> {
        self.chat_of([1, 2]).await
    }

    pub(super) async fn chat_of(&self, peers: [u64; 2]) -> Result<(Pipe, Pipe), String> {
        let (ann, bob) = self.pair_of(peers).await?;
        tokio::try_join!(self.open(peers[0], ann), self.open(peers[1], bob))
    }

    pub(super) async fn recv(&self, pipe: &mut Pipe) -> Result<Received, String> {
        timeout(self.soon(), pipe.recv()).await.map_err(|_| "nothing arrived".to_owned())
    }

    /// Receives a text that must be this one.
    pub(super) async fn hear(
        &self,
        pipe: &mut Pipe,
        text: &str,
        otherwise: &str,
    ) -> Result<(), String> {
        let expected = Received::Frame(Frame::text(text.to_owned()));
        let heard = self.recv(pipe).await.map_err(|error| format!("{otherwise}: {error}"))?;
        ensure(heard == expected, otherwise)
    }

    pub(super) async fn say(&self, pipe: &mut Pipe, text: &str) -> Result<(), String> {
        let sent = timeout(self.soon(), pipe.send(Frame::text(text.to_owned()))).await;
        ensure(matches!(sent, Ok(Ok(()))), "a running chat takes no frame")
    }

    /// Sends numbered texts until there is no room. Returns how many were taken.
    pub(super) async fn fill(&self, pipe: &mut Pipe) -> Result<usize, String> {
        /// More frames than any backend may hold for one direction of a chat.
        const BEYOND_BOUNDS: usize = 20_000;
        for sent in 0..BEYOND_BOUNDS {
            // A backend over a network takes frames on while it passes them along.
            match timeout(self.quiet(), pipe.send(Frame::text(sent.to_string()))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    return Err("a chat ended because its partner did not read".to_owned());
                }
                Err(_) => return Ok(sent),
            }
        }
        Err("a queue without a bound".to_owned())
    }

    /// Registers a peer of a new person at the node of this number.
    pub(super) fn arrive(&self, peer: u64) -> Identity {
        let identity = Identity::random();
        self.people(peer).arrive(identity);
        identity
    }

    pub(super) async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, String> {
        let mut apart = Vec::new();
        for node in self.nodes() {
            apart.push(node.people.keeps_apart(a, b).await.map_err(to_text)?);
        }
        ensure(apart.iter().all(|answer| *answer == apart[0]), "two nodes differ about a block")?;
        Ok(apart[0])
    }

    pub(super) async fn resume(
        &self,
        node: u64,
        peer: Identity,
        token: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, String> {
        let resumed = self.people(node).resume(peer.token, token, authenticated);
        match timeout(self.soon(), resumed).await {
            Ok(resumed) => resumed.map_err(to_text),
            Err(_) => Err("a resume does not end".to_owned()),
        }
    }

    /// Redeems a token that must be good, once this node has heard of it.
    pub(super) async fn resume_as(
        &self,
        node: u64,
        peer: Identity,
        token: ResumeToken,
        person: PersonId,
        otherwise: &str,
    ) -> Result<(), String> {
        let resumed =
            || async move { Ok(self.resume(node, peer, token, None).await? == Some(person)) };
        self.takes_effect(resumed, otherwise).await
    }

    /// Waits until a call holds on the other nodes. On one node it must hold at once.
    pub(super) async fn takes_effect<F: Future<Output = Result<bool, String>>>(
        &self,
        holds: impl Fn() -> F,
        otherwise: &str,
    ) -> Result<(), String> {
        match self.is_one_node() {
            true => ensure(holds().await?, otherwise),
            false => self.eventually(holds, otherwise).await,
        }
    }

    /// Waits until something holds: a backend over a network may hear of numbers late.
    pub(super) async fn eventually<F: Future<Output = Result<bool, String>>>(
        &self,
        holds: impl Fn() -> F,
        otherwise: &str,
    ) -> Result<(), String> {
        let step = self.quiet() / 10;
        for _ in 0..self.soon().as_micros() / step.as_micros().max(1) {
            if holds().await? {
                return Ok(());
            }
            sleep(step).await;
        }
        ensure(holds().await?, otherwise)
    }
}

pub(super) fn to_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

//! The broker's process.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use purrr_core::{
    Limits, Pairing,
    backend::{Backend, LobbyError, Pipe},
    codec::portable,
    matching::{Bucket, Choice},
    model::{PeerId, PersonId, Ticket},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    READY, STALL,
    link::Link,
    wire::{
        Answer, Call, News, Refusal, SideKey, Step, Steps, Tell, ToBroker, ToNode, Wide,
        to_person_at,
    },
};

struct Broker {
    backend: Backend,
    nodes: Mutex<Vec<Link<ToNode>>>,
    chats: Mutex<HashMap<Wide, Chat>>,
}

/// A match that both rules have accepted.
#[derive(Default)]
struct Chat {
    sides: [Option<Side>; 2],
    opened: [bool; 2],
    /// Given up, or over.
    gone: bool,
    parted: [bool; 2],
}

struct Side {
    node: Link<ToNode>,
    /// Until it is dropped, neither peer may enter again.
    busy: Option<Pipe>,
}

/// A waiting place of a node.
struct Waiting {
    verdict: mpsc::UnboundedSender<bool>,
    search: JoinHandle<()>,
}

/// The rule of a ticket, as its node has told it.
#[derive(Debug)]
struct RemoteRule {
    peer: PeerId,
    rule: Steps,
    widen_at: Vec<Duration>,
    /// Peers that a node has refused in this search.
    refused: Mutex<HashSet<PeerId>>,
}

#[expect(clippy::print_stdout, reason = "tells the test the address")]
pub(super) async fn serve() {
    let mut limits = Limits::default();
    limits.stall = STALL;
    let broker = Arc::new(Broker {
        backend: Backend::memory(&limits),
        nodes: Mutex::default(),
        chats: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{READY}{}", listener.local_addr().expect("an address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a node");
        tokio::spawn(Arc::clone(&broker).serve_node(stream));
    }
}

impl Broker {
    async fn serve_node(self: Arc<Self>, stream: TcpStream) {
        let (node, mut messages) = Link::over(stream);
        lock(&self.nodes).push(node.clone());
        let mut places = HashMap::new();
        while let Some(message) = messages.recv().await {
            match message {
                ToBroker::Enter { place, ticket, rule } => {
                    let (verdict, verdicts) = mpsc::unbounded_channel();
                    let ticket = portable::decode_ticket(&ticket).expect("a ticket");
                    let search = Search { broker: Arc::clone(&self), node: node.clone(), place };
                    let search = tokio::spawn(search.run(ticket, rule, verdicts));
                    places.insert(place, Waiting { verdict, search });
                }
                ToBroker::Leave { place } => {
                    if let Some(waiting) = places.remove(&place) {
                        // The next message may be the same peer's, which must be free then.
                        waiting.search.abort();
                        waiting.search.await.ok();
                    }
                }
                ToBroker::Verdict { place, accepts } => {
                    if let Some(waiting) = places.get(&place) {
                        waiting.verdict.send(accepts).ok();
                    }
                }
                ToBroker::Open(key) => self.open(key),
                ToBroker::GiveUp(key) => self.give_up(key),
                ToBroker::Free(key) => self.free(key),
                ToBroker::Chat(key, news) => self.forward(key, news),
                ToBroker::Call { id, call } => {
                    let answer = self.answer(call).await;
                    node.send(ToNode::Answer { id, answer });
                }
                ToBroker::Tell(tell) => self.hear(tell),
                ToBroker::Disturb => node.disturb(),
            }
        }
    }

    fn open(self: &Arc<Self>, key: SideKey) {
        let mut chats = lock(&self.chats);
        let chat = chats.entry(key.chat).or_default();
        chat.opened[key.side] = true;
        if chat.gone || chat.opened == [true; 2] {
            chat.tell_opened(key.chat);
            return;
        }
        let broker = Arc::clone(self);
        tokio::spawn(async move {
            sleep(STALL).await;
            let mut chats = lock(&broker.chats);
            let chat = chats.get_mut(&key.chat).filter(|chat| chat.opened != [true; 2]);
            if let Some(chat) = chat.filter(|chat| !chat.gone) {
                chat.end();
                chat.tell_opened(key.chat);
            }
        });
    }

    fn give_up(&self, key: SideKey) {
        let mut chats = lock(&self.chats);
        let chat = chats.entry(key.chat).or_default();
        let begun = chat.opened == [true; 2];
        chat.end();
        if begun {
            drop(chats);
            self.forward(key, News::Parted("lost".to_owned()));
        } else {
            chat.opened[key.side] = false;
            chat.tell_opened(key.chat);
        }
    }

    fn free(&self, key: SideKey) {
        if let Some(chat) = lock(&self.chats).get_mut(&key.chat) {
            chat.end();
        }
    }

    fn forward(&self, key: SideKey, news: News) {
        let mut chats = lock(&self.chats);
        let Some(chat) = chats.get_mut(&key.chat) else { return };
        chat.parted[key.side] |= matches!(news, News::Parted(_));
        let partner = SideKey { side: 1 - key.side, ..key };
        if let Some(side) = &chat.sides[partner.side] {
            side.node.send(ToNode::Chat(partner, news));
        }
        if chat.parted == [true; 2] {
            chats.remove(&key.chat);
        }
    }

    async fn answer(&self, call: Call) -> Answer {
        const NEVER: &str = "the backend in memory is there";
        let people = &self.backend.people;
        match call {
            Call::Census => {
                let census = self.backend.lobby.census().await.expect(NEVER);
                Answer::Census { waiting: census.waiting, pairs: census.pairs }
            }
            Call::Resume { token, other, authenticated } => {
                let authenticated = authenticated.map(PersonId::from_bits);
                let resumed = people.resume(token.into(), other.into(), authenticated).await;
                Answer::Person(resumed.expect(NEVER).map(PersonId::to_bits))
            }
            Call::Exclusions { person } => {
                let exclusions = people.exclusions(PersonId::from_bits(person)).await;
                Answer::Exclusions(portable::encode_exclusions(&exclusions.expect(NEVER)))
            }
            Call::KeepsApart { a, b } => {
                let apart = people.keeps_apart(to_person_at(a), to_person_at(b)).await;
                Answer::Apart(apart.expect(NEVER))
            }
            Call::Met { peer, partner } => {
                people.met(peer.into(), PersonId::from_bits(partner)).await.expect(NEVER);
                Answer::Done
            }
            Call::Block { peer, other } => {
                people.block(peer.into(), to_person_at(other)).await.expect(NEVER);
                Answer::Done
            }
        }
    }

    /// Does what a node tells, and tells every node the numbers.
    fn hear(&self, tell: Tell) {
        let people = &self.backend.people;
        match tell {
            Tell::Arrive(peer) => people.arrive(peer.into()),
            Tell::Depart { token } => people.depart(token.into()),
            Tell::BeginSearch => people.begin_search(),
            Tell::EndSearch { waited } => people.end_search(waited),
        }
        let status = people.queue_status();
        for node in &*lock(&self.nodes) {
            node.send(ToNode::Numbers {
                online: status.online,
                waiting: status.waiting,
                estimate: status.estimate,
            });
        }
    }
}

impl Chat {
    /// Frees both peers.
    fn end(&mut self) {
        self.gone = true;
        for side in self.sides.iter_mut().flatten() {
            side.busy = None;
        }
    }

    /// Tells each side that has opened whether the chat has begun.
    fn tell_opened(&mut self, chat: Wide) {
        for (index, side) in self.sides.iter().enumerate() {
            if let Some(side) = side.as_ref().filter(|_| self.opened[index]) {
                let key = SideKey { chat, side: index };
                side.node.send(ToNode::Opened { key, begun: !self.gone });
            }
        }
    }
}

/// The search of one place.
struct Search {
    broker: Arc<Broker>,
    node: Link<ToNode>,
    place: u64,
}

impl Search {
    async fn run(
        self,
        mut ticket: Ticket,
        rule: Steps,
        mut verdicts: mpsc::UnboundedReceiver<bool>,
    ) {
        let Backend { lobby, relay, .. } = &self.broker.backend;
        let (began, before, place) = (Instant::now(), ticket.waited, self.place);
        let rule = Arc::new(RemoteRule::new(ticket.peer, rule));
        let mut is_first = true;
        loop {
            ticket.waited = before + began.elapsed();
            let entered = lobby.enter(ticket.clone(), Arc::clone(&rule) as Arc<dyn Pairing>).await;
            let waiting = match entered {
                Ok(waiting) => waiting,
                Err(error) => {
                    let refused = Some(match error {
                        LobbyError::TooManyWaiting => Refusal::TooManyWaiting,
                        _ => Refusal::AlreadyHere,
                    });
                    return self.node.send(ToNode::Entered { place, refused });
                }
            };
            if std::mem::take(&mut is_first) {
                self.node.send(ToNode::Entered { place, refused: None });
            }
            let mut made = waiting.await.expect("the backend in memory is there");
            let partner = Arc::clone(made.partner());
            let bytes = portable::encode_ticket(&partner);
            self.node.send(ToNode::Offer { place, partner: bytes.clone() });
            let Some(accepts) = verdicts.recv().await else { return };
            if !accepts {
                lock(&rule.refused).insert(partner.peer);
            } else if let Ok(pipe) = relay.open(&mut made).await {
                let side = usize::from(partner.peer < ticket.peer);
                let key = SideKey { chat: made.chat().into(), side };
                let mut chats = lock(&self.broker.chats);
                let chat = chats.entry(key.chat).or_default();
                let busy = (!chat.gone).then_some(pipe);
                chat.sides[side] = Some(Side { node: self.node.clone(), busy });
                return self.node.send(ToNode::Made { place, key, partner: bytes });
            }
        }
    }
}

impl RemoteRule {
    fn new(peer: PeerId, rule: Steps) -> Self {
        let widen_at = rule.steps.iter().skip(1).map(|step| step.due).collect();
        Self { peer, rule, widen_at, refused: Mutex::default() }
    }

    fn step(&self, waited: Duration) -> &Step {
        let steps = &self.rule.steps;
        steps.iter().rfind(|step| step.due <= waited).unwrap_or(&steps[0])
    }
}

impl Pairing for RemoteRule {
    fn buckets(&self, _: &Ticket, waited: Duration) -> Vec<Bucket> {
        to_buckets(&self.step(waited).looks)
    }

    fn stands_in(&self, _: &Ticket, waited: Duration) -> Option<Vec<Bucket>> {
        self.step(waited).stands.as_deref().map(to_buckets)
    }

    fn widen_at(&self) -> &[Duration] {
        &self.widen_at
    }

    fn choice(&self) -> Choice {
        if self.rule.random { Choice::Random } else { Choice::Oldest }
    }

    fn accepts(&self, a: &Ticket, b: &Ticket) -> bool {
        let other = if a.peer == self.peer { b } else { a };
        !lock(&self.refused).contains(&other.peer)
    }
}

fn to_buckets(all: &[Wide]) -> Vec<Bucket> {
    all.iter().map(|bits| Bucket::from_bits((*bits).into())).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under this lock")
}

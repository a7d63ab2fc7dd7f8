//! A node's backend, which asks the broker: [`Node`].

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use purrr_core::{
    Lobby, Pairing, Relay,
    backend::{
        Backend, Identity, LobbyError, Match, People, PeopleError, PersonAt, Pipe, Place,
        RelayError,
    },
    codec::portable,
    matching::{Bucket, Choice},
    model::{Census, ChatId, Exclusions, PeerId, PersonId, QueueStatus, ResumeToken, Ticket},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use super::{
    link::Link,
    talk,
    wire::{
        Answer, Call, News, Refusal, SideKey, Step, Steps, Tell, ToBroker, ToNode, Wide,
        from_person_at,
    },
};

/// A handle on the broker. Clones share its connection.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    broker: Link<ToBroker>,
    next: AtomicU64,
    /// `None` once the broker is gone.
    waits: Mutex<Option<Waits>>,
    status: Mutex<QueueStatus>,
}

/// What waits for the broker.
#[derive(Debug, Default)]
struct Waits {
    places: HashMap<u64, Waiting>,
    /// The sides of matches that were not opened.
    matches: HashMap<(ChatId, PeerId), SideKey>,
    openings: HashMap<SideKey, oneshot::Sender<Option<mpsc::UnboundedReceiver<News>>>>,
    talks: HashMap<SideKey, mpsc::UnboundedSender<News>>,
    calls: HashMap<u64, oneshot::Sender<Answer>>,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    rule: Arc<dyn Pairing>,
    entered: Option<oneshot::Sender<Option<Refusal>>>,
    made: oneshot::Sender<Match>,
}

/// Leaves the lobby when it is dropped, unless a match was made.
struct Seat(Node, u64);

/// Gives a match up when it is dropped, unless it was opened.
struct Opening(Node, Option<SideKey>);

/// The broker's connection is lost.
#[derive(Debug, thiserror::Error)]
#[error("the broker is gone")]
struct Gone;

impl Node {
    pub(super) async fn connect(broker: SocketAddr) -> Self {
        let stream = TcpStream::connect(broker).await.expect("a broker");
        let (broker, mut messages) = Link::over(stream);
        let node = Self(Arc::new(Shared {
            broker,
            next: AtomicU64::new(1),
            waits: Mutex::new(Some(Waits::default())),
            status: Mutex::default(),
        }));
        let reader = node.clone();
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                reader.handle(message);
            }
            // Whatever waits is told by the end of its channel.
            drop(reader.0.waits.lock().expect("no panic under this lock").take());
        });
        node
    }

    pub(super) fn backend(&self) -> Backend {
        let [lobby, relay, people] = [(); 3].map(|()| self.clone());
        Backend::new(Arc::new(lobby), Arc::new(relay), Arc::new(people))
    }

    /// Delays and repeats the messages of both directions from now on.
    #[cfg(feature = "conformance")]
    pub(super) fn disturb(&self) {
        self.send(ToBroker::Disturb);
        self.0.broker.disturb();
    }

    pub(super) fn send(&self, message: ToBroker) {
        self.0.broker.send(message);
    }

    fn next(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    fn with_waits<T>(&self, change: impl FnOnce(&mut Waits) -> T) -> Result<T, Gone> {
        self.0.waits.lock().expect("no panic under this lock").as_mut().map(change).ok_or(Gone)
    }

    /// Ends the news of a chat.
    pub(super) fn hang_up(&self, key: SideKey) {
        self.with_waits(|waits| waits.talks.remove(&key)).ok();
    }

    fn handle(&self, message: ToNode) {
        match message {
            ToNode::Entered { place, refused } => {
                let entered = self.with_waits(|waits| waits.places.get_mut(&place)?.entered.take());
                if let Ok(Some(entered)) = entered {
                    entered.send(refused).ok();
                }
            }
            ToNode::Offer { place, partner } => {
                let partner = portable::decode_ticket(&partner).expect("a ticket");
                let accepts = self.with_waits(|waits| {
                    let place = waits.places.get(&place)?;
                    Some(place.rule.accepts(&place.ticket, &partner))
                });
                let accepts = accepts.ok().flatten().unwrap_or(false);
                self.send(ToBroker::Verdict { place, accepts });
            }
            ToNode::Made { place, key, partner } => {
                let partner = Arc::new(portable::decode_ticket(&partner).expect("a ticket"));
                let chat = ChatId::from_bits(key.chat.into());
                let made = Match::new(chat, Arc::clone(&partner));
                let node = self.clone();
                let made = made.guarded(move || node.give_up(key));
                let waiting = self.with_waits(|waits| {
                    waits.matches.insert((chat, partner.peer), key);
                    waits.places.remove(&place)
                });
                // A place that was left drops its match, which gives it up.
                match waiting {
                    Ok(Some(waiting)) => drop(waiting.made.send(made)),
                    _ => drop(made),
                }
            }
            ToNode::Opened { key, begun } => {
                let opening = self.with_waits(|waits| {
                    let opening = waits.openings.remove(&key)?;
                    let news = begun.then(|| {
                        let (tell, news) = mpsc::unbounded_channel();
                        waits.talks.insert(key, tell);
                        news
                    });
                    Some((opening, news))
                });
                if let Ok(Some((opening, news))) = opening {
                    opening.send(news).ok();
                }
            }
            ToNode::Chat(key, news) => {
                let talk = self.with_waits(|waits| waits.talks.get(&key).cloned());
                if let Ok(Some(talk)) = talk {
                    talk.send(news).ok();
                }
            }
            ToNode::Answer { id, answer } => {
                if let Ok(Some(call)) = self.with_waits(|waits| waits.calls.remove(&id)) {
                    call.send(answer).ok();
                }
            }
            ToNode::Numbers { online, waiting, estimate } => {
                let mut status = self.0.status.lock().expect("no panic under this lock");
                (status.online, status.waiting, status.estimate) = (online, waiting, estimate);
            }
        }
    }

    fn give_up(&self, key: SideKey) {
        let chat = ChatId::from_bits(key.chat.into());
        let forget = |waits: &mut Waits| {
            waits.matches.retain(|(known, _), side| *known != chat || *side != key);
            waits.openings.remove(&key);
        };
        self.with_waits(forget).ok();
        self.send(ToBroker::GiveUp(key));
    }

    async fn call(&self, call: Call) -> Result<Answer, Gone> {
        let (id, (tell, answer)) = (self.next(), oneshot::channel());
        self.with_waits(|waits| waits.calls.insert(id, tell))?;
        self.send(ToBroker::Call { id, call });
        answer.await.map_err(|_| Gone)
    }

    async fn ask(&self, call: Call) -> Result<Answer, PeopleError> {
        self.call(call).await.map_err(|gone| PeopleError::Unavailable(gone.into()))
    }
}

#[async_trait]
impl Lobby for Node {
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        let unavailable = |gone: Gone| LobbyError::Unavailable(gone.into());
        let (place, steps) = (self.next(), steps(&*rule, &ticket));
        let bytes = portable::encode_ticket(&ticket);
        let (enter, entered) = oneshot::channel();
        let (make, made) = oneshot::channel();
        let waiting = Waiting { ticket, rule, entered: Some(enter), made: make };
        self.with_waits(|waits| waits.places.insert(place, waiting)).map_err(unavailable)?;
        let seat = Seat(self.clone(), place);
        self.send(ToBroker::Enter { place, ticket: bytes, rule: steps });
        match entered.await {
            Ok(None) => Ok(Place::new(async move {
                let made = made.await.map_err(|_| unavailable(Gone));
                drop(seat);
                made
            })),
            Ok(Some(Refusal::AlreadyHere)) => Err(LobbyError::AlreadyHere),
            Ok(Some(Refusal::TooManyWaiting)) => Err(LobbyError::TooManyWaiting),
            Err(_) => Err(unavailable(Gone)),
        }
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        match self.call(Call::Census).await {
            Ok(Answer::Census { waiting, pairs }) => Ok(Census::new(waiting, pairs)),
            Ok(_) => unreachable!("another answer"),
            Err(gone) => Err(LobbyError::Unavailable(gone.into())),
        }
    }
}

#[async_trait]
impl Relay for Node {
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError> {
        let unavailable = |gone: Gone| RelayError::Unavailable(gone.into());
        let known = (chat.chat(), chat.partner().peer);
        if !chat.disarm() {
            return Err(RelayError::Foreign);
        }
        let (tell, opened) = oneshot::channel();
        let key = self.with_waits(|waits| {
            let key = waits.matches.remove(&known)?;
            waits.openings.insert(key, tell);
            Some(key)
        });
        let key = key.map_err(unavailable)?.ok_or(RelayError::Foreign)?;
        let mut opening = Opening(self.clone(), Some(key));
        self.send(ToBroker::Open(key));
        let news = opened.await.map_err(|_| unavailable(Gone))?;
        opening.1 = None;
        Ok(talk::begin(self.clone(), key, news.ok_or(RelayError::Gone)?))
    }
}

#[async_trait]
impl People for Node {
    fn arrive(&self, peer: Identity) {
        self.send(ToBroker::Tell(Tell::Arrive(peer.into())));
    }

    fn depart(&self, token: ResumeToken) {
        self.send(ToBroker::Tell(Tell::Depart { token: token.into() }));
    }

    async fn resume(
        &self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        let authenticated = authenticated.map(PersonId::to_bits);
        let call = Call::Resume { token: token.into(), other: other.into(), authenticated };
        match self.ask(call).await? {
            Answer::Person(person) => Ok(person.map(PersonId::from_bits)),
            _ => unreachable!("another answer"),
        }
    }

    async fn exclusions(&self, person: PersonId) -> Result<Exclusions, PeopleError> {
        match self.ask(Call::Exclusions { person: person.to_bits() }).await? {
            Answer::Exclusions(bytes) => {
                Ok(portable::decode_exclusions(&bytes).expect("exclusions"))
            }
            _ => unreachable!("another answer"),
        }
    }

    async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, PeopleError> {
        match self.ask(Call::KeepsApart { a: from_person_at(a), b: from_person_at(b) }).await? {
            Answer::Apart(apart) => Ok(apart),
            _ => unreachable!("another answer"),
        }
    }

    async fn met(&self, peer: Identity, partner: PersonId) -> Result<(), PeopleError> {
        self.ask(Call::Met { peer: peer.into(), partner: partner.to_bits() }).await.map(drop)
    }

    async fn block(&self, peer: Identity, other: PersonAt) -> Result<(), PeopleError> {
        self.ask(Call::Block { peer: peer.into(), other: from_person_at(other) }).await.map(drop)
    }

    fn begin_search(&self) {
        self.send(ToBroker::Tell(Tell::BeginSearch));
    }

    fn end_search(&self, waited: Option<Duration>) {
        self.send(ToBroker::Tell(Tell::EndSearch { waited }));
    }

    fn online(&self) -> u64 {
        self.queue_status().online
    }

    fn queue_status(&self) -> QueueStatus {
        *self.0.status.lock().expect("no panic under this lock")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Self(node, place) = self;
        if let Ok(Some(waiting)) = node.with_waits(|waits| waits.places.remove(place)) {
            // Outside of the lock, which the rule of an embedder may know nothing of.
            drop(waiting);
            node.send(ToBroker::Leave { place: *place });
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(key) = self.1 {
            self.0.give_up(key);
        }
    }
}

/// Asks a rule for each step of a ticket's wait, so that the broker need not know the rule.
fn steps(rule: &dyn Pairing, ticket: &Ticket) -> Steps {
    let wide = |all: Vec<Bucket>| all.into_iter().map(|bucket| Wide::from(bucket.to_bits()));
    let step = |due: &Duration| Step {
        due: *due,
        looks: wide(rule.buckets(ticket, *due)).collect(),
        stands: rule.stands_in(ticket, *due).map(|all| wide(all).collect()),
    };
    let steps = [Duration::ZERO].iter().chain(rule.widen_at()).map(step).collect();
    Steps { steps, random: rule.choice() == Choice::Random }
}

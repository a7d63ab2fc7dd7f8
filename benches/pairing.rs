//! Time per match with a crowd waiting, beside the plainest queue that does the same job; and the
//! lobby under attack.
//!
//! A crowd can only wait if it does not match itself. So all peers of a crowd are one person, whose
//! peers are never matched with each other. One cycle makes one match, and leaves as many waiting
//! as before:
//!
//! 1. A newcomer, who is another person, enters and is matched with a peer of the crowd.
//! 2. Both are told: the newcomer's place resolves, and so does its partner's.
//! 3. Both drop the match, which ends the chat.
//! 4. The partner enters again, finds no match, and waits.
//!
//! So a cycle holds two searches, of which one finds no partner, and the building of two tickets.
//! `lobby` is [`MemoryLobby`]. `machine` is the pure [`Matchmaker`] within it, without lock,
//! channels and pipe. Two threads share one lobby, and each runs half of the cycles. `plain queue`
//! has neither persons nor rules, so step 4 tells it to add to the queue; `with channels` it also
//! gives the two peers channels to talk through, as the lobby does. In `interests` each peer names
//! 5 of 1,000 tags, and a newcomer shares at least one with a peer of the crowd. `cancel` is the
//! time to drop one place, anywhere in the crowd.
//!
//! `adversarial` is a crowd that no peer accepts: two persons who have blocked each other, with 32
//! of 1,000 tags each. `entry` is one more peer of theirs that enters and leaves, `timeout` one
//! hold of the lock that resumes searches while all of them are due. The longest of each is
//! printed.
//!
//! `seeking` is a crowd of mentees: `mentor` is a mentor that enters, meets one of them and leaves,
//! and the mentee that enters again.
//!
//! The time of one thread is processor time where the system tells it (Linux), so that other load
//! disturbs it little. Two threads also wait for each other, so theirs is wall-clock time.

#![expect(clippy::print_stdout, reason = "the longest calls are printed")]

use std::{
    cell::LazyCell,
    collections::VecDeque,
    env, fs,
    hint::black_box,
    pin::Pin,
    sync::{
        Arc, Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use benches::mentoring::Mentoring;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use purrr_core::{
    Anyone, Bytes, Interests, Limits, Lobby, Pairing, Search,
    backend::{Match, MemoryLobby, Place},
    matching::{Matchmaker, PlaceKey, Request},
    model::{Attributes, Exclusions, Interest, PeerId, PersonId, Ticket},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};

const TAGS: usize = 1_000;
const TAGS_EACH: usize = 5;
const SEARCHES: usize = 1 << 14;

/// Tags of each peer of the adversarial crowd: the default limit.
const ADVERSARY_TAGS: usize = 32;

/// How many places are dropped between two looks at the clock.
const CANCELLED: u64 = 512;

/// A waiting room as the cycle uses it. Peers below the size of the crowd are of the crowd.
trait Room: Sync {
    type Place: Future<Output = Self::Told> + Send + Unpin;
    type Told;

    async fn enter(&self, peer: u64) -> Self::Place;
    fn partner(told: &Self::Told) -> u64;
}

/// Who stands in a room, and who comes.
struct People {
    crowd: u64,
    rule: Arc<dyn Pairing>,
    searches: Vec<Search>,
}

struct LobbyRoom {
    lobby: MemoryLobby,
    people: People,
}

/// A place that is known to resolve to a match.
struct Matched(Place);

/// What one would write without this crate: first come, first served, one channel each to be told
/// through.
struct PlainQueue<C> {
    waiting: Mutex<VecDeque<(u64, Teller<C>)>>,
    crowd: u64,
    /// Makes both ends of what the two talk through.
    open: fn() -> (C, C),
}

/// A place in a plain queue: it yields the partner, and one end of what they talk through.
struct Told<C>(oneshot::Receiver<(u64, C)>);

type Teller<C> = oneshot::Sender<(u64, C)>;
type Channels = (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>);

enum Stopwatch {
    Processor(Duration),
    Clock(Instant),
}

/// A room with its crowd in it.
struct World<R: Room> {
    room: R,
    places: Vec<Mutex<Option<R::Place>>>,
    newcomers: AtomicU64,
}

impl People {
    fn anyone(crowd: u64) -> Self {
        Self { crowd, rule: Arc::new(Anyone), searches: vec![Search::default()] }
    }

    fn with_interests(crowd: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let tags: Vec<Interest> =
            (0..TAGS).map(|tag| Interest::from(&*format!("tag-{tag:04}"))).collect();
        let search = |_| {
            let mine = random.choose_multiple(tags.iter(), TAGS_EACH);
            let mut search = Search::default();
            search.interests = mine.into_iter().cloned().collect();
            search
        };
        let searches = (0..SEARCHES).map(search).collect();
        Self { crowd, rule: Arc::new(Interests::default()), searches }
    }

    fn ticket(&self, peer: u64) -> Ticket {
        let mut ticket = Ticket::new(PeerId::from_bits(peer));
        let search = |peer: u64| &self.searches[peer as usize % self.searches.len()];
        ticket.search = search(peer).clone();
        if peer < self.crowd {
            ticket.person = PersonId::from_bits(u64::MAX);
        } else if let Some(mine) = ticket.search.interests.first_mut() {
            // Scattered over the crowd, and in common with a waiting peer even if that is a crowd
            // of two.
            let other = search(peer.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.crowd);
            mine.clone_from(&other.interests[0]);
        }
        ticket
    }
}

impl LobbyRoom {
    fn new(people: People) -> Self {
        let mut limits = Limits::default();
        limits.waiting_per_person = 0;
        Self { lobby: MemoryLobby::new(limits), people }
    }
}

impl Room for LobbyRoom {
    type Place = Matched;
    type Told = Match;

    async fn enter(&self, peer: u64) -> Matched {
        let entered = self.lobby.enter(self.people.ticket(peer), Arc::clone(&self.people.rule));
        Matched(entered.await.expect("every peer is in one place at a time"))
    }

    fn partner(told: &Match) -> u64 {
        told.partner().peer.to_bits()
    }
}

impl Future for Matched {
    type Output = Match;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Match> {
        Pin::new(&mut self.0).poll(cx).map(|told| told.expect("a lobby in memory does not fail"))
    }
}

impl PlainQueue<()> {
    /// One in which the two only learn of each other.
    fn bare(crowd: u64) -> Self {
        Self { waiting: Mutex::default(), crowd, open: || ((), ()) }
    }
}

impl PlainQueue<Channels> {
    fn with_channels(crowd: u64) -> Self {
        let open = || {
            let ((to_a, a), (to_b, b)) = (mpsc::channel(256), mpsc::channel(256));
            ((to_b, a), (to_a, b))
        };
        Self { waiting: Mutex::default(), crowd, open }
    }
}

impl<C: Send> Room for PlainQueue<C> {
    type Place = Told<C>;
    type Told = (u64, C);

    async fn enter(&self, peer: u64) -> Told<C> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = peer < self.crowd;
        if let Some((partner, tell_partner)) = (!stands).then(|| waiting.pop_front()).flatten() {
            drop(waiting);
            let (mine, theirs) = (self.open)();
            tell_partner.send((peer, theirs)).ok();
            tell.send((partner, mine)).ok();
        } else {
            waiting.push_back((peer, tell));
        }
        Told(told)
    }

    fn partner(told: &(u64, C)) -> u64 {
        told.0
    }
}

impl<C> Future for Told<C> {
    type Output = (u64, C);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(u64, C)> {
        Pin::new(&mut self.0).poll(cx).map(|told| told.expect("the queue keeps every channel"))
    }
}

impl Stopwatch {
    fn on_processor() -> Self {
        processor_time().map_or_else(Self::by_clock, Self::Processor)
    }

    fn by_clock() -> Self {
        Self::Clock(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        match self {
            Self::Processor(began) => processor_time().unwrap_or_default().saturating_sub(*began),
            Self::Clock(began) => began.elapsed(),
        }
    }
}

/// How long this thread has been on a processor, if the system tells.
fn processor_time() -> Option<Duration> {
    // The kernel brings the figure up to date when a thread yields, and else only now and then.
    thread::yield_now();
    let figures = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    figures.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

impl<R: Room> World<R> {
    fn new(room: R, crowd: u64) -> Self {
        let places = runtime().block_on(async {
            let mut places = Vec::new();
            for peer in 0..crowd {
                places.push(Mutex::new(Some(room.enter(peer).await)));
            }
            places
        });
        Self { room, places, newcomers: AtomicU64::new(crowd) }
    }

    /// How long so many cycles take on so many threads.
    fn run(&self, cycles: u64, threads: u64) -> Duration {
        let barrier = Barrier::new(threads as usize);
        let each = cycles.div_ceil(threads);
        let work = || {
            let runtime = runtime();
            let first = self.newcomers.fetch_add(each, Ordering::Relaxed);
            barrier.wait();
            let began =
                if threads == 1 { Stopwatch::on_processor() } else { Stopwatch::by_clock() };
            runtime.block_on(async {
                for newcomer in first..first + each {
                    self.cycle(newcomer).await;
                }
            });
            began.elapsed()
        };
        if threads == 1 {
            return work();
        }
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let times = threads.into_iter().map(|thread| thread.join().expect("no cycle fails"));
            times.max().unwrap_or_default()
        })
    }

    async fn cycle(&self, newcomer: u64) {
        let mine = self.room.enter(newcomer).await.await;
        let partner = R::partner(&mine);
        let theirs = self.take(partner).await;
        assert_eq!(R::partner(&theirs), newcomer, "both are told the same");
        drop(black_box((mine, theirs)));
        *self.slot(partner) = Some(self.room.enter(partner).await);
    }

    fn take(&self, peer: u64) -> R::Place {
        loop {
            if let Some(place) = self.slot(peer).take() {
                return place;
            }
            // The other thread has entered for this peer and is about to put its place here.
            thread::yield_now();
        }
    }

    fn slot(&self, peer: u64) -> MutexGuard<'_, Option<R::Place>> {
        self.places[peer as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it takes to drop so many places. The peers that left enter again, which is not
    /// measured.
    fn cancel(&self, places: u64) -> Duration {
        let mut random = fastrand::Rng::with_seed(places);
        let runtime = runtime();
        let mut took = Duration::ZERO;
        let mut left = places;
        while left > 0 {
            let drawn = (0..left.min(CANCELLED)).map(|_| random.u64(..self.places.len() as u64));
            let gone: Vec<_> =
                drawn.filter_map(|peer| Some((peer, self.slot(peer).take()?))).collect();
            left -= gone.len() as u64;
            let (peers, places): (Vec<u64>, Vec<R::Place>) = gone.into_iter().unzip();
            let began = Stopwatch::on_processor();
            drop(black_box(places));
            took += began.elapsed();
            runtime.block_on(async {
                for peer in peers {
                    *self.slot(peer) = Some(self.room.enter(peer).await);
                }
            });
        }
        took
    }
}

/// The same cycle through the pure machine.
struct Machine {
    matchmaker: Matchmaker<u64>,
    people: People,
    newcomers: u64,
}

impl Machine {
    fn new(people: People) -> Self {
        let newcomers = people.crowd;
        let mut machine = Self { matchmaker: Matchmaker::new(1), people, newcomers };
        (0..newcomers).for_each(|peer| machine.enter(peer));
        machine
    }

    fn enter(&mut self, peer: u64) {
        let (ticket, rule) = (Arc::new(self.people.ticket(peer)), Arc::clone(&self.people.rule));
        let entered =
            self.matchmaker.handle_enter(Duration::ZERO, Request::new(ticket, rule), peer);
        entered.expect("every peer is in one place at a time");
    }

    fn run(&mut self, cycles: u64) -> Duration {
        let began = Stopwatch::on_processor();
        for _ in 0..cycles {
            self.newcomers += 1;
            self.enter(self.newcomers);
            let made = self.matchmaker.poll_match().expect("a peer in the crowd fits");
            let peers = made.sides.map(|side| side.seat);
            self.matchmaker.handle_part(made.pair);
            // The one that came is gone; the other stands again.
            let newcomer = self.newcomers;
            for peer in peers.into_iter().filter(|peer| *peer != newcomer) {
                self.enter(peer);
            }
        }
        began.elapsed()
    }
}

fn anyone(criterion: &mut Criterion) {
    let mut group = group(criterion, "anyone");
    for crowd in crowds(&[2, 10_000, 1_000_000]) {
        measure(&mut group, crowd, People::anyone);
        let queue = LazyCell::new(|| World::new(PlainQueue::bare(crowd), crowd));
        measure_threads(&mut group, "plain queue", crowd, &queue);
        let queue = LazyCell::new(|| World::new(PlainQueue::with_channels(crowd), crowd));
        measure_threads(&mut group, "plain queue with channels", crowd, &queue);
    }
    group.finish();
}

fn interests(criterion: &mut Criterion) {
    let mut group = group(criterion, "interests");
    for crowd in crowds(&[2, 10_000, 100_000, 1_000_000]) {
        measure(&mut group, crowd, People::with_interests);
    }
    group.finish();
}

/// A crowd of two persons who have blocked each other.
struct Adversaries {
    matchmaker: Matchmaker<u64>,
    rule: Arc<dyn Pairing>,
    tags: Vec<Interest>,
    now: Duration,
    peers: u64,
    /// The longest call of each kind.
    longest: [Duration; 2],
}

impl Adversaries {
    fn new(crowd: u64) -> Self {
        let mut adversaries = Self {
            matchmaker: Matchmaker::new(1),
            rule: Arc::new(Interests::default()),
            tags: (0..TAGS).map(|tag| Interest::from(&*format!("tag-{tag:04}"))).collect(),
            now: Duration::ZERO,
            peers: 0,
            longest: [Duration::ZERO; 2],
        };
        for _ in 0..crowd {
            let request = adversaries.request();
            adversaries.enter(request);
        }
        adversaries
    }

    fn request(&mut self) -> Request {
        self.peers += 1;
        let mut random = fastrand::Rng::with_seed(self.peers);
        let mut ticket = Ticket::new(PeerId::from_bits(self.peers));
        let persons = [0, 1].map(PersonId::from_bits);
        let mine = self.peers as usize % 2;
        ticket.person = persons[mine];
        ticket.exclusions = Exclusions::default().blocking([persons[1 - mine]]);
        let tags = random.choose_multiple(self.tags.iter(), ADVERSARY_TAGS);
        ticket.search.interests = tags.into_iter().cloned().collect();
        Request::new(Arc::new(ticket), Arc::clone(&self.rule))
    }

    fn enter(&mut self, request: Request) -> PlaceKey {
        let entered = self.matchmaker.handle_enter(self.now, request, self.peers);
        entered.expect("every peer enters once")
    }

    fn entries(&mut self, count: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let request = self.request();
            let began = Stopwatch::on_processor();
            let place = self.enter(request);
            self.matchmaker.handle_leave(place);
            let elapsed = began.elapsed();
            self.longest[0] = self.longest[0].max(elapsed);
            took += elapsed;
        }
        took
    }

    fn timeouts(&mut self, count: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            self.now += Duration::from_millis(10);
            let began = Stopwatch::on_processor();
            self.matchmaker.handle_timeout(self.now);
            let elapsed = began.elapsed();
            self.longest[1] = self.longest[1].max(elapsed);
            took += elapsed;
        }
        assert!(self.matchmaker.poll_match().is_none(), "no peer of the crowd accepts another");
        took
    }
}

fn adversarial(criterion: &mut Criterion) {
    let mut group = group(criterion, "adversarial");
    for crowd in crowds(&[1_000, 100_000]) {
        let mut adversaries = Adversaries::new(crowd);
        group.bench_function(BenchmarkId::new("entry", crowd), |bencher| {
            bencher.iter_custom(|count| adversaries.entries(count));
        });
        group.bench_function(BenchmarkId::new("timeout", crowd), |bencher| {
            bencher.iter_custom(|count| adversaries.timeouts(count));
        });
        let [entry, timeout] = adversaries.longest;
        println!("longest with {crowd} waiting: entry {entry:?}, timeout {timeout:?}");
    }
    group.finish();
}

/// Mentors and mentees, who seek each other: a mentor meets one of a crowd of mentees, who enters
/// again when the chat has ended.
fn seeking(criterion: &mut Criterion) {
    let mut group = group(criterion, "seeking");
    for crowd in crowds(&[1_000, 20_000]) {
        let rule: Arc<dyn Pairing> = Arc::new(Mentoring);
        let mut machine = Matchmaker::new(1);
        let enter = |machine: &mut Matchmaker<u64>, peer: u64| {
            let mut ticket = Ticket::new(PeerId::from_bits(peer));
            ticket.attributes = Attributes::default().with("mentor", peer >= crowd);
            let request = Request::new(Arc::new(ticket), Arc::clone(&rule));
            machine.handle_enter(Duration::ZERO, request, peer).expect("it is in one place");
        };
        (0..crowd).for_each(|peer| enter(&mut machine, peer));
        assert_eq!(machine.poll_timeout(), None, "a crowd of one kind is idle");
        group.bench_function(BenchmarkId::new("mentor", crowd), |bencher| {
            bencher.iter(|| {
                enter(&mut machine, crowd);
                let made = machine.poll_match().expect("a mentee waits");
                machine.handle_part(made.pair);
                enter(&mut machine, made.sides[0].seat);
            });
        });
    }
    group.finish();
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, crowd: u64, people: fn(u64) -> People) {
    let lobby = LazyCell::new(|| World::new(LobbyRoom::new(people(crowd)), crowd));
    measure_threads(group, "lobby", crowd, &lobby);
    if crowd >= CANCELLED {
        group.bench_function(BenchmarkId::new("cancel", crowd), |bencher| {
            let lobby = LazyCell::force(&lobby);
            bencher.iter_custom(|places| lobby.cancel(places));
        });
    }
    drop(lobby);
    let mut machine = None;
    group.bench_function(BenchmarkId::new("machine", crowd), |bencher| {
        let machine = machine.get_or_insert_with(|| Machine::new(people(crowd)));
        bencher.iter_custom(|cycles| machine.run(cycles));
    });
}

/// Cycles on one thread and on two, in a room that is filled only when it is needed.
fn measure_threads<R: Room>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    crowd: u64,
    world: &LazyCell<World<R>, impl FnOnce() -> World<R>>,
) {
    for (threads, suffix) in [(1, ""), (2, ", two threads")] {
        group.bench_function(BenchmarkId::new(format!("{name}{suffix}"), crowd), |bencher| {
            // Filled before the watch runs, for criterion plans by what it sees.
            let world = LazyCell::force(world);
            bencher.iter_custom(|cycles| world.run(cycles, threads));
        });
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group
}

/// A smoke run builds no large crowds.
fn crowds(sizes: &'static [u64]) -> impl Iterator<Item = u64> {
    let smoke = env::args().any(|argument| argument == "--test");
    sizes.iter().copied().filter(move |crowd| !smoke || *crowd <= 10_000)
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without sockets needs nothing that could be missing")
}

criterion_group!(benches, anyone, interests, seeking, adversarial);
criterion_main!(benches);

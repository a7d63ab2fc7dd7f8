//! Two clients that chat whatever the others do, and a probe of the server's health:
//! [`Bystanders`].

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use crate::support::{Answer, Peer, soon};

/// They live on a thread of their own, so that what the story does on the others does not hold them
/// up.
pub(crate) struct Bystanders {
    /// Connections that they have open.
    pub(crate) sockets: usize,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    talking: JoinHandle<()>,
}

/// How long it took for a word to go and another to come back, and to be told that the server is
/// alive.
#[derive(Default)]
pub(crate) struct Seen {
    turns: Vec<Duration>,
    health: Vec<Duration>,
    searches: Vec<Duration>,
}

/// Between two turns.
const PACE: Duration = Duration::from_millis(20);

/// How many turns there are between two questions about the server's health.
const HEALTH_EVERY: usize = 5;

/// The pause between two searches of the pair that searches.
const SEARCH_PACE: Duration = Duration::from_millis(200);

impl Bystanders {
    /// Two who chat already. If no other client can connect, the watcher does so now.
    ///
    /// If `searching`, a third and a fourth one search for each other over and over.
    pub(crate) fn start(address: SocketAddr, crowded: bool, searching: bool) -> Self {
        let (seen, stop) = (Arc::default(), Arc::default());
        let (chatting, ready) = std::sync::mpsc::channel();
        let talking = std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let (ann, bob, _) = Peer::pair(address).await;
                    let watcher = match crowded {
                        true => Some(TcpStream::connect(address).await.unwrap()),
                        false => None,
                    };
                    chatting.send(()).unwrap();
                    let talking = talk(address, ann, bob, watcher, &seen, &stop);
                    tokio::join!(talking, async {
                        if searching {
                            search(address, &seen, &stop).await;
                        }
                    });
                });
            }
        });
        ready.recv().unwrap();
        Self { sockets: 2 + usize::from(crowded), seen, stop, talking }
    }

    /// Forgets what they have seen so far.
    pub(crate) fn forget(&self) {
        *self.seen.lock().unwrap() = Seen::default();
    }

    pub(crate) fn assert_well(&self) {
        assert!(!self.talking.is_finished(), "the bystanders were disturbed");
    }

    /// Lets them go; what they have seen. Fails if anything was not as it should be.
    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.talking.join().expect("the bystanders were disturbed");
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn talk(
    address: SocketAddr,
    mut ann: Peer,
    mut bob: Peer,
    mut watcher: Option<TcpStream>,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) {
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let said = format!(r#"{{"type":"message","text":"turn {turn}"}}"#);
        let began = Instant::now();
        ann.send(&*said).await;
        bob.gets(&said).await;
        bob.send(&*said).await;
        ann.gets(&said).await;
        seen.lock().unwrap().turns.push(began.elapsed());
        if turn % HEALTH_EVERY == 0 {
            let began = Instant::now();
            let mut fresh = None;
            let stream = match &mut watcher {
                Some(kept) => kept,
                None => {
                    let connecting = soon("a connection", TcpStream::connect(address));
                    fresh.insert(connecting.await.unwrap())
                }
            };
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert_eq!(Answer::read_from(stream).await.status, 200);
            seen.lock().unwrap().health.push(began.elapsed());
        }
        sleep(PACE).await;
    }
}

/// Searches for each other as two new people, by an interest that no other client has.
async fn search(address: SocketAddr, seen: &Mutex<Seen>, stop: &AtomicBool) {
    for at in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let find = format!(r#"{{"type":"find","interests":["bystanders {at}"]}}"#);
        let mut first = Peer::connect(address, "the first to search").await;
        let mut second = Peer::connect(address, "the second to search").await;
        first.send(&*find).await;
        first.gets_type("waiting").await;
        let began = Instant::now();
        second.send(find).await;
        second.gets_type("waiting").await;
        for peer in [&mut first, &mut second] {
            peer.gets_type("matched").await;
        }
        seen.lock().unwrap().searches.push(began.elapsed());
        drop((first, second));
        sleep(SEARCH_PACE).await;
    }
}

impl Seen {
    /// The most that a search took.
    pub(crate) fn longest_search(&self) -> Option<Duration> {
        self.searches.iter().max().copied()
    }
}

impl fmt::Display for Seen {
    /// As cells of the table: the median, the 99th percentile and the most of their turns, and the
    /// most for the health, in ms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut turns = self.turns.clone();
        turns.sort();
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let [median, high] = [50, 99].map(|part| ms(turns.get(turns.len() * part / 100)));
        let (most, health) = (ms(turns.last()), ms(self.health.iter().max()));
        write!(f, "{median:.1} / {high:.1} / {most:.1} | {health:.1}")
    }
}

//! Clients that leave a partner that reads slowly.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    chaos::{
        dialect::{Heard, Native, PurrrChat, Saying, Tongue},
        log::{Name, News},
        wire::Wire as Connection,
    },
    faults::{Story, check, size, within},
    support::wire::{FIN, PONG, Wire, frame},
};

/// What the images and the partner's pace are in the small story and in the full one.
///
/// Of the two images, one is on its way out, the other fills the send queue (`--queue-bytes`), and
/// the word behind them is held.
struct Sizes {
    /// Bytes of each image.
    image: usize,
    /// What the partner takes at a time.
    sip: usize,
    pause: Duration,
    /// How long a client may take to leave. The server bears with the partner for longer: 10 s in
    /// the small story.
    at_once: Duration,
}

impl Sizes {
    fn new() -> Self {
        let milliseconds = |small, full| Duration::from_millis(size(small, full) as u64);
        Self {
            image: size(400_000, 1_100_000),
            sip: size(10_000, 40_000),
            pause: milliseconds(500, 8_000),
            at_once: milliseconds(8_000, 3_000),
        }
    }
}

/// As [`Sizes`] has them in the small story: 6 s of stall, and 4 s for 800,000 bytes.
const SMALL_LIMITS: [&str; 6] =
    ["--stall", "6s", "--min-read-rate", "200000", "--queue-bytes", "300000"];

/// How long the server may bear with the partner. By default that is at most `--stall` and 1 s for
/// each 8 KiB of the images: 279 s.
const LONGEST: Duration = Duration::from_secs(500);

/// The front that a client leaves by.
#[derive(Clone, Copy, Debug)]
enum Front {
    Native,
    Socket,
    Polling,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Leave,
    Next,
    Block,
}

/// On the Purrr.chat dialect `block` is the same event as `leave`.
const CASES: [(Front, Way); 7] = [
    (Front::Native, Way::Leave),
    (Front::Native, Way::Next),
    (Front::Native, Way::Block),
    (Front::Socket, Way::Leave),
    (Front::Socket, Way::Next),
    (Front::Polling, Way::Leave),
    (Front::Polling, Way::Next),
];

#[tokio::test]
async fn leaving_a_slow_reader() {
    let sizes = Sizes::new();
    let Sizes { sip, pause, .. } = sizes;
    let story = Story::new(format!(
        "{} partners take {sip} bytes every {pause:?} of two images; `leave`, `next`, `block`",
        CASES.len()
    ));
    let story = story.hurried(&SMALL_LIMITS);
    check(story.large().searched(), async |target| {
        let (mut readers, mut longest) = (Vec::new(), Duration::ZERO);
        for (front, way) in CASES {
            let mut sender = Sender::connect(target.address, front).await;
            sender.say(Saying::Find { interests: &[] });
            sender.until(|news| *news == News::Waiting).await;
            let reader = slow_reader(target.address, sip, pause).await;
            sender.until(|news| matches!(news, News::Matched { .. })).await;
            longest = longest.max(sender.leaves(way, &sizes).await);
            assert!(!reader.is_finished(), "{front:?}: the partner was given up before");
            readers.push(reader);
        }
        let ends = timeout(LONGEST, join_all(readers)).await.expect("slow readers are closed");
        let last = ends.into_iter().map(Result::unwrap).max().unwrap_or_default();
        format!(
            "done after {:.0} ms at most; the partners closed after {:.1} s",
            longest.as_secs_f64() * 1e3,
            last.as_secs_f64()
        )
    })
    .await;
}

/// A client that leaves its partner, to which two images and a word are still to go.
struct Sender {
    connection: Connection,
    tongue: Box<dyn Tongue>,
}

impl Sender {
    async fn connect(address: SocketAddr, front: Front) -> Self {
        let connection = match front {
            Front::Native => Connection::websocket(address, "/ws").await,
            Front::Socket => {
                Connection::websocket(address, "/socket.io/?EIO=4&transport=websocket").await
            }
            Front::Polling => Connection::polling(address).await,
        };
        let tongue: Box<dyn Tongue> = match front {
            Front::Native => Box::new(Native::default()),
            Front::Socket | Front::Polling => Box::new(PurrrChat::default()),
        };
        let mut sender = Self { connection, tongue };
        sender.until(|news| matches!(news, News::Welcome(_))).await;
        sender.say(Saying::Hello {
            name: Name { person: 1, life: 1, search: 1 },
            keyed: false,
            resumes: false,
            resume: None,
        });
        sender
    }

    /// Sends two images and a word, and leaves. Returns how long that took.
    async fn leaves(mut self, way: Way, sizes: &Sizes) -> Duration {
        for id in 1..=2 {
            let body = "x".repeat(sizes.image);
            self.say(Saying::Image { id, body, sealed: false, chat: None });
        }
        self.say(Saying::Text { id: 3, text: "a word".to_owned(), chat: None });
        // Until all is sent that the server takes.
        let sent = self.until(|news| matches!(news, News::Left(_)));
        timeout(Duration::from_millis(150), sent).await.expect_err("the partner is there");
        let began = Instant::now();
        self.say(match way {
            Way::Leave => Saying::Leave,
            Way::Next => Saying::Next,
            Way::Block => Saying::Block,
        });
        self.until(|news| match way {
            Way::Leave | Way::Block => matches!(news, News::Idle | News::Left(None)),
            Way::Next => *news == News::Waiting,
        })
        .await;
        let took = began.elapsed();
        assert!(took < sizes.at_once, "{way:?} was done after {took:?}");
        self.connection.close().await;
        took
    }

    fn say(&mut self, saying: Saying<'_>) {
        self.tongue.say(saying).into_iter().for_each(|raw| self.connection.queue(raw));
    }

    async fn until(&mut self, is_it: impl Fn(&News) -> bool) {
        within("an answer to the sender", async {
            loop {
                let raw = self.connection.next().await.expect("the sender is not cut off");
                match self.tongue.hear(raw) {
                    Heard::News(news) if is_it(&news) => return,
                    Heard::News(News::Refused(code)) => panic!("refused with {code}"),
                    Heard::Answer(raw) => self.connection.queue(raw),
                    Heard::News(_) | Heard::Nothing => {}
                }
            }
        })
        .await;
    }
}

/// Searches, and then takes a little now and then. Yields how long the server bore with it.
async fn slow_reader(address: SocketAddr, sip: usize, pause: Duration) -> JoinHandle<Duration> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut wire = Wire::shake_hands(address, socket.connect(address).await.unwrap()).await;
    wire.say(r#"{"type":"find"}"#).await;
    let began = Instant::now();
    tokio::spawn(async move {
        let mut sip = vec![0; sip];
        while wire.stream.read_exact(&mut sip).await.is_ok() {
            // Its pings are behind what it has not read.
            wire.stream.write_all(&frame(FIN | PONG, b"")).await.ok();
            sleep(pause).await;
        }
        began.elapsed()
    })
}

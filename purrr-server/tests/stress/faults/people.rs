//! Addresses with many people: for the chats of others, and for what the server remembers.

use std::{
    cell::Cell,
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt, future::join_all, stream};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    faults::{Story, check, crowd::search, is_full, size, within},
    support::soon,
};

// ---- One address among many ---------------------------------------------------------------------

const ATTACKERS: usize = 60;
const PERSONS: usize = 6;
const HONEST: usize = 40;

/// How many times faster than by default clients chat unless the story has its full size.
const HURRY: u32 = 20;

/// Chats of an honest client that are not counted. They begin while others still arrive.
const WARM_UP: usize = 2;

/// Percent of the chats. It is about 90 without the preference for other addresses, or 66 on a
/// machine that is very busy, and about 1 with it.
const MOST_PERCENT: usize = 25;

#[tokio::test]
async fn one_address_among_many() {
    let count = size(150, 250);
    let story = Story::new(format!(
        "{ATTACKERS} connections of one address as {PERSONS} people, {HONEST} honest people of \
         other addresses, {count} chats"
    ));
    // The time for which a crowded address is avoided is long against any pause of the machine.
    let story = story.behind_proxy().hurried(&["--recent-relax", "2s", "--find-rate", "100+200"]);
    check(story.searched(), async |target| {
        let address = target.address;
        let mut attackers: Vec<Client> = Vec::new();
        for at in 0..ATTACKERS {
            let mut client = Client::connect(address, "192.0.2.1").await;
            // Each connection of a person resumes by the token of the one before.
            let token = at.checked_sub(PERSONS).map(|before| attackers[before].token.clone());
            client.says_hello("attacker", token.as_deref()).await;
            attackers.push(client);
        }
        // All are connected before any of them searches.
        let honest = join_all((0..HONEST).map(async |at| {
            let mut client = Client::connect(address, format!("198.51.100.{at}")).await;
            client.says_hello("honest", None).await;
            client
        }));
        let (ended, mut ends) = mpsc::unbounded_channel();
        let attack = join_all(attackers.into_iter().map(attack));
        let chats = join_all(honest.await.into_iter().map(|client| chat_honestly(client, &ended)));
        // A number of chats and not a time, so that a slow machine counts as many.
        let counting = async {
            let mut attacked = 0;
            for _ in 0..count {
                let partner = within("the next chat", ends.recv()).await;
                attacked += usize::from(partner.as_deref() == Some("attacker"));
            }
            attacked
        };
        let attacked = tokio::select! {
            attacked = counting => attacked,
            _ = attack => unreachable!("the attackers never stop"),
            _ = chats => unreachable!("the honest people never stop"),
        };
        let share = attacked * 100 / count;
        assert!(share < MOST_PERCENT, "{share} % of {count} chats were with the one address");
        format!("{share} % of {count} chats of the honest people were with the one address")
    })
    .await;
}

/// Leaves each partner soon, for the next one.
async fn attack(mut client: Client) {
    loop {
        client.meets().await;
        client.chats(scaled(1_000)).await;
        sleep(scaled(fastrand::u64(0..1_000))).await;
    }
}

/// Has one chat after the other. After the warm-up, reports the partner of each.
async fn chat_honestly(mut client: Client, chats: &mpsc::UnboundedSender<String>) {
    for chat in 0.. {
        let partner = client.meets().await;
        if chat >= WARM_UP {
            chats.send(partner).ok();
        }
        client.chats(scaled(fastrand::u64(10_000..60_000))).await;
        sleep(scaled(fastrand::u64(0..1_000))).await;
    }
}

fn scaled(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds) / if is_full() { 1 } else { HURRY }
}

// ---- A person that waits in many places ---------------------------------------------------------

#[tokio::test]
async fn one_person_waits_in_many_places() {
    const ADDRESSES: usize = 5;
    /// The default of `--waiting-per-person`.
    const PLACES: usize = 4;
    let (count, pace) = (size(200, 4_000), Duration::from_millis(size(100, 2_000) as u64));
    let lasts = Duration::from_secs(size(3, 30) as u64);
    let story = Story::new(format!(
        "{count} connections of {ADDRESSES} addresses, one person each, wait with 32 interests and \
         change their names, {} a second in all, {lasts:?}",
        count as u128 * 1_000 / pace.as_millis()
    ));
    let story = story.behind_proxy();
    check(story.searched(), async |target| {
        let renames = Arc::<AtomicUsize>::default();
        let mut attack = JoinSet::new();
        let mut tokens = [const { None::<String> }; ADDRESSES];
        for at in 0..count {
            let from = format!("192.0.2.{}", at % ADDRESSES);
            let mut client = Client::connect(target.address, from).await;
            // Each connection of a person resumes by the token of the one before.
            let token = tokens[at % ADDRESSES].replace(client.token.clone());
            client.says_hello("a name", token.as_deref()).await;
            // Answered with an error, and only after that.
            client.send(r#"{"type":"fence"}"#).await;
            client.gets("error").await;
            attack.spawn(change_names(at, client, pace, Arc::clone(&renames)));
        }
        let mut most = 0;
        let watching = async {
            loop {
                most = most.max(target.gauges().await[1]);
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(lasts, watching).await.expect_err("it watches all the while");
        // One of the bystanders waits, too.
        assert!(most <= (ADDRESSES * PLACES + 1) as u64, "{most} places were taken");
        format!("{most} places at most; {} new names", renames.load(Ordering::Relaxed))
    })
    .await;
}

/// Searches by interests that no other client has, and changes its name until it is cut off.
async fn change_names(at: usize, client: Client, pace: Duration, renames: Arc<AtomicUsize>) {
    let interests: Vec<_> = (0..32).map(|tag| format!("{at} {tag}")).collect();
    let find = serde_json::json!({"type": "find", "interests": interests});
    let (mut said, mut heard) = client.socket.split();
    let saying = async {
        let mut message = find.to_string();
        while said.send(Message::text(message)).await.is_ok() {
            let number = renames.fetch_add(1, Ordering::Relaxed);
            message = format!(r#"{{"type":"hello","name":"name {number}"}}"#);
            sleep(pace).await;
        }
    };
    tokio::join!(saying, async { while let Some(Ok(_)) = heard.next().await {} });
}

// ---- A blocked person that comes back -----------------------------------------------------------

#[tokio::test]
async fn blocked_person_comes_back() {
    let attempts = size(6, 20);
    let wait = Duration::from_millis(size(200, 4_000) as u64);
    let story = Story::new(format!(
        "a blocked person comes back {attempts} times from its address without its token"
    ));
    let story = story.behind_proxy().hurried(&["--recent-relax", "50ms"]);
    check(story.searched(), async |target| {
        const FIND: &str = r#"{"type":"find","interests":["cats"]}"#;
        let connect = async |from: &str, name: &str| {
            let mut client = Client::connect(target.address, from).await;
            client.says_hello(name, None).await;
            client
        };
        let mut victim = connect("198.51.100.1", "victim").await;
        let mut blocked = connect("192.0.2.1", "blocked").await;
        victim.send(FIND).await;
        blocked.send(FIND).await;
        assert_eq!(victim.is_matched().await, "blocked");
        assert_eq!(blocked.is_matched().await, "victim");
        victim.send(r#"{"type":"block"}"#).await;
        victim.gets("idle").await;
        blocked.gets("left").await;
        drop(blocked);
        for attempt in 0..attempts {
            let mut again = connect("192.0.2.1", "blocked").await;
            // Each is the one that waits in half of the attempts.
            let mut both = [&mut victim, &mut again];
            both.rotate_left(attempt % 2);
            for client in &mut both {
                client.send(FIND).await;
                client.gets("waiting").await;
            }
            victim.hears_nothing_for(wait).await;
            again.hears_nothing_for(Duration::from_millis(1)).await;
            // Other people still meet either of them.
            let mut others = Vec::new();
            for number in 0..2 {
                let mut other = connect(&format!("203.0.113.{number}"), "other").await;
                other.send(FIND).await;
                let partner = other.is_matched().await;
                others.push((other, partner));
            }
            others.sort_by(|(_, one), (_, other)| one.cmp(other));
            assert_eq!([&*others[0].1, &*others[1].1], ["blocked", "victim"]);
            for client in [&mut victim, &mut again] {
                assert_eq!(client.is_matched().await, "other");
            }
            victim.leaves().await;
        }
        format!("met the victim in none of {attempts} attempts; other people in each")
    })
    .await;
}

// ---- Strangers that block each other ------------------------------------------------------------

/// Absent people that the server remembers in the small story, of whom 600 come.
const REMEMBERED: [&str; 2] = ["--remembered", "200"];

#[tokio::test]
async fn strangers_block_each_other() {
    const ADDRESSES: usize = 8;
    let pairs = size(300, 60_000);
    let wait = Duration::from_millis(size(500, 5_000) as u64);
    let mut story = Story::new(format!(
        "{} strangers of {ADDRESSES} addresses meet and block each other",
        2 * pairs
    ));
    story = story.behind_proxy().hurried(&REMEMBERED).hurried(&["--recent-relax", "50ms"]);
    check(story.searched(), async |target| {
        // Of one address, which a block does not cover.
        let mut both = [
            Client::connect(target.address, "198.51.100.1").await,
            Client::connect(target.address, "198.51.100.1").await,
        ];
        meet(&mut both, &search(0)).await;
        block(&mut both[..1]).await;
        both[1].gets("left").await;

        let longest = Cell::new(Duration::ZERO);
        let strangers = stream::iter(1..=pairs).map(async |pair| {
            let from = |at: usize| format!("192.0.2.{}", (pair + at) % ADDRESSES);
            let mut two = [
                Client::connect(target.address, from(0)).await,
                Client::connect(target.address, from(1)).await,
            ];
            let began = Instant::now();
            meet(&mut two, &search(pair)).await;
            longest.set(began.elapsed().max(longest.get()));
            block(&mut two).await;
        });
        let strangers = strangers.buffer_unordered(64).collect::<()>();
        // They must answer pings meanwhile, or they would not stay online.
        let online = join_all(both.iter_mut().map(Client::hears));
        tokio::select! {
            () = strangers => {}
            heard = online => panic!("two who are idle were told {heard:?}"),
        }

        for client in &mut both {
            client.searches(&search(0)).await;
        }
        // All answer pings while they wait, or the server would not match them.
        join_all(both.iter_mut().map(|client| client.hears_nothing_for(wait))).await;
        // Each of them still meets another person.
        let others = async {
            for number in 0..2 {
                let from = format!("203.0.113.{number}");
                let mut other = Client::connect(target.address, from).await;
                other.searches(&search(0)).await;
                other.is_matched().await;
            }
        };
        tokio::join!(others, join_all(both.iter_mut().map(Client::is_matched)));
        format!(
            "a block between two that stayed online holds; strangers met within {:.0} ms",
            longest.get().as_secs_f64() * 1e3
        )
    })
    .await;
}

/// Two find each other by interests that no other client has. Both answer pings meanwhile.
async fn meet(two: &mut [Client; 2], find: &str) {
    join_all(two.iter_mut().map(async |client| {
        client.searches(find).await;
        client.is_matched().await;
    }))
    .await;
}

/// Each blocks its partner, which may have left.
async fn block(clients: &mut [Client]) {
    for client in clients {
        client.send(r#"{"type":"block"}"#).await;
        client.until("idle").await;
    }
}

// ---- Their clients ------------------------------------------------------------------------------

/// A client of an address that it names as a proxy does.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// Resumes the person.
    token: String,
}

impl Client {
    /// Connects, again and again while the address connects too often.
    pub(crate) async fn connect(address: SocketAddr, from: impl Display) -> Self {
        let from = from.to_string();
        let socket = loop {
            let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
            request.headers_mut().insert("x-forwarded-for", from.parse().unwrap());
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            match soon("a handshake", client_async(request, stream)).await {
                Ok((socket, _)) => break socket,
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        };
        let mut client = Self { socket, token: String::new() };
        let welcome = client.gets("welcome").await;
        client.token = welcome["resume"].as_str().expect("a welcome brings a token").to_owned();
        client
    }

    async fn send(&mut self, text: &str) {
        let sent = self.socket.send(Message::text(text)).await;
        sent.expect("the connection takes messages");
    }

    async fn says_hello(&mut self, name: &str, token: Option<&str>) {
        let mut hello = serde_json::json!({"type": "hello", "name": name});
        if let Some(token) = token {
            hello["resume"] = token.into();
        }
        self.send(&hello.to_string()).await;
    }

    /// Waits for the next message that is no ping, however long.
    async fn hears(&mut self) -> Value {
        loop {
            match self.socket.next().await.expect("the connection goes on").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a text was due, not {other:?}"),
            }
        }
    }

    /// The next message is of this type.
    async fn gets(&mut self, kind: &str) -> Value {
        let message = within(kind, self.hears()).await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Skips messages of other types.
    async fn until(&mut self, kind: &str) {
        within(kind, async { while self.hears().await["type"] != kind {} }).await;
    }

    async fn hears_nothing_for(&mut self, time: Duration) {
        let heard = timeout(time, self.hears()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Begins to search, again and again while the server refuses.
    async fn searches(&mut self, find: &str) {
        loop {
            self.send(find).await;
            let answer = within("an answer to a search", async {
                loop {
                    let answer = self.hears().await;
                    // Of the chat before.
                    if answer["type"] != "left" {
                        break answer;
                    }
                }
            })
            .await;
            match answer["type"].as_str() {
                Some("waiting") => return,
                Some("error") if answer["code"] == "too-many" => {}
                Some("error") if answer["code"] == "rate-limited" => {}
                _ => panic!("a search was answered with {answer}"),
            }
            sleep(scaled(200)).await;
        }
    }

    /// Searches for any partner, however long. Returns the name of the partner.
    async fn meets(&mut self) -> String {
        self.searches(r#"{"type":"find"}"#).await;
        loop {
            let heard = self.hears().await;
            if heard["type"] == "matched" {
                return heard["partner"]["name"].as_str().unwrap_or_default().to_owned();
            }
        }
    }

    /// Returns the name of the partner of a search that ends now.
    async fn is_matched(&mut self) -> String {
        loop {
            let heard = within("a match", self.hears()).await;
            match heard["type"].as_str() {
                Some("matched") => {
                    return heard["partner"]["name"].as_str().unwrap_or_default().to_owned();
                }
                Some("waiting") => {}
                _ => panic!("a match was due, not {heard}"),
            }
        }
    }

    /// Chats this long, or until the partner leaves.
    async fn chats(&mut self, lasts: Duration) {
        if timeout(lasts, self.hears()).await.is_err() {
            self.leaves().await;
        }
    }

    async fn leaves(&mut self) {
        self.send(r#"{"type":"leave"}"#).await;
        self.until("idle").await;
    }
}

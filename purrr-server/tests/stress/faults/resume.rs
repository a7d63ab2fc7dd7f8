//! Clients that lose their connections and resume, and one that guesses at their tokens.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    faults::{
        Story, check,
        crowd::{hears, search},
        is_full,
        people::Client as Stranger,
        size,
        target::Target,
        within,
    },
    support::Peer,
};

/// How a client loses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Reset: the server is told at once.
    Reset,
    /// The server is told nothing. The client returns over another network.
    HalfOpen,
}

// ---- Cuts ---------------------------------------------------------------------------------------

#[tokio::test]
async fn cut_connections_resume_their_chats() {
    // The default window is 30 s, that of the small story 2 s.
    let gaps = match is_full() {
        true => [3_000, 8_000, 20_000, 40_000],
        false => [200, 500, 1_300, 2_700],
    };
    let chats = size(5, 20);
    let names = gaps.map(|gap| format!("{:?}", Duration::from_millis(gap))).join(", ");
    let story = Story::new(format!(
        "{chats} chats each cut for {names}: one side or both, by a reset or half-open"
    ));
    check(story.hurried(&["--resume-window", "2s"]), async |target| {
        let mut ends = Vec::new();
        for (row, gap) in gaps.into_iter().enumerate() {
            let survives = row + 1 < gaps.len();
            for (loss, both) in [
                (Loss::Reset, false),
                (Loss::Reset, true),
                (Loss::HalfOpen, false),
                (Loss::HalfOpen, true),
            ] {
                // The window of a half-open connection begins with the timeout of a heartbeat.
                if !survives && loss == Loss::HalfOpen {
                    continue;
                }
                for _ in 0..chats {
                    let pair = Client::pair(target.address, ends.len()).await;
                    let cut = Cut { gap: Duration::from_millis(gap), loss, both, survives };
                    ends.push(tokio::spawn(cut.befalls(target.address, pair)));
                }
            }
        }
        let count = ends.len();
        for end in join_all(ends).await {
            end.unwrap();
        }
        let lost = 2 * chats;
        format!("{} went on, exactly once and in order; {lost} ended as `lost`", count - lost)
    })
    .await;
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    gap: Duration,
    loss: Loss,
    both: bool,
    /// The gap is shorter than the window.
    survives: bool,
}

impl Cut {
    async fn befalls(self, address: SocketAddr, [mut ann, mut bob]: [Client; 2]) {
        ann.says(3).await;
        bob.says(3).await;
        // What is not read by then is lost with the connection.
        bob.hears(1).await;
        ann.hears(2).await;
        let old = ann.loses(self.loss);
        let old_too = match self.both {
            true => bob.loses(self.loss),
            false => None,
        };
        if self.both {
            sleep(self.gap).await;
        } else {
            bob.says(2).await;
            if timeout(self.gap, bob.reads_to_the_end()).await.is_ok() {
                assert!(!self.survives, "{self:?}: told {:?}", bob.left);
            }
        }
        ann.returns(address).await;
        if self.both {
            bob.returns(address).await;
        }
        drop((old, old_too));
        if !self.survives {
            for mut client in [ann, bob] {
                within("an end", client.reads_to_the_end()).await;
                assert_eq!(client.left.as_deref(), Some("lost"), "{self:?}");
                client.closes().await;
            }
            return;
        }
        part(ann, bob).await;
    }
}

/// Both say more, hear all that the other one has ever said, and end the chat.
async fn part(mut ann: Client, mut bob: Client) {
    ann.says(2).await;
    bob.says(2).await;
    let (all_of_bob, all_of_ann) = (bob.said, ann.said);
    tokio::join!(ann.hears(all_of_bob), bob.hears(all_of_ann));
    ann.send(&json!({"type": "leave"})).await;
    bob.reads_to_the_end().await;
    assert_eq!(bob.left.as_deref(), Some("left"));
    assert_eq!((ann.received, bob.received), (all_of_bob, all_of_ann + 1));
    ann.closes().await;
    bob.closes().await;
}

// ---- Take-over ----------------------------------------------------------------------------------

#[tokio::test]
async fn take_over_while_the_old_connection_writes() {
    let chats = size(5, 50);
    let story = Story::new(format!(
        "{chats} sessions taken over, three times each, while the old connection still writes"
    ));
    check(story, async |target| {
        let mut ends = Vec::new();
        for at in 0..chats {
            let pair = Client::pair(target.address, at).await;
            ends.push(tokio::spawn(taken_over(target.address, pair)));
        }
        let mut arrived = 0;
        for end in join_all(ends).await {
            arrived += end.unwrap();
        }
        format!("{arrived} frames arrived, once and in order")
    })
    .await;
}

/// Returns how many frames of the old connections arrived.
async fn taken_over(address: SocketAddr, [mut ann, bob]: [Client; 2]) -> u64 {
    let (done, is_done) = tokio::sync::oneshot::channel::<u64>();
    let listening = tokio::spawn(async move {
        let mut bob = bob;
        tokio::pin!(is_done);
        loop {
            tokio::select! {
                all = &mut is_done => {
                    bob.hears(all.unwrap()).await;
                    return bob;
                }
                () = bob.hears_one() => {}
            }
        }
    });
    let mut arrived = 0;
    for _ in 0..3 {
        let begun = ann.said;
        let mut old = ann.loses(Loss::HalfOpen).unwrap();
        let (fresh, token) = arrive(address).await;
        ann.peer = Some(fresh);
        let chat = ann.chat.clone();
        let writing = async {
            let mut written = begun;
            // Until the server has closed, and the system tells that nothing more is taken.
            let refused = async {
                loop {
                    let frame = message(&chat, written);
                    if old.socket.send(Message::text(frame)).await.is_err() {
                        break;
                    }
                    written += 1;
                    if written % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            };
            within("the end of the old connection", refused).await;
            let closed = within("a close", async {
                loop {
                    match old.socket.next().await {
                        Some(Ok(Message::Close(Some(frame)))) => break Some(frame.code.into()),
                        Some(Ok(_)) => {}
                        // A reset may overtake the close, as the client still wrote.
                        Some(Err(_)) | None => break None,
                    }
                }
            })
            .await;
            assert!(closed.is_none_or(|code: u16| code == 4409), "closed with {closed:?}");
            written
        };
        let claiming = async {
            sleep(Duration::from_millis(fastrand::u64(5..40))).await;
            let claim = ann.claim();
            ann.send(&claim).await;
            let answer = ann.until("resumed").await;
            ann.is_resumed(&answer, token)
        };
        let (written, received) = tokio::join!(writing, claiming);
        // The last frames before the take-over may have been under way, too.
        assert!((arrived..=written).contains(&received), "{received} of {written}");
        arrived = received;
        // What the old connection wrote and did not arrive is never sent again: numbers go on.
        (ann.said, ann.unsure) = (received, VecDeque::new());
        ann.says(3).await;
    }
    let all = ann.said;
    done.send(all).unwrap();
    let bob = within("the partner", listening).await.unwrap();
    part(ann, bob).await;
    all
}

// ---- All at once --------------------------------------------------------------------------------

#[tokio::test]
async fn crowd_drops_and_returns_together() {
    let count = size(100, 1_000);
    let story = Story::new(format!("{count} clients in chats drop and return together"));
    check(story.searched(), async |target| {
        // At once: on a busy machine, one after another takes longer than clients that read nothing
        // meanwhile are held.
        let meeting = (0..count / 2).map(async |at| {
            let [mut ann, mut bob] = Client::pair(target.address, at).await;
            ann.says(2).await;
            bob.says(2).await;
            [ann, bob]
        });
        let mut pairs = join_all(meeting).await;
        for client in pairs.as_flattened_mut() {
            client.loses(Loss::Reset);
        }
        until_detached(target, count).await;
        let began = Instant::now();
        let returning = pairs.as_flattened_mut().iter_mut();
        join_all(returning.map(|client| client.returns(target.address))).await;
        let returned = began.elapsed();
        join_all(pairs.into_iter().map(|[ann, bob]| part(ann, bob))).await;
        format!(
            "all resumed within {:.0} ms; every frame once and in order",
            returned.as_secs_f64() * 1e3
        )
    })
    .await;
}

async fn until_detached(target: &Target, sessions: usize) {
    let told = format!("purrr_detached {sessions}");
    within("their loss", async {
        while !crate::metrics(target.address).await.lines().any(|line| line == told) {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

// ---- Guesses ------------------------------------------------------------------------------------

#[tokio::test]
async fn guessed_tokens_revive_no_session() {
    const CONNECTIONS: usize = 4;
    let lasts = Duration::from_secs(size(2, 20) as u64);
    let story = Story::new(format!(
        "{CONNECTIONS} connections of one address guess at the tokens of lost clients, {lasts:?}"
    ));
    let rates = ["--message-rate", "20+200", "--refusal-rate", "20+200"];
    check(story.behind_proxy().searched().hurried(&rates), async |target| {
        let [mut ann, mut bob] = Client::pair(target.address, 0).await;
        ann.says(1).await;
        bob.hears(1).await;
        ann.loses(Loss::Reset);
        until_detached(target, 1).await;
        let chat = ann.chat.clone();
        // Each is a task of its own, or the first one would use up the turns of all.
        let guessing = join_all((0..CONNECTIONS).map(|_| {
            let (address, chat) = (target.address, chat.clone());
            tokio::spawn(async move {
                let mut told = [0; 3];
                timeout(lasts, guesses(address, &chat, &mut told)).await.ok();
                told
            })
        }));
        // The partner is read meanwhile, so that it answers pings.
        let attack = tokio::select! {
            attack = guessing => attack.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            () = bob.reads_to_the_end() => unreachable!("the window is longer than the attack"),
        };
        let [unknown, limited, closed] =
            [0, 1, 2].map(|kind| attack.iter().map(|told| told[kind]).sum::<usize>());
        assert!(limited > 0 && closed > 0, "no rate held the attacker: {attack:?}");
        ann.returns(target.address).await;
        part(ann, bob).await;
        format!(
            "{unknown} × `unknown-session`, {limited} × `rate-limited`, closed {closed} times with \
             4429; the lost client resumed"
        )
    })
    .await;
}

/// Guesses as fast as the server takes it. Counts `unknown-session`, `rate-limited` and closes.
async fn guesses(address: SocketAddr, chat: &str, told: &mut [usize; 3]) {
    loop {
        let attacker = Stranger::connect(address, "192.0.2.66").await;
        let (mut said, mut heard) = attacker.socket.split();
        let asking = async {
            loop {
                let guess = format!("{:032x}", fastrand::u128(..));
                let hello = json!({"type": "hello", "resume": guess, "chat": chat, "received": 0});
                if said.send(Message::text(hello.to_string())).await.is_err() {
                    return;
                }
            }
        };
        let hearing = async {
            while let Some(Ok(message)) = heard.next().await {
                match message {
                    Message::Text(text) if text.contains("unknown-session") => told[0] += 1,
                    Message::Text(text) if text.contains("rate-limited") => told[1] += 1,
                    Message::Text(text) => panic!("a guess was answered with {text}"),
                    Message::Close(Some(frame)) => {
                        assert_eq!(u16::from(frame.code), 4429);
                        told[2] += 1;
                    }
                    _ => {}
                }
            }
        };
        tokio::join!(asking, hearing);
    }
}

// ---- A client that resumes ----------------------------------------------------------------------

/// Counts what it receives, and keeps what it sends until the server has it.
struct Client {
    /// None while it has lost its connection.
    peer: Option<Peer>,
    token: String,
    chat: String,
    /// How many messages it has sent, each of which is its number.
    said: u64,
    /// Numbers of messages that may not have arrived.
    unsure: VecDeque<u64>,
    /// How many frames it has of the partner.
    received: u64,
    /// Why the chat has ended.
    left: Option<String>,
}

impl Client {
    /// Two that have found each other by the interest of this number.
    async fn pair(address: SocketAddr, at: usize) -> [Self; 2] {
        let mut two = [Self::connect(address).await, Self::connect(address).await];
        let find = serde_json::from_str(&search(at)).unwrap();
        for client in &mut two {
            client.send(&json!({"type": "hello", "received": 0})).await;
            client.send(&find).await;
            client.until("waiting").await;
        }
        for client in &mut two {
            client.chat = client.until("matched").await["chat"].as_str().unwrap().to_owned();
        }
        two
    }

    async fn connect(address: SocketAddr) -> Self {
        let (peer, token) = arrive(address).await;
        let (chat, unsure) = (String::new(), VecDeque::new());
        Self { peer: Some(peer), token, chat, said: 0, unsure, received: 0, left: None }
    }

    async fn send(&mut self, message: &Value) {
        let sent = self.line().socket.send(Message::text(message.to_string()));
        within("a message", sent).await.expect("the connection takes messages");
    }

    async fn until(&mut self, kind: &str) -> Value {
        within(kind, async {
            loop {
                let told: Value = serde_json::from_str(&hears(self.line()).await).unwrap();
                if told["type"] == kind {
                    return told;
                }
            }
        })
        .await
    }

    async fn says(&mut self, count: u64) {
        for _ in 0..count {
            let frame = message(&self.chat, self.said);
            self.unsure.push_back(self.said);
            self.said += 1;
            within("a message", self.line().socket.send(Message::text(frame))).await.unwrap();
        }
    }

    /// Hears so many messages of the partner in all, in order.
    async fn hears(&mut self, all: u64) {
        within("the partner's messages", async {
            while self.received < all {
                self.hears_one().await;
            }
        })
        .await;
    }

    /// Hears one thing of the server.
    async fn hears_one(&mut self) {
        let told: Value = serde_json::from_str(&hears(self.line()).await).unwrap();
        match told["type"].as_str().unwrap() {
            "message" => {
                assert_eq!(told["text"], self.received.to_string(), "once, and in order");
                self.received += 1;
            }
            "left" => {
                let reason = told["reason"].as_str().unwrap().to_owned();
                assert_eq!(self.left.replace(reason), None, "told twice");
                self.received += 1;
            }
            "delivered" | "away" | "back" | "waiting" | "idle" => {}
            other => panic!("told {other}: {told}"),
        }
        if self.received > 0 && self.received.is_multiple_of(16) {
            self.acknowledges().await;
        }
    }

    async fn acknowledges(&mut self) {
        let (chat, received) = (self.chat.clone(), self.received);
        self.send(&json!({"type": "ack", "chat": chat, "received": received})).await;
    }

    async fn reads_to_the_end(&mut self) {
        while self.left.is_none() {
            self.hears_one().await;
        }
    }

    /// Returns the old connection if it stays open.
    fn loses(&mut self, loss: Loss) -> Option<Peer> {
        let peer = self.peer.take().expect("it is connected");
        match loss {
            Loss::Reset => {
                peer.socket.get_ref().set_zero_linger().expect("a connected socket");
                None
            }
            Loss::HalfOpen => Some(peer),
        }
    }

    fn line(&mut self) -> &mut Peer {
        self.peer.as_mut().expect("it is connected")
    }

    fn claim(&self) -> Value {
        let Self { token, chat, received, .. } = self;
        json!({"type": "hello", "resume": token, "chat": chat, "received": received})
    }

    /// Claims the session over a new connection, and sends what did not arrive.
    async fn returns(&mut self, address: SocketAddr) {
        let (peer, token) = arrive(address).await;
        self.peer = Some(peer);
        let claim = self.claim();
        self.send(&claim).await;
        let answer = within("an answer to a claim", hears(self.line())).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["type"] == "left" {
            self.left = answer["reason"].as_str().map(str::to_owned);
            return;
        }
        let arrived = self.is_resumed(&answer, token);
        self.unsure.retain(|number| *number >= arrived);
        for number in self.unsure.clone() {
            let frame = message(&self.chat, number);
            self.line().socket.send(Message::text(frame)).await.unwrap();
        }
    }

    /// Returns how many of its frames have arrived.
    fn is_resumed(&mut self, answer: &Value, token: String) -> u64 {
        assert_eq!(answer["type"], "resumed", "{answer}");
        assert_eq!(answer["chat"], *self.chat, "{answer}");
        assert_eq!(answer["missing"], Value::Null, "{answer}");
        self.token = token;
        answer["received"].as_u64().unwrap()
    }

    async fn closes(self) {
        let mut socket = self.peer.expect("it is connected").socket;
        socket.close(None).await.ok();
        within("the end", async { while let Some(Ok(_)) = socket.next().await {} }).await;
    }
}

/// Connects. Returns the token of the welcome too.
async fn arrive(address: SocketAddr) -> (Peer, String) {
    let (mut peer, _) = Peer::connect_offering(address, "a client that resumes", None).await;
    let welcome = peer.gets_type("welcome").await;
    (peer, welcome["resume"].as_str().unwrap().to_owned())
}

fn message(chat: &str, number: u64) -> String {
    json!({"type": "message", "id": number + 1, "chat": chat, "text": number.to_string()})
        .to_string()
}

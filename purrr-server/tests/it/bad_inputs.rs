//! What is wrong, and what it gets: one row for each input, and one check for all of them.
//!
//! While a row is tried, another pair goes on talking, and afterwards the server is as it was.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod engineio;
mod frames;
mod http;
mod native;

use std::time::Duration;

use purrr_server::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Answer, Peer, Server, soon,
    wire::{CLOSE, FIN, PING, TEXT, Wire, frame},
};

/// An input, and what it gets.
struct Row {
    what: String,
    door: Door,
    sent: Vec<u8>,
    want: Want,
}

/// Where an input goes in.
#[derive(Clone, Copy)]
enum Door {
    /// A fresh connection. `{sid}` stands for the id of a session that polls.
    Http,
    /// A WebSocket at `/ws` that was welcomed: frames.
    Native,
    /// The same in a chat, whose partner must hear of nothing but the end.
    Talking,
    /// A WebSocket at `/socket.io/` after Engine.IO's greeting: frames.
    EngineIo,
    /// The same after Socket.IO's `CONNECT`.
    SocketIo,
    /// The body of a POST in a session that polls, after `CONNECT`.
    Polling,
}

/// What an input gets.
enum Want {
    /// An answer with one of these codes; 0 is the end of the connection without one.
    Status(&'static [u16]),
    /// The same, and these words in it, in whatever case.
    Has(&'static [u16], &'static str),
    /// The same without these words.
    Lacks(&'static [u16], &'static str),
    /// A close frame with one of these codes.
    Closes(&'static [u16]),
    /// The end of the connection or session, long before anybody would be asked whether they are
    /// there.
    Ends,
    /// The end of the connection once the question whether they are there has gone unanswered.
    Starves,
    /// An answer with these words in it, and all goes on.
    Says(&'static str),
    /// No answer, and all goes on.
    Nothing,
}

use Want::{Closes, Ends, Has, Lacks, Nothing, Says, Starves, Status};

/// Bytes of a message that the server takes.
const MAX_PAYLOAD: usize = 100_000;

fn config() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.routes.max_payload = MAX_PAYLOAD;
    config.limits.message_bytes = 20_000;
    config.limits.image_bytes = 60_000;
    config.guards.header_timeout = Duration::from_millis(500);
    config.routes.body_timeout = Duration::from_millis(500);
    config.routes.connect_timeout = Duration::from_millis(500);
    config.routes.ping_interval = Duration::from_secs(2);
    config.routes.ping_timeout = Duration::from_secs(2);
    // Each row ends with its client gone: a Purrr.chat client in a chat or a search would be awaited.
    config.limits.resume_window = Duration::ZERO;
    config
}

#[tokio::test]
async fn bad_inputs_get_listed_answers() {
    let server = Server::with(config()).await;
    let (mut ann, mut bob, _) = Peer::pair(server.address).await;
    let mut wrong = Vec::new();
    let rows = [http::rows(), frames::rows(), native::rows(), engineio::rows()];
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    for row in rows {
        if let Err(instead) = check(&server, &mut ann, &mut bob, &row).await {
            wrong.push(format!("{}: {instead}", row.what));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// Tries a row while Ann and Bob talk; then no other client is there, and the server answers.
async fn check(server: &Server, ann: &mut Peer, bob: &mut Peer, row: &Row) -> Result<(), String> {
    let tried = CancellationToken::new();
    let trying = async {
        let outcome = row.outcome(server).await;
        tried.cancel();
        outcome
    };
    let talking = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while !tried.is_cancelled() {
            talk(ann, bob).await;
            tokio::select! {
                _ = pace.tick() => {}
                () = tried.cancelled() => {}
            }
        }
    };
    let (outcome, ()) = tokio::join!(trying, talking);
    soon(&row.what, async {
        while server.hub.online() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    talk(ann, bob).await;
    assert_eq!(server.get("/livez").await.status, 200, "{}", row.what);
    outcome
}

async fn talk(ann: &mut Peer, bob: &mut Peer) {
    for on in [true, false] {
        let said = format!(r#"{{"type":"typing","on":{on}}}"#);
        ann.send(said.as_str()).await;
        bob.gets(&said).await;
        bob.send(said.as_str()).await;
        ann.gets(&said).await;
    }
}

impl Row {
    fn new(what: impl Into<String>, door: Door, sent: impl Into<Vec<u8>>, want: Want) -> Self {
        Self { what: what.into(), door, sent: sent.into(), want }
    }

    async fn outcome(&self, server: &Server) -> Result<(), String> {
        match self.door {
            Door::Http => self.over_http(server).await,
            Door::Polling => self.by_polling(server).await,
            Door::Native | Door::EngineIo | Door::SocketIo => {
                self.in_frames(self.open(server).await).await
            }
            Door::Talking => self.in_a_chat(server).await,
        }
    }

    async fn over_http(&self, server: &Server) -> Result<(), String> {
        let mut sent = self.sent.clone();
        if let Some(at) = sent.windows(5).position(|part| part == b"{sid}") {
            let session = Session::open(server).await;
            sent.splice(at..at + 5, session.sid.bytes());
        }
        self.judge(&server.raw(sent).await)
    }

    fn judge(&self, answer: &Answer) -> Result<(), String> {
        let text = format!("{}\r\n\r\n{}", answer.head, answer.body).to_lowercase();
        let (codes, words_fit) = match self.want {
            Status(codes) => (codes, true),
            Has(codes, words) => (codes, text.contains(&words.to_lowercase())),
            Lacks(codes, words) => (codes, !text.contains(&words.to_lowercase())),
            _ => panic!("{}: no answer over HTTP is like that", self.what),
        };
        let fits = codes.contains(&answer.status) && words_fit;
        if fits { Ok(()) } else { Err(format!("{answer:?}")) }
    }

    async fn by_polling(&self, server: &Server) -> Result<(), String> {
        let session = Session::join(server).await;
        let posted = session.post(&self.sent).await;
        match self.want {
            Status(_) | Has(..) | Lacks(..) => {
                self.judge(&posted)?;
                session.is_over().await
            }
            Ends => session.is_over().await,
            Starves => panic!("{}: a session that polls can always be polled", self.what),
            Says(_) | Nothing => {
                let said = session.answers().await?;
                self.judge_said(&said)
            }
            Closes(_) => panic!("{}: polling has no close codes", self.what),
        }
    }

    async fn in_a_chat(&self, server: &Server) -> Result<(), String> {
        let mut partner = Peer::connect(server.address, "the partner").await;
        partner.send(r#"{"type":"find"}"#).await;
        partner.gets_type("waiting").await;
        let mut wire = self.open(server).await;
        wire.say(r#"{"type":"find"}"#).await;
        for kind in ["waiting", "matched"] {
            let frame = wire.next().await.unwrap();
            assert!(String::from_utf8(frame.payload).unwrap().contains(kind));
        }
        partner.gets_type("matched").await;
        self.in_frames(wire).await?;
        if self.goes_on() {
            partner.gets(QUESTION).await;
        }
        partner.gets(r#"{"type":"left","reason":"lost"}"#).await;
        Ok(())
    }

    const fn goes_on(&self) -> bool {
        matches!(self.want, Says(_) | Nothing)
    }

    async fn open(&self, server: &Server) -> Wire {
        let stream = server.connect().await;
        let mut wire = match self.door {
            Door::Native | Door::Talking => Wire::shake_hands(server, stream).await,
            _ => Wire::upgrade(server, stream, "/socket.io/?EIO=4&transport=websocket").await,
        };
        if matches!(self.door, Door::SocketIo | Door::EngineIo) {
            wire.next().await.unwrap();
        }
        if matches!(self.door, Door::SocketIo) {
            wire.say("40").await;
            wire.next().await.unwrap();
        }
        wire
    }

    async fn in_frames(&self, mut wire: Wire) -> Result<(), String> {
        let goes_on = self.goes_on();
        let mut sent = self.sent.clone();
        if goes_on {
            let question = match self.door {
                Door::Native | Door::Talking => QUESTION,
                _ => ELSEWHERE,
            };
            sent.extend(frame(FIN | TEXT, question.as_bytes()));
        }
        wire.send(&sent).await;
        let mut said = Vec::new();
        loop {
            let Some(frame) = wire.next().await else {
                return match self.want {
                    Ends | Starves => Ok(()),
                    _ => Err(format!("ended without a word after {said:?}")),
                };
            };
            let asked = match frame.opcode() {
                TEXT => {
                    let text = String::from_utf8(frame.payload).unwrap();
                    if goes_on && (text.contains(ANSWER) || text.starts_with(NOT_THERE)) {
                        return self.judge_said(&said);
                    }
                    let asked = text == "2";
                    said.push(text);
                    asked
                }
                CLOSE => {
                    wire.stream.shutdown().await.ok();
                    let code = match frame.payload[..] {
                        [high, low, ..] => u16::from_be_bytes([high, low]),
                        _ => 0,
                    };
                    return match self.want {
                        Ends => Ok(()),
                        Closes(codes) if codes.contains(&code) => Ok(()),
                        _ => Err(format!("closed with {code} after {said:?}")),
                    };
                }
                opcode => opcode == PING,
            };
            if asked && !matches!(self.want, Starves) {
                return Err(format!("goes on after {said:?}"));
            }
        }
    }

    fn judge_said(&self, said: &[String]) -> Result<(), String> {
        let fits = match self.want {
            Says(words) => said.iter().any(|text| text.contains(words)),
            _ => said.is_empty(),
        };
        if fits { Ok(()) } else { Err(format!("{said:?}")) }
    }
}

/// Something that is always answered, and what its answer has that no other has.
const QUESTION: &str = r#"{"type":"message","id":987654321,"text":"is anybody there?"}"#;
const ANSWER: &str = r#""id":987654321"#;

/// The same on Socket.IO.
const ELSEWHERE: &str = "40/elsewhere,";
const NOT_THERE: &str = "44/elsewhere,";

/// An Engine.IO session that polls.
struct Session<'a> {
    server: &'a Server,
    sid: String,
}

impl<'a> Session<'a> {
    async fn open(server: &'a Server) -> Self {
        Self { server, sid: server.polling_session().await }
    }

    async fn join(server: &'a Server) -> Self {
        let session = Self::open(server).await;
        assert_eq!(session.post(b"40").await.body, "ok");
        assert!(session.poll().await.body.starts_with("40{"));
        session
    }

    async fn post(&self, body: &[u8]) -> Answer {
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            self.sid,
            body.len()
        );
        self.server.raw([head.as_bytes(), body].concat()).await
    }

    async fn poll(&self) -> Answer {
        self.server.get(&format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)).await
    }

    async fn is_over(&self) -> Result<(), String> {
        loop {
            let answer = self.poll().await;
            if answer.status == 400 || answer.body.split('\u{1e}').any(|packet| packet == "1") {
                return Ok(());
            }
            if answer.status != 200 || answer.body.starts_with(NOT_THERE) {
                return Err(format!("{answer:?}"));
            }
            if answer.body == "2" {
                return Err("the session goes on".to_owned());
            }
        }
    }

    /// What the server has to say, up to the answer to a question.
    async fn answers(&self) -> Result<Vec<String>, String> {
        let asked = self.post(ELSEWHERE.as_bytes()).await;
        if asked.status != 200 {
            return Err(format!("{asked:?}"));
        }
        let mut said = Vec::new();
        loop {
            let answer = self.poll().await;
            if answer.status != 200 {
                return Err(format!("{answer:?} after {said:?}"));
            }
            for packet in answer.body.split('\u{1e}') {
                if packet.starts_with(NOT_THERE) {
                    drop(self.post(b"1").await);
                    return Ok(said);
                }
                said.push(packet.to_owned());
            }
        }
    }
}

//! What the public suites of Engine.IO and Socket.IO ask of a server, as scripts in our own words.
//!
//! The Socket.IO echo is the one of the example `conformance`, on the server's own packet layer.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../../../examples/conformance/socketio.rs"]
mod echo;
mod scripts;

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use futures::{SinkExt, StreamExt, future::join_all};
use purrr_server::{
    ServerConfig,
    transport::{self, Connection},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use self::scripts::{
    ENGINE_IO,
    Pings::{self, Often, Seldom},
    SESSIONS, SOCKET_IO, Script,
};
use crate::support::{Server, UPGRADE, raw, soon};

#[tokio::test]
async fn sessions_open_ping_close_and_upgrade_on_every_server() {
    let hello = [
        ("/engine.io/", "4hello", "4hello"),
        ("/echo/socket.io/", "40", r#"40{"sid":"…"}"#),
        ("/socket.io/", "40", r#"40{"sid":"…"}"#),
    ];
    for (path, packet, answer) in hello {
        check(path, &SESSIONS, |step| step.replace("HELLO", packet).replace("ECHO", answer)).await;
    }
}

#[tokio::test]
async fn engineio_echo_keeps_texts_and_bytes() {
    check("/engine.io/", &ENGINE_IO, str::to_owned).await;
}

#[tokio::test]
async fn socketio_echo_keeps_namespaces_attachments_and_acknowledgements() {
    check("/echo/socket.io/", &SOCKET_IO, str::to_owned).await;
}

#[tokio::test]
async fn invalid_handshakes_are_refused_on_every_server() {
    let server = Echoes::start(Seldom).await;
    for path in ["/engine.io/", "/echo/socket.io/", "/socket.io/"] {
        for (method, query, lines) in [
            ("GET", "transport=polling", &[][..]),
            ("GET", "EIO=abc&transport=polling", &[]),
            ("GET", "EIO=4", &[]),
            ("GET", "EIO=4&transport=abc", &[]),
            ("POST", "EIO=4&transport=polling", &["Content-Length: 0"]),
            ("PUT", "EIO=4&transport=polling", &["Content-Length: 0"]),
            ("GET", "transport=websocket", &UPGRADE),
            ("GET", "EIO=abc&transport=websocket", &UPGRADE),
            ("GET", "EIO=4", &UPGRADE),
            ("GET", "EIO=4&transport=abc", &UPGRADE),
        ] {
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let request = format!("{method} {path}?{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            let answer = raw(server.of(path), &request).await;
            assert_eq!(answer.status, 400, "{request}");
        }
    }
}

// ---- Servers ------------------------------------------------------------------------------------

/// Echoes beside the server itself.
struct Echoes {
    echoes: SocketAddr,
    server: Server,
    config: ServerConfig,
}

impl Echoes {
    async fn start(pings: Pings) -> Self {
        let mut config = ServerConfig::default();
        if pings == Often {
            config.routes.ping_interval = Duration::from_millis(300);
            config.routes.ping_timeout = Duration::from_millis(700);
            config.routes.connect_timeout = Duration::from_millis(2_500);
        }
        let routes = &config.routes;
        let connect_timeout = routes.connect_timeout;
        let app = Router::new()
            .route("/engine.io/", transport::engineio(routes, echo_messages))
            .route(
                "/echo/socket.io/",
                transport::engineio(routes, move |connection| {
                    echo::echo(connection, connect_timeout)
                }),
            )
            .into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let echoes = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { echoes, server: Server::with(config.clone()).await, config }
    }

    /// Returns the address of the server that has this path.
    fn of(&self, path: &str) -> SocketAddr {
        if path == "/socket.io/" { self.server.address } else { self.echoes }
    }
}

async fn echo_messages(connection: Connection) {
    let (mut sink, mut stream) = connection.split();
    (&mut stream).map(Ok).forward(&mut sink).await.ok();
    if let Ok(connection) = sink.reunite(stream) {
        connection.close().await;
    }
}

// ---- Client -------------------------------------------------------------------------------------

async fn check(path: &'static str, scripts: &[Script], worded: impl Fn(&str) -> String) {
    for pings in [Seldom, Often] {
        let server = Echoes::start(pings).await;
        let (address, config) = (server.of(path), &server.config);
        let of_these = scripts.iter().filter(|(_, of, _)| *of == pings);
        join_all(of_these.map(async |(name, _, steps)| {
            let mut client = Client { address, path, sid: String::new(), socket: None, config };
            for step in *steps {
                let told = format!("{path} {name}: {step}");
                soon(&told, client.takes(&worded(step), &told)).await;
            }
        }))
        .await;
    }
}

struct Client<'a> {
    address: SocketAddr,
    path: &'static str,
    /// The session that it polls, if any.
    sid: String,
    socket: Option<WebSocketStream<TcpStream>>,
    config: &'a ServerConfig,
}

impl Client<'_> {
    async fn takes(&mut self, step: &str, told: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match (verb, rest) {
            ("open", "polling") => {
                let answer = self.ask("GET", "", "").await;
                self.sid = self.greeted(answer.strip_prefix("200 ").unwrap(), &["websocket"]);
            }
            ("open", "websocket") => {
                self.socket = Some(self.websocket("").await);
                let Message::Text(greeting) = self.next(told).await else { panic!("{told}") };
                self.greeted(&greeting, &[]);
            }
            ("get", "until 400") => while self.polls().await != "400" {},
            ("get", rest) => {
                let (how, expected) = rest.split_once("= ").unwrap();
                if how == "twice " {
                    let (one, other) = tokio::join!(self.polls(), self.polls());
                    let answers = [format!("{one}, {other}"), format!("{other}, {one}")];
                    assert!(answers.contains(&expected.to_owned()), "{told}: {one}, {other}");
                } else {
                    assert_eq!(self.polls().await, expected, "{told}");
                }
            }
            ("post", rest) => {
                let (body, expected) = rest.rsplit_once(" = ").unwrap();
                let answer = match body.strip_suffix(" during get") {
                    Some(body) => tokio::join!(self.polls(), self.posts(body)).0,
                    None => self.posts(body).await,
                };
                assert_eq!(answer, expected, "{told}");
            }
            ("join", _) => self.socket = Some(self.websocket(&format!("&sid={}", self.sid)).await),
            ("second", _) => {
                let mut second = self.websocket(&format!("&sid={}", self.sid)).await;
                is_closed(&mut second, true, told).await;
            }
            (">", text) => self.sends(Message::text(text)).await,
            (">b", bytes) => self.sends(Message::binary(numbers(bytes))).await,
            ("<", text) => {
                let Message::Text(came) = self.next(told).await else { panic!("{told}") };
                let fits = match text.split_once('…') {
                    Some((begin, end)) => came.starts_with(begin) && came.ends_with(end),
                    None => came == text,
                };
                assert!(fits, "{told}: {came}");
            }
            ("<b", bytes) => assert_eq!(self.next(told).await, Message::binary(numbers(bytes))),
            ("closed", rest) => {
                is_closed(self.socket.as_mut().unwrap(), rest.is_empty(), told).await
            }
            _ => panic!("{told}"),
        }
    }

    /// Checks a greeting, and returns its session.
    fn greeted(&self, greeting: &str, upgrades: &[&str]) -> String {
        let routes = &self.config.routes;
        let greeting: serde_json::Value =
            serde_json::from_str(greeting.strip_prefix('0').unwrap()).unwrap();
        let sid = greeting["sid"].as_str().unwrap().to_owned();
        let expected = json!({
            "sid": sid,
            "upgrades": upgrades,
            "pingInterval": routes.ping_interval.as_millis() as u64,
            "pingTimeout": routes.ping_timeout.as_millis() as u64,
            "maxPayload": routes.max_payload,
        });
        assert_eq!(greeting, expected);
        sid
    }

    async fn polls(&self) -> String {
        self.ask("GET", &format!("&sid={}", self.sid), "").await
    }

    async fn posts(&self, body: &str) -> String {
        self.ask("POST", &format!("&sid={}", self.sid), body).await
    }

    /// Returns the status of the answer, and its body if it is 200.
    async fn ask(&self, method: &str, session: &str, body: &str) -> String {
        let request = format!(
            "{method} {}?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: x\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            body.len()
        );
        let answer = raw(self.address, request).await;
        match answer.status {
            200 => format!("200 {}", answer.body),
            status => status.to_string(),
        }
    }

    async fn websocket(&self, session: &str) -> WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let url = format!("ws://{}{}?EIO=4&transport=websocket{session}", self.address, self.path);
        client_async(url, stream).await.unwrap().0
    }

    async fn sends(&mut self, message: Message) {
        self.socket.as_mut().unwrap().send(message).await.unwrap();
    }

    async fn next(&mut self, told: &str) -> Message {
        let next = self.socket.as_mut().unwrap().next().await;
        next.unwrap_or_else(|| panic!("{told}: the session is over")).expect(told)
    }
}

/// The server closes, whatever it says before.
async fn is_closed(socket: &mut WebSocketStream<TcpStream>, answers: bool, told: &str) {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(_))) => return,
            Some(Ok(Message::Text(ping))) if answers && ping == "2" => {
                socket.send(Message::text("3")).await.unwrap();
            }
            Some(Ok(_)) => {}
            end => panic!("{told}: a close was due, not {end:?}"),
        }
    }
}

fn numbers(bytes: &str) -> Vec<u8> {
    bytes.split(' ').map(|byte| byte.parse().unwrap()).collect()
}

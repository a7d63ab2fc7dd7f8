//! rust_socketio, sync and async, against the server that is named on the command line.
//!
//! Each pair is matched, exchanges messages and an image both ways in order, gets an
//! acknowledgement, and parts.

use std::{
    fmt::Debug,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use futures_util::FutureExt;
use rust_socketio::{ClientBuilder, Event, Payload, TransportType, asynchronous};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const EVENTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);

/// An image of one white dot.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
    \0\0\0\nIDATx\x9c\x63\xf8\x0f\0\x01\x01\x01\0\x1b\xb6\xee\x56\0\0\0\0IEND\xae\x42\x60\x82";

/// An event as both clients tell it: its name and what came with it.
type Told = (String, Payload);

fn text(values: impl Into<Vec<Value>>) -> Payload {
    Payload::Text(values.into())
}

/// Names the event as the server sent it: this client tells `["waiting"]`, an event without
/// arguments, as the event `message` with the argument `waiting`.
fn told(event: Event, payload: Payload) -> Told {
    match (event, payload) {
        (Event::Message, Payload::Text(values)) => {
            let [Value::String(name)] = &values[..] else { panic!("{values:?}") };
            (name.clone(), text([]))
        }
        (event, payload) => (event.to_string(), payload),
    }
}

fn is(told: &Told, event: &str, payload: &Payload) {
    assert_eq!((told.0.as_str(), &told.1), (event, payload));
}

fn matched(partner: &str) -> Payload {
    text([json!({"partnerName": partner, "partnerPk": ""})])
}

// ---- Sync ---------------------------------------------------------------------------------------

struct Blocking {
    client: rust_socketio::client::Client,
    events: mpsc::Receiver<Told>,
}

impl Blocking {
    fn enter(url: &str, name: &str, transport: TransportType) -> Self {
        let (tell, events) = mpsc::channel();
        let client = ClientBuilder::new(url)
            .transport_type(transport)
            .reconnect(false)
            .on_any(move |event: Event, payload, _| {
                tell.send(told(event, payload)).ok();
            })
            .connect()
            .expect("the server takes the client");
        let client = Self { client, events };
        client.emit("init_user", text([json!({"name": name, "publicKey": ""})]));
        client.emit("find_partner", text([]));
        client.gets("waiting", &text([]));
        client
    }

    fn emit(&self, event: &str, payload: Payload) {
        self.client.emit(event, payload).expect("the session goes on");
    }

    fn gets(&self, event: &str, payload: &Payload) {
        loop {
            let told = self.events.recv_timeout(PATIENCE).expect(event);
            // The client tells itself of its own connection.
            if told.0 != "open" {
                return is(&told, event, payload);
            }
        }
    }

    fn is_acknowledged(&self, event: &str, payload: Payload) {
        let (tell, told) = mpsc::channel();
        let taken = move |_: Payload, _: rust_socketio::RawClient| {
            tell.send(()).ok();
        };
        self.client.emit_with_ack(event, payload, PATIENCE, taken).expect("the session goes on");
        told.recv_timeout(PATIENCE).expect("an acknowledgement");
    }
}

fn blocking(url: &str, transport: fn() -> TransportType) {
    let ann = Blocking::enter(url, "Ann", transport());
    let bob = Blocking::enter(url, "Bob", transport());
    ann.gets("matched", &matched("Bob"));
    bob.gets("matched", &matched("Ann"));
    for (one, other) in [(&ann, &bob), (&bob, &ann)] {
        for number in 0..EVENTS {
            one.emit("chat message", text([json!(number.to_string())]));
        }
        for number in 0..EVENTS {
            other.gets("chat message", &text([json!(number.to_string())]));
        }
        one.emit("image upload", Payload::Binary(PNG.into()));
        other.gets("image upload", &Payload::Binary(PNG.into()));
        one.is_acknowledged("chat message", text([json!("once")]));
        other.gets("chat message", &text([json!("once")]));
    }
    ann.client.disconnect().expect("the session goes on");
    bob.gets("hide_typing", &text([]));
    bob.gets("partner_disconnected", &text([]));
    bob.client.disconnect().expect("the session goes on");
}

// ---- Async --------------------------------------------------------------------------------------

struct Nonblocking {
    client: asynchronous::Client,
    events: UnboundedReceiver<Told>,
}

impl Nonblocking {
    async fn enter(url: &str, name: &str, transport: TransportType) -> Self {
        let (tell, events) = unbounded_channel();
        let client = asynchronous::ClientBuilder::new(url)
            .transport_type(transport)
            .reconnect(false)
            .on_any(move |event: Event, payload, _| {
                tell.send(told(event, payload)).ok();
                async {}.boxed()
            })
            .connect()
            .await
            .expect("the server takes the client");
        let mut client = Self { client, events };
        client.emit("init_user", text([json!({"name": name, "publicKey": ""})])).await;
        client.emit("find_partner", text([])).await;
        client.gets("waiting", &text([])).await;
        client
    }

    async fn emit(&self, event: &str, payload: Payload) {
        self.client.emit(event, payload).await.expect("the session goes on");
    }

    async fn gets(&mut self, event: &str, payload: &Payload) {
        loop {
            let told = within(event, self.events.recv()).await.expect("the session goes on");
            if told.0 != "open" {
                return is(&told, event, payload);
            }
        }
    }

    async fn is_acknowledged(&self, event: &str, payload: Payload) {
        let (tell, mut told) = unbounded_channel();
        let taken = move |_: Payload, _: asynchronous::Client| {
            tell.send(()).ok();
            async {}.boxed()
        };
        let sent = self.client.emit_with_ack(event, payload, PATIENCE, taken).await;
        sent.expect("the session goes on");
        within("an acknowledgement", told.recv()).await;
    }
}

async fn within<T>(what: impl Debug, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("{what:?}"))
}

async fn nonblocking(url: &str, transport: fn() -> TransportType) {
    let mut ann = Nonblocking::enter(url, "Ann", transport()).await;
    let mut bob = Nonblocking::enter(url, "Bob", transport()).await;
    ann.gets("matched", &matched("Bob")).await;
    bob.gets("matched", &matched("Ann")).await;
    for _ in 0..2 {
        for number in 0..EVENTS {
            ann.emit("chat message", text([json!(number.to_string())])).await;
        }
        for number in 0..EVENTS {
            bob.gets("chat message", &text([json!(number.to_string())])).await;
        }
        ann.emit("image upload", Payload::Binary(PNG.into())).await;
        bob.gets("image upload", &Payload::Binary(PNG.into())).await;
        ann.is_acknowledged("chat message", text([json!("once")])).await;
        bob.gets("chat message", &text([json!("once")])).await;
        std::mem::swap(&mut ann, &mut bob);
    }
    // Over polling it says goodbye in two requests, and gets 400 for the second: the session is over.
    ann.client.disconnect().await.ok();
    bob.gets("hide_typing", &text([])).await;
    bob.gets("partner_disconnected", &text([])).await;
    bob.client.disconnect().await.ok();
}

// ---- Server -------------------------------------------------------------------------------------

/// The server on a free port, until it is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(program: &str) -> Self {
        let mut command = Command::new(program);
        // Variables of the server's own names would be options.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PURRR_")) {
            command.env_remove(name);
        }
        command.args(["--listen", "127.0.0.1:0", "--recent-partners", "0", "--log-format", "json"]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut lines = log.lines().map(|line| line.expect("the log is text"));
        let address = lines.find_map(|line| {
            let at = line.find("127.0.0.1:")?;
            line[at..].split('"').next().map(str::to_owned)
        });
        let url = format!("http://{}", address.expect("the server listens"));
        // A log that is not read is dropped by the server, not waited for.
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn main() {
    let server = Server::start(&std::env::args().nth(1).expect("a server is named"));
    let transports: [(&str, fn() -> TransportType); 3] = [
        ("polling", || TransportType::Polling),
        ("websocket", || TransportType::Websocket),
        ("upgraded", || TransportType::WebsocketUpgrade),
    ];
    for (name, transport) in transports {
        blocking(&server.url, transport);
        println!("rust_socketio, sync, {name}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(nonblocking(&server.url, transport));
        println!("rust_socketio, async, {name}");
    }
}

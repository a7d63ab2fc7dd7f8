//! A server in this process, and plain HTTP to ask it things.

use std::net::SocketAddr;

use axum::Router;
use purrr_core::Hub;
use purrr_server::{Guards, Handle, RouterBuilder, ServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::soon;

/// A running server on a free port of the loopback interface. It ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// What came back over HTTP until the connection was closed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(ServerConfig::default()).await
    }

    pub(crate) async fn with(config: impl Into<ServerConfig>) -> Self {
        let config = config.into();
        let (app, handle) = RouterBuilder::new(config.hub()).config(config.routes).build();
        Self::serve(app, handle, config.guards).await
    }

    /// Serves an app with the routes of this handle in it.
    pub(crate) async fn serve(app: Router, handle: Handle, guards: Guards) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let hub = handle.hub().clone();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or(()) };
        let running = tokio::spawn(purrr_server::run(listener, app, handle, guards, stopped));
        Self { address, hub, stop: Some(stop), running }
    }

    /// Tells the server to stop, as a signal would.
    pub(crate) fn shut_down(&mut self) {
        self.stop.take().expect("a server is stopped once").send(()).ok();
    }

    /// Waits until the server, which was told to, has stopped.
    pub(crate) async fn stopped(self) {
        soon("the server's end", self.running).await.expect("the server does not panic");
    }

    /// The same with a server that runs elsewhere.
    pub(crate) async fn polling_session_at(address: SocketAddr) -> String {
        let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
        let handshake = raw(address, request).await.body;
        let greeting = handshake.strip_prefix('0').expect("a handshake is a packet of type 0");
        let greeting: serde_json::Value = serde_json::from_str(greeting).expect("it is JSON");
        greeting["sid"].as_str().expect("it names the session").to_owned()
    }
}

impl From<&Server> for SocketAddr {
    fn from(server: &Server) -> Self {
        server.address
    }
}

/// Sends these bytes as they are and reads the answer.
pub(crate) async fn raw(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts connections");
    // A server that has seen enough answers and closes before everything was sent.
    stream.write_all(request.as_ref()).await.ok();
    Answer::read(stream).await
}

impl Answer {
    /// Reads one answer: to the end that its head announces, or until the server closes.
    pub(crate) async fn read(mut stream: TcpStream) -> Self {
        Self::read_from(&mut stream).await
    }

    /// The same, and the connection stays open.
    pub(crate) async fn read_from(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let reading = async {
            while !Self::is_whole(&bytes) {
                if !stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                    break;
                }
            }
        };
        soon("an answer over HTTP", reading).await;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Self {
            status: head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn is_whole(bytes: &[u8]) -> bool {
        if !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            return false;
        }
        let answer = Self::parse(bytes);
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        answer.status == 101 || length.is_some_and(|length: usize| answer.body.len() >= length)
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

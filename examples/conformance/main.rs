//! Echoes on the server's transports and packet layer, for the public test suites of the protocols.
//!
//! Takes the options of the server and serves until it is stopped. Autobahn's fuzzing client tests
//! `/ws`, the suite of engine.io-protocol `/engine.io/`, and that of socket.io-protocol
//! `/socket.io/`. The last two expect these times and this size:
//!
//! ```sh
//! cargo run --example conformance -- --listen 3000 --ping-interval 300ms --ping-timeout 200ms \
//!     --max-payload 1000000 --image-bytes 900000 --message-bytes 900000 --rate-limits off
//! ```
//!
//! Without options it greets itself over all three.

mod socketio;

use std::{error::Error, net::SocketAddr};

use axum::{Router, serve::ListenerExt};
use futures::StreamExt;
use purrr_server::{
    Config, ServerConfig,
    cli::Cli,
    transport::{self, Connection},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn echo(connection: Connection) {
    let (mut sink, mut stream) = connection.split();
    // Reads on while what was sent waits for the client's next poll. An error means that the client
    // has gone.
    (&mut stream).map(Ok).forward(&mut sink).await.ok();
    if let Ok(connection) = sink.reunite(stream) {
        connection.close().await;
    }
}

fn app(config: &Config) -> Router {
    Router::new()
        .route("/ws", transport::websocket(config, echo))
        .route("/engine.io/", transport::engineio(config, echo))
        .route(
            "/socket.io/",
            transport::engineio(config, {
                let connect_timeout = config.connect_timeout;
                move |connection| socketio::echo(connection, connect_timeout)
            }),
        )
}

async fn serve(listener: TcpListener, config: ServerConfig) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, app(&config.routes).into_make_service_with_connect_info::<SocketAddr>())
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Cli::parse()?.settings.config;
    if std::env::args().len() > 1 {
        return Ok(serve(TcpListener::bind(config.listen).await?, config).await?);
    }
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, config));
    greet_websocket(address).await?;
    greet_engineio(address).await?;
    greet_socketio(address).await
}

/// Says hello over a WebSocket: a text of five bytes, masked with zeros.
async fn greet_websocket(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await?;
    stream.write_all(b"\x81\x85\0\0\0\0hello\x88\x80\0\0\0\0").await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    shown("WebSocket", heard.ends_with(b"\r\n\r\n\x81\x05hello\x88\0"))
}

/// Says hello over HTTP long-polling: a handshake, a POST and a poll.
async fn greet_engineio(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let path = open(address, "/engine.io/").await?;
    ask(address, "POST", &path, "4hello").await?;
    shown("Engine.IO", ask(address, "GET", &path, "").await?.ends_with("\r\n\r\n4hello"))
}

/// Says hello in a namespace of Socket.IO, and asks for an acknowledgement.
async fn greet_socketio(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let path = open(address, "/socket.io/").await?;
    ask(address, "POST", &path, r#"40/custom,{"token":1}"#).await?;
    ask(address, "GET", &path, "").await?;
    let auth = ask(address, "GET", &path, "").await?;
    ask(address, "POST", &path, r#"42/custom,7["message-with-ack","hello"]"#).await?;
    let answer = ask(address, "GET", &path, "").await?;
    let answered = auth.ends_with("\r\n\r\n42/custom,[\"auth\",{\"token\":1}]")
        && answer.ends_with("\r\n\r\n43/custom,7[\"hello\"]");
    shown("Socket.IO", answered)
}

/// Opens a polling session and returns the path of its requests.
async fn open(address: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let path = format!("{path}?EIO=4&transport=polling");
    let session = ask(address, "GET", &path, "").await?;
    let sid = session.split_once(r#""sid":""#).and_then(|(_, rest)| rest.split_once('"'));
    Ok(format!("{path}&sid={}", sid.ok_or("a handshake names the session")?.0))
}

async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
fn shown(transport: &str, answered: bool) -> Result<(), Box<dyn Error>> {
    if !answered {
        return Err(format!("{transport}: no echo came").into());
    }
    println!("{transport}: hello was answered");
    Ok(())
}

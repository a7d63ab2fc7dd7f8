//! The two transports by themselves, for other sessions than chats.
//!
//! They are those under `/ws` and `/socket.io/`, with the same upgrade, limits, codec, close codes
//! and heartbeat. So what the public test suites of their protocols find also holds for chats.
//!
//! ```
//! use axum::Router;
//! use futures::StreamExt;
//! use purrr_server::{Config, transport::{self, Connection}};
//!
//! async fn count(mut connection: Connection) {
//!     let mut messages = 0;
//!     while connection.next().await.is_some() {
//!         messages += 1;
//!     }
//!     println!("{messages} messages");
//!     connection.close().await;
//! }
//!
//! let app: Router = Router::new()
//!     .route("/ws", transport::websocket(&Config::default(), count))
//!     .route("/engine.io/", transport::engineio(&Config::default(), count));
//! # let _ = app;
//! ```
//!
//! A client that polls must send a packet within
//! [`Config::provisional_timeout`](crate::Config::provisional_timeout). A poll is none.

pub(crate) mod engineio;
pub(crate) mod message;
pub mod socketio;
pub(crate) mod websocket;

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::Request,
    response::IntoResponse,
    routing::{MethodRouter, any},
};
use futures::{Sink, Stream};
use purrr_core::Limits;

pub use self::message::Message;
use self::{
    engineio::{EioSocket, Handled, Outgoing, Sessions},
    websocket::{CloseCode, LiveSocket, MessageSocket},
};
use crate::{config::Config, limits::connections::ConnectionLimiter, liveness::Incoming};

/// A client on either transport: a stream of what it sends, and a sink of what it is sent.
///
/// The stream ends when the client has gone, has broken the protocol, or sent a message that the
/// memory budget has no room for. [`close`](Self::close) then sends a close; without it the
/// connection is cut.
pub struct Connection(Link);

enum Link {
    WebSocket(Box<LiveSocket>),
    EngineIo(Box<EioSocket>),
}

/// Answers WebSocket handshakes as `/ws` does and runs `session` on each connection.
///
/// Pages of any origin may connect.
pub fn websocket<S, F>(
    config: &Config,
    session: impl Fn(Connection) -> F + Clone + Send + Sync + 'static,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let limiter = Arc::new(ConnectionLimiter::new(config, Limits::default().rates));
    let config = Arc::new(config.clone());
    any(async move |request: Request| {
        let permit = match limiter.admit(&request) {
            Ok(permit) => permit,
            Err(rejection) => return rejection.into_response(),
        };
        let (max_payload, reservation) = (config.max_payload, permit.budget().reservation());
        let control_frames = limiter.control_frames(&permit);
        websocket::upgrade(request, None, max_payload, reservation, move |socket| async move {
            let socket = MessageSocket::new(socket, control_frames);
            let socket = LiveSocket::new(socket, &config);
            session(Connection(Link::WebSocket(Box::new(socket)))).await;
            drop(permit);
        })
    })
}

/// Answers Engine.IO requests as `/socket.io/` does and runs `session` on each session.
///
/// Pages of any origin may connect.
pub fn engineio<S, F>(
    config: &Config,
    session: impl Fn(Connection) -> F + Clone + Send + Sync + 'static,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let limiter = Arc::new(ConnectionLimiter::new(config, Limits::default().rates));
    let sessions = Sessions::new(Arc::new(config.clone()), limiter);
    any(async move |request: Request| match sessions.handle(request).await {
        Handled::Answered(answer) => answer,
        Handled::Opens(opening) => {
            opening.open(move |socket| session(Connection(Link::EngineIo(Box::new(socket)))))
        }
    })
}

impl Connection {
    /// Closes the connection with the code that the client's mistake requires, if it made one.
    ///
    /// A close of the client is answered.
    pub async fn close(self) {
        match self.0 {
            Link::WebSocket(socket) => socket.into_transport().close(None).await,
            Link::EngineIo(socket) => {
                socket.into_transport().close(Some((CloseCode::Normal, ""))).await
            }
        }
    }
}

impl Stream for Connection {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let link = &mut self.get_mut().0;
        loop {
            let incoming = match link {
                Link::WebSocket(socket) => Pin::new(socket).poll_next(cx),
                Link::EngineIo(socket) => Pin::new(socket).poll_next(cx),
            };
            return Poll::Ready(match ready!(incoming) {
                Some(Incoming::Message(message)) => Some(message),
                Some(Incoming::Unresponsive | Incoming::Responsive | Incoming::WriteProgress) => {
                    continue;
                }
                Some(Incoming::Refused) | None => None,
            });
        }
    }
}

impl Sink<Message> for Connection {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Link::WebSocket(socket) => Pin::new(socket).poll_ready(cx).map_err(io::Error::other),
            Link::EngineIo(socket) => Pin::new(socket).poll_ready(cx),
        }
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        match (&mut self.get_mut().0, message) {
            (Link::WebSocket(socket), message) => {
                Pin::new(socket).start_send(message).map_err(io::Error::other)
            }
            (Link::EngineIo(socket), Message::Text(text)) => {
                Pin::new(socket).start_send(Outgoing::Text(format!("4{text}").into()))
            }
            (Link::EngineIo(socket), Message::Binary(bytes)) => {
                Pin::new(socket).start_send(Outgoing::Binary(bytes))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Link::WebSocket(socket) => Pin::new(socket).poll_flush(cx).map_err(io::Error::other),
            Link::EngineIo(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    /// Flushes only. [`close`](Self::close) sends the close.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = match self.0 {
            Link::WebSocket(_) => "WebSocket",
            Link::EngineIo(_) => "Engine.IO",
        };
        f.debug_tuple("Connection").field(&over).finish()
    }
}

//! The two transports by themselves, with something else than a chat behind them.
//!
//! They are the ones under `/ws` and `/socket.io/`: the same upgrade, limits, codec, close codes and heartbeat. So what is
//! found out about them, by the public test-suites of their protocols for example, holds for the chat.
//!
//! ```
//! use axum::Router;
//! use futures::StreamExt;
//! use purrr_server::{Config, transport::{self, Connection}};
//!
//! async fn count(mut connection: Connection) {
//!     let mut packets = 0;
//!     while connection.next().await.is_some() {
//!         packets += 1;
//!     }
//!     println!("{packets} packets came");
//!     connection.close().await;
//! }
//!
//! let app: Router = Router::new()
//!     .route("/ws", transport::websocket(&Config::default(), count))
//!     .route("/engine.io/", transport::engineio(&Config::default(), count));
//! # let _ = app;
//! ```

pub(crate) mod engineio;
pub(crate) mod message;
pub(crate) mod websocket;

pub use self::message::Message;
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

use self::{
    engineio::{EioSocket, Incoming, Outgoing, Sessions},
    websocket::{CloseCode, Heard, Watched},
};
use crate::{config::Config, limits::connections::ConnectionLimiter};

/// A client, over whichever transport: what it sends as a stream, what it is sent as a sink.
///
/// The stream ends when the client has gone or has broken the protocol, or when there is no room for what it sends.
/// [`close`](Self::close) then says goodbye; without it the connection is cut.
pub struct Connection(Link);

enum Link {
    WebSocket(Box<Watched>),
    EngineIo(Box<EioSocket>),
}

/// Answers WebSocket handshakes as `/ws` does, except that any page may connect, and runs `session` on each connection.
pub fn websocket<S, F>(
    config: &Config,
    session: impl Fn(Connection) -> F + Clone + Send + Sync + 'static,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (config, limiter) = (
        Arc::new(config.clone()),
        Arc::new(ConnectionLimiter::new(config, config.limits.rates.clone())),
    );
    any(async move |request: Request| {
        let permit = match limiter.admit(&request) {
            Ok(permit) => permit,
            Err(reason) => return reason.into_response(),
        };
        let max_payload = config.max_payload;
        let reservation = permit.budget().reservation();
        websocket::upgrade(request, None, max_payload, reservation, move |socket| async move {
            let link = Link::WebSocket(Box::new(Watched::new(socket, &config)));
            session(Connection(link)).await;
            drop(permit);
        })
    })
}

/// Answers Engine.IO requests as `/socket.io/` does, except that any page may connect, and runs `session` on each session.
pub fn engineio<S, F>(
    config: &Config,
    session: impl Fn(Connection) -> F + Clone + Send + Sync + 'static,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let limiter = Arc::new(ConnectionLimiter::new(config, config.limits.rates.clone()));
    let sessions = Sessions::new(Arc::new(config.clone()), limiter);
    any(async move |request: Request| {
        sessions
            .handle(request, move |socket| session(Connection(Link::EngineIo(Box::new(socket)))))
            .await
    })
}

impl Connection {
    /// Says goodbye with the code that the client's mistake calls for, or by answering its own goodbye.
    pub async fn close(self) {
        match self.0 {
            Link::WebSocket(socket) => socket.end(None).await,
            Link::EngineIo(socket) => socket.close(CloseCode::Normal, "").await,
        }
    }
}

impl Stream for Connection {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let link = &mut self.get_mut().0;
        loop {
            let message = match link {
                Link::WebSocket(socket) => match ready!(Pin::new(socket).poll_next(cx)) {
                    Some(Heard::Text(text)) => Message::Text(text),
                    Some(Heard::Binary(bytes)) => Message::Binary(bytes),
                    Some(Heard::Progress | Heard::Silence | Heard::SignOfLife) => continue,
                    Some(Heard::Refused) | None => return Poll::Ready(None),
                },
                Link::EngineIo(socket) => match ready!(Pin::new(socket).poll_next(cx)) {
                    Some(Incoming::Text(text)) => Message::Text(text),
                    Some(Incoming::Binary(bytes)) => Message::Binary(bytes),
                    Some(Incoming::Refused) | None => return Poll::Ready(None),
                    Some(_) => continue,
                },
            };
            return Poll::Ready(Some(message));
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

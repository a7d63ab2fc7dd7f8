//! What carries frames to the server and back: [`Wire`], a WebSocket or HTTP polling.
//!
//! A wire is read and written from one place, so that a client which waits to write goes on
//! reading; and a wire that no one asks for its next frame is frozen: it answers no ping.

mod polling;

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Sink, Stream, StreamExt};
use polling::Polling;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Bytes, Error, Message},
};

use crate::support::soon;

pub(crate) enum Wire {
    WebSocket(Box<WebSocket>),
    Polling(Polling),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    Text(String),
    Binary(Bytes),
}

pub(crate) struct WebSocket {
    socket: WebSocketStream<TcpStream>,
    outbox: VecDeque<Raw>,
}

impl Wire {
    /// A WebSocket to this path.
    pub(crate) async fn websocket(address: SocketAddr, path: &str) -> Self {
        let connecting = async {
            let stream = TcpStream::connect(address).await.expect("the server accepts connections");
            stream.set_nodelay(true).expect("a connected socket");
            client_async(format!("ws://{address}{path}"), stream).await
        };
        let (socket, _) =
            soon("a handshake", connecting).await.expect("the server speaks WebSocket");
        Self::WebSocket(Box::new(WebSocket { socket, outbox: VecDeque::new() }))
    }

    /// An Engine.IO session on HTTP polling.
    pub(crate) async fn polling(address: SocketAddr) -> Self {
        Self::Polling(Polling::connect(address).await)
    }

    /// Sends a frame as soon as [`next`](Self::next) is asked for and the server takes it.
    pub(crate) fn queue(&mut self, raw: Raw) {
        match self {
            Self::WebSocket(websocket) => websocket.outbox.push_back(raw),
            Self::Polling(polling) => polling.queue(raw),
        }
    }

    /// The next frame that is no ping of the transport itself, or `None` once the server has ended
    /// the connection.
    ///
    /// Cancel safe: a frame is taken only when it is returned.
    pub(crate) async fn next(&mut self) -> Option<Raw> {
        match self {
            Self::WebSocket(websocket) => poll_fn(|cx| websocket.poll_next(cx)).await,
            Self::Polling(polling) => polling.next().await,
        }
    }

    /// Goes without a word: the connection is reset.
    pub(crate) fn vanish(self) {
        if let Self::WebSocket(websocket) = self {
            let stream = websocket.socket.into_inner();
            stream.set_zero_linger().expect("a connected socket");
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        match self {
            Self::WebSocket(mut websocket) => {
                let goodbye = async {
                    websocket.socket.close(None).await.ok();
                    while let Some(Ok(_)) = websocket.socket.next().await {}
                };
                timeout(PATIENCE, goodbye).await.ok();
            }
            Self::Polling(polling) => {
                timeout(PATIENCE, polling.close()).await.ok();
            }
        }
    }
}

impl WebSocket {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Raw>> {
        loop {
            if self.poll_outbox(cx).is_err() {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Text(text))) => {
                    return Poll::Ready(Some(Raw::Text(text.as_str().to_owned())));
                }
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Some(Raw::Binary(bytes))),
                // The answer to a ping goes out with the next turn.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Poll::Ready(None),
            }
        }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.outbox.is_empty() && socket.as_mut().poll_ready(cx)?.is_ready() {
            let Some(raw) = self.outbox.pop_front() else { break };
            socket.as_mut().start_send(match raw {
                Raw::Text(text) => Message::text(text),
                Raw::Binary(bytes) => Message::Binary(bytes),
            })?;
        }
        let _ = socket.poll_flush(cx)?;
        Ok(())
    }
}

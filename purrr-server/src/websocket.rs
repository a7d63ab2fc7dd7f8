//! The WebSocket upgrade that both dialects share: RFC 6455's handshake checks, small buffers, one size limit.

mod controls;
mod watched;

use std::{
    future::Future,
    io,
    mem::take,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Version,
        header::{
            ALLOW, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
            SEC_WEBSOCKET_VERSION, UPGRADE,
        },
    },
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

pub(crate) use self::{
    controls::Controls,
    watched::{Heard, Watched},
};

pub(crate) type Socket = WebSocketStream<Wire>;

/// The connection under a [`Socket`], which remembers whether anything has moved on it.
///
/// A picture takes minutes on a slow line, and nobody can answer a ping in the midst of it; its bytes are the sign of
/// life.
#[derive(Debug)]
pub(crate) struct Wire {
    io: TokioIo<Upgraded>,
    moved: bool,
    /// Something was written after there was no room for it.
    unblocked: bool,
    blocked: bool,
}

/// What the socket reads into; most messages are a few hundred bytes, and this much is held per connection.
const READ_BUFFER: usize = 4 * 1024;

/// How much may wait to be written before the socket asks for patience.
const WRITE_BUFFER_MAX: usize = 256 * 1024;

/// How long the unread rest of a message that was too large is read and thrown away, so that the close arrives.
const LINGER: Duration = Duration::from_secs(2);

/// Answers the handshake and runs `session` on the socket in a task of its own.
///
/// `protocol` is the subprotocol to agree to if the client offers it, and `max_payload` the bytes of one message.
pub(crate) fn upgrade<F>(
    mut request: Request,
    protocol: Option<&'static str>,
    max_payload: usize,
    session: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send,
{
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    let agreed = protocol.filter(|wanted| offers(request.headers(), wanted));
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX.max(max_payload + 1024))
            .max_message_size(Some(max_payload))
            .max_frame_size(Some(max_payload));
        let io =
            Wire { io: TokioIo::new(upgraded), moved: false, unblocked: false, blocked: false };
        session(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreed) = agreed {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(agreed));
    }
    response
}

/// Says goodbye with a code, and reads what is still coming for a moment, lest it turn the close into a reset.
pub(crate) async fn close(mut socket: Socket, code: CloseCode, reason: &'static str) {
    let goodbye = async {
        let frame = CloseFrame { code, reason: reason.into() };
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        drain(socket.get_mut()).await;
    };
    // Whoever does not close in time is cut off by the drop.
    timeout(LINGER, goodbye).await.ok();
}

/// Lets the answer to the client's own goodbye go out, if it said one.
async fn finish(mut socket: Socket) {
    let goodbye = async {
        while let Some(Ok(_)) = socket.next().await {}
        drain(socket.get_mut()).await;
    };
    timeout(LINGER, goodbye).await.ok();
}

/// Ends this side, as RFC 6455 wants of the server first, and reads what is left of the other.
async fn drain(wire: &mut Wire) {
    let mut scrap = [0; 4096];
    if wire.shutdown().await.is_err() {
        return;
    }
    while matches!(wire.read(&mut scrap).await, Ok(1..)) {}
}

impl Wire {
    /// Whether anything has moved since this was last asked.
    pub(crate) fn take_moved(&mut self) -> bool {
        take(&mut self.moved)
    }

    /// Whether the other side has taken something, after it had not, since this was last asked.
    pub(crate) fn take_unblocked(&mut self) -> bool {
        take(&mut self.unblocked)
    }

    fn wrote<T>(&mut self, written: &Poll<io::Result<T>>) {
        // Room after there was none means that the other side has taken something.
        self.unblocked |= self.blocked && written.is_ready();
        self.moved |= self.unblocked;
        self.blocked = written.is_pending();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.moved |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The close code that RFC 6455 wants for what was wrong with the peer's frames.
pub(crate) fn close_code(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(_) => Some(CloseCode::Size),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, why) = self;
        let mut response = (status, why).into_response();
        let (name, value) = match status {
            StatusCode::METHOD_NOT_ALLOWED => (ALLOW, "GET"),
            StatusCode::UPGRADE_REQUIRED => (SEC_WEBSOCKET_VERSION, "13"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        if status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}

fn accept_key(request: &Request) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET\n"));
    }
    if !lists(headers, &UPGRADE, "websocket") || request.version() != Version::HTTP_11 {
        return Err(Refusal(
            StatusCode::UPGRADE_REQUIRED,
            "this address speaks WebSocket: send `Upgrade: websocket` over HTTP/1.1\n",
        ));
    }
    if !lists(headers, &CONNECTION, "upgrade") {
        return Err(Refusal(StatusCode::BAD_REQUEST, "`Connection: Upgrade` is missing\n"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED, "this server speaks version 13\n"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == 16))
        .ok_or(Refusal(
            StatusCode::BAD_REQUEST,
            "`Sec-WebSocket-Key` must be 16 bytes in base64\n",
        ))?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "`Sec-WebSocket-Key` cannot be answered\n"))
}

fn offers(headers: &HeaderMap, wanted: &str) -> bool {
    items(headers, &SEC_WEBSOCKET_PROTOCOL).any(|item| item == wanted)
}

fn lists(headers: &HeaderMap, name: &axum::http::HeaderName, wanted: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted))
}

fn items<'a>(
    headers: &'a HeaderMap,
    name: &axum::http::HeaderName,
) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

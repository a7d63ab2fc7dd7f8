//! Sessions by their ids, and the requests that begin, feed and end them: [`Sessions`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    extract::{Query, Request},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    polling::{Broken, Inbound, Polling},
    socket::{EioSocket, Link},
};
use crate::{
    config::Config,
    limits::{
        connections::ConnectionLimiter,
        lock,
        memory::{MemoryBudget, upload_timeout},
    },
    transport::{
        message::Message,
        websocket::{self, Socket, SocketEvent},
    },
};

/// The sessions that poll, or did before a WebSocket took them over, by their ids.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    config: Arc<Config>,
    limiter: Arc<ConnectionLimiter>,
    polling: Arc<Mutex<HashMap<String, Arc<Polling>>>>,
}

/// A polling session's entry in the table.
pub(super) struct Record {
    sid: String,
    pub(super) polling: Arc<Polling>,
    sessions: Sessions,
}

/// A request that ends its session unless it comes to its own end.
struct Unfinished<'a>(&'a Polling);

/// A WebSocket that would take a session over. There is one at a time, for it takes no place of its own at the door.
struct Attempt(Arc<Polling>);

#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "EIO")]
    version: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
}

/// Why a request was refused, as the protocol's own server says it.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    TransportUnknown = 0,
    SessionUnknown = 1,
    BadMethod = 2,
    BadRequest = 3,
    Unsupported = 5,
}

impl Sessions {
    pub(crate) fn new(config: Arc<Config>, limiter: Arc<ConnectionLimiter>) -> Self {
        Self { config, limiter, polling: Arc::default() }
    }

    /// Answers a request, and starts `session` in a task of its own where the request begins one.
    pub(crate) async fn handle<F>(
        &self,
        request: Request,
        session: impl FnOnce(EioSocket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.answer(request, session).await.unwrap_or_else(IntoResponse::into_response)
    }

    async fn answer<F>(
        &self,
        request: Request,
        session: impl FnOnce(EioSocket) -> F + Send + 'static,
    ) -> Result<Response, Refusal>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Query(asked) =
            Query::<Asked>::try_from_uri(request.uri()).map_err(|_| Refusal::BadRequest)?;
        let websocket = match asked.transport.as_deref() {
            Some("polling") => false,
            Some("websocket") => true,
            _ => return Err(Refusal::TransportUnknown),
        };
        if let Some(sid) = asked.sid {
            let polling = self.lock().get(&sid).map(Arc::clone).ok_or(Refusal::SessionUnknown)?;
            return match (websocket, request.method()) {
                (true, _) => self.take_over(request, polling),
                (false, &Method::GET) => poll(&polling).await,
                (false, &Method::POST) => self.post(request, &polling).await,
                (false, _) => Err(Refusal::BadMethod),
            };
        }
        if request.method() != Method::GET {
            return Err(Refusal::BadMethod);
        }
        if asked.version.as_deref() != Some("4") {
            return Err(Refusal::Unsupported);
        }
        let permit = match self.limiter.admit(&request) {
            Ok(permit) => permit,
            Err(reason) => return Ok(reason.into_response()),
        };
        let budget = permit.budget().clone();
        // A session is one connection to its end, whatever it runs over.
        let session = move |mut socket: EioSocket| async move {
            socket.share(permit.allowance());
            session(socket).await;
            drop(permit);
        };
        Ok(if websocket {
            self.open_websocket(request, budget, session)
        } else {
            self.open_polling(budget, session)
        })
    }

    fn open_polling<F>(
        &self,
        budget: MemoryBudget,
        session: impl FnOnce(EioSocket) -> F,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sid, polling) = (new_sid(), Arc::new(Polling::new(budget.clone())));
        self.lock().insert(sid.clone(), Arc::clone(&polling));
        let greeting = self.greeting(&sid, &["websocket"]);
        let link = Link::Polling(Record { sid, polling, sessions: self.clone() });
        tokio::spawn(session(EioSocket::new(link, &self.config, budget)));
        payload(greeting)
    }

    fn open_websocket<F>(
        &self,
        request: Request,
        budget: MemoryBudget,
        session: impl FnOnce(EioSocket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let greeting = self.greeting(&new_sid(), &[]);
        let (config, max_payload) = (Arc::clone(&self.config), self.config.max_payload);
        let reservation = budget.reservation();
        websocket::upgrade(request, None, max_payload, reservation, move |mut socket| async move {
            if socket.send(Message::Text(greeting.into())).await.is_ok() {
                let link = Link::WebSocket(Box::new(socket));
                session(EioSocket::new(link, &config, budget)).await;
            }
        })
    }

    fn greeting(&self, sid: &str, upgrades: &[&str]) -> String {
        let Config { ping_interval, ping_timeout, max_payload, .. } = &*self.config;
        let greeting = json!({
            "sid": sid,
            "upgrades": upgrades,
            "pingInterval": ping_interval.as_millis() as u64,
            "pingTimeout": ping_timeout.as_millis() as u64,
            "maxPayload": max_payload,
        });
        format!("0{greeting}")
    }

    async fn post(&self, request: Request, polling: &Polling) -> Result<Response, Refusal> {
        let Config { body_timeout, max_payload, .. } = *self.config;
        polling.begin_post().map_err(|Broken| Refusal::BadRequest)?;
        // Also a client that gives the request up has gone.
        let unfinished = Unfinished(polling);
        let body = read_body(request, body_timeout, max_payload, polling, polling.budget()).await;
        let body = match body {
            Ok(body) => body,
            Err(status) => return Ok(status.into_response()),
        };
        let packets = match body {
            Some(body) => {
                Inbound::read(body, polling.budget()).map_err(|Broken| Refusal::BadRequest)?
            }
            None => Inbound::refused(),
        };
        polling.post(packets).await.map_err(|Broken| Refusal::BadRequest)?;
        unfinished.finish();
        Ok(payload("ok".to_owned()))
    }

    /// A WebSocket takes a polling session over: `2probe`, `3probe`, and `5` once the client has let go of its polls.
    fn take_over(&self, request: Request, polling: Arc<Polling>) -> Result<Response, Refusal> {
        let Config { body_timeout: patience, max_payload, .. } = *self.config;
        let reservation = polling.budget().reservation();
        let attempt = Attempt::begin(polling).map_err(|Broken| Refusal::BadRequest)?;
        let change_over = move |mut socket| async move {
            if attempt.change_over(&mut socket, patience).await.is_some() {
                return attempt.0.finish_upgrade(Box::new(socket));
            }
            // Before the client sees that this socket is let go of, and tries another one.
            drop(attempt);
            drop(socket);
        };
        Ok(websocket::upgrade(request, None, max_payload, reservation, change_over))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Polling>>> {
        lock(&self.polling)
    }
}

/// Reads a request's body. `None` if there was no room for it.
///
/// A client that polls sends one request at a time, so it cannot answer a ping in the midst of a picture; the bytes of the
/// picture are its sign of life. A slow line is given the time that it needs.
async fn read_body(
    request: Request,
    patience: Duration,
    max_payload: usize,
    polling: &Polling,
    budget: &MemoryBudget,
) -> Result<Option<Bytes>, StatusCode> {
    let mut pieces = request.into_body().into_data_stream();
    let (mut body, mut reservation) = (BytesMut::new(), budget.reservation());
    // All that came, whether or not there is room for it.
    let (mut length, mut fits) = (0, true);
    let began = Instant::now();
    loop {
        let due = began + upload_timeout(patience, length);
        let piece = timeout_at(due, pieces.next()).await;
        let Some(piece) = piece.map_err(|_| StatusCode::REQUEST_TIMEOUT)? else {
            return Ok(fits.then(|| reservation.attach(body)));
        };
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        length += piece.len();
        if length > max_payload {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if fits && reservation.grow_to(length) {
            body.extend_from_slice(&piece);
        } else {
            (fits, body) = (false, BytesMut::new());
        }
        polling.hear();
    }
}

async fn poll(polling: &Polling) -> Result<Response, Refusal> {
    let answer = polling.poll().map_err(|Broken| Refusal::BadRequest)?;
    // A client that gives up the request has gone: whatever is sent next would be lost.
    let unfinished = Unfinished(polling);
    let answer = answer.await;
    unfinished.finish();
    answer.map(payload).map_err(|_| Refusal::SessionUnknown)
}

fn payload(text: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=UTF-8")], text.into()).into_response()
}

/// 120 bits that nobody can guess, in 20 characters.
fn new_sid() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Unsupported => "Unsupported protocol version",
        };
        let body = Json(json!({"code": self as u8, "message": message}));
        (StatusCode::BAD_REQUEST, body).into_response()
    }
}

impl Unfinished<'_> {
    fn finish(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Attempt {
    fn begin(polling: Arc<Polling>) -> Result<Self, Broken> {
        polling.begin_attempt()?;
        Ok(Self(polling))
    }

    async fn change_over(&self, socket: &mut Socket, patience: Duration) -> Option<()> {
        let probe = timeout(patience, socket.next()).await.ok()?;
        if !matches!(probe, Some(Ok(SocketEvent::Message(Message::Text(text)))) if text == "2probe")
        {
            return None;
        }
        self.0.begin_upgrade().ok()?;
        let change = async {
            socket.send(Message::Text(ByteString::from_static("3probe"))).await.ok()?;
            match socket.next().await {
                Some(Ok(SocketEvent::Message(Message::Text(text)))) if text == "5" => Some(()),
                _ => None,
            }
        };
        timeout(patience, change).await.ok()?
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.end_attempt();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.polling.close();
        self.sessions.lock().remove(&self.sid);
    }
}

//! Engine.IO sessions by id, and the requests that open, feed and end them: [`Sessions`].

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Query, Request},
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    answer::Answer,
    outbound::Reply,
    payload::{Inbound, InvalidRequest},
    polling::Polling,
    socket::{EioSocket, EioTransport, Link},
    table::{SessionTable, new_sid},
};
use crate::{
    config::Config,
    limits::{
        connections::{ConnectionLimiter, ConnectionPermit},
        memory::{MemoryBudget, upload_timeout},
        provisional::ProvisionalPermit,
    },
    transport::{
        message::Message,
        websocket::{self, CloseCode, MessageSocket, Socket, SocketEvent},
    },
};

/// Answers Engine.IO requests. Clones have the same sessions.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    config: Arc<Config>,
    limiter: Arc<ConnectionLimiter>,
    table: SessionTable,
}

/// The outcome of [`Sessions::handle`].
#[derive(Debug)]
pub(crate) enum Handled {
    /// The request is answered.
    Answered(Response),
    /// The request asks for a session, and is admitted.
    Opens(Box<Opening>),
}

/// A request that asks for a session. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Opening {
    sessions: Sessions,
    request: Request,
    permit: ConnectionPermit,
    transport: Transport,
}

/// The transport that a session begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Polling,
    WebSocket,
}

/// A request under way. Dropping it unfinished closes the session: the client has gone.
struct RequestGuard<'a>(&'a Polling);

/// An upgrade under way. A session has one at a time, since it counts as no connection of its own.
struct UpgradeGuard(Arc<Polling>);

/// How long after a probe polls wait for packets before they are answered without any.
///
/// A client that changes over at once has no poll under way. So one that comes then is a mistake,
/// which must not be answered as if the session still polled.
const RELEASE_AFTER: Duration = Duration::from_millis(20);

/// How long another WebSocket waits for an upgrade under way before it is closed.
const UPGRADE_FIRST: Duration = Duration::from_millis(100);

/// The query of a request.
#[derive(Deserialize)]
struct RequestQuery {
    #[serde(rename = "EIO")]
    version: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
}

/// Why a request was refused, with the codes of the protocol's reference server.
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
        Self { config, limiter, table: SessionTable::default() }
    }

    /// Returns true if [`handle`](Self::handle) counts a request, since it names a session.
    pub(crate) fn names_session(uri: &Uri) -> bool {
        Query::<RequestQuery>::try_from_uri(uri).is_ok_and(|Query(query)| {
            let transport = query.transport.as_deref();
            query.sid.is_some() && matches!(transport, Some("polling" | "websocket"))
        })
    }

    /// Answers a request, unless it asks for a session: [`Opening::open`] answers that one.
    pub(crate) async fn handle(&self, request: Request) -> Handled {
        let handled = self.answer(request).await;
        handled.unwrap_or_else(|refusal| Handled::Answered(refusal.into_response()))
    }

    async fn answer(&self, request: Request) -> Result<Handled, Refusal> {
        let Query(query) =
            Query::<RequestQuery>::try_from_uri(request.uri()).map_err(|_| Refusal::BadRequest)?;
        let transport = match query.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(Refusal::TransportUnknown),
        };
        if let Some(sid) = query.sid {
            let polling = self.table.get(&sid);
            let admitted = match &polling {
                Some(polling) => self.limiter.admit_polling(&request, polling.requests()),
                None => self.limiter.admit_request(&request),
            };
            if let Err(refusal) = admitted {
                return Ok(Handled::Answered(refusal.into_response()));
            }
            let polling = polling.ok_or(Refusal::SessionUnknown)?;
            let answer = match (transport, request.method()) {
                (Transport::WebSocket, _) => self.upgrade(request, polling),
                (Transport::Polling, &Method::GET) => poll(polling).await,
                (Transport::Polling, &Method::POST) => self.post(request, &polling).await,
                (Transport::Polling, _) => Err(Refusal::BadMethod),
            };
            return answer.map(Handled::Answered);
        }
        if request.method() != Method::GET {
            return Err(Refusal::BadMethod);
        }
        if query.version.as_deref() != Some("4") {
            return Err(Refusal::Unsupported);
        }
        let permit = match self.limiter.admit(&request) {
            Ok(permit) => permit,
            Err(reason) => return Ok(Handled::Answered(reason.into_response())),
        };
        let sessions = self.clone();
        Ok(Handled::Opens(Box::new(Opening { sessions, request, permit, transport })))
    }

    fn open_polling<F>(
        &self,
        permit: ConnectionPermit,
        provisional: ProvisionalPermit,
        session: impl FnOnce(EioSocket) -> F,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let record = {
            let control_packets = self.limiter.control_frames(&permit);
            self.table.insert(Polling::new(permit.budget().clone(), control_packets))
        };
        let greeting = self.greeting(record.sid(), &["websocket"]);
        let transport = EioTransport::new(Link::Polling(record), permit).provisional(provisional);
        let mut socket = EioSocket::new(transport, &self.config);
        // A client that only listens has nothing to send but the pong.
        socket.ping_within(self.config.provisional_timeout / 3);
        tokio::spawn(session(socket));
        payload(greeting)
    }

    fn open_websocket<F>(
        &self,
        request: Request,
        permit: ConnectionPermit,
        session: impl FnOnce(EioSocket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let greeting = self.greeting(&new_sid(), &[]);
        let (config, max_payload) = (Arc::clone(&self.config), self.config.max_payload);
        let reservation = permit.budget().reservation();
        let control_frames = self.limiter.control_frames(&permit);
        websocket::upgrade(request, None, max_payload, reservation, move |mut socket| async move {
            if socket.send(Message::Text(greeting.into())).await.is_ok() {
                let socket = MessageSocket::new(socket, control_frames);
                let link = Link::WebSocket(Box::new(socket));
                session(EioSocket::new(EioTransport::new(link, permit), &config)).await;
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
        polling.begin_post().map_err(|InvalidRequest| Refusal::BadRequest)?;
        let guard = RequestGuard(polling);
        let body = read_body(request, body_timeout, max_payload, polling, polling.budget()).await;
        let body = match body {
            Ok(body) => body,
            Err(status) => {
                // Otherwise the client's line may have failed.
                if status == StatusCode::PAYLOAD_TOO_LARGE {
                    polling.close_for_violation();
                }
                return Ok(status.into_response());
            }
        };
        let packets = match body {
            Some(body) => Inbound::parse(body, polling.budget()).map_err(|InvalidRequest| {
                polling.close_for_violation();
                Refusal::BadRequest
            })?,
            None => Inbound::refused(),
        };
        polling.post(packets).await.map_err(|InvalidRequest| Refusal::BadRequest)?;
        guard.finish();
        Ok(payload("ok".to_owned()))
    }

    /// Upgrades a polling session: `2probe`, `3probe`, and `5` once the client polls no more.
    fn upgrade(&self, request: Request, polling: Arc<Polling>) -> Result<Response, Refusal> {
        let (config, max_payload) = (Arc::clone(&self.config), self.config.max_payload);
        let reservation = polling.budget().reservation();
        if polling.has_websocket() {
            // As the reference does, since a client library does not expect a refusal. A client that
            // has sent `5` before may expect the answer to its probe before this close.
            let close = async move |socket: Socket| {
                timeout(UPGRADE_FIRST, polling.upgrade_ended()).await.ok();
                socket.close_with(CloseCode::Normal, "upgraded already").await
            };
            return Ok(websocket::upgrade(request, None, max_payload, reservation, close));
        }
        let upgrade = UpgradeGuard::begin(polling).map_err(|InvalidRequest| Refusal::BadRequest)?;
        let change_over = move |mut socket| async move {
            if upgrade.change_over(&mut socket, config.body_timeout).await.is_some() {
                let socket = MessageSocket::new(socket, upgrade.0.control_packets());
                return upgrade.0.complete_upgrade(Box::new(socket));
            }
            // Must end before the client sees the socket closed, since it may try another one then.
            drop(upgrade);
            drop(socket);
        };
        Ok(websocket::upgrade(request, None, max_payload, reservation, change_over))
    }
}

/// Reads a request's body. Returns `None` if the memory budget has no room for it.
///
/// A client that polls sends one request at a time, so it cannot answer a ping in the middle of an
/// image. The bytes of the image count as activity instead.
async fn read_body(
    request: Request,
    body_timeout: Duration,
    max_payload: usize,
    polling: &Polling,
    budget: &MemoryBudget,
) -> Result<Option<Bytes>, StatusCode> {
    let mut pieces = request.into_body().into_data_stream();
    let (mut body, mut reservation) = (BytesMut::new(), budget.reservation());
    // All bytes that came, whether or not there is room for them.
    let (mut length, mut fits) = (0, true);
    let began = Instant::now();
    loop {
        let due = began + upload_timeout(body_timeout, length);
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
        polling.handle_activity();
    }
}

impl Opening {
    /// Returns the request that asks for the session.
    pub(crate) const fn request_mut(&mut self) -> &mut Request {
        &mut self.request
    }

    /// Answers the request, and spawns the session.
    pub(crate) fn open<F>(self, session: impl FnOnce(EioSocket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { sessions, request, permit, transport } = self;
        if transport == Transport::WebSocket {
            return sessions.open_websocket(request, permit, session);
        }
        match sessions.limiter.admit_provisional(&permit) {
            Ok(provisional) => sessions.open_polling(permit, provisional, session),
            Err(rejection) => rejection.into_response(),
        }
    }
}

async fn poll(polling: Arc<Polling>) -> Result<Response, Refusal> {
    let reply = polling.poll().map_err(|InvalidRequest| Refusal::BadRequest)?;
    let guard = RequestGuard(&polling);
    let reply = reply.await;
    guard.finish();
    match reply.map_err(|_| Refusal::SessionUnknown)? {
        Reply::Control(packet) => Ok(payload(packet)),
        Reply::Packets(batch) => Ok(payload(Body::new(Answer::new(polling, batch)))),
    }
}

fn payload(text: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=UTF-8")], text.into()).into_response()
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

impl RequestGuard<'_> {
    fn finish(self) {
        std::mem::forget(self);
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl UpgradeGuard {
    fn begin(polling: Arc<Polling>) -> Result<Self, InvalidRequest> {
        polling.begin_upgrade()?;
        Ok(Self(polling))
    }

    async fn change_over(&self, socket: &mut Socket, time_limit: Duration) -> Option<()> {
        let probe = timeout(time_limit, socket.next()).await.ok()?;
        if !matches!(probe, Some(Ok(SocketEvent::Message(Message::Text(text)))) if text == "2probe")
        {
            return None;
        }
        let change = async {
            socket.send(Message::Text(ByteString::from_static("3probe"))).await.ok()?;
            let changed = match timeout(RELEASE_AFTER, socket.next()).await {
                Ok(changed) => changed,
                Err(_) => {
                    self.0.release_polls().ok()?;
                    socket.next().await
                }
            };
            match changed {
                Some(Ok(SocketEvent::Message(Message::Text(text)))) if text == "5" => Some(()),
                _ => None,
            }
        };
        timeout(time_limit, change).await.ok()?
    }
}

impl Drop for UpgradeGuard {
    fn drop(&mut self) {
        self.0.end_upgrade();
    }
}

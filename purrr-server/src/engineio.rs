//! Engine.IO v4: one session over HTTP long-polling, over a WebSocket, or over the one and then the other.
//!
//! This layer is our own because the libraries there are hand over packets through a synchronous callback and take them
//! through a queue that drops what does not fit: neither way can wait. Here a session is a [`Stream`] and a [`Sink`], so a
//! partner that does not read holds up exactly the one who writes to it, and nothing is lost, reordered or doubled, also
//! while the transport changes. The protocol: <https://socket.io/docs/v4/engine-io-protocol/>.

pub(crate) mod polling;

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    mem::replace,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
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
use futures::{Sink, SinkExt, Stream, StreamExt};
use polling::{Broken, Polling, Successor};
use purrr_core::{Allowance, Gate};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    admission::Admission,
    budget::{Budget, SLOWEST_LINE, SMALL},
    config::Config,
    heartbeat::{Beat, Heartbeat},
    websocket::{self, CloseCode, Controls, Message, Socket},
};

/// What a client sent, the heartbeat's own packets included.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(ByteString),
    Binary(Bytes),
    Pong,
    Close,
    /// Nothing came, but the client has taken something after it had not.
    Progress,
    /// Nothing came, not even the answer to a ping.
    Silence,
    /// Something came after a silence.
    SignOfLife,
    /// Something for which there was no room.
    Refused,
}

/// What a client is sent. A text is a whole packet, its type included, so that it is written once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Text(ByteString),
    Binary(Bytes),
}

/// The sessions that poll, or did before a WebSocket took them over, by their ids.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    config: Arc<Config>,
    admission: Arc<Admission>,
    polling: Arc<Mutex<HashMap<String, Arc<Polling>>>>,
}

/// One session, whatever it runs over. Ends its record when it is dropped.
pub(crate) struct EioSocket {
    link: Link,
    /// Keeps the id of a session that polled before taken, after a WebSocket has taken it over.
    record: Option<Record>,
    heartbeat: Heartbeat,
    controls: Controls,
    /// Packets that came before a change of transport and are still to be read.
    early: VecDeque<Incoming>,
    /// Packets that a change of transport left over.
    rest: VecDeque<Outgoing>,
    ping_due: bool,
    /// How many pings were sent, and how many of them were answered.
    pings: u64,
    pongs: u64,
    fault: Option<CloseCode>,
    allowance: Option<Arc<Allowance>>,
    /// Closed while no packet is wanted.
    gate: Gate,
    budget: Budget,
}

enum Link {
    WebSocket(Box<Socket>),
    Polling(Record),
    Gone,
}

/// A polling session's entry in the table.
struct Record {
    sid: String,
    polling: Arc<Polling>,
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
    pub(crate) fn new(config: Arc<Config>, admission: Arc<Admission>) -> Self {
        Self { config, admission, polling: Arc::default() }
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
        let admitted = match self.admission.admit(&request) {
            Ok(admitted) => admitted,
            Err(reason) => return Ok(reason.into_response()),
        };
        let budget = admitted.budget().clone();
        // A session is one connection to its end, whatever it runs over.
        let session = move |mut socket: EioSocket| async move {
            socket.allowance = admitted.allowance();
            session(socket).await;
            drop(admitted);
        };
        Ok(if websocket {
            self.open_websocket(request, budget, session)
        } else {
            self.open_polling(budget, session)
        })
    }

    fn open_polling<F>(&self, budget: Budget, session: impl FnOnce(EioSocket) -> F) -> Response
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
        budget: Budget,
        session: impl FnOnce(EioSocket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let greeting = self.greeting(&new_sid(), &[]);
        let (config, max_payload) = (Arc::clone(&self.config), self.config.max_payload);
        let charge = budget.charge();
        websocket::upgrade(request, None, max_payload, charge, move |mut socket| async move {
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
                polling::split(body, polling.budget()).map_err(|Broken| Refusal::BadRequest)?
            }
            None => vec![Incoming::Refused],
        };
        polling.post(packets).await.map_err(|Broken| Refusal::BadRequest)?;
        unfinished.finish();
        Ok(payload("ok".to_owned()))
    }

    /// A WebSocket takes a polling session over: `2probe`, `3probe`, and `5` once the client has let go of its polls.
    fn take_over(&self, request: Request, polling: Arc<Polling>) -> Result<Response, Refusal> {
        let Config { body_timeout: patience, max_payload, .. } = *self.config;
        let charge = polling.budget().charge();
        let attempt = Attempt::begin(polling).map_err(|Broken| Refusal::BadRequest)?;
        let change_over = move |mut socket| async move {
            if attempt.change_over(&mut socket, patience).await.is_some() {
                return attempt.0.finish_upgrade(Box::new(socket));
            }
            // Before the client sees that this socket is let go of, and tries another one.
            drop(attempt);
            drop(socket);
        };
        Ok(websocket::upgrade(request, None, max_payload, charge, change_over))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Polling>>> {
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
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
    budget: &Budget,
) -> Result<Option<Bytes>, StatusCode> {
    let mut pieces = request.into_body().into_data_stream();
    let (mut body, mut charge) = (BytesMut::new(), budget.charge());
    // All that came, whether or not there is room for it.
    let (mut length, mut fits) = (0, true);
    let began = Instant::now();
    loop {
        let bought = Duration::from_secs_f64(length as f64 / SLOWEST_LINE);
        let piece = timeout_at(began + patience + bought, pieces.next()).await;
        let Some(piece) = piece.map_err(|_| StatusCode::REQUEST_TIMEOUT)? else {
            return Ok(fits.then(|| charge.attach(body)));
        };
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        length += piece.len();
        if length > max_payload {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if fits && charge.grow_to(length) {
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

impl Incoming {
    /// Reads a text packet of a session that is open.
    fn read(packet: ByteString) -> Option<Self> {
        match packet.as_bytes().first()? {
            b'4' => Some(Self::Text(packet.slice_ref(&packet[1..]))),
            b'3' => Some(Self::Pong),
            b'1' => Some(Self::Close),
            _ => None,
        }
    }
}

impl Outgoing {
    /// The question whether somebody is there. Any client answers it in turn, between its other packets.
    pub(crate) const PING: Self = Self::Text(ByteString::from_static("2"));

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The same, charged for if it is large.
    pub(crate) fn kept_in(self, budget: &Budget) -> Self {
        match self {
            Self::Text(text) if text.len() > SMALL => {
                let kept = budget.keep(text.into_bytes().into());
                Self::Text(ByteString::try_from(kept).expect("a text stays a text"))
            }
            other => other,
        }
    }

    fn into_message(self) -> Message {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl EioSocket {
    fn new(link: Link, config: &Config, budget: Budget) -> Self {
        Self {
            link,
            record: None,
            heartbeat: config.heartbeat(),
            controls: Controls::new(config),
            early: VecDeque::new(),
            rest: VecDeque::new(),
            ping_due: false,
            pings: 0,
            pongs: 0,
            fault: None,
            allowance: None,
            gate: Gate::default(),
            budget,
        }
    }

    /// What those of the session's address may have held for them together.
    pub(crate) const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// By closing which packets are kept waiting, and nothing else.
    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What whoever has the session shares with the others of its address.
    pub(crate) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.allowance.clone()
    }

    /// A session whose connection is over, for what reads packets of its own.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn gone(config: &Config) -> Self {
        Self::new(Link::Gone, config, Budget::unlimited())
    }

    /// Names the ping that was sent last.
    pub(crate) const fn last_ping(&self) -> u64 {
        self.pings
    }

    /// Whether the ping of this name was answered: then whatever comes was sent after it was taken.
    pub(crate) const fn is_answered(&self, ping: u64) -> bool {
        self.pongs >= ping
    }

    /// Ends the session, with a close code where the transport has them.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        let code = self.fault.unwrap_or(code);
        if let Link::WebSocket(socket) = replace(&mut self.link, Link::Gone) {
            websocket::close(*socket, code, reason).await;
        }
    }

    /// Somebody else depends on this client now, or not any longer.
    pub(crate) fn attend(&mut self, attends: bool) {
        self.heartbeat.attend(attends);
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ping_due && Pin::new(&mut *self).poll_ready(cx)?.is_ready() {
            Pin::new(&mut *self).start_send(Outgoing::PING)?;
            self.ping_due = false;
            let _ = Pin::new(&mut *self).poll_flush(cx)?;
        }
        Ok(())
    }

    /// Goes on with the WebSocket that has taken over, if one has.
    #[inline]
    fn change_over(&mut self) {
        if let Link::Polling(record) = &self.link
            && let Some(Successor { socket, inbound, outbound }) = record.polling.take_successor()
        {
            (self.early, self.rest) = (inbound, outbound);
            if let Link::Polling(record) = replace(&mut self.link, Link::WebSocket(socket)) {
                self.record = Some(record);
            }
        }
    }

    /// Does what else there is to do while no packet is wanted. Answers to pings are packets too, so nobody is taken for dead
    /// meanwhile; but a line that is broken is noticed by what is sent.
    fn poll_without_reading(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.change_over();
        if let Poll::Ready(Err(_)) = self.poll_rest(cx) {
            return Poll::Ready(None);
        }
        self.heartbeat.heard();
        if let Link::WebSocket(socket) = &mut self.link {
            socket.excuse();
            if socket.poll_blocked(cx).is_err() {
                return Poll::Ready(None);
            }
            if socket.take_unblocked() {
                return Poll::Ready(Some(Incoming::Progress));
            }
        }
        Poll::Pending
    }

    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.change_over();
        if let Some(packet) = self.early.pop_front() {
            return Poll::Ready(Some(packet));
        }
        // What was left over goes out even if nothing else does.
        if let Poll::Ready(Err(_)) = self.poll_rest(cx) {
            return Poll::Ready(None);
        }
        let socket = match &mut self.link {
            Link::Gone => return Poll::Ready(None),
            Link::Polling(record) => {
                let polled = record.polling.poll_next(cx);
                if record.polling.take_moved() {
                    self.heartbeat.heard();
                }
                return polled;
            }
            Link::WebSocket(socket) => socket,
        };
        loop {
            let polled = socket.poll_next_unpin(cx);
            if socket.take_moved() {
                self.heartbeat.heard();
            }
            if polled.is_pending() && socket.take_unblocked() {
                return Poll::Ready(Some(Incoming::Progress));
            }
            return match ready!(polled) {
                Some(Ok(Message::Binary(bytes))) => Poll::Ready(Some(Incoming::Binary(bytes))),
                Some(Ok(Message::Text(text))) => {
                    let packet = Incoming::read(text);
                    if packet.is_none() {
                        self.fault = Some(CloseCode::Policy);
                    }
                    Poll::Ready(packet)
                }
                None => Poll::Ready(None),
                Some(Ok(Message::Refused)) => Poll::Ready(Some(Incoming::Refused)),
                Some(Ok(_)) if self.controls.are_too_many() => {
                    self.fault = Some(CloseCode::Policy);
                    Poll::Ready(None)
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    self.fault = websocket::close_code(&error);
                    Poll::Ready(None)
                }
            };
        }
    }

    /// Hands what a change of transport left over to the WebSocket.
    #[inline]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked before everything else, and hardly ever there.
        if self.rest.is_empty() { Poll::Ready(Ok(())) } else { self.poll_some_rest(cx) }
    }

    #[cold]
    fn poll_some_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Link::WebSocket(socket) = &mut self.link {
            while !self.rest.is_empty() {
                ready!(socket.poll_ready_unpin(cx)).map_err(io::Error::other)?;
                if let Some(packet) = self.rest.pop_front() {
                    socket.start_send_unpin(packet.into_message()).map_err(io::Error::other)?;
                }
                if self.rest.is_empty() {
                    let _ = socket.poll_flush_unpin(cx).map_err(io::Error::other)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for EioSocket {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let this = self.get_mut();
        loop {
            let polled = if this.gate.is_closed() {
                this.poll_without_reading(cx)
            } else {
                this.poll_packet(cx)
            };
            match polled {
                Poll::Ready(Some(Incoming::Pong)) => {
                    this.heartbeat.heard();
                    this.pongs = this.pings.min(this.pongs + 1);
                }
                Poll::Ready(Some(Incoming::Close) | None) => return Poll::Ready(None),
                Poll::Ready(Some(packet)) => {
                    this.heartbeat.heard();
                    if matches!(packet, Incoming::Refused) {
                        // An answer to a ping may have been among what was thrown away.
                        this.pongs = this.pings;
                    }
                    return Poll::Ready(Some(packet));
                }
                Poll::Pending => match this.heartbeat.poll(cx) {
                    Poll::Ready(Beat::Dead) => {
                        // What is still to be sent waits for a poll that will not come.
                        if let Link::Polling(record) = &this.link {
                            record.polling.close();
                        }
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Beat::Ask) => this.ping_due = true,
                    Poll::Ready(Beat::Silence) => return Poll::Ready(Some(Incoming::Silence)),
                    Poll::Ready(Beat::SignOfLife) => {
                        return Poll::Ready(Some(Incoming::SignOfLife));
                    }
                    Poll::Pending if this.poll_ping(cx).is_err() => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl Sink<Outgoing> for EioSocket {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.change_over();
        ready!(this.poll_rest(cx))?;
        match &mut this.link {
            Link::WebSocket(socket) => socket.poll_ready_unpin(cx).map_err(io::Error::other),
            Link::Polling(record) => {
                if ready!(record.polling.poll_ready(cx)) {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
            Link::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn start_send(self: Pin<&mut Self>, packet: Outgoing) -> io::Result<()> {
        let this = self.get_mut();
        this.pings += u64::from(packet == Outgoing::PING);
        this.heartbeat.sent(packet.len());
        match &mut this.link {
            Link::WebSocket(socket) => {
                socket.start_send_unpin(packet.into_message()).map_err(io::Error::other)
            }
            Link::Polling(record) => {
                record.polling.send(packet);
                Ok(())
            }
            Link::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.change_over();
        ready!(this.poll_rest(cx))?;
        match &mut this.link {
            Link::WebSocket(socket) => socket.poll_flush_unpin(cx).map_err(io::Error::other),
            Link::Polling(record) => record.polling.poll_flush(cx).map(Ok),
            Link::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Says nothing: which close code to send is known only when the session has ended.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
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
        if !matches!(probe, Some(Ok(Message::Text(text))) if text == "2probe") {
            return None;
        }
        self.0.begin_upgrade().ok()?;
        let change = async {
            socket.send(Message::Text(ByteString::from_static("3probe"))).await.ok()?;
            match socket.next().await {
                Some(Ok(Message::Text(text))) if text == "5" => Some(()),
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

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::Pong => f.write_str("Pong"),
            Self::Close => f.write_str("Close"),
            Self::Progress => f.write_str("Progress"),
            Self::Silence => f.write_str("Silence"),
            Self::SignOfLife => f.write_str("SignOfLife"),
            Self::Refused => f.write_str("Refused"),
        }
    }
}

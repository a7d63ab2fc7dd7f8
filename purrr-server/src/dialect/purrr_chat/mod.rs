//! The Purrr.chat dialect: Socket.IO v5 over Engine.IO, with one namespace and its events.
//!
//! The protocol: <https://socket.io/docs/v4/socket-io-protocol/>.

mod chat;
mod counting;
mod data_url;
mod lost_chats;
mod message_index;
mod offset;
mod packet;
mod payload;
mod ping_barrier;
mod recovery;
mod session;

use std::{pin::Pin, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use futures::{SinkExt, StreamExt};
use purrr_core::{
    Hub, Profile, backend::QueueBudget, hub::Gate, model::OriginKey, rate::Allowance,
};
use serde::Deserialize;
use tokio::time::timeout;

#[cfg(feature = "fuzzing")]
pub(crate) use self::session::fuzzing;
use self::{
    counting::Counting,
    lost_chats::LostChats,
    offset::Offset,
    packet::{Packet, invalid_namespace},
    recovery::{Recovery, Resuming},
    session::PurrrChat,
};
use super::close_code::close_code;
use crate::{
    config::Config,
    identify::{Anonymous, Identifier, Known},
    limits::{
        connections::ConnectionLimiter,
        open::{Dialect, OpenConnection, OpenConnections},
    },
    liveness::Incoming,
    transport::{
        engineio::{EioSocket, Handled, Outgoing, Sessions},
        message::Message,
        websocket::CloseCode,
    },
};

/// How a session is closed whose client does not connect to the namespace.
static NOT_CONNECTED: (CloseCode, &str) = (CloseCode::Policy, "no namespace was asked for");

/// What the routes of `/socket.io/` share.
#[derive(Clone, Debug)]
pub(crate) struct SocketIo {
    hub: Hub,
    identifier: Identifier,
    config: Arc<Config>,
    connections: OpenConnections,
    sessions: Sessions,
    lost: LostChats,
}

impl SocketIo {
    pub(crate) fn new(
        hub: Hub,
        identifier: Identifier,
        config: Arc<Config>,
        connections: OpenConnections,
        limiter: Arc<ConnectionLimiter>,
    ) -> Self {
        let sessions = Sessions::new(Arc::clone(&config), limiter);
        let lost = LostChats::new(hub.limits().resume_window);
        Self { hub, identifier, sessions, config, connections, lost }
    }
}

/// Answers a request to `/socket.io/`.
pub(crate) async fn handle(State(socketio): State<SocketIo>, request: Request) -> Response {
    let SocketIo { hub, identifier, config, connections, sessions, lost } = socketio;
    let mut opening = match sessions.handle(request).await {
        Handled::Answered(answer) => return answer,
        Handled::Opens(opening) => opening,
    };
    let profile = match identifier.identify(opening.request_mut()).await {
        Ok(profile) => profile,
        Err(refusal) => return refusal,
    };
    let counted = move || connections.open(Dialect::PurrrChat);
    match profile {
        None => opening.open(move |socket| run(hub, config, lost, counted(), Anonymous, socket)),
        Some(profile) => {
            opening.open(move |socket| run(hub, config, lost, counted(), profile, socket))
        }
    }
}

/// Runs one client's session.
async fn run(
    hub: Hub,
    config: Arc<Config>,
    lost: LostChats,
    _counted: OpenConnection,
    known: impl Known,
    mut socket: EioSocket,
) {
    let connected = timeout(config.connect_timeout, connect(&mut socket)).await;
    let auth = match connected {
        Ok(Some(auth)) => auth,
        Ok(None) => return close(socket, None).await,
        Err(_) => return close(socket, Some(NOT_CONNECTED)).await,
    };
    let mut chat = PurrrChat::new(socket, hub.limits(), &config, auth.recovery(lost));
    chat.set_name(known.name());
    if auth.auto_pair {
        chat.find_at_once();
    }
    drop(auth);
    let shared = (chat.allowance(), chat.budget(), chat.gate(), chat.origin());
    // The profile is built in place: in a variable, the future would hold it to the end.
    let ended = hub.serve(&mut chat, profile(known.into_profile(), shared)).await;
    chat.handle_end(ended);
    close(chat.into_socket(), close_code(ended, "not Socket.IO")).await;
}

/// Closes a session. What ended its transport goes before `reason`.
///
/// Boxed: it is larger than all the rest, and every session would hold it from its start.
fn close(
    socket: EioSocket,
    reason: Option<(CloseCode, &'static str)>,
) -> Pin<Box<impl Future<Output = ()>>> {
    Box::pin(socket.into_transport().close(reason))
}

/// Adds what the server knows of a client to what the app knows.
fn profile(
    mut profile: Profile,
    (allowance, budget, gate, origin): (
        Option<Arc<Allowance>>,
        Arc<dyn QueueBudget>,
        Gate,
        OriginKey,
    ),
) -> Profile {
    (profile.capabilities.candidates, profile.capabilities.receipts) = (false, false);
    profile.gate = Some(gate);
    profile.allowance = profile.allowance.or(allowance);
    profile.budget = profile.budget.or(Some(budget));
    if profile.origin == OriginKey::NONE {
        profile.origin = origin;
    }
    profile
}

/// The auth payload of a client.
#[derive(Default, Deserialize)]
struct Auth {
    #[serde(rename = "autoPair", default)]
    auto_pair: bool,
    /// The resume token of the last connection. Clients from version 4.6 on send it again.
    #[serde(default)]
    pid: Option<String>,
    /// Whether the client speaks connection state recovery.
    #[serde(default)]
    recovery: bool,
    /// The last argument of the last event, if that was a string.
    #[serde(default)]
    offset: Option<String>,
}

impl Auth {
    fn recovery(&self, lost: LostChats) -> Option<Box<Recovery>> {
        // A token that is none is no error: the client connects as a new one.
        let token = self.pid.as_ref().and_then(|token| token.parse().ok());
        let recovery = match (self.recovery, token) {
            (true, Some(pid)) => {
                Recovery::Resuming(Resuming::new(pid, self.offset.as_deref(), lost))
            }
            (true, None) => Recovery::Counting(Counting::new(Offset::NONE, lost)),
            (false, Some(token)) => Recovery::Named(token),
            (false, None) => return None,
        };
        Some(Box::new(recovery))
    }
}

/// Waits until the client connects to the main namespace, which the first event answers.
///
/// Returns `None` if it sends anything else first, or has gone.
async fn connect(socket: &mut EioSocket) -> Option<Auth> {
    loop {
        let incoming = socket.next().await?;
        let packet = match &incoming {
            Incoming::Message(Message::Text(packet)) => Packet::parse(packet),
            Incoming::WriteProgress | Incoming::Unresponsive | Incoming::Responsive => continue,
            _ => None,
        };
        let auth = match packet {
            Some(Packet::Connect("")) => Some(Auth::default()),
            Some(Packet::Connect(json)) => serde_json::from_str(json).ok(),
            Some(Packet::ConnectElsewhere(namespace)) => {
                refuse(socket, namespace).await?;
                continue;
            }
            Some(Packet::Disconnect) => {
                socket.transport_mut().set_end(&(CloseCode::Normal, ""));
                None
            }
            _ => None,
        };
        if auth.is_none() {
            socket.transport_mut().set_end(&NOT_CONNECTED);
        }
        return auth;
    }
}

async fn refuse(socket: &mut EioSocket, namespace: &str) -> Option<()> {
    socket.send(Outgoing::Text(invalid_namespace(namespace))).await.ok()
}

//! The connection of a node to Redis: [`Session`], and the task that keeps one.

use std::{
    future::Future,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use purrr_core::matching::PlaceLimits;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream},
};
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Commit, HEAD_START, Node, PACE, WeakNode};
use crate::{
    protocol::{leader::Leader, link::Packet, message::NodeId},
    scripts::{self, Allowed, View},
};

/// How long a node's lease lasts. A partner of a node that has died waits for as long, and a
/// beat more, and so do searches when it was the leader.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(1);

/// How long Redis may take to answer. After that the connection is made anew.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pauses between two attempts to connect, at first and at most.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(1);

/// The two connections of a node: one asks and publishes, the other listens.
pub(crate) struct Session {
    id: NodeId,
    commands: MultiplexedConnection,
    listener: PubSubSink,
    messages: PubSubStream,
}

/// Why a session is over.
enum Ended {
    /// The backend was dropped.
    Dropped,
    Failed(RedisError),
}

impl From<RedisError> for Ended {
    fn from(error: RedisError) -> Self {
        Self::Failed(error)
    }
}

impl Session {
    /// Connects and joins the cluster, or goes on where the last session was lost.
    pub(crate) async fn open(node: &Node, client: &Client) -> Result<Self, RedisError> {
        let id = node.change(|core, _, after| {
            if core.lease.is_none() {
                // Redis may have listed the last id meanwhile, and the others may have seen it go.
                core.stop(after);
            }
            core.id
        });
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut commands = client.get_multiplexed_async_connection_with_config(&config).await?;
        let channel = node.options().channel(id);
        let (listener, messages) = within(async {
            let (mut listener, messages) = client.get_async_pubsub().await?.split();
            listener.subscribe(&channel).await?;
            Ok((listener, messages))
        })
        .await?;
        beat(node, id, &mut commands).await?;
        node.connected(Some(commands.clone()));
        Ok(Self { id, commands, listener, messages })
    }

    /// Keeps the node in the cluster until its backend is dropped.
    pub(crate) async fn keep(self, node: WeakNode, wake: Arc<Notify>, client: Client) {
        let mut session = self;
        let Some(prefix) = node.upgrade().map(|node| node.options().prefix.clone()) else { return };
        loop {
            let (id, commands) = (session.id, session.commands.clone());
            let error = match session.serve(&node, &wake).await {
                Ended::Dropped => return leave(&prefix, id, commands).await,
                Ended::Failed(error) => error,
            };
            tracing::warn!(%error, "lost the connection to Redis");
            let mut pause = RETRY;
            session = loop {
                let Some(node) = node.upgrade() else { return };
                node.connected(None);
                // Ends what the lease no longer covers.
                node.change(|_, _, _| ());
                match Self::open(&node, &client).await {
                    Ok(session) => break session,
                    Err(error) => tracing::debug!(%error, "Redis cannot be reached"),
                }
                drop(node);
                sleep(pause).await;
                pause = (2 * pause).min(RETRY_MOST);
            };
            tracing::info!("connected to Redis again");
        }
    }

    async fn serve(self, node: &WeakNode, wake: &Notify) -> Ended {
        let Self { id, commands, listener, messages } = self;
        select! {
            ended = listen(node, id, messages) => ended,
            ended = transmit(node, wake, commands.clone()) => ended,
            ended = beats(node, id, commands, listener) => ended,
        }
    }
}

impl Node {
    /// Notes whether there is a connection.
    fn connected(&self, commands: Option<MultiplexedConnection>) {
        self.0.degraded.store(commands.is_none(), Ordering::Relaxed);
        *self.0.commands.lock().unwrap_or_else(PoisonError::into_inner) = commands;
    }

    fn place_limits(&self) -> PlaceLimits {
        let (mut places, limits) = (PlaceLimits::default(), &self.options().limits);
        places.per_person = limits.waiting_per_person;
        places.per_origin = limits.waiting_per_address;
        places
    }

    /// Returns what is to be published, what is to be committed, and when to ask again.
    fn collect(&self) -> (Vec<(NodeId, Bytes)>, Vec<Commit>, Option<Instant>) {
        self.change_quietly(|core, now, _| {
            if let Some(leader) = &mut core.leader
                && leader.poll_timeout().is_some_and(|due| due <= now)
            {
                leader.handle_timeout(now);
            }
        });
        let mut core = self.lock();
        let (now, from) = (self.now(), core.id);
        let mut packets = Vec::new();
        for (to, link) in &mut core.links {
            while let Some(packet) = link.poll_transmit(now, from) {
                packets.push((*to, packet.encode()));
            }
        }
        let searches = core.leader.as_ref().and_then(Leader::poll_timeout);
        let searches = searches.map(|due| due.max(now + PACE));
        let due = core.links.values().filter_map(|link| link.poll_timeout()).chain(searches).min();
        let due = due.and_then(|due| self.0.opened.checked_add(due.saturating_sub(HEAD_START)));
        (packets, std::mem::take(&mut core.commits), due)
    }
}

async fn listen(node: &WeakNode, id: NodeId, mut messages: PubSubStream) -> Ended {
    while let Some(message) = messages.next().await {
        let Some(node) = node.upgrade() else { return Ended::Dropped };
        if let Ok(Some(packet)) =
            message.get_payload::<Vec<u8>>().map(|it| Packet::decode(it.into()))
        {
            node.change(|core, now, _| {
                // Not what was meant for the node that this one was before its lease ended.
                if core.id == id {
                    core.handle_packet(now, packet);
                }
            });
        }
    }
    Ended::Failed((ErrorKind::Io, "the connection that listens was closed").into())
}

async fn transmit(node: &WeakNode, wake: &Notify, mut commands: MultiplexedConnection) -> Ended {
    loop {
        let Some(strong) = node.upgrade() else { return Ended::Dropped };
        let (packets, commits, due) = strong.collect();
        if !packets.is_empty() {
            let mut pipeline = redis::pipe();
            for (to, packet) in packets {
                let channel = strong.options().channel(to);
                pipeline.cmd("PUBLISH").arg(channel).arg(&packet[..]).ignore();
            }
            if let Err(error) = pipeline.query_async::<()>(&mut commands).await {
                return error.into();
            }
        }
        for commit in commits {
            tokio::spawn(ask(node.clone(), commands.clone(), commit));
        }
        drop(strong);
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        select! {
            () = wake.notified() => {}
            () = timer => {}
        }
    }
}

/// Asks Redis whether a match may be.
async fn ask(node: WeakNode, mut commands: MultiplexedConnection, commit: Commit) {
    let Some(strong) = node.upgrade() else { return };
    let (prefix, id) = (strong.options().prefix.clone(), strong.lock().id);
    drop(strong);
    let allowed = scripts::commit(&mut commands, &prefix, (id, commit.epoch), commit.nodes).await;
    let Some(node) = node.upgrade() else { return };
    let allowed = allowed.unwrap_or_else(|error| {
        tracing::warn!(%error, "Redis did not say whether a match may be");
        Allowed::Unknown
    });
    node.change(|core, now, _| core.handle_allowed(now, &commit, allowed));
}

async fn beats(
    node: &WeakNode,
    id: NodeId,
    mut commands: MultiplexedConnection,
    mut listener: PubSubSink,
) -> Ended {
    loop {
        sleep(BEAT).await;
        let Some(node) = node.upgrade() else { return Ended::Dropped };
        if let Err(error) = beat(&node, id, &mut commands).await {
            return error.into();
        }
        // A listener whose connection is cut without a word hears nothing, which is no error.
        if let Err(error) = within(listener.ping::<redis::Value>()).await {
            return error.into();
        }
    }
}

/// Renews the lease, and learns what the cluster looks like.
async fn beat(
    node: &Node,
    id: NodeId,
    commands: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    let own = node.own_numbers();
    let (is_same, joins, resigned) = {
        let core = node.lock();
        (core.id == id, core.lease.is_none(), core.resigned)
    };
    let rejoin = || (ErrorKind::Io, "this node's lease has ended").into();
    if !is_same {
        return Err(rejoin());
    }
    let sent = node.now();
    let beat = scripts::Beat { id, joins, resigned, numbers: own, lease: LEASE };
    let view: Option<View> = scripts::beat(commands, &node.options().prefix, beat).await?;
    let limits = node.place_limits();
    let stays = node.change(|core, now, after| match view {
        Some(view) if core.id == id && now < sent + LEASE => {
            core.handle_view(now, sent + LEASE, limits, view);
            true
        }
        _ => {
            if core.id == id {
                core.stop(after);
            }
            false
        }
    });
    if stays { Ok(()) } else { Err(rejoin()) }
}

/// Leaves the cluster, so that the other nodes need not wait for the end of the lease.
async fn leave(prefix: &str, id: NodeId, mut commands: MultiplexedConnection) {
    if let Err(error) = scripts::leave(&mut commands, prefix, id).await {
        tracing::debug!(%error, "could not tell Redis that this node leaves");
    }
}

async fn within<T>(future: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let slow = || (ErrorKind::Io, "Redis does not answer in time").into();
    timeout(PATIENCE, future).await.unwrap_or_else(|_| Err(slow()))
}

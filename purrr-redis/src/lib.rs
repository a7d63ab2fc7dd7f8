//! Several purrr nodes that share one lobby, through Redis or Valkey.
//!
//! ```no_run
//! use purrr_core::Hub;
//!
//! # async fn start() -> Result<(), purrr_redis::ConnectError> {
//! let backend = purrr_redis::connect("redis://127.0.0.1/").await?;
//! let hub = Hub::builder().backend(backend).build();
//! # Ok(())
//! # }
//! ```
//!
//! A peer that searches on one node can be matched with one of any other node, by the rules of
//! both. Blocks, recent partners and resume tokens hold on every node. Two peers of one node chat
//! without Redis.
//!
//! What holds under which fault, and what does not yet, is in
//! [`docs/cluster.md`](https://github.com/purrr-chat/purrr/blob/main/docs/cluster.md).
//!
//! # How it works
//!
//! - `protocol` is pure: `link` carries messages to another node once and in order, `member` keeps
//!   a node's places and chats, `leader` makes the matches.
//! - `scripts` is what Redis decides at once: who lives, who leads, whether a match may be.
//! - `node` is the shell: the lock, the connections, and the core's `Lobby` and `Relay`.
//! - `people` is the core's `People`, by scripts on keys that have a time to live.
#![warn(missing_docs)]

mod node;
mod numbers;
mod people;
mod protocol;
mod scripts;

use std::{fmt, sync::Arc};

use purrr_core::{Limits, backend::Backend};

use crate::{
    node::Node,
    people::{Pseudonyms, RedisPeople},
    protocol::message::NodeId,
};

/// How a node takes part in a cluster.
///
/// Every node of one must have the same.
///
/// ```no_run
/// use purrr_core::Limits;
/// use purrr_redis::Options;
///
/// # async fn start() -> Result<(), purrr_redis::ConnectError> {
/// let options = Options::default().limits(Limits::default()).prefix("staging").secret("…");
/// let backend = options.connect("redis://127.0.0.1/").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Options {
    limits: Limits,
    prefix: String,
    secret: Option<Vec<u8>>,
}

/// Why a node could not join a cluster: the URL is none, or Redis cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot join the cluster by Redis")]
pub struct ConnectError(#[source] redis::RedisError);

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), prefix: "purrr".to_owned(), secret: None }
    }
}

impl Options {
    /// Sets the limits of waiting places, queues and what is remembered. Default:
    /// [`Limits::default`].
    ///
    /// [`Limits::remembered`] does not count here: what is known of a person ends by its time.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what all keys and channels in Redis begin with. Default: `purrr`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the secret that stands behind the pseudonyms of persons and addresses in Redis.
    /// Default: the password of the URL.
    ///
    /// Without either of them, a reader of Redis can tell which persons and addresses are meant.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Joins the cluster of a Redis.
    ///
    /// The node leaves when the backend and all that came of it are dropped. Must be called within
    /// a Tokio runtime, whose tasks keep the node in the cluster.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if the URL is none, or Redis cannot be reached.
    pub async fn connect(self, url: &str) -> Result<Backend, ConnectError> {
        let client = redis::Client::open(url).map_err(ConnectError)?;
        let password = client.get_connection_info().redis_settings().password();
        let secret = self.secret.as_deref().or(password.map(str::as_bytes));
        let names = Pseudonyms::new(secret.unwrap_or_default());
        let node = Node::new(self);
        node.join(client).await.map_err(ConnectError)?;
        let people = RedisPeople::new(node.clone(), names);
        Ok(Backend::new(Arc::new(node.clone()), Arc::new(node), Arc::new(people)))
    }

    fn channel(&self, node: NodeId) -> String {
        format!("{}:node:{node}", self.prefix)
    }
}

/// Prints no secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Joins the cluster of a Redis, such as `redis://127.0.0.1/`, with the default [`Options`].
///
/// # Errors
///
/// [`ConnectError`] if the URL is none, or Redis cannot be reached.
pub async fn connect(url: &str) -> Result<Backend, ConnectError> {
    Options::default().connect(url).await
}

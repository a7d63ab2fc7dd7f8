//! The routes, and what is answered without a chat: the web client, health and metrics.

pub(crate) mod builder;
mod exposition;
mod health;
pub(crate) mod metrics;
mod origin;
mod page;
pub(crate) mod router;
mod semantics;

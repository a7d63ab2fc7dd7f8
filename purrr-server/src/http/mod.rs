//! The routes, and what is answered without a chat: the web client, health and metrics.

mod health;
pub(crate) mod metrics;
mod origin;
mod page;
pub(crate) mod router;

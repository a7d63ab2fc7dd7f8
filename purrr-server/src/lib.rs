#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admission;
mod budget;
pub mod config;
mod engineio;
mod heartbeat;
mod key;
mod metrics;
mod native;
mod origin;
mod page;
mod picture;
mod router;
mod serve;
mod socketio;
pub mod transport;
mod websocket;

pub use crate::{config::Config, router::router, serve::run};

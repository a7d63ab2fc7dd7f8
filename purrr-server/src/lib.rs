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

/// Targets for a fuzzer: what reads the bytes of clients and is not public. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        engineio::polling::fuzzing::payloads, socketio::purrr_chat::fuzzing::events,
        websocket::fuzzing::frames,
    };
}

pub use crate::{
    config::Config,
    router::router,
    serve::{bind, run},
};

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod dialect;
mod http;
mod identify;
mod limits;
mod liveness;
mod net;
mod server;
pub mod transport;

/// Targets for a fuzzer: what reads the bytes of clients and is not public. No part of the API.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    #[cfg(feature = "cli")]
    pub use crate::cli::fuzzing::config_file;
    pub use crate::{
        dialect::{
            image::fuzzing::image_header,
            purrr_chat::fuzzing::{events, recovery},
        },
        net::client_address::fuzzing::client_address,
        transport::{engineio::payload::fuzzing::payloads, websocket::fuzzing::frames},
    };
}

pub use crate::{
    config::{Config, Guards, ServerConfig},
    http::{
        builder::{Handle, IntoHub, RouterBuilder, router},
        metrics::Metrics,
        router::Part,
    },
    identify::{Identify, IdentifyFn},
    net::listener::bind,
    server::run,
};

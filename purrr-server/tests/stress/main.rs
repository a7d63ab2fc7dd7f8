//! Tests that load the machine or measure a process: chaos, soak, faults, gaps and memory.
//!
//! A program of their own, apart from `it`: two hundred clients, or a flood, would make the short
//! timeouts of the tests over there late. Each takes [`ALONE`].

mod chaos;
#[cfg(target_os = "linux")]
mod faults;
mod gaps;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod process;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use tokio::sync::Mutex;

use crate::support::raw;

/// Held by the test that runs. Otherwise each would measure the others.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What the server says of itself to Prometheus.
async fn metrics(address: SocketAddr) -> String {
    raw(address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.body
}

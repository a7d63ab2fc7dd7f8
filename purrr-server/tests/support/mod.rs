//! Helpers of both test programs, `it` and `stress`: a server, and clients that talk to it over real sockets.
//!
//! A helper that only one of the two uses lives over there, so that the compiler tells of a dead one.

mod peer;
pub(crate) mod program;
mod server;
pub(crate) mod wire;

use std::time::Duration;

pub(crate) use self::{
    peer::Peer,
    server::{Answer, Server, raw},
};

/// How long anything may take before a test fails. Generous, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// The generator of P-256: a public key that everybody accepts.
pub(crate) const KEY: &str =
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

/// A picture of one white dot.
pub(crate) const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
    \0\0\0\nIDATx\x9c\x63\xf8\x0f\0\x01\x01\x01\0\x1b\xb6\xee\x56\0\0\0\0IEND\xae\x42\x60\x82";

/// The same dot, and after it so many bytes that it has `size` in all; no client looks at those.
pub(crate) fn png_of(size: usize) -> Vec<u8> {
    let filler = (0..=250).cycle().skip(PNG.len());
    PNG.iter().copied().chain(filler).take(size).collect()
}

/// What a WebSocket begins with, beside its `Host`.
pub(crate) const UPGRADE: [&str; 4] = [
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// Awaits something that must happen.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing happened for {PATIENCE:?}"))
}

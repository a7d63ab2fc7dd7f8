//! Engine.IO v4: sessions over HTTP long-polling, a WebSocket, or the one and then the other.
//!
//! Our own code, because existing crates offer no backpressure: they deliver packets to a
//! synchronous callback and send them through a queue that drops what does not fit. Here a session
//! is a `Stream` and a `Sink`. A slow client pauses only its partner, and no packet is lost,
//! reordered or doubled, also during an upgrade.
//!
//! The protocol: <https://socket.io/docs/v4/engine-io-protocol/>.

mod answer;
mod outbound;
mod packet;
pub(crate) mod payload;
mod polling;
mod sessions;
mod socket;
mod table;

#[cfg(feature = "fuzzing")]
pub(crate) use self::socket::EioTransport;
pub(crate) use self::{
    packet::Outgoing,
    sessions::{Handled, Sessions},
    socket::{EioSocket, SLOW},
};

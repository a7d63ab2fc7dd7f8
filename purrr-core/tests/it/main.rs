//! The library's tests against its public API, in one program. Time is virtual: nothing waits.

mod addresses;
mod auto_traits;
mod broker;
mod chance;
mod channels;
mod chat;
#[cfg(feature = "conformance")]
mod conformance;
mod hints;
mod intercepted;
mod observe;
mod pair;
mod serve;
mod two_hubs;

//! The locks, the atomics and the timer of the backend in memory, or those of a model that tries every order of using them, in
//! which no time passes.
//!
//! The model is that of `tests/lock.rs`. What lies between two locks is run in one go there, so code that relies on
//! anything finer has to go through this module, too.

#[cfg(purrr_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(purrr_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(not(purrr_loom))]
pub(crate) use tokio::time::sleep;

#[cfg(purrr_loom)]
pub(crate) async fn sleep(_: std::time::Duration) {
    std::future::pending().await
}

//! Locks, atomics and the timer of the crate: the real ones, or those of the loom model.
//!
//! The model is `tests/lock.rs`, in which no time passes. It runs the code between two locks in one
//! step, so code that relies on anything finer must use the atomics of this module.

#[cfg(purrr_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(purrr_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

use std::sync::PoisonError;

#[cfg(not(purrr_loom))]
pub(crate) use tokio::time::sleep;

#[cfg(purrr_loom)]
pub(crate) async fn sleep(_: std::time::Duration) {
    std::future::pending().await
}

/// Locks a mutex, even if another thread panicked while it held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only a pairing rule of the embedder can panic under a lock of this crate. What it leaves
    // behind is a lobby that lacks one peer; every other holder changes its data in steps that
    // cannot panic. So the data can be used on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

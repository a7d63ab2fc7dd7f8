//! Limits on connections, on how fast they come, and on the memory that their messages hold.

mod address_quotas;
pub(crate) mod connections;
pub(crate) mod control_frames;
pub(crate) mod log_interval;
pub(crate) mod log_lines;
pub(crate) mod memory;
pub(crate) mod open;
mod permits;
pub(crate) mod provisional;
pub(crate) mod requests;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also one that a panic has poisoned.
///
/// Only for state that cannot be left half changed: what runs under these locks does not panic
/// between two changes that belong together.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

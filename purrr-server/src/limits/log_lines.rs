//! The number of log lines that were dropped: [`dropped`]. The log is the process's, and so is this.

use std::sync::atomic::{AtomicU64, Ordering};

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines dropped since the start of the process.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Counts dropped log lines.
#[cfg(feature = "cli")]
pub(crate) fn count_dropped(lines: u64) {
    DROPPED.fetch_add(lines, Ordering::Relaxed);
}

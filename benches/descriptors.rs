//! More sockets than one table of descriptors holds.
//!
//! Linux bounds the descriptors of a table (`ulimit -n`), and the threads of a process share one
//! unless they ask for their own. Where the bound cannot be raised, as many connections as one
//! likes still fit into one process of several threads, each with a table of its own.

use std::io;

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Descriptors of a table that are no connections: the standard streams, those of the runtime,
/// listeners, and some more.
const OTHERS: usize = 64;

/// Allows as many descriptors as this process may allow itself, and returns how many connections
/// that is for each table.
///
/// # Errors
///
/// Whatever the system says against it.
pub fn connections_per_table() -> io::Result<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let most = maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap_or(usize::MAX));
    Ok(most.saturating_sub(OTHERS).max(1))
}

/// Gives this thread, and those it will start, a table of their own, which begins as a copy of the
/// one they had.
///
/// What is opened from now on here is not open in other threads, and what they open is not open
/// here; so this is for the beginning of a thread that shares nothing that has a descriptor, or
/// only what was opened before. A runtime that others wake has one.
///
/// # Errors
///
/// Whatever the system says against it.
pub fn own_table() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no type can say that a descriptor is another table's")]
    // SAFETY: what was open stays open under its number, and callers share nothing that is opened
    // later.
    unsafe {
        unshare_unsafe(UnshareFlags::FILES)?;
    }
    Ok(())
}

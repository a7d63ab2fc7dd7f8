//! Memory that a crowd took and does not need any more: [`give_back`].

use std::{io, thread, time::Duration};

/// How often it is given back. What that costs grows with what is free, which soon is little again.
const EVERY: Duration = Duration::from_secs(10);

/// Gives what is free back to the system from time to time, for as long as the program runs.
///
/// Otherwise the allocator of the GNU system keeps for each thread the most that it ever had: after 9,900 connections that
/// came to nothing, 100 MB instead of 6.
pub(crate) fn start() -> io::Result<()> {
    let forever = || {
        loop {
            thread::sleep(EVERY);
            trim();
        }
    };
    thread::Builder::new().name("memory".to_owned()).spawn(forever).map(drop)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator can be asked in no other way")]
fn trim() {
    // SAFETY: this may be called by any thread at any time, and touches nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}

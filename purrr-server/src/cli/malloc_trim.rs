//! Gives free memory back to the system: [`start`].

use std::{io, thread, time::Duration};

/// The interval. The cost of a round grows with what is free, which soon is little again.
const INTERVAL: Duration = Duration::from_secs(10);

/// Starts a thread that gives free memory back for as long as the program runs.
///
/// Without it glibc's allocator keeps for each thread the most that it ever had: 100 MB instead of
/// 6 MB after 9,900 abandoned connections.
pub(crate) fn start() -> io::Result<()> {
    let rounds = || {
        loop {
            thread::sleep(INTERVAL);
            trim();
        }
    };
    thread::Builder::new().name("malloc-trim".to_owned()).spawn(rounds).map(drop)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator offers no safe function for it")]
fn trim() {
    // SAFETY: any thread may call it at any time, and it touches no memory that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}

//! The limit of open files: [`raise`].

use crate::config::Config;

/// Descriptors beside those of connections: listeners, the runtime, the log.
const OTHERS: u64 = 64;

/// Raises the soft limit of open files to the hard one, and warns if it is below what the settings
/// allow.
pub(super) fn raise(config: &Config) {
    let Some(limit) = raised() else { return };
    let connections = config.max_connections.get() as u64;
    if limit < connections + OTHERS {
        tracing::warn!(
            limit,
            connections,
            "the limit of open files is below --max-connections; raise it (ulimit -Hn, LimitNOFILE=)"
        );
    }
}

/// Returns the soft limit after raising it, or `None` if there is no limit.
#[cfg(unix)]
fn raised() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    // Some systems refuse a soft limit above a constant of theirs. The old limit holds then.
    if setrlimit(Resource::Nofile, limit).is_err() { soft } else { limit.maximum }
}

#[cfg(not(unix))]
const fn raised() -> Option<u64> {
    None
}

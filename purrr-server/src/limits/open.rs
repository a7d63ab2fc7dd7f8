//! Numbers of open connections in each dialect: [`OpenConnections`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A dialect that a connection speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    Native,
    PurrrChat,
}

/// Counts the open connections of each dialect. A polling session counts as one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenConnections {
    open: Arc<[AtomicU64; Dialect::ALL.len()]>,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: OpenConnections,
    dialect: Dialect,
}

impl Dialect {
    pub(crate) const ALL: [Self; 2] = [Self::Native, Self::PurrrChat];

    /// Returns the name of the dialect in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PurrrChat => "purrr-chat",
        }
    }
}

impl OpenConnections {
    /// Counts a connection until the returned value is dropped.
    pub(crate) fn open(&self, dialect: Dialect) -> OpenConnection {
        self.of(dialect).fetch_add(1, Ordering::Relaxed);
        OpenConnection { connections: self.clone(), dialect }
    }

    /// Returns how many connections of the dialect are open.
    pub(crate) fn count(&self, dialect: Dialect) -> u64 {
        self.of(dialect).load(Ordering::Relaxed)
    }

    fn of(&self, dialect: Dialect) -> &AtomicU64 {
        &self.open[dialect as usize]
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.of(self.dialect).fetch_sub(1, Ordering::Relaxed);
    }
}

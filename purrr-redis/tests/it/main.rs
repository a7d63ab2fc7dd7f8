//! Nodes on a real redis-server, which each test starts for itself.

mod at_rest;
mod conformance;
mod processes;
mod server;

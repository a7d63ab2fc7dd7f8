//! The server's tests over real sockets, in one program.

mod accounts;
mod admission;
mod auto_traits;
mod bad_inputs;
mod budget;
mod cli;
mod cuts;
mod documents;
mod embedding;
mod engineio;
mod holding;
mod http;
mod interop;
mod layers;
mod native;
mod nested;
mod operators;
mod peer;
mod protocols;
mod proxies;
mod rates;
mod recovery;
mod resume;
mod returning;
mod server;
mod socketio;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod visitor;
mod websocket;

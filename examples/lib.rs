//! The examples are programs beside this file; `cargo run --example echo_pair` runs one.

//! The benchmarks are beside this file; `cargo bench` runs them all.

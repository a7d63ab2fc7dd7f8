//! The benchmarks are beside this file; `cargo bench` runs them all. What programs here share is in
//! this library.

pub mod client;
pub mod descriptors;
pub mod mentoring;

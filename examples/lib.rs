//! The examples are programs beside this file; `cargo run --example echo_pair` runs one.
//!
//! The doctests of this crate are the programs in the repository's documents.

#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/matching.md")]
    struct Matching;

    #[doc = include_str!("../docs/deployment.md")]
    struct Deployment;
}

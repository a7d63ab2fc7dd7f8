#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod lobby;
pub(crate) mod memory;
pub(crate) mod pipe;

//! The native dialect in JSON: [`parse`] reads a [`Command`](crate::Command), `Serialize` writes an
//! [`Event`](crate::Event). Between nodes, [`portable`] carries tickets and frames.
//!
//! No other part of this crate knows a wire format.

mod json;
mod parse;
mod parsed;
pub mod portable;
mod raw_fields;
mod write;

pub use self::{
    parse::parse,
    parsed::{ImageHead, Parsed},
};

/// Shared with the dialects of purrr-server of the same version. Not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use super::{
        json::{FastReader, MAX_WASTE, Quoted, Scalar, slice, worth_sharing, write_string},
        write::to_json,
    };
}

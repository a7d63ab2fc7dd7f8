//! The native dialect as JSON: [`parse`] reads a [`Command`](crate::Command), and an [`Event`](crate::Event)
//! serialises to one object.
//!
//! These are the only parts of this crate that know a wire format.

mod draft;
#[doc(hidden)]
pub mod json;
mod parse;
mod parsed;
mod write;

pub use self::{
    parse::parse,
    parsed::{ImageHead, Parsed},
};

pub mod matchmaker;
mod queue;
pub(crate) mod rule;

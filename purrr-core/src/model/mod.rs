pub mod frame;
pub(crate) mod limits;

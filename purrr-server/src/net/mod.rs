//! Bytes and addresses: knows nothing of chats.

pub(crate) mod authority;
pub(crate) mod cidr;
pub(crate) mod client_address;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod read_timeout;
pub(crate) mod stream;
pub(crate) mod timeouts;
mod write_timeout;

//! Wire vocabularies of chats: what clients say, on top of a transport.

mod ciphertext;
mod close_code;
pub(crate) mod image;
pub(crate) mod native;
mod p256_key;
pub(crate) mod purrr_chat;
mod welcome;

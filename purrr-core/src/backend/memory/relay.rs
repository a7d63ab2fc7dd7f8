//! A relay within one process: [`MemoryRelay`].

use async_trait::async_trait;

use crate::backend::{
    lobby::Match,
    pipe::Pipe,
    relay::{Relay, RelayError},
};

/// The [`Relay`] that belongs to [`MemoryLobby`](crate::backend::MemoryLobby), whose matches bring
/// their pipe along.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryRelay;

#[async_trait]
impl Relay for MemoryRelay {
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError> {
        let mut pipe = chat.take_pipe().ok_or(RelayError::Foreign)?;
        if pipe.begin().await { Ok(pipe) } else { Err(RelayError::Gone) }
    }
}

//! The [`Relay`] of a node.

use async_trait::async_trait;
use purrr_core::{
    Relay,
    backend::{Match, Pipe, RelayError},
};
use tokio::{sync::oneshot, time::timeout};

use super::{Node, Stage, Unreachable, talk};
use crate::protocol::{member::LOST, message::Chat};

/// Gives a chat up when it is dropped, unless it has begun.
struct Opening {
    node: Node,
    chat: Option<Chat>,
}

#[async_trait]
impl Relay for Node {
    async fn open(&self, chat: &mut Match) -> Result<Pipe, RelayError> {
        // Two peers of this node.
        if let Some(mut pipe) = chat.take_pipe() {
            return if pipe.begin().await { Ok(pipe) } else { Err(RelayError::Gone) };
        }
        if !chat.disarm() {
            return Err(RelayError::Foreign);
        }
        let chat = chat.chat().to_bits();
        let (tell, opened) = oneshot::channel();
        let side = self.change(|core, _, _| {
            let side = core.sides.get_mut(&chat)?;
            side.stage = Stage::Opening(tell);
            let side = (side.peer, side.place);
            core.member.open(chat);
            Some(side)
        });
        // Whatever was between nodes ended when this one lost its lease.
        let Some((peer, place)) = side else { return Err(RelayError::Gone) };
        let mut opening = Opening { node: self.clone(), chat: Some(chat) };
        let news = match timeout(self.options().limits.stall, opened).await {
            Ok(Ok(Some(news))) => news,
            Ok(Ok(None)) | Err(_) => return Err(RelayError::Gone),
            Ok(Err(_)) => return Err(RelayError::Unavailable(Unreachable.into())),
        };
        opening.chat = None;
        Ok(talk::begin(self.clone(), chat, (peer, place), news))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(chat) = self.chat {
            self.node.close(chat, LOST);
        }
    }
}

//! The contents of a text frame of the native dialect: [`Parsed`].

use bytes::Bytes;
use bytestring::ByteString;

use crate::model::{
    command::Command,
    frame::{Body, Frame, Image, Message},
    ids::ChatId,
    problem::{Code, Problem},
};

/// The contents of a text frame of the native dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A complete command.
    Command(Command),
    /// The head of a picture. Its bytes follow in a binary frame.
    Image(ImageHead),
}

/// A picture without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageHead {
    /// The chat that the picture is for.
    pub chat: Option<ChatId>,
    /// The message's id.
    pub id: u64,
    /// The media type.
    pub mime: ByteString,
    /// The number of bytes that follow.
    pub size: u64,
    /// The id of the message this one answers.
    pub reply: Option<u64>,
    /// True if the bytes are a ciphertext.
    pub encrypted: bool,
}

impl ImageHead {
    /// Combines the head with its bytes.
    ///
    /// # Errors
    ///
    /// `bad-message` if the number of bytes differs from the announced one.
    pub fn complete(self, bytes: Bytes) -> Result<Command, Problem> {
        if bytes.len() as u64 != self.size {
            let message = format!(
                "`size` announced {} bytes and the binary frame after it had {}",
                self.size,
                bytes.len()
            );
            return Err(Problem { id: Some(self.id), ..Problem::new(Code::BadMessage, message) });
        }
        let image = Image { mime: self.mime, encrypted: self.encrypted, bytes };
        let message =
            Message { id: Some(self.id), text: None, image: Some(image.into()), reply: self.reply };
        Ok(Command::Send { chat: self.chat, frame: Frame::new(Body::Message(message)) })
    }
}

//! What one text frame of the native dialect holds: [`Parsed`].

use bytes::Bytes;
use bytestring::ByteString;

use crate::model::{
    command::Command,
    frame::{Body, Frame, Image, Message},
    ids::ChatId,
    problem::{Code, Problem},
};

/// What one text frame of the native dialect holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command, complete.
    Command(Command),
    /// The head of a picture. Its bytes come apart from it.
    Image(ImageHead),
}

/// All of a picture but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageHead {
    /// The chat this was meant for.
    pub chat: Option<ChatId>,
    /// The message's id.
    pub id: u64,
    /// The media type.
    pub mime: ByteString,
    /// How many bytes are to come.
    pub size: u64,
    /// The id of the message this one answers.
    pub reply: Option<u64>,
    /// Whether the bytes are a ciphertext.
    pub encrypted: bool,
}

impl ImageHead {
    /// Puts the head and the bytes together.
    ///
    /// # Errors
    ///
    /// `bad-message` if there are more or fewer bytes than announced.
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

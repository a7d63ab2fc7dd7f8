//! The two dialects in the words of the log: [`Tongue`].

mod native;
mod purrr_chat;

pub(crate) use self::{native::Native, purrr_chat::PurrrChat};
use crate::chaos::{
    log::{Name, News},
    wire::Raw,
};

/// How a picture begins that is not encrypted; nobody on the way looks further.
const GIF: &str = "GIF89a";

/// Translates for one connection.
pub(crate) trait Tongue: Send {
    /// The frames that say it.
    fn say(&mut self, saying: Saying<'_>) -> Vec<Raw>;

    /// What a frame says.
    fn hear(&mut self, raw: Raw) -> Heard;
}

/// What a client has to say.
pub(crate) enum Saying<'a> {
    Hello {
        name: Name,
        keyed: bool,
        resume: Option<&'a str>,
    },
    Find {
        interests: &'a [&'a str],
    },
    Cancel,
    Leave,
    Next,
    Block,
    Fence,
    Text {
        id: u64,
        text: String,
        /// The chat it is for, where the dialect names chats.
        chat: Option<&'a str>,
    },
    Image {
        id: u64,
        body: String,
        sealed: bool,
    },
    Typing(bool),
    Read(u64),
}

pub(crate) enum Heard {
    News(News),
    /// Nothing for the client, but this is to be sent back.
    Answer(Raw),
    /// Nothing yet.
    Nothing,
}

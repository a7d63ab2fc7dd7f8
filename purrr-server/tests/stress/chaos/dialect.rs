//! The two dialects in the words of the log: [`Tongue`].

mod native;
mod purrr_chat;

use base64::{Engine, prelude::BASE64_STANDARD};

pub(crate) use self::{native::Native, purrr_chat::PurrrChat};
use crate::chaos::{
    log::{Name, News},
    wire::Raw,
};

/// How a picture begins that is not encrypted; no check looks further.
const GIF: &str = "GIF89a";

/// Encrypts an image in form only: the server cannot tell the difference.
fn seal(body: &str) -> String {
    let ciphertext = BASE64_STANDARD.encode(body);
    format!(r#"{{"ciphertext":"{ciphertext}","iv":"AAAAAAAAAAAAAAAA"}}"#)
}

/// Returns the body of an encrypted image.
fn unseal(image: &str) -> Option<String> {
    let image: serde_json::Value = serde_json::from_str(image).ok()?;
    let body = BASE64_STANDARD.decode(image["ciphertext"].as_str()?).ok()?;
    String::from_utf8(body).ok()
}

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
        /// The client can resume.
        resumes: bool,
        resume: Option<&'a str>,
    },
    /// Goes on with a chat or a search over another connection.
    Claim {
        token: &'a str,
        chat: Option<&'a str>,
        received: u64,
    },
    Ack {
        chat: Option<&'a str>,
        received: u64,
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
        chat: Option<&'a str>,
    },
    Typing {
        on: bool,
        chat: Option<&'a str>,
    },
    Read {
        id: u64,
        chat: Option<&'a str>,
    },
}

pub(crate) enum Heard {
    News(News),
    /// Nothing for the client, but this is to be sent back.
    Answer(Raw),
    /// Nothing yet.
    Nothing,
}

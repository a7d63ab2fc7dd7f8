//! The native dialect.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Bytes;

use super::{GIF, Heard, Saying, Tongue, seal, unseal};
use crate::{
    chaos::{
        log::{Content, News},
        wire::Raw,
    },
    support::KEY,
};

#[derive(Default)]
pub(crate) struct Native {
    /// The id of a picture whose bytes come next.
    awaited: Option<Option<u64>>,
}

impl Tongue for Native {
    fn say(&mut self, saying: Saying<'_>) -> Vec<Raw> {
        let frame = match saying {
            Saying::Hello { name, keyed, resume } => {
                let mut hello = json!({"type": "hello", "name": name.to_string()});
                if keyed {
                    hello["publicKey"] = KEY.into();
                }
                if let Some(resume) = resume {
                    hello["resume"] = resume.into();
                }
                hello
            }
            Saying::Find { interests } => json!({"type": "find", "interests": interests}),
            Saying::Cancel => json!({"type": "cancel"}),
            Saying::Leave => json!({"type": "leave"}),
            Saying::Next => json!({"type": "next"}),
            Saying::Block => json!({"type": "block"}),
            Saying::Fence => json!({"type": "fence"}),
            Saying::Text { id, text, chat } => {
                let mut message = json!({"type": "message", "id": id, "text": text});
                if let Some(chat) = chat {
                    message["chat"] = chat.into();
                }
                message
            }
            Saying::Image { id, body, sealed } => {
                let (mime, body) = match sealed {
                    true => ("application/octet-stream", seal(&body)),
                    false => ("image/gif", format!("{GIF}{body}")),
                };
                let head = json!({
                    "type": "image", "id": id, "mime": mime, "size": body.len(), "encrypted": sealed,
                });
                return vec![Raw::Text(head.to_string()), Raw::Binary(Bytes::from(body))];
            }
            Saying::Typing(on) => json!({"type": "typing", "on": on}),
            Saying::Read(id) => json!({"type": "read", "id": id}),
        };
        vec![Raw::Text(frame.to_string())]
    }

    fn hear(&mut self, raw: Raw) -> Heard {
        let text = match (raw, self.awaited.take()) {
            (Raw::Binary(bytes), Some(id)) => {
                let body = String::from_utf8_lossy(&bytes);
                let sealed = unseal(&body);
                let body = sealed.as_deref().or(body.strip_prefix(GIF)).unwrap_or(&body);
                let content = Content::read(body, true);
                return Heard::News(News::Received(content, id));
            }
            (Raw::Text(text), None) => text,
            (raw, _) => return garbled(&format!("{raw:?}")),
        };
        let Ok(frame) = serde_json::from_str::<Value>(&text) else { return garbled(&text) };
        let words = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
        let id = frame["id"].as_u64();
        Heard::News(match frame["type"].as_str().unwrap_or_default() {
            "welcome" => News::Welcome(words("resume")),
            "waiting" => News::Waiting,
            "idle" => News::Idle,
            "matched" => News::Matched {
                chat: Some(words("chat")),
                partner: frame["partner"]["name"].as_str().and_then(|name| name.parse().ok()),
                keyed: frame["partner"]["publicKey"].is_string(),
            },
            "message" => News::Received(Content::read(&words("text"), false), id),
            "image" => {
                self.awaited = Some(id);
                return Heard::Nothing;
            }
            "typing" => {
                News::Received(Content::Typing(frame["on"].as_bool().unwrap_or_default()), None)
            }
            "read" => News::Received(Content::Read(id.unwrap_or_default()), None),
            "delivered" => News::Delivered(id.unwrap_or_default()),
            "left" => News::Left(Some(words("reason"))),
            "error" if frame["code"] == "unknown-type" => News::Fence,
            "error" => News::Refused(words("code")),
            _ => return garbled(&text),
        })
    }
}

fn garbled(text: &str) -> Heard {
    Heard::News(News::Received(Content::garbled(text), None))
}

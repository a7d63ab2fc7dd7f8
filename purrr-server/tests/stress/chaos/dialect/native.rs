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
        let mut bytes = None;
        let mut frame = match &saying {
            Saying::Hello { name, keyed, resumes, resume } => {
                let mut hello = json!({"type": "hello", "name": name.to_string()});
                if *keyed {
                    hello["publicKey"] = KEY.into();
                }
                if *resumes {
                    hello["received"] = 0.into();
                }
                if let Some(resume) = resume {
                    hello["resume"] = (*resume).into();
                }
                hello
            }
            Saying::Claim { token, received, .. } => {
                json!({"type": "hello", "resume": token, "received": received})
            }
            Saying::Ack { received, .. } => json!({"type": "ack", "received": received}),
            Saying::Find { interests } => json!({"type": "find", "interests": interests}),
            Saying::Cancel => json!({"type": "cancel"}),
            Saying::Leave => json!({"type": "leave"}),
            Saying::Next => json!({"type": "next"}),
            Saying::Block => json!({"type": "block"}),
            Saying::Fence => json!({"type": "fence"}),
            Saying::Text { id, text, .. } => json!({"type": "message", "id": id, "text": text}),
            Saying::Image { id, body, sealed, .. } => {
                let (mime, body) = match sealed {
                    true => ("application/octet-stream", seal(body)),
                    false => ("image/gif", format!("{GIF}{body}")),
                };
                bytes = Some(Raw::Binary(Bytes::from(body.clone())));
                json!({
                    "type": "image", "id": id, "mime": mime, "size": body.len(), "encrypted": sealed,
                })
            }
            Saying::Typing { on, .. } => json!({"type": "typing", "on": on}),
            Saying::Read { id, .. } => json!({"type": "read", "id": id}),
        };
        if let Saying::Claim { chat: Some(chat), .. }
        | Saying::Ack { chat: Some(chat), .. }
        | Saying::Text { chat: Some(chat), .. }
        | Saying::Image { chat: Some(chat), .. }
        | Saying::Typing { chat: Some(chat), .. }
        | Saying::Read { chat: Some(chat), .. } = saying
        {
            frame["chat"] = chat.into();
        }
        [Raw::Text(frame.to_string())].into_iter().chain(bytes).collect()
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
            "resumed" => News::Resumed {
                chat: words("chat"),
                received: frame["received"].as_u64().unwrap_or(u64::MAX),
                missing: frame["missing"].as_u64().unwrap_or_default(),
                delivered: frame["delivered"].as_u64(),
            },
            "away" => News::Away,
            "back" => News::Back,
            "left" => News::Left(Some(words("reason"))),
            "error" if frame["code"] == "unknown-type" => News::Fence,
            "error" if frame["code"] == "partner-away" => News::NoRoom(id),
            "error" => News::Refused(words("code")),
            _ => return garbled(&text),
        })
    }
}

fn garbled(text: &str) -> Heard {
    Heard::News(News::Received(Content::garbled(text), None))
}

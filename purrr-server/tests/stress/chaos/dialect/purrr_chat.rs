//! The Purrr.chat dialect, as Engine.IO packets.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{GIF, Heard, Saying, Tongue, seal, unseal};
use crate::{
    chaos::{
        log::{Content, News},
        wire::Raw,
    },
    support::KEY,
};

const DATA_URL: &str = "data:image/gif;base64,";

#[derive(Default)]
pub(crate) struct PurrrChat {
    /// What the client was greeted with the last time.
    pid: Option<String>,
    /// As `matched` named it, since every message repeats it.
    partner: String,
}

impl PurrrChat {
    pub(crate) fn resuming(pid: Option<String>) -> Self {
        Self { pid, ..Self::default() }
    }
}

impl Tongue for PurrrChat {
    fn say(&mut self, saying: Saying<'_>) -> Vec<Raw> {
        let message = |message: Option<String>, image: Option<String>| json!(["send_message", {"message": message, "image": image, "reply": null}]);
        vec![match saying {
            Saying::Hello { name, keyed, .. } => {
                let key = keyed.then_some(KEY);
                event(json!(["init_user", {"name": name.to_string(), "publicKey": key}]))
            }
            Saying::Find { .. } => event(json!(["find_partner"])),
            // The dialect has one word for all ways of going.
            Saying::Cancel | Saying::Leave | Saying::Block => event(json!(["disconnect_partner"])),
            Saying::Next => {
                return vec![event(json!(["disconnect_partner"])), event(json!(["find_partner"]))];
            }
            // An event to the server itself: one to the partner is dropped if it comes before this
            // side knows the partner.
            Saying::Fence => event(json!(["init_user"])),
            Saying::Text { text, .. } => event(message(Some(text), None)),
            Saying::Image { body, sealed: true, .. } => event(message(None, Some(seal(&body)))),
            Saying::Image { body, sealed: false, .. } => {
                let bytes = BASE64_STANDARD.encode(format!("{GIF}{body}"));
                event(message(None, Some(format!("{DATA_URL}{bytes}"))))
            }
            Saying::Typing { on: true, .. } => event(json!(["typing_start"])),
            Saying::Typing { on: false, .. } => event(json!(["typing_stop"])),
            Saying::Read { id, .. } => event(json!(["read_message", {"messageId": id}])),
            // The chaos has no clients of this dialect that resume.
            Saying::Claim { .. } | Saying::Ack { .. } => return Vec::new(),
        }]
    }

    fn hear(&mut self, raw: Raw) -> Heard {
        let Raw::Text(packet) = raw else { return garbled(&format!("{raw:?}")) };
        match packet.split_at_checked(2) {
            _ if packet == "2" => Heard::Answer(Raw::Text("3".to_owned())),
            _ if packet.starts_with('0') => {
                let auth = self.pid.take().map(|pid| json!({"pid": pid}).to_string());
                Heard::Answer(Raw::Text(format!("40{}", auth.unwrap_or_default())))
            }
            Some(("40", greeting)) => match serde_json::from_str::<Value>(greeting) {
                Ok(greeting) => Heard::News(News::Welcome(words(&greeting, "pid"))),
                Err(_) => garbled(&packet),
            },
            Some(("42", array)) => match serde_json::from_str::<Value>(array) {
                Ok(array) => Heard::News(self.hear_event(&array)),
                Err(_) => garbled(&packet),
            },
            _ => garbled(&packet),
        }
    }
}

impl PurrrChat {
    fn hear_event(&mut self, array: &Value) -> News {
        let received = |content| News::Received(content, None);
        let argument = &array[1];
        match array[0].as_str().unwrap_or_default() {
            "waiting" => News::Waiting,
            "matched" => {
                self.partner = words(argument, "partnerName");
                News::Matched {
                    chat: None,
                    partner: self.partner.parse().ok(),
                    keyed: !words(argument, "partnerPk").is_empty(),
                }
            }
            "receive_message" if words(argument, "from") == self.partner => {
                received(match (argument["body"].as_str(), argument["image"].as_str()) {
                    (Some(text), None) => Content::read(text, false),
                    (None, Some(image)) => picture(image),
                    _ => Content::garbled(&argument.to_string()),
                })
            }
            "show_typing" => received(Content::Typing(true)),
            "hide_typing" => received(Content::Typing(false)),
            "mark_as_read" => received(match argument["messageId"].as_u64() {
                Some(index) => Content::Read(index),
                None => Content::Unread,
            }),
            "partner_disconnected" => News::Left(None),
            "error" => match words(argument, "message") {
                // The dialect has no codes.
                message if message.starts_with("`init_user` needs") => News::Fence,
                message if message.starts_with("the partner has no connection") => {
                    News::NoRoom(None)
                }
                message if message == "No partner found." => News::Refused("not-paired".to_owned()),
                message if message.starts_with("there is a partner already") => {
                    News::Refused("already-paired".to_owned())
                }
                message => News::Refused(message),
            },
            _ => received(Content::garbled(&array.to_string())),
        }
    }
}

fn event(array: Value) -> Raw {
    Raw::Text(format!("42{array}"))
}

fn words(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn picture(image: &str) -> Content {
    let Some(base64) = image.strip_prefix(DATA_URL) else {
        return Content::read(&unseal(image).unwrap_or_default(), true);
    };
    let bytes = BASE64_STANDARD.decode(base64).ok();
    match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(body) => Content::read(body.strip_prefix(GIF).unwrap_or_default(), true),
        None => Content::garbled(image),
    }
}

fn garbled(text: &str) -> Heard {
    Heard::News(News::Received(Content::garbled(text), None))
}

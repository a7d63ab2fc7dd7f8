//! How far the ids of a chat's messages may jump: [`MessageIds`].

use crate::model::{
    frame::{Body, MAX_ID},
    problem::{Code, Problem},
};

/// The largest id that a sender may begin a chat with: 2^52.
const MAX_FIRST: u64 = 1 << 52;

/// The most by which an id may exceed the highest of the chat: 2^30. A clock in milliseconds may
/// stand for 12 days.
const MAX_STEP: u64 = 1 << 30;

/// The ids of one chat's messages, as one side sees them.
///
/// Ids end at 2^53 - 1. A sender that used the last ones would leave none to a partner whose client
/// continues from the highest. From [`MAX_FIRST`] on that takes four million messages.
///
/// One number: the highest id of either side, with [`SENT`] set once this side has sent an id. A
/// second field would make every session 16 bytes larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageIds(u64);

/// A bit above every id.
const SENT: u64 = 1 << 63;

impl MessageIds {
    /// Notes the id of a message that this side sends, and checks that it is near the others.
    pub(super) fn check_sent(&mut self, body: &Body) -> Result<(), Problem> {
        let Body::Message(message) = body else { return Ok(()) };
        let Some(id) = message.id else { return Ok(()) };
        let near = self.highest() + MAX_STEP;
        if id > near && (self.0 & SENT != 0 || id > MAX_FIRST) {
            let text = format!(
                "`id` may be at most {near}, {MAX_STEP} beyond the highest id of this chat; count on"
            );
            return Err(Problem::new(Code::BadMessage, text));
        }
        self.0 = self.highest().max(id) | SENT;
        Ok(())
    }

    /// Notes the id of a message of the partner.
    pub(super) fn note_received(&mut self, body: &Body) {
        if let Body::Message(message) = body {
            // Ids end at 2^53 - 1, which every codec checks.
            let id = message.id.unwrap_or(0).min(MAX_ID);
            self.0 = self.highest().max(id) | self.0 & SENT;
        }
    }

    const fn highest(self) -> u64 {
        self.0 & !SENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::Message;

    fn message(id: u64) -> Body {
        Body::Message(Message { id: Some(id), ..Message::default() })
    }

    #[test]
    fn id_far_beyond_the_last_is_refused() {
        for (ids, accepted) in [
            (&[0, 1, 2][..], true),
            (&[MAX_FIRST], true),
            (&[MAX_FIRST + 1], false),
            (&[MAX_ID], false),
            (&[1, 1 + MAX_STEP, 1 + 2 * MAX_STEP], true),
            (&[1, 2 + MAX_STEP], false),
            (&[1, MAX_FIRST], false),
            (&[MAX_FIRST, MAX_FIRST + MAX_STEP], true),
            (&[1_764_000_000_000, 5, 1_764_000_900_000], true),
        ] {
            let mut chat = MessageIds::default();
            let (last, before) = ids.split_last().unwrap();
            for id in before {
                chat.check_sent(&message(*id)).unwrap();
            }
            let kept = chat;
            assert_eq!(chat.check_sent(&message(*last)).is_ok(), accepted, "{ids:?}");
            assert!(accepted || chat == kept, "a refused id changes nothing");
        }
    }

    #[test]
    fn sender_may_continue_from_its_partner() {
        let mut chat = MessageIds::default();
        chat.note_received(&message(MAX_FIRST));
        for id in [MAX_FIRST + 1, MAX_FIRST + 2, 1] {
            assert_eq!(chat.check_sent(&message(id)), Ok(()));
        }
        chat.note_received(&message(1));
        assert!(chat.check_sent(&message(MAX_FIRST + 3 + MAX_STEP)).is_err());
        assert_eq!(chat.check_sent(&Body::Read { id: MAX_ID }), Ok(()));
    }
}

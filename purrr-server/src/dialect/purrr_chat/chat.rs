//! The state of one chat: [`Chat`].

use bytestring::ByteString;
use purrr_core::model::ChatId;

use super::{message_index::MessageIndex, ping_barrier::PingBarrier};

/// The name of a partner without one. The frontend takes an empty name for no partner at all.
const NAMELESS: &str = "Stranger";

/// The state of one chat.
pub(super) struct Chat {
    pub(super) id: ChatId,
    pub(super) partner: ByteString,
    pub(super) partner_key: ByteString,
    pub(super) index: MessageIndex,
    /// Set while this side is said to be typing.
    pub(super) is_typing: bool,
    /// Set once this side was sent a read mark.
    pub(super) has_read_mark: bool,
    /// Set until this side's messages are meant for this partner.
    pub(super) barrier: Option<PingBarrier>,
}

impl Chat {
    pub(super) fn new(
        id: ChatId,
        partner: Option<ByteString>,
        partner_key: Option<ByteString>,
        index: MessageIndex,
    ) -> Self {
        Self {
            id,
            partner: named(partner),
            partner_key: partner_key.unwrap_or_default(),
            index,
            is_typing: false,
            has_read_mark: false,
            barrier: None,
        }
    }

    /// Returns the bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.partner.len() + self.partner_key.len() + self.index.heap_bytes()
    }
}

/// Returns the name to show of a partner.
pub(super) fn named(name: Option<ByteString>) -> ByteString {
    let name = name.filter(|name| !name.is_empty());
    name.unwrap_or_else(|| ByteString::from_static(NAMELESS))
}

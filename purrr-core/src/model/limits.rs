//! The bounds of what one peer may send and of what may wait for it: [`Limits`].

use std::time::Duration;

/// What a [`Hub`](crate::Hub) accepts from one peer, and what it holds for it.
///
/// Nothing here is unlimited. What exceeds a limit is refused with an [`Event::Error`](crate::Event) that names
/// the limit; the chat goes on.
///
/// The worst case held for one chat is, each way, a full queue and one frame that it did not take. A frame above
/// `pipe_bytes` is taken only into an empty queue, so with the defaults that is two of the largest messages, a text
/// with a picture: 2 × 2 × 9.8 MB = 39 MB. What the transports hold comes on top.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of UTF-8 in one text message. Default 262,144.
    pub message_bytes: usize,
    /// Bytes of one picture. Default 9,500,000.
    pub image_bytes: usize,
    /// Bytes of data in one signalling step. Default 262,144.
    pub signal_bytes: usize,
    /// Characters in a name. Default 256, which is at most 1 KiB.
    pub name_chars: usize,
    /// Bytes in a public key as sent. Default 1,024.
    pub key_bytes: usize,
    /// Interests in one search. Default 32.
    pub interests: usize,
    /// Characters in one interest. Default 64; with 32 interests at most 8 KiB a waiting peer.
    pub interest_chars: usize,
    /// Languages in one search. Default 8.
    pub languages: usize,
    /// Characters in one language tag (BCP 47). Default 35; with 8 languages at most 1.1 KiB a waiting peer.
    pub language_chars: usize,
    /// Frames under way in one direction of a chat. Default 256, at least 1.
    pub pipe_items: usize,
    /// Bytes under way in one direction of a chat. Default 1 MiB. A larger frame goes alone.
    pub pipe_bytes: usize,
    /// Messages of one sender whose receipt is still owed. Default 4,096 (8 bytes each); past it a message that
    /// wants one is refused.
    pub receipts: usize,
    /// How many of the last partners somebody does not meet again at once. Default 5; 0 for whoever is there.
    pub recent_partners: usize,
    /// For how long. Default 10 minutes.
    pub recent_for: Duration,
    /// How long somebody waits before meeting one of them after all, if nobody else is there. Default 3 s.
    pub recent_relax: Duration,
    /// People that one person can have blocked. Default 256 (2 KiB); past it the earliest block is forgotten.
    pub blocks: usize,
    /// How long a person who has blocked somebody is known again, by its resume token, after it went. Default 24 hours.
    pub resume_for: Duration,
    /// People who are known again. Default 100,000, which takes about 30 MB, and 230 MB if each of them has made full use
    /// of `blocks`; past it those who would be forgotten first are.
    pub remembered: usize,
    /// How long one peer may keep another waiting with a full queue before the chat ends as lost, and how long a
    /// transport may take nothing before its session ends; also, how long whoever was matched waits for the partner to know of
    /// it. Default 10 s.
    pub stall: Duration,
    /// How fast a peer may go. Default [`Rates::default`]; without any, nothing is refused for coming too fast.
    pub rates: Option<Rates>,
}

/// So much a second, and so much at once.
///
/// A bucket holds `burst` to begin with and is filled again when it is empty, by what has passed since it last was. So
/// whoever is never faster than `per_second` for long is never refused, and nobody gets more than twice `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What comes back in a second, from 1.
    pub per_second: u32,
    /// What a bucket holds, from 1. What is larger than that goes when the bucket is full.
    pub burst: u32,
}

/// How fast one peer may go.
///
/// What is above it is refused with [`Code::RateLimited`](crate::Code::RateLimited) and the time after which to try again.
/// Leaving is never refused, and typing is not either: the partner is told of the last state as soon as there is room for it.
/// All of it takes about 150 bytes for a peer that has asked for something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Messages, texts and pictures alike, marks that one has been read, and introductions. Default 100 a second and
    /// 4,000 at once.
    pub messages: Rate,
    /// Bytes of everything that is sent to the partner. Default 4,000,000 a second and 200,000,000 at once: an album of
    /// twenty large pictures.
    pub bytes: Rate,
    /// Changes between typing and not. Default 50 a second and 1,000 at once.
    pub typing: Rate,
    /// Steps of a call. Default 50 a second and 1,000 at once; to pick one up takes some twenty.
    pub signals: Rate,
    /// Searches. Default 5 a second and 200 at once.
    pub finds: Rate,
    /// What may be refused for coming too fast, or because it cannot be read, before the session ends. Default 100 a
    /// second and 1,000 at once.
    pub refusals: Rate,
    /// How many peers' worth those who share an [`Allowance`](crate::rate::Allowance) have together. Default 50.
    pub shared_by: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 262_144,
            image_bytes: 9_500_000,
            signal_bytes: 262_144,
            name_chars: 256,
            key_bytes: 1_024,
            interests: 32,
            interest_chars: 64,
            languages: 8,
            language_chars: 35,
            pipe_items: 256,
            pipe_bytes: 1024 * 1024,
            receipts: 4_096,
            recent_partners: 5,
            recent_for: Duration::from_secs(600),
            recent_relax: Duration::from_secs(3),
            blocks: 256,
            resume_for: Duration::from_secs(24 * 3_600),
            remembered: 100_000,
            stall: Duration::from_secs(10),
            rates: Some(Rates::default()),
        }
    }
}

impl Rate {
    /// So much a second, and so much at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            messages: Rate::new(100, 4_000),
            bytes: Rate::new(4_000_000, 200_000_000),
            typing: Rate::new(50, 1_000),
            signals: Rate::new(50, 1_000),
            finds: Rate::new(5, 200),
            refusals: Rate::new(100, 1_000),
            shared_by: 50,
        }
    }
}

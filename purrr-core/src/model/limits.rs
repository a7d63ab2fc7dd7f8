//! What one peer may send and what is held for it: [`Limits`].
//!
//! Each field has the name of the server's flag: `queue_items` is set by `--queue-items`.

use std::time::Duration;

/// The limits of what a [`Hub`](crate::Hub) accepts from one peer and holds for it.
///
/// Nothing here is unlimited. What exceeds a limit is refused with an
/// [`Event::Error`](crate::Event) that names the limit, and the chat goes on.
///
/// Worst case for one chat: in each direction a full queue, one frame that it did not take, and
/// what is read ahead behind that one. A frame above `queue_bytes` is taken only into an empty
/// queue. With the defaults that is three of the largest messages, a text with an image, in each
/// direction: 2 × 3 × 9.8 MB = 59 MB. What the transports hold comes on top.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum size of a text message, in bytes of UTF-8. Default: 262,144.
    pub message_bytes: usize,
    /// The maximum size of an image, in bytes. Default: 9,500,000.
    pub image_bytes: usize,
    /// The maximum size of a call signal, in bytes. Default: 262,144.
    pub signal_bytes: usize,
    /// The maximum length of a name, in characters. Default: 256. Worst case: 1 KiB.
    pub name_chars: usize,
    /// The maximum size of a public key as it is sent, in bytes. Default: 1,024.
    pub key_bytes: usize,
    /// The maximum number of interests of a search. Default: 32.
    pub interests: usize,
    /// The maximum length of an interest, in characters. Default: 64.
    ///
    /// Worst case with 32 interests: 8 KiB for each waiting peer.
    pub interest_chars: usize,
    /// The maximum number of languages of a search. Default: 8.
    pub languages: usize,
    /// The maximum length of a language tag (BCP 47), in characters. Default: 35.
    ///
    /// Worst case with 8 languages: 1.1 KiB for each waiting peer.
    pub language_chars: usize,
    /// The maximum number of frames in flight in one direction of a chat. Default: 256.
    ///
    /// Range: from 1. While the queue is full, the sender is not read (backpressure).
    pub queue_items: usize,
    /// The maximum bytes in flight in one direction of a chat. Default: 1 MiB.
    ///
    /// One larger frame is allowed into an empty queue.
    pub queue_bytes: usize,
    /// The maximum number of frames that are read behind one that a full queue did not take.
    /// Default: 256. 0 disables.
    ///
    /// So that a command to leave is seen while the partner does not read. Behind more frames it
    /// waits for the partner. Worst case: 60 KB for each direction of a chat.
    pub read_ahead_items: usize,
    /// The maximum bytes of those frames. Default: 64 KiB. 0 disables.
    ///
    /// The last of them may exceed it.
    pub read_ahead_bytes: usize,
    /// The maximum number of messages of one sender that await their receipt. Default: 4,096.
    ///
    /// Worst case: 8 bytes each. Above it a message that asks for a receipt is refused.
    pub receipts: usize,
    /// The maximum number of waiting places of one person. Default: 4. 0 disables.
    pub waiting_per_person: u32,
    /// The maximum number of waiting places of one client address. Default: 200. 0 disables.
    ///
    /// Counts peers with a [`Profile::origin`](crate::Profile::origin).
    pub waiting_per_address: u32,
    /// The number of recent partners to avoid. Default: 5. 0 disables.
    pub recent_partners: usize,
    /// The time for which recent partners are avoided. Default: 10 min.
    pub recent_for: Duration,
    /// The wait before a recent partner is matched after all. Default: 3 s.
    ///
    /// It applies while no other peer fits. So it does to a partner of an address with more than 4
    /// waiting peers.
    pub recent_relax: Duration,
    /// The maximum number of people whom one person has blocked. Default: 256.
    ///
    /// Worst case: 2 KiB. Above it the oldest block is dropped.
    pub blocks: usize,
    /// The time for which a block covers the blocked person's address too. Default: 6 h. 0
    /// disables.
    ///
    /// It keeps the blocker apart from all clients of that address, and no other person. It does
    /// not apply if the two share an address. Worst case: 1 KiB for the latest 32 addresses.
    pub block_address_for: Duration,
    /// The time for which a person with blocks is remembered after leaving. Default: 24 h.
    pub resume_for: Duration,
    /// The maximum number of absent people who are remembered by their resume tokens. Default:
    /// 100,000.
    ///
    /// Above it the address with most of them gives way first, the person who left first before
    /// others. People who are connected come on top, and are never evicted. Worst case: 700 bytes
    /// each, or 3.5 KB with all `blocks`: 70 MB, or 350 MB.
    pub remembered: usize,
    /// The time for which a slow consumer may hold up its chat. Default: 10 s. Range: above 0.
    ///
    /// It applies to a peer whose queue is full and to a transport that takes nothing. A matched
    /// peer also waits this long for its partner to open the chat.
    pub stall: Duration,
    /// The minimum rate at which a client must take what it is sent, in bytes a second. Default:
    /// 8,192. 0 disables.
    ///
    /// A client that is slower over [`stall`](Self::stall) and the time of what it is owed is a
    /// slow consumer, whatever progress it makes.
    pub min_read_rate: usize,
    /// The time for which a session is held after its connection was lost. Default: 30 s. 0
    /// disables.
    ///
    /// It applies to a client that announced [`Command::Recover`](crate::Command::Recover), while it
    /// waits or chats. After a close that does not say whether the client will return, the time is
    /// at most 5 s.
    pub resume_window: Duration,
    /// The same time for a client that said that it goes to the background. Default: 5 min. 0 holds
    /// it for [`resume_window`](Self::resume_window).
    pub background_window: Duration,
    /// The maximum number of sessions without a connection. Default: 10,000. 0 disables resuming.
    ///
    /// Above it a session ends with its connection. Worst case: 3 KB each, and `detached_bytes`.
    pub detached: usize,
    /// The maximum bytes in flight to sessions without a connection. Default: 256 MiB.
    ///
    /// Each counts with 16 KiB more than it holds when it loses its connection, which is how much
    /// its partner may write on.
    pub detached_bytes: usize,
    /// The maximum number of sessions without a connection of one client address. Default: 1,000.
    pub detached_per_address: usize,
    /// The maximum bytes in flight to them. Default: 32 MiB.
    pub detached_bytes_per_address: usize,
    /// The rate limits. Default: [`Rates::default`]. `None` disables all of them.
    pub rates: Option<Rates>,
}

/// A token bucket: tokens per second, and how many it holds.
///
/// Refill is lazy: the clock is read only when the bucket is too low. So a peer that keeps to
/// `per_second` is never refused, and at most twice `burst` can be spent back to back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The tokens that come back in a second. Range: from 1.
    pub per_second: u32,
    /// The capacity. Range: from 1. A larger cost takes a full bucket.
    pub burst: u32,
}

/// The rate limits of one peer.
///
/// Above a limit a command is refused with [`Code::RateLimited`](crate::Code::RateLimited) and the
/// time after which to retry. Leaving is never refused. Typing is coalesced instead: the partner is
/// told the last state. Worst case: 150 bytes for a peer that has sent something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Texts, images, read marks and hellos. Default: 100/s, burst 4,000.
    pub message_rate: Rate,
    /// Bytes sent to the partner. Default: 4,000,000/s, burst 200,000,000: twenty large images.
    pub byte_rate: Rate,
    /// Changes between typing and not. Default: 50/s, burst 1,000.
    pub typing_rate: Rate,
    /// Call signals. Default: 50/s, burst 1,000. A call takes about twenty to set up.
    pub signal_rate: Rate,
    /// Searches. Default: 5/s, burst 200.
    pub find_rate: Rate,
    /// Rate-limited and unreadable commands until the session ends. Default: 100/s, burst 1,000.
    pub refusal_rate: Rate,
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
            queue_items: 256,
            queue_bytes: 1024 * 1024,
            read_ahead_items: 256,
            read_ahead_bytes: 64 * 1024,
            receipts: 4_096,
            waiting_per_person: 4,
            waiting_per_address: 200,
            recent_partners: 5,
            recent_for: Duration::from_secs(600),
            recent_relax: Duration::from_secs(3),
            blocks: 256,
            block_address_for: Duration::from_secs(6 * 3_600),
            resume_for: Duration::from_secs(24 * 3_600),
            remembered: 100_000,
            stall: Duration::from_secs(10),
            min_read_rate: 8_192,
            resume_window: Duration::from_secs(30),
            background_window: Duration::from_secs(300),
            detached: 10_000,
            detached_bytes: 256 * 1024 * 1024,
            detached_per_address: 1_000,
            detached_bytes_per_address: 32 * 1024 * 1024,
            rates: Some(Rates::default()),
        }
    }
}

impl Rate {
    /// Creates a rate from tokens per second and capacity.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            message_rate: Rate::new(100, 4_000),
            byte_rate: Rate::new(4_000_000, 200_000_000),
            typing_rate: Rate::new(50, 1_000),
            signal_rate: Rate::new(50, 1_000),
            find_rate: Rate::new(5, 200),
            refusal_rate: Rate::new(100, 1_000),
        }
    }
}

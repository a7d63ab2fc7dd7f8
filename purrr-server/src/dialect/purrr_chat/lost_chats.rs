//! What is kept of the chats of clients that have lost their connection: [`LostChats`].

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use hashlink::LinkedHashMap;
use purrr_core::model::ResumeToken;
use tokio::time::{Instant, sleep_until};

use super::chat::Chat;
use crate::limits::{
    lock,
    memory::{MemoryBudget, Reservation},
};

/// The chats of clients that count and have lost their connection, by their tokens. Clones are the
/// same table.
///
/// The hub keeps the frames. What is kept here are the indices of the messages. Worst case: 27 KiB
/// a chat, which are charged to the memory budget of the client's address. A chat that the budget
/// has no room for is not kept: its older messages cannot be answered or marked as read.
///
/// The same holds for a chat that is claimed while its connection is still open, if the new
/// connection is greeted before the task of the old one has returned from the hub. The frames do not
/// depend on it, and what is kept too late expires here.
#[derive(Clone)]
pub(super) struct LostChats(Arc<Lost>);

struct Lost {
    /// How long a session is held.
    window: Duration,
    table: Mutex<Table>,
}

/// The chats in the order in which they expire, since each is kept for the same time.
#[derive(Default)]
struct Table {
    chats: LinkedHashMap<ResumeToken, Entry>,
    /// Whether a task removes what expires.
    is_swept: bool,
}

struct Entry {
    chat: LostChat,
    until: Instant,
    _charge: Reservation,
}

/// A chat whose client has lost its connection.
pub(super) struct LostChat {
    pub(super) chat: Box<Chat>,
    /// The numbers of the frames that are messages and that the client may lack.
    pub(super) messages: VecDeque<u64>,
}

/// The most chats in the table. The one that expires first makes room for another.
const MAX_LOST: usize = 4_096;

impl LostChats {
    pub(super) fn new(window: Duration) -> Self {
        Self(Arc::new(Lost { window, table: Mutex::default() }))
    }

    /// Keeps a chat for as long as its session is held, if the budget pays for it.
    pub(super) fn insert(
        &self,
        token: ResumeToken,
        chat: Box<Chat>,
        messages: VecDeque<u64>,
        budget: &MemoryBudget,
    ) {
        let chat = LostChat { chat, messages };
        let mut charge = budget.reservation();
        if self.0.window.is_zero() || !charge.extend_to(chat.bytes()) {
            return;
        }
        let until = Instant::now() + self.0.window;
        let mut table = lock(&self.0.table);
        if table.chats.len() == MAX_LOST {
            table.chats.pop_front();
        }
        table.chats.insert(token, Entry { chat, until, _charge: charge });
        if !std::mem::replace(&mut table.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0), until));
        }
    }

    /// Takes a chat out.
    pub(super) fn remove(&self, token: ResumeToken) -> Option<LostChat> {
        lock(&self.0.table).chats.remove(&token).map(|entry| entry.chat)
    }
}

/// Removes the chats whose sessions are held no longer, until there is none.
async fn sweep(lost: Weak<Lost>, mut until: Instant) {
    loop {
        sleep_until(until).await;
        let Some(lost) = lost.upgrade() else { return };
        let mut table = lock(&lost.table);
        let now = Instant::now();
        while table.chats.front().is_some_and(|(_, entry)| entry.until <= now) {
            table.chats.pop_front();
        }
        match table.chats.front() {
            Some((_, first)) => until = first.until,
            None => {
                // Gives the memory of a burst of losses back.
                *table = Table::default();
                return;
            }
        }
    }
}

impl LostChat {
    /// Returns the bytes that it takes.
    fn bytes(&self) -> usize {
        let messages = self.messages.capacity() * size_of::<u64>();
        size_of::<Entry>() + size_of::<ResumeToken>() + self.chat.bytes() + messages
    }
}

impl fmt::Debug for LostChats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LostChats").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use purrr_core::model::ChatId;

    use super::{super::message_index::MessageIndex, *};

    const WINDOW: Duration = Duration::from_secs(30);

    fn token(number: u128) -> ResumeToken {
        ResumeToken::from_bits(number)
    }

    fn chat(messages: usize) -> Box<Chat> {
        let mut index = MessageIndex::default();
        (0..messages).for_each(|_| {
            index.push_own();
        });
        Box::new(Chat::new(ChatId::NONE, None, None, index))
    }

    fn insert(lost: &LostChats, number: u128, messages: usize, budget: &MemoryBudget) {
        lost.insert(token(number), chat(messages), VecDeque::new(), budget);
    }

    #[tokio::test(start_paused = true)]
    async fn lost_chat_is_charged_to_memory_budget() {
        let budget = MemoryBudget::new(80_000, Duration::MAX);
        let lost = LostChats::new(WINDOW);
        for number in 1..=4 {
            insert(&lost, number, 1_024, &budget);
        }
        assert!((72_000..80_000).contains(&budget.held()), "{}", budget.held());
        assert!(lost.remove(token(4)).is_none(), "the budget has no room for it");
        assert!(lost.remove(token(1)).is_some());
        insert(&lost, 5, 1_024, &budget);
        assert!(lost.remove(token(5)).is_some(), "there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn lost_chat_expires_with_its_session() {
        let budget = MemoryBudget::unlimited();
        let lost = LostChats::new(WINDOW);
        insert(&lost, 1, 1, &budget);
        tokio::time::sleep(WINDOW / 2).await;
        insert(&lost, 2, 1, &budget);
        tokio::time::sleep(WINDOW * 3 / 4).await;
        assert!(lost.remove(token(1)).is_none() && budget.held() > 0);
        tokio::time::sleep(WINDOW).await;
        assert_eq!(budget.held(), 0, "with no further loss");
        insert(&lost, 3, 1, &budget);
        tokio::time::sleep(2 * WINDOW).await;
        assert_eq!(budget.held(), 0, "a later one is swept as well");
    }

    #[tokio::test(start_paused = true)]
    async fn lost_chats_are_bounded_in_number() {
        let budget = MemoryBudget::unlimited();
        let lost = LostChats::new(WINDOW);
        for number in 0..=MAX_LOST as u128 {
            insert(&lost, number, 1, &budget);
        }
        assert!(lost.remove(token(0)).is_none(), "evicted");
        assert!(lost.remove(token(1)).is_some());
        assert_eq!(lock(&lost.0.table).chats.len(), MAX_LOST - 1);
    }
}

//! How many bytes of large messages the server holds for everybody together, and for those of one address: [`Budget`].
//!
//! A message is charged for from the moment in which it is too large to be small until the last copy of it is gone: while it
//! arrives, waits in the queue of a chat, and goes out. Small ones are bounded where they wait, and cost nothing here.

use std::{
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use purrr_core::{Code, Problem};
use tokio::time::Instant;

/// Up to this many bytes a message is small.
pub(crate) const SMALL: usize = 64 * 1024;

/// The line on which somebody may still send pictures, in bytes a second: 64 kbit/s.
pub(crate) const SLOWEST_LINE: f64 = 8_192.0;

/// When it is worth trying again, in milliseconds.
const RETRY: u64 = 1_000;

/// What is left for large messages, of all that there is or of somebody's share. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Share>);

/// A part of the total that is not set aside: there may be more shares than it has room for.
#[derive(Debug)]
struct Share {
    room: Room,
    total: Arc<Total>,
}

#[derive(Debug)]
struct Total {
    room: Room,
    /// How long a message may take beside what the slowest line needs for it.
    patience: Duration,
}

/// So many bytes at most, of which so many are held.
#[derive(Debug)]
struct Room {
    most: usize,
    held: AtomicUsize,
}

/// What one message has taken of the budget, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: usize,
    /// Since when what is charged for comes and could be read.
    since: Option<Instant>,
    /// It could not be read for some time, which is not to be held against it.
    excused: bool,
}

/// The bytes of a message, and what they cost.
struct Charged<T> {
    bytes: T,
    _charge: Charge,
}

impl Budget {
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        let total = Arc::new(Total { room: Room::of(most), patience });
        Self(Arc::new(Share { room: Room::of(usize::MAX), total }))
    }

    /// The budget of some who may have at most so much of this one together.
    pub(crate) fn share(&self, most: usize) -> Self {
        Self(Arc::new(Share { room: Room::of(most), total: Arc::clone(&self.0.total) }))
    }

    /// One that nobody comes to the end of.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn unlimited() -> Self {
        Self::new(usize::MAX, Duration::MAX)
    }

    /// The charge of a message of which nothing has come.
    pub(crate) fn charge(&self) -> Charge {
        self.charge_of(0)
    }

    /// Bytes that are charged for now, in all.
    pub(crate) fn held(&self) -> usize {
        self.0.total.room.held.load(Ordering::Relaxed)
    }

    /// Charges for another form of a message that was let in: it takes the place of the first one, so it is not refused.
    pub(crate) fn keep(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() <= SMALL {
            return bytes.into();
        }
        let charge = self.charge_of(bytes.len());
        self.0.add(bytes.len());
        Bytes::from_owner(Charged { bytes, _charge: charge })
    }

    /// The same for a text.
    pub(crate) fn keep_text(&self, text: String) -> ByteString {
        if text.len() <= SMALL {
            return text.into();
        }
        ByteString::try_from(self.keep(text.into_bytes())).expect("it was a text before")
    }

    fn charge_of(&self, bytes: usize) -> Charge {
        Charge { budget: self.clone(), bytes, since: None, excused: false }
    }
}

impl Share {
    /// Whether there was room for so much, here and in the total, which then is taken.
    fn take(&self, bytes: usize) -> bool {
        if !self.room.take(bytes) {
            return false;
        }
        let taken = self.total.room.take(bytes);
        if !taken {
            self.room.give(bytes);
        }
        taken
    }

    /// Takes so much although there may be no room.
    fn add(&self, bytes: usize) {
        for room in [&self.room, &self.total.room] {
            room.held.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn give(&self, bytes: usize) {
        for room in [&self.room, &self.total.room] {
            room.give(bytes);
        }
    }
}

impl Room {
    const fn of(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0) }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Charge {
    /// Charges for a message that has grown to so many bytes. If there is no room, what was charged is given back.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL || bytes <= self.bytes {
            return true;
        }
        let grown = self.budget.0.take(bytes - self.bytes);
        if grown {
            self.bytes = bytes;
            self.since.get_or_insert_with(Instant::now);
        } else {
            self.clear();
        }
        grown
    }

    /// Has the bytes of the message pay for themselves from now on. The next message begins.
    pub(crate) fn attach(&mut self, bytes: BytesMut) -> Bytes {
        if self.bytes == 0 {
            return bytes.freeze();
        }
        let charge = self.budget.charge_of(take(&mut self.bytes));
        self.since = None;
        Bytes::from_owner(Charged { bytes, _charge: charge })
    }

    /// Whether a message, of which so much has come, holds what is charged for it longer than the slowest line would.
    pub(crate) fn is_overdue(&mut self, received: usize) -> bool {
        let Some(since) = &mut self.since else { return false };
        if take(&mut self.excused) {
            *since = Instant::now();
        }
        let bought = Duration::from_secs_f64(received as f64 / SLOWEST_LINE);
        since.elapsed() > self.budget.0.total.patience.saturating_add(bought)
    }

    /// What comes is not read now, and its time begins when it is again.
    pub(crate) const fn excuse(&mut self) {
        self.excused = true;
    }

    fn clear(&mut self) {
        self.since = None;
        self.budget.0.give(take(&mut self.bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Charged<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// What somebody is told whose message there was no room for.
pub(crate) fn no_room() -> Problem {
    let message = "the server holds as much as it may; send this again in a moment";
    Problem::retry(Code::Overloaded, message, RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_is_charged_for_comes_as_fast_as_on_the_slowest_line() {
        let budget = Budget::new(10 * SMALL, PATIENCE);
        let mut charge = budget.charge();
        assert!(charge.grow_to(SMALL));
        tokio::time::advance(10 * PATIENCE).await;
        assert!(!charge.is_overdue(SMALL), "small ones may take their time");
        assert!(charge.grow_to(2 * SMALL));
        let due = PATIENCE + Duration::from_secs(2 * SMALL as u64 / 8_192);
        tokio::time::advance(due).await;
        assert!(!charge.is_overdue(2 * SMALL));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(charge.is_overdue(2 * SMALL));
        assert!(!charge.is_overdue(3 * SMALL), "more has come");
        charge.excuse();
        tokio::time::advance(10 * PATIENCE).await;
        assert!(!charge.is_overdue(2 * SMALL), "it was not read meanwhile");
        tokio::time::advance(due + Duration::from_millis(1)).await;
        assert!(charge.is_overdue(2 * SMALL));
        drop(charge.attach(BytesMut::zeroed(2 * SMALL)));
        assert!(!charge.is_overdue(0), "the next one has not begun");
    }

    #[test]
    fn a_message_is_charged_for_until_its_last_copy_is_gone() {
        let budget = Budget::new(10 * SMALL, PATIENCE);
        let mut charge = budget.charge();
        assert!(charge.grow_to(SMALL) && budget.held() == 0);
        assert!(charge.grow_to(3 * SMALL) && charge.grow_to(2 * SMALL));
        assert_eq!(budget.held(), 3 * SMALL);
        let bytes = charge.attach(BytesMut::zeroed(3 * SMALL));
        let slice = bytes.slice(..1);
        drop((bytes, charge));
        assert_eq!(budget.held(), 3 * SMALL);
        drop(slice);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_there_is_no_room_for_holds_nothing() {
        let budget = Budget::new(10 * SMALL, PATIENCE);
        let (mut first, mut second) = (budget.charge(), budget.charge());
        assert!(first.grow_to(6 * SMALL));
        assert!(second.grow_to(4 * SMALL));
        assert!(!second.grow_to(5 * SMALL));
        assert_eq!(budget.held(), 6 * SMALL);
        assert!(second.grow_to(SMALL), "small ones cost nothing");
        let other_form = budget.keep(vec![0; 8 * SMALL]);
        assert_eq!(budget.held(), 14 * SMALL);
        drop(first);
        assert!(!second.grow_to(3 * SMALL));
        drop(other_form);
        assert!(second.grow_to(3 * SMALL));
        assert_eq!(budget.keep(vec![0; SMALL]).len(), SMALL);
        assert_eq!(budget.held(), 3 * SMALL);
    }

    #[test]
    fn a_share_has_its_own_end_and_that_of_the_whole() {
        let whole = Budget::new(10 * SMALL, PATIENCE);
        let [one, other] = [whole.share(6 * SMALL), whole.share(6 * SMALL)];
        let [mut first, mut second] = [one.charge(), other.charge()];
        assert!(first.grow_to(6 * SMALL));
        let mut more_of_the_first = one.charge();
        assert!(!more_of_the_first.grow_to(2 * SMALL), "there is room, and not for these");
        assert!(second.grow_to(4 * SMALL));
        assert!(!second.grow_to(5 * SMALL), "they may have it, and there is none");
        drop(first);
        assert_eq!(whole.held(), 0, "what was refused is not held");
        assert!(more_of_the_first.grow_to(6 * SMALL) && second.grow_to(4 * SMALL));
        assert_eq!((whole.held(), one.held()), (10 * SMALL, 10 * SMALL));
    }
}

//! How many bytes of large messages the server holds for everybody together: [`Budget`].
//!
//! A message is charged for from the moment in which it is too large to be small until the last copy of it is gone: while it
//! arrives, waits in the queue of a chat, and goes out. Small ones are bounded where they wait, and cost nothing here.

use std::{
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use purrr_core::{Code, Problem};

/// Up to this many bytes a message is small.
pub(crate) const SMALL: usize = 64 * 1024;

/// When it is worth trying again, in milliseconds.
const RETRY: u64 = 1_000;

/// What is left for large messages. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Total>);

#[derive(Debug)]
struct Total {
    most: usize,
    held: AtomicUsize,
}

/// What one message has taken of the budget, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: usize,
}

/// The bytes of a message, and what they cost.
struct Charged<T> {
    bytes: T,
    _charge: Charge,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Total { most, held: AtomicUsize::new(0) }))
    }

    /// The charge of a message of which nothing has come.
    pub(crate) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), bytes: 0 }
    }

    /// Bytes that are charged for now.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Charges for another form of a message that was let in: it takes the place of the first one, so it is not refused.
    pub(crate) fn keep(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() <= SMALL {
            return bytes.into();
        }
        let charge = Charge { budget: self.clone(), bytes: bytes.len() };
        self.0.held.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Charged { bytes, _charge: charge })
    }
}

impl Charge {
    /// Charges for a message that has grown to so many bytes. If there is no room, what was charged is given back.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL || bytes <= self.bytes {
            return true;
        }
        let Total { most, held } = &*self.budget.0;
        let more = bytes - self.bytes;
        let fits = |held: usize| held.checked_add(more).filter(|held| held <= most);
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes = bytes;
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
        let charge = Self { budget: self.budget.clone(), bytes: take(&mut self.bytes) };
        Bytes::from_owner(Charged { bytes, _charge: charge })
    }

    fn clear(&mut self) {
        self.budget.0.held.fetch_sub(take(&mut self.bytes), Ordering::Relaxed);
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

    #[test]
    fn a_message_is_charged_for_until_its_last_copy_is_gone() {
        let budget = Budget::new(10 * SMALL);
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
        let budget = Budget::new(10 * SMALL);
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
}

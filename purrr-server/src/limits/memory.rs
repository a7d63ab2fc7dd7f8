//! The memory budget for large messages: [`MemoryBudget`].
//!
//! There is a global limit and a limit for each address. Both are only upper bounds: the limits of
//! the addresses may add up to more than the global one.
//!
//! A message counts from the moment at which it is larger than [`SMALL_MESSAGE`] until its last
//! copy is dropped: while it arrives, waits in the queue of a chat, and goes out. Small messages
//! count while they wait in the queue of a chat, beyond an allowance: see [`MemoryBudget::queue`].

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
use purrr_core::{Code, Problem, backend::QueueBudget};
use tokio::time::Instant;

/// Bytes up to which a message is small and counts only in the queues of chats.
pub(crate) use purrr_core::backend::SMALL_MESSAGE;

/// The minimum rate of an upload in bytes a second (64 kbit/s).
const MIN_RATE: f64 = 8_192.0;

/// When to try again after the budget was exhausted, in milliseconds.
const RETRY_AFTER: u64 = 1_000;

/// The global budget, or the part of it that one address may use. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget(Arc<BudgetShare>);

/// The bytes of one address or network. Nothing is set aside for it in the global budget.
#[derive(Debug)]
struct BudgetShare {
    bytes: ByteLimit,
    /// The quota of the wider network. None if there is none.
    wider: Option<Arc<Self>>,
    global: Arc<Global>,
}

#[derive(Debug)]
struct Global {
    bytes: ByteLimit,
    /// How long a message may take, beside what [`MIN_RATE`] allows for its bytes.
    body_timeout: Duration,
}

/// A counter of bytes with a limit.
#[derive(Debug)]
struct ByteLimit {
    limit: usize,
    held: AtomicUsize,
}

/// The bytes that one message has taken of the budget. Dropping it gives them back.
///
/// For each message: [`begin`](Self::begin) when it does not come whole,
/// [`grow_to`](Self::grow_to) as its bytes come, [`is_overdue`](Self::is_overdue)
/// after each read, [`pause_deadline`](Self::pause_deadline) while the connection is not read, and
/// at the end [`attach`](Self::attach) or [`discard`](Self::discard), after which the next message
/// begins.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
    deadline: Deadline,
}

/// Since when a message has a minimum rate.
#[derive(Debug)]
enum Deadline {
    /// No message has begun.
    None,
    /// The message began then, or was read again then after a pause.
    Since(Instant),
    /// The connection is not read. The time starts anew when it is.
    Paused,
}

/// The bytes of a message with their reservation.
struct Reserved<T> {
    bytes: T,
    _reservation: Reservation,
}

/// Returns the length of one byte of a text in the shortest JSON that has it.
const fn json_length(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// Returns how long an upload may take of which `received` bytes have come.
///
/// That is a timeout and a second more for each [`MIN_RATE`] bytes: a client that sends more
/// slowly holds memory at no cost of its own (slowloris).
pub(crate) fn upload_timeout(timeout: Duration, received: usize) -> Duration {
    timeout.saturating_add(Duration::from_secs_f64(received as f64 / MIN_RATE))
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize, body_timeout: Duration) -> Self {
        let global = Arc::new(Global { bytes: ByteLimit::new(limit), body_timeout });
        Self(Arc::new(BudgetShare { bytes: ByteLimit::new(usize::MAX), wider: None, global }))
    }

    /// Returns a quota of at most `limit` bytes of this budget, within its quota.
    pub(crate) fn with_quota(&self, limit: usize) -> Self {
        let (wider, global) = (Some(Arc::clone(&self.0)), Arc::clone(&self.0.global));
        Self(Arc::new(BudgetShare { bytes: ByteLimit::new(limit), wider, global }))
    }

    /// Returns a budget that is never exhausted.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn unlimited() -> Self {
        Self::new(usize::MAX, Duration::MAX)
    }

    /// Returns the same budget for the small messages in the queues of chats.
    pub(crate) fn queue(&self) -> Arc<dyn QueueBudget> {
        Arc::clone(&self.0) as _
    }

    /// Returns the reservation of a message of which nothing has come.
    pub(crate) fn reservation(&self) -> Reservation {
        self.reservation_of(0)
    }

    /// Returns the reserved bytes of the whole global budget.
    pub(crate) fn held(&self) -> usize {
        self.0.global.bytes.held.load(Ordering::Relaxed)
    }

    /// Reserves for bytes that are about to be made. Returns `None` if the budget has no room.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.reservation();
        reservation.grow_to(bytes).then_some(reservation)
    }

    /// Reserves for another form of a message that was accepted, such as its decoded image.
    ///
    /// Never refuses, since it takes the place of the first form, which was reserved. Both are held
    /// until the caller returns, so each worker thread exceeds the budget by at most one message.
    /// The second form is at most 4/3 of the first (Base64), so what is held altogether is at most
    /// 4/3 of the budget and a message for each worker thread.
    pub(crate) fn hold(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() <= SMALL_MESSAGE {
            return bytes.into();
        }
        let reservation = self.reservation_of(bytes.len());
        self.0.add(bytes.len());
        Bytes::from_owner(Reserved { bytes, _reservation: reservation })
    }

    /// Reserves for another form of a message as [`hold`](Self::hold) does, for text.
    pub(crate) fn hold_text(&self, text: impl Into<ByteString>) -> ByteString {
        let text = text.into();
        if text.len() <= SMALL_MESSAGE {
            return text;
        }
        let held = self.hold(text.into_bytes().into());
        ByteString::try_from(held).expect("a string is UTF-8")
    }

    /// Reserves for a text that was decoded from JSON as much as it takes in JSON.
    ///
    /// Otherwise the form that is made of it for a partner could take six times what was reserved.
    /// It took no less when it came, so this never refuses either.
    pub(crate) fn hold_decoded(&self, text: String) -> ByteString {
        if text.len() <= SMALL_MESSAGE {
            return text.into();
        }
        let bytes = text.bytes().map(json_length).sum();
        let reservation = self.reservation_of(bytes);
        self.0.add(bytes);
        reservation.hold_text(text)
    }

    fn reservation_of(&self, bytes: usize) -> Reservation {
        Reservation { budget: self.clone(), bytes, deadline: Deadline::None }
    }
}

impl BudgetShare {
    /// Reserves bytes here and in all wider budgets. Returns false if one of them has no room.
    fn reserve(&self, bytes: usize) -> bool {
        if !self.bytes.reserve(bytes) {
            return false;
        }
        let reserved = match &self.wider {
            Some(wider) => wider.reserve(bytes),
            None => self.global.bytes.reserve(bytes),
        };
        if !reserved {
            self.bytes.release(bytes);
        }
        reserved
    }

    /// Reserves bytes even if there is no room.
    fn add(&self, bytes: usize) {
        for limit in self.limits() {
            limit.held.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn release(&self, bytes: usize) {
        for limit in self.limits() {
            limit.release(bytes);
        }
    }

    /// Returns the limits that bytes count in, the narrowest first.
    fn limits(&self) -> impl Iterator<Item = &ByteLimit> {
        let quotas = std::iter::successors(Some(self), |quota| quota.wider.as_deref());
        quotas.map(|quota| &quota.bytes).chain([&self.global.bytes])
    }
}

impl QueueBudget for BudgetShare {
    fn reserve(&self, bytes: usize) -> bool {
        self.reserve(bytes)
    }

    fn release(&self, bytes: usize) {
        self.release(bytes);
    }
}

impl ByteLimit {
    const fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0) }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Begins the time of a message, unless it has begun.
    pub(crate) fn begin(&mut self) {
        if let Deadline::None = self.deadline {
            self.deadline = Deadline::Since(Instant::now());
        }
    }

    /// Ends the time of a message of which nothing is kept.
    pub(crate) fn discard(&mut self) {
        self.deadline = Deadline::None;
        self.release();
    }

    /// Reserves for a message that has grown to `bytes`.
    ///
    /// Returns false if the budget is exhausted. What was reserved is released then.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL_MESSAGE || bytes <= self.bytes {
            return true;
        }
        let grown = self.extend_to(bytes);
        if !grown {
            self.release();
        }
        grown
    }

    /// Reserves up to `bytes` in all, small or not, and without a deadline.
    ///
    /// Returns false if the budget is exhausted. What was reserved stays reserved then.
    pub(crate) fn extend_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let extended = more == 0 || self.budget.0.reserve(more);
        if extended {
            self.bytes = self.bytes.max(bytes);
        }
        extended
    }

    /// Returns the budget that this is a part of.
    pub(crate) const fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Returns the number of reserved bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves the reservation into the bytes that it was made for.
    pub(crate) fn hold(self, bytes: Vec<u8>) -> Bytes {
        if self.bytes == 0 {
            return bytes.into();
        }
        Bytes::from_owner(Reserved { bytes, _reservation: self })
    }

    /// Moves the reservation into the text that it was made for.
    pub(crate) fn hold_text(self, text: String) -> ByteString {
        ByteString::try_from(self.hold(text.into_bytes())).expect("a string is UTF-8")
    }

    /// Moves the reservation into the bytes of the finished message. The next message begins.
    pub(crate) fn attach(&mut self, bytes: BytesMut) -> Bytes {
        self.deadline = Deadline::None;
        if self.bytes == 0 {
            return bytes.freeze();
        }
        let reservation = self.budget.reservation_of(take(&mut self.bytes));
        Bytes::from_owner(Reserved { bytes, _reservation: reservation })
    }

    /// Returns true if a message arrives more slowly than [`upload_timeout`] allows.
    ///
    /// Without a minimum rate, slow uploads would hold the whole budget (slowloris), or small ones
    /// a connection each.
    pub(crate) fn is_overdue(&mut self, received: usize) -> bool {
        let since = match self.deadline {
            Deadline::None => return false,
            Deadline::Since(since) => since,
            Deadline::Paused => {
                self.deadline = Deadline::Since(Instant::now());
                return false;
            }
        };
        since.elapsed() > upload_timeout(self.budget.0.global.body_timeout, received)
    }

    /// Suspends the deadline while the server does not read, for which the client is not to blame.
    pub(crate) const fn pause_deadline(&mut self) {
        if let Deadline::Since(_) = self.deadline {
            self.deadline = Deadline::Paused;
        }
    }

    fn release(&mut self) {
        self.budget.0.release(take(&mut self.bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Reserved<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Returns the error for a message that the budget has no room for.
pub(crate) fn overloaded() -> Problem {
    Problem::retry(Code::Overloaded, "server overloaded; retry later", RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use purrr_core::codec::__private::write_string;

    use super::*;

    const SMALL: usize = SMALL_MESSAGE;
    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn message_has_minimum_rate() {
        let budget = MemoryBudget::new(10 * SMALL, TIMEOUT);
        let mut message = budget.reservation();
        tokio::time::advance(10 * TIMEOUT).await;
        message.begin();
        tokio::time::advance(TIMEOUT).await;
        message.begin();
        assert!(!message.is_overdue(0), "it began late");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(message.is_overdue(0) && !message.is_overdue(1_000));
        message.discard();
        message.begin();
        assert!(message.grow_to(2 * SMALL));
        let due = TIMEOUT + Duration::from_secs(2 * SMALL as u64 / 8_192);
        tokio::time::advance(due).await;
        assert!(!message.is_overdue(2 * SMALL));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(message.is_overdue(2 * SMALL));
        assert!(!message.is_overdue(3 * SMALL), "more has come");
        message.pause_deadline();
        tokio::time::advance(10 * TIMEOUT).await;
        assert!(!message.is_overdue(2 * SMALL), "it was not read meanwhile");
        tokio::time::advance(due + Duration::from_millis(1)).await;
        assert!(message.is_overdue(2 * SMALL));
        drop(message.attach(BytesMut::zeroed(2 * SMALL)));
        assert!(!message.is_overdue(0), "the next message has not begun");
    }

    #[test]
    fn reservation_lasts_until_last_copy_is_dropped() {
        let budget = MemoryBudget::new(10 * SMALL, TIMEOUT);
        let mut message = budget.reservation();
        assert!(message.grow_to(SMALL) && budget.held() == 0);
        assert!(message.grow_to(3 * SMALL) && message.grow_to(2 * SMALL));
        assert_eq!(budget.held(), 3 * SMALL);
        let bytes = message.attach(BytesMut::zeroed(3 * SMALL));
        let slice = bytes.slice(..1);
        drop((bytes, message));
        assert_eq!(budget.held(), 3 * SMALL);
        drop(slice);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn refused_message_holds_nothing() {
        let budget = MemoryBudget::new(10 * SMALL, TIMEOUT);
        let (mut first, mut second) = (budget.reservation(), budget.reservation());
        assert!(first.grow_to(6 * SMALL));
        assert!(second.grow_to(4 * SMALL));
        assert!(!second.grow_to(5 * SMALL));
        assert_eq!(budget.held(), 6 * SMALL);
        assert!(second.grow_to(SMALL), "small messages count nothing");
        let other_form = budget.hold(vec![0; 8 * SMALL]);
        assert_eq!(budget.held(), 14 * SMALL);
        drop(first);
        assert!(!second.grow_to(3 * SMALL));
        drop(other_form);
        assert!(second.grow_to(3 * SMALL));
        assert_eq!(budget.hold(vec![0; SMALL]).len(), SMALL);
        assert_eq!(budget.held(), 3 * SMALL);
    }

    #[test]
    fn decoded_text_pays_for_its_json() {
        let budget = MemoryBudget::new(usize::MAX, TIMEOUT);
        for piece in ["x", "é🐈", "\"", "\\", "\n\r\t\u{8}\u{c}", "\u{1}\u{1f}", "/\u{7f}"] {
            let text = piece.repeat(2 * SMALL);
            let mut json = String::new();
            write_string(&text, &mut json);
            let held = budget.hold_decoded(text.clone());
            assert_eq!(held, *text);
            // All but the quotes.
            assert_eq!(budget.held(), json.len() - 2, "{piece:?}");
        }
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn quota_and_global_limit_both_hold() {
        let global = MemoryBudget::new(10 * SMALL, TIMEOUT);
        let [one, other] = [global.with_quota(6 * SMALL), global.with_quota(6 * SMALL)];
        let [mut first, mut second] = [one.reservation(), other.reservation()];
        assert!(first.grow_to(6 * SMALL));
        let mut third = one.reservation();
        assert!(!third.grow_to(2 * SMALL), "the quota is used up");
        assert!(second.grow_to(4 * SMALL));
        assert!(!second.grow_to(5 * SMALL), "the global limit is reached");
        drop(first);
        assert_eq!(global.held(), 0, "what was refused is not held");
        assert!(third.grow_to(6 * SMALL) && second.grow_to(4 * SMALL));
        assert_eq!((global.held(), one.held()), (10 * SMALL, 10 * SMALL));
    }

    #[test]
    fn quotas_are_nested() {
        let global = MemoryBudget::new(20 * SMALL, TIMEOUT);
        let network = global.with_quota(10 * SMALL);
        let [one, other] = [network.with_quota(6 * SMALL), network.with_quota(6 * SMALL)];
        let [mut first, mut second] = [one.reservation(), other.reservation()];
        assert!(first.grow_to(6 * SMALL) && !second.grow_to(6 * SMALL));
        assert!(second.grow_to(4 * SMALL), "what was refused is not held");
        assert_eq!(global.held(), 10 * SMALL);
        drop((first, second));
        assert_eq!(global.held(), 0);
        assert!(other.reservation().grow_to(6 * SMALL));
    }
}

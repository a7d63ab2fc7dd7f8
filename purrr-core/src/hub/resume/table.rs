//! Which sessions can be claimed by their token, and what may be held without a transport:
//! [`ResumeTable`].

use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use crate::{
    backend::pipe::Pipe,
    model::{
        ids::{OriginKey, ResumeToken},
        limits::Limits,
    },
    sync::{Mutex, lock},
};

/// Sessions by their token, and how many of them have no transport.
///
/// The hash need not resist collisions: tokens are drawn at random. So half of a token is the key,
/// which saves memory, and the slot has all of it.
#[derive(Default)]
pub(crate) struct ResumeTable {
    slots: Mutex<Slots>,
    expired: Mutex<Expired>,
    held: Mutex<Shares>,
}

/// The tokens of the sessions that expired last, so that their clients learn that.
#[derive(Debug, Default)]
struct Expired {
    tokens: HashSet<ResumeToken, RandomState>,
    /// The oldest first.
    order: VecDeque<ResumeToken>,
}

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// There is a session to claim.
    Live,
    /// Its session has expired.
    Expired,
    /// Neither.
    Unknown,
}

/// The shares of what is held without a transport.
#[derive(Debug, Default)]
struct Shares {
    all: Share,
    by_origin: HashMap<OriginKey, Share, RandomState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    sessions: usize,
    bytes: usize,
}

/// The slots by the [keys](key) of their tokens.
type Slots = HashMap<u64, Arc<Slot>, RandomState>;

/// What can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A session, by its client.
    Session,
    /// A chat in process, by [`Hub::resume`](crate::Hub::resume).
    Chat,
}

/// Where a claim finds the task that owns a session.
struct Slot {
    table: Arc<ResumeTable>,
    kind: Kind,
    /// Set while there is a request, so that the owner need not lock for each frame.
    requested: AtomicBool,
    state: Mutex<SlotState>,
}

/// What is seldom there is boxed: a session in a chat has one of these for as long as it lasts.
struct SlotState {
    /// The token's bits. As a number of 128 bits its alignment would make the slot larger.
    token: [u64; 2],
    owner: Option<Waker>,
    request: Option<Box<OwnerRequest>>,
    /// The pipe of a chat that the partner has ended, until the client has acknowledged its end.
    last: Option<Box<Pipe>>,
}

/// A session. The table does not know what it is.
pub(crate) type HandedOver = Box<dyn Any + Send>;

/// What is asked of the owner of a session.
pub(crate) enum OwnerRequest {
    /// To hand it over.
    Claim(oneshot::Sender<HandedOver>),
    /// To end it if it has no transport: its token was redeemed for the person alone.
    Abandon,
}

/// A session's entry in the table. Dropping it removes the entry.
pub(crate) struct Registration {
    slot: Arc<Slot>,
}

/// The share of a session without a transport. Dropping it gives the share back.
pub(crate) struct Hold {
    table: Arc<ResumeTable>,
    origin: OriginKey,
    bytes: usize,
}

impl ResumeTable {
    /// Asks the owner of the session of `other` to hand it over, and makes `token` the one by which
    /// it can be claimed next. Returns `None` if there is no such session, or one of another kind.
    pub(crate) fn claim(
        &self,
        other: ResumeToken,
        token: ResumeToken,
        kind: Kind,
    ) -> Option<oneshot::Receiver<HandedOver>> {
        let mut slots = lock(&self.slots);
        let slot = remove_slot(&mut slots, other, |slot| slot.kind == kind)?;
        slots.insert(key(token), Arc::clone(&slot));
        let (to, from) = oneshot::channel();
        slot.request(OwnerRequest::Claim(to), Some(token));
        Some(from)
    }

    /// Returns what is known of a token.
    pub(crate) fn state(&self, token: ResumeToken) -> TokenState {
        if lock(&self.slots).get(&key(token)).is_some_and(|slot| slot.is_of(token)) {
            return TokenState::Live;
        }
        match lock(&self.expired).tokens.contains(&token) {
            true => TokenState::Expired,
            false => TokenState::Unknown,
        }
    }

    /// Returns true if a chat in process can be claimed by this token.
    pub(crate) fn holds_chat(&self, token: ResumeToken) -> bool {
        let slots = lock(&self.slots);
        slots.get(&key(token)).is_some_and(|slot| slot.kind == Kind::Chat && slot.is_of(token))
    }

    /// Ends the session of this token if it has no transport.
    pub(crate) fn abandon(&self, token: ResumeToken) {
        let slot = remove_slot(&mut lock(&self.slots), token, |_| true);
        if let Some(slot) = slot {
            slot.request(OwnerRequest::Abandon, None);
        }
    }

    /// Returns how many sessions have no transport.
    pub(crate) fn detached(&self) -> usize {
        lock(&self.held).all.sessions
    }
}

/// Returns the key of a token in the table.
const fn key(token: ResumeToken) -> u64 {
    halves(token)[0]
}

const fn halves(token: ResumeToken) -> [u64; 2] {
    let bits = token.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// Removes the slot of a token if it is wanted.
fn remove_slot(
    slots: &mut Slots,
    token: ResumeToken,
    is_wanted: impl FnOnce(&Slot) -> bool,
) -> Option<Arc<Slot>> {
    match slots.entry(key(token)) {
        Entry::Occupied(entry) if entry.get().is_of(token) && is_wanted(entry.get()) => {
            Some(entry.remove())
        }
        _ => None,
    }
}

impl Slot {
    /// Returns true if the session is claimed by this token.
    fn is_of(&self, token: ResumeToken) -> bool {
        lock(&self.state).token == halves(token)
    }

    fn request(&self, request: OwnerRequest, token: Option<ResumeToken>) {
        let mut state = lock(&self.state);
        state.request = Some(Box::new(request));
        state.token = token.map_or(state.token, halves);
        self.requested.store(true, Ordering::Release);
        let owner = state.owner.clone();
        drop(state);
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}

impl Registration {
    /// Makes a session claimable by its token.
    pub(crate) fn new(table: &Arc<ResumeTable>, token: ResumeToken, kind: Kind) -> Self {
        let state = SlotState { token: halves(token), owner: None, request: None, last: None };
        let slot = Arc::new(Slot {
            table: Arc::clone(table),
            kind,
            requested: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        lock(&table.slots).insert(key(token), Arc::clone(&slot));
        Self { slot }
    }

    /// Keeps the pipe of a chat that the partner has ended.
    pub(crate) fn keep_last(&self, pipe: Pipe) {
        lock(&self.slot.state).last = Some(Box::new(pipe));
    }

    /// Takes the pipe of the last chat.
    pub(crate) fn take_last(&self) -> Option<Box<Pipe>> {
        lock(&self.slot.state).last.take()
    }

    /// Returns the bytes in flight of the last chat.
    pub(crate) fn bytes_of_last(&self) -> usize {
        lock(&self.slot.state).last.as_deref().map_or(0, Pipe::bytes_to_receive)
    }

    /// Frees what the client has acknowledged of the last chat. Returns true if that is all of it.
    pub(crate) fn acknowledge_last(&self, received: u64) -> bool {
        // Out of the lock, since a pipe wakes a task.
        let Some(mut last) = self.take_last() else { return false };
        last.acknowledge_received(received, false);
        let is_acknowledged = last.is_end_acknowledged(received);
        if !is_acknowledged {
            lock(&self.slot.state).last = Some(last);
        }
        is_acknowledged
    }

    /// Sets the task that is woken for a request.
    pub(crate) fn set_owner(&self, cx: &Context<'_>) {
        lock(&self.slot.state).owner = Some(cx.waker().clone());
    }

    /// Returns true if [`take_request`](Self::take_request) has something.
    #[inline]
    pub(crate) fn is_requested(&self) -> bool {
        self.slot.requested.load(Ordering::Acquire)
    }

    /// Takes what is asked of the owner.
    pub(crate) fn take_request(&self) -> Option<OwnerRequest> {
        let mut state = lock(&self.slot.state);
        self.slot.requested.store(false, Ordering::Release);
        state.request.take().map(|request| *request)
    }

    /// Remembers that the session has expired, as one of the last `most`.
    pub(crate) fn note_expired(&self, most: usize) {
        let [high, low] = lock(&self.slot.state).token;
        let token = ResumeToken::from_bits(u128::from(high) << 64 | u128::from(low));
        let mut expired = lock(&self.slot.table.expired);
        if expired.tokens.insert(token) {
            expired.order.push_back(token);
        }
        while expired.order.len() > most {
            let Some(oldest) = expired.order.pop_front() else { return };
            expired.tokens.remove(&oldest);
        }
    }

    /// Reserves the share of a session without a transport. Returns `None` if there is no room.
    pub(crate) fn hold(&self, limits: &Limits, origin: OriginKey, bytes: usize) -> Option<Hold> {
        let mut held = lock(&self.slot.table.held);
        let all = held.all.with(bytes);
        if all.sessions > limits.detached || all.bytes > limits.detached_bytes {
            return None;
        }
        if origin != OriginKey::NONE {
            let own = held.by_origin.get(&origin).copied().unwrap_or_default().with(bytes);
            if own.sessions > limits.detached_per_address
                || own.bytes > limits.detached_bytes_per_address
            {
                return None;
            }
            held.by_origin.insert(origin, own);
        }
        held.all = all;
        Some(Hold { table: Arc::clone(&self.slot.table), origin, bytes })
    }
}

impl Share {
    const fn with(self, bytes: usize) -> Self {
        Self { sessions: self.sessions + 1, bytes: self.bytes.saturating_add(bytes) }
    }

    const fn without(self, bytes: usize) -> Self {
        Self { sessions: self.sessions - 1, bytes: self.bytes - bytes }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // In the order of a claim: the table, then the slot.
        let mut slots = lock(&self.slot.table.slots);
        let [key, _] = lock(&self.slot.state).token;
        if let Entry::Occupied(entry) = slots.entry(key)
            && Arc::ptr_eq(entry.get(), &self.slot)
        {
            entry.remove();
            if slots.is_empty() {
                slots.shrink_to_fit();
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock(&self.table.held);
        held.all = held.all.without(self.bytes);
        if let Entry::Occupied(mut entry) = held.by_origin.entry(self.origin) {
            let own = entry.get().without(self.bytes);
            if own.sessions == 0 {
                entry.remove();
            } else {
                entry.insert(own);
            }
        }
    }
}

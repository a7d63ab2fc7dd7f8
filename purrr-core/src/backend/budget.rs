//! What pays for frames that wait in the queue of a chat: [`QueueBudget`].

use std::{fmt, sync::Arc};

use crate::model::frame::Frame;

/// A memory budget for the frames that wait in the queues of chats.
///
/// # Who implements it, who calls it
///
/// An embedder implements it, for instance as the part of one client address, and hands it over in
/// [`Profile::budget`](crate::Profile::budget). The sender's [`Pipe`](crate::backend::Pipe) asks it
/// before its queue holds more than [`QUEUE_ALLOWANCE`]. While the budget refuses, the queue is
/// full, so that the sender is not read.
///
/// The pipe calls it under its lock, so it must return at once and call nothing of the chat.
pub trait QueueBudget: fmt::Debug + Send + Sync + 'static {
    /// Reserves bytes. Returns false, and reserves none, if there is no room.
    fn reserve(&self, bytes: usize) -> bool;

    /// Releases reserved bytes.
    fn release(&self, bytes: usize);
}

/// Bytes of small frames that a queue holds at no charge, or one frame. 16 KiB.
pub const QUEUE_ALLOWANCE: usize = 16 * 1024;

/// Bytes up to which the text or the image of a frame is charged to a [`QueueBudget`]. 16 KiB.
///
/// An embedder reserves for larger ones itself, from when they arrive until their last copy is
/// dropped.
pub const SMALL_MESSAGE: usize = 16 * 1024;

/// Bytes that a frame takes beside its contents.
const FRAME_BYTES: usize = 256;

/// Bytes that are reserved at once, so that the budget is asked once for many frames.
const STEP: usize = 16 * 1024;

/// What the frames of one queue have reserved. Dropping it releases that.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<dyn QueueBudget>,
    reserved: usize,
}

impl Charge {
    pub(crate) fn new(budget: Arc<dyn QueueBudget>) -> Self {
        Self { budget, reserved: 0 }
    }

    /// Returns the bytes of a frame of this weight that are charged.
    #[inline]
    pub(crate) fn cost(frame: &Frame, weight: usize) -> usize {
        let image = frame.body.image().map_or(0, |image| image.bytes.len());
        let small = |bytes: usize| if bytes <= SMALL_MESSAGE { bytes } else { 0 };
        FRAME_BYTES + small(weight.saturating_sub(image)) + small(image)
    }

    /// Reserves up to `bytes` in all. Returns false if the budget has no room.
    pub(crate) fn cover(&mut self, bytes: usize) -> bool {
        if self.covers(bytes) {
            return true;
        }
        let more = bytes.next_multiple_of(STEP) - self.reserved;
        let covered = self.budget.reserve(more);
        if covered {
            self.reserved += more;
        }
        covered
    }

    /// Returns true if so many bytes are reserved.
    pub(crate) const fn covers(&self, bytes: usize) -> bool {
        bytes <= self.reserved
    }

    /// Takes over what the frames of another queue of the same budget have reserved.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.reserved += std::mem::take(&mut other.reserved);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.reserved > 0 {
            self.budget.release(self.reserved);
        }
    }
}

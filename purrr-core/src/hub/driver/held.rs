//! Frames that wait for room in the partner's queue: [`HeldFrames`].

use std::collections::VecDeque;

use crate::model::{frame::Frame, limits::Limits};

/// Frames that the partner's full queue did not take, oldest first.
///
/// Input is read on behind the first one, within [`Limits::read_ahead_items`] and
/// [`Limits::read_ahead_bytes`]. Otherwise a command to leave would wait for a slow partner.
#[derive(Debug)]
pub(super) struct HeldFrames {
    frames: VecDeque<Frame>,
    /// The bytes of all frames but the first.
    bytes_ahead: usize,
}

impl HeldFrames {
    pub(super) fn new(first: Frame) -> Self {
        Self { frames: VecDeque::from([first]), bytes_ahead: 0 }
    }

    /// Returns true if one more frame may be read.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.frames.len() <= limits.read_ahead_items && self.bytes_ahead < limits.read_ahead_bytes
    }

    /// Adds a frame behind the others.
    pub(super) fn push(&mut self, frame: Frame) {
        if !self.frames.is_empty() {
            self.bytes_ahead += frame.weight();
        }
        self.frames.push_back(frame);
    }

    /// Takes the first frame.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        let first = self.frames.pop_front();
        if let Some(next) = self.frames.front() {
            self.bytes_ahead -= next.weight();
        }
        first
    }

    /// Puts a frame back that [`pop`](Self::pop) took.
    pub(super) fn put_back(&mut self, first: Frame) {
        if let Some(next) = self.frames.front() {
            self.bytes_ahead += next.weight();
        }
        self.frames.push_front(first);
    }

    pub(super) fn into_frames(self) -> VecDeque<Frame> {
        self.frames
    }
}

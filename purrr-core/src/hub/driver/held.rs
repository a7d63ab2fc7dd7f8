//! Frames that wait for room in the partner's queue: [`HeldFrames`].

use std::{collections::VecDeque, sync::Arc};

use crate::{
    backend::budget::{Charge, QueueBudget},
    model::{frame::Frame, limits::Limits},
};

/// Frames that the partner's full queue did not take, oldest first.
///
/// Input is read on behind the first one, within [`Limits::read_ahead_items`] and
/// [`Limits::read_ahead_bytes`]. Otherwise a command to leave would wait for a slow partner.
///
/// All but the first frame are charged to the budget. While it refuses, one of them may be read.
#[derive(Debug)]
pub(crate) struct HeldFrames {
    frames: VecDeque<Frame>,
    /// The bytes of all frames but the first.
    bytes_ahead: usize,
    /// The bytes of them that are charged to the budget.
    cost_ahead: usize,
    charge: Option<Charge>,
    /// Set unless the budget refused the last frame.
    is_covered: bool,
}

impl HeldFrames {
    pub(super) fn new(first: Frame, budget: Option<Arc<dyn QueueBudget>>) -> Self {
        Self {
            frames: VecDeque::from([first]),
            bytes_ahead: 0,
            cost_ahead: 0,
            charge: budget.map(Charge::new),
            is_covered: true,
        }
    }

    /// Returns true if one more frame may be read.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.is_covered
            && self.frames.len() <= limits.read_ahead_items
            && self.bytes_ahead < limits.read_ahead_bytes
    }

    /// Adds a frame behind the others.
    pub(super) fn push(&mut self, frame: Frame) {
        if !self.frames.is_empty() {
            let weight = frame.weight();
            self.bytes_ahead += weight;
            self.cost_ahead += Charge::cost(&frame, weight);
            let cost = self.cost_ahead;
            self.is_covered = self.charge.as_mut().is_none_or(|charge| charge.cover(cost));
        }
        self.frames.push_back(frame);
    }

    /// Takes the first frame.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let first = self.frames.pop_front();
        if let Some(next) = self.frames.front() {
            let weight = next.weight();
            self.bytes_ahead -= weight;
            self.cost_ahead -= Charge::cost(next, weight);
            let cost = self.cost_ahead;
            self.is_covered = self.charge.as_ref().is_none_or(|charge| charge.covers(cost));
        }
        first
    }

    /// Puts a frame back that [`pop`](Self::pop) took.
    pub(crate) fn put_back(&mut self, first: Frame) {
        if let Some(next) = self.frames.front() {
            let weight = next.weight();
            self.bytes_ahead += weight;
            self.cost_ahead += Charge::cost(next, weight);
            let cost = self.cost_ahead;
            self.is_covered = self.charge.as_ref().is_none_or(|charge| charge.covers(cost));
        }
        self.frames.push_front(first);
    }

    /// Returns the frames and what pays for them.
    pub(crate) fn into_frames(self) -> (VecDeque<Frame>, Option<Charge>) {
        (self.frames, self.charge)
    }
}

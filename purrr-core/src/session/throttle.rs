//! Rate limits of one peer, and how often it may exceed them: [`Throttle`] and [`Typing`].

use std::time::{Duration, Instant};

use crate::{
    model::limits::{Rate, Rates},
    rate::{bucket::Buckets, cost::Cost, gcra::Gcra},
};

/// A peer's token buckets, allocated with its first command: most idle peers never send one.
#[derive(Debug, Default)]
pub(super) struct Throttle(Option<Box<State>>);

#[derive(Debug)]
struct State {
    buckets: Buckets,
    /// Limits unreadable messages.
    garbled: Gcra,
}

/// The last typing change that exceeded its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Typing {
    /// The partner knows the current state.
    #[default]
    Sent,
    /// The partner is told of this state once [`Timer::CoalescedTyping`](super::timers::Timer)
    /// expires.
    Coalesced(bool),
    /// The partner is told of this state once it has room.
    Due(bool),
}

/// The rate of unreadable messages, of which each costs [`GARBLED_COST`]: two at once, then one
/// every 5 s.
const GARBLED: Rate = Rate { per_second: 1, burst: 10 };

const GARBLED_COST: u32 = 5;

impl Throttle {
    /// Takes tokens for a command. If there are too few, takes none and returns how long to wait.
    pub(super) fn spend(
        &mut self,
        rates: Option<&Rates>,
        cost: Cost,
        now: &impl Fn() -> Instant,
    ) -> Result<(), Duration> {
        let Some(rates) = rates else { return Ok(()) };
        self.state(rates, now).buckets.spend(rates, cost, now)
    }

    /// Returns the tokens of a command that was not done.
    pub(super) fn refund(&mut self, rates: Option<&Rates>, cost: Cost) {
        if let (Some(rates), Some(state)) = (rates, &mut self.0) {
            state.buckets.refund(rates, cost);
        }
    }

    /// Counts a refused command. Returns true if the peer is still within its tolerance.
    pub(super) fn penalize(&mut self, rates: Option<&Rates>, weight: u32, now: Instant) -> bool {
        let Some(rates) = rates else { return true };
        self.state(rates, &|| now).buckets.spend_tolerance(rates, weight, &|| now)
    }

    /// Counts an unreadable message. Returns true if the peer is still within its tolerance.
    pub(super) fn penalize_garbled(&mut self, rates: Option<&Rates>, now: Instant) -> bool {
        let Some(rates) = rates else { return true };
        let state = self.state(rates, &|| now);
        state.garbled.take(GARBLED, GARBLED_COST, state.buckets.age(now)).is_ok()
    }

    fn state(&mut self, rates: &Rates, now: &impl Fn() -> Instant) -> &mut State {
        self.0.get_or_insert_with(|| {
            Box::new(State { buckets: Buckets::new(rates, now()), garbled: Gcra::default() })
        })
    }
}

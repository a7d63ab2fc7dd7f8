//! How fast the peer of a [`Session`] goes, and what becomes of what is too fast.

use std::time::{Duration, Instant};

use super::{Session, id_of};
use crate::{
    model::{
        frame::{Body, Frame},
        ids::ChatId,
        limits::Rates,
        reason::CloseReason,
    },
    rate::{
        bucket::{Buckets, too_fast},
        cost::{Cost, WHOLE},
    },
};

/// How the peer has behaved.
#[derive(Debug)]
pub(super) struct Conduct {
    buckets: Buckets,
    /// When what came last and before that was no message at all.
    garbled: [Option<Instant>; 2],
}

/// What the partner has not been told of the peer's typing, for that changed too often.
#[derive(Debug)]
pub(super) struct Coalesced {
    pub(super) on: bool,
    /// When it can be told.
    pub(super) due: Instant,
    /// It is due, and waits for the partner to have room.
    pub(super) told: bool,
}

/// Of what is no message at all, the third within this time ends the session.
const GARBLED_WITHIN: Duration = Duration::from_secs(10);

impl Session {
    /// The peer sends something to its partner, too fast: it, or those who share what it may do, would have to wait so long.
    pub fn handle_excess_send(
        &mut self,
        meant_for: Option<ChatId>,
        frame: &Frame,
        wait: Duration,
        now: Instant,
    ) {
        let Body::Typing(on) = frame.body else {
            self.refuse(too_fast(wait, id_of(&frame.body)));
            return self.weigh(WHOLE, now);
        };
        if self.is_in(meant_for) {
            // Of what could not be told only the last state matters.
            let due = self.coalesced.as_ref().map_or(now + wait, |earlier| earlier.due);
            self.coalesced = Some(Box::new(Coalesced { on, due, told: false }));
        }
        self.weigh(1, now);
    }

    /// Tells the partner what was kept back of the peer's typing, if that is due.
    pub(super) fn tell_typing(&mut self, now: Instant) {
        let waiting = self.coalesced.take_if(|coalesced| !coalesced.told && coalesced.due <= now);
        let Some(mut coalesced) = waiting else { return };
        let typing = Frame::new(Body::Typing(coalesced.on));
        match self.spend(Cost::of_frame(&typing), &|| now) {
            Ok(()) => coalesced.told = true,
            Err(wait) => coalesced.due = now + wait,
        }
        self.coalesced = Some(coalesced);
    }

    /// Pays for what the peer does; says how long to wait if it is too fast.
    pub(crate) fn spend(&mut self, cost: Cost, now: &impl Fn() -> Instant) -> Result<(), Duration> {
        let Some((rates, conduct)) = self.conduct(now) else { return Ok(()) };
        conduct.buckets.spend(rates, cost, now)
    }

    /// Gives back what was paid for something that was not done.
    pub(crate) fn refund(&mut self, cost: Cost) {
        if let (Some(rates), Some(conduct)) = (&self.limits.rates, &mut self.conduct) {
            conduct.buckets.refund(rates, cost);
        }
    }

    fn conduct(&mut self, now: &impl Fn() -> Instant) -> Option<(&Rates, &mut Conduct)> {
        let rates = self.limits.rates.as_ref()?;
        let conduct = self.conduct.get_or_insert_with(|| {
            Box::new(Conduct { buckets: Buckets::new(rates, now()), garbled: [None; 2] })
        });
        Some((rates, conduct))
    }

    /// Something was refused, or dropped. Whoever goes on and on is let go.
    pub(super) fn weigh(&mut self, weight: u32, now: Instant) {
        if let Some((rates, conduct)) = self.conduct(&|| now)
            && !conduct.buckets.forgive(rates, weight, &|| now)
        {
            self.end(CloseReason::Flooded);
        }
    }

    /// What came was no message at all.
    pub(super) fn weigh_garbled(&mut self, now: Instant) {
        let Some((_, conduct)) = self.conduct(&|| now) else { return };
        let [last, before] = conduct.garbled;
        conduct.garbled = [Some(now), last];
        if before.is_some_and(|before| now.duration_since(before) < GARBLED_WITHIN) {
            self.end(CloseReason::Garbled);
        }
    }
}

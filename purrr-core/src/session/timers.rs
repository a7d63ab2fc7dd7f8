//! The deadlines of a session: [`Timer`] and [`TimerTable`].

use std::time::Instant;

/// A deadline of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The partner's queue stayed full for the stall timeout: ends the chat as slow.
    PartnerStall = 0,
    /// The transport made no write progress for the stall timeout: closes the session as slow.
    TransportStall = 1,
    /// The transport took what it was given at less than the minimum rate: closes the session as
    /// slow.
    SlowRead = 2,
    /// A typing change above its rate may be sent by now: sends the last one.
    CoalescedTyping = 3,
    /// The drain jitter of a session without a chat is over: closes the session.
    DrainJitter = 4,
}

/// When each timer expires, if it runs.
#[derive(Debug, Default)]
pub(super) struct TimerTable {
    deadlines: [Option<Instant>; Timer::ALL.len()],
    /// A bit per timer that runs. The table is read with every frame, while hardly ever a timer
    /// runs.
    running: u8,
}

impl Timer {
    /// Every timer, in the order in which those that expired together are handled.
    pub(super) const ALL: [Self; 5] = [
        Self::PartnerStall,
        Self::TransportStall,
        Self::SlowRead,
        Self::CoalescedTyping,
        Self::DrainJitter,
    ];
}

impl TimerTable {
    /// Starts a timer, or moves its deadline. `None` is a deadline beyond the clock's end, so the
    /// timer does not run.
    pub(super) const fn set(&mut self, timer: Timer, deadline: Option<Instant>) {
        match deadline {
            Some(_) => self.running |= 1 << timer as u8,
            None => self.running &= !(1 << timer as u8),
        }
        self.deadlines[timer as usize] = deadline;
    }

    pub(super) const fn stop(&mut self, timer: Timer) {
        self.set(timer, None);
    }

    /// Returns when a timer expires, or `None` if it does not run.
    pub(super) const fn deadline(&self, timer: Timer) -> Option<Instant> {
        self.deadlines[timer as usize]
    }

    /// Returns when the first timer expires.
    #[inline]
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.running == 0 {
            return None;
        }
        self.deadlines.into_iter().flatten().min()
    }

    /// Stops a timer that has expired. Returns true if it had.
    pub(super) fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let expired = self.deadline(timer).is_some_and(|deadline| deadline <= now);
        if expired {
            self.stop(timer);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn first_deadline_is_the_timeout() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = TimerTable::default();
        assert_eq!(timers.poll_timeout(), None);
        timers.set(Timer::TransportStall, Some(at(3)));
        timers.set(Timer::DrainJitter, Some(at(2)));
        timers.set(Timer::PartnerStall, None);
        assert_eq!(timers.poll_timeout(), Some(at(2)));
        assert!(!timers.take_expired(Timer::DrainJitter, at(1)));
        assert!(timers.take_expired(Timer::DrainJitter, at(2)));
        assert!(!timers.take_expired(Timer::DrainJitter, at(2)));
        assert_eq!(timers.poll_timeout(), timers.deadline(Timer::TransportStall));
        timers.stop(Timer::TransportStall);
        assert_eq!(timers.poll_timeout(), None);
    }
}

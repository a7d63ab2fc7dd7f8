//! A barrier between the messages for two partners: [`PingBarrier`].

use std::time::Duration;

use tokio::time::Instant;

/// How long a client may take to answer the ping. Afterwards its messages are accepted unanswered.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Separates messages for the previous partner from those for the new one.
///
/// Purrr.chat messages carry no chat id. To drop messages meant for the previous partner, the
/// server sends a ping before `matched` and ignores relayed messages until the pong, or until a
/// timeout after the ping was flushed.
///
/// Queue a ping, then call [`handle_sent`](Self::handle_sent) when it is sent and
/// [`handle_flushed`](Self::handle_flushed) after each flush.
#[derive(Debug, Default)]
pub(super) struct PingBarrier {
    /// The number of the ping. None until it is sent.
    ping: Option<u64>,
    /// None until the ping is flushed.
    deadline: Option<Instant>,
}

impl PingBarrier {
    /// Notes the number of the ping.
    pub(super) const fn handle_sent(&mut self, ping: u64) {
        self.ping = Some(ping);
    }

    /// Starts the timeout.
    pub(super) fn handle_flushed(&mut self) {
        self.deadline.get_or_insert_with(|| Instant::now() + TIMEOUT);
    }

    /// Returns true once the ping is answered or timed out.
    pub(super) fn is_passed(&self, is_answered: impl FnOnce(u64) -> bool) -> bool {
        self.ping.is_some_and(is_answered)
            || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

//! How a session's end is told to its client: [`close_code`].

use purrr_core::model::CloseReason;

use crate::transport::websocket::CloseCode;

/// Returns the close code and text for the end of a session, or `None` if its connection was lost.
///
/// `garbled` is the text for a client that does not speak the dialect.
pub(super) const fn close_code(
    reason: CloseReason,
    garbled: &'static str,
) -> Option<(CloseCode, &'static str)> {
    match reason {
        CloseReason::Slow => Some((CloseCode::Policy, "slow")),
        CloseReason::Replaced => Some((CloseCode::Replaced, "taken over")),
        CloseReason::Drained => Some((CloseCode::Away, "draining")),
        CloseReason::Flooded => Some((CloseCode::TooFast, "too fast")),
        CloseReason::Garbled => Some((CloseCode::Policy, garbled)),
        _ => None,
    }
}

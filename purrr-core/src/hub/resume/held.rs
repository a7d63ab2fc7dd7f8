//! What is held without an owner until it is claimed: [`Held`].

use std::task::Context;

use crate::{hub::resume::table::Registration, model::reason::ChatEnd};

/// A session without a transport, or a chat in process without its caller.
pub(crate) trait Held: Send + 'static {
    fn registration(&self) -> &Registration;

    /// Returns the bytes in flight to this side.
    fn bytes_to_receive(&self) -> usize;

    /// Lets no more than `more` bytes into what is in flight to this side.
    fn detach(&mut self, more: usize);

    /// Tells the partner that this side is away.
    fn tell_away(&mut self);

    /// Retries what the partner's full queue did not take.
    fn flush(&mut self, cx: &Context<'_>);

    /// Ends it. A partner is told this reason.
    fn end(self: Box<Self>, reason: ChatEnd);
}

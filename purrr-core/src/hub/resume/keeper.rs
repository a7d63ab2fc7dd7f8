//! The owner of a session without a transport: [`keep`].

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    hub::{
        resume::{
            suspended::Suspended,
            table::{Hold, Request},
        },
        shared::{Phase, Shared},
    },
    model::reason::{ChatEnd, Closing},
    session::{Detached, Lapse},
};

/// Bytes that a partner may write to a session without a transport.
const WRITE_ON_BYTES: usize = 16 * 1024;

/// Holds a session until it is claimed, or ends it: at once, when its window is over, or when the
/// hub drains.
pub(crate) fn keep(hub: &Arc<Shared>, mut suspended: Box<Suspended>, closing: Closing) {
    let window = suspended.session.window(closing).filter(|_| hub.phase() == Phase::Open);
    let bytes = match &suspended.chat {
        Some(pipe) => pipe.bytes_to_receive(),
        None => suspended.registration.bytes_of_last(),
    };
    let bytes = bytes + WRITE_ON_BYTES;
    let origin = suspended.session.origin();
    let hold = suspended.registration.hold(&hub.limits, origin, bytes);
    let (Some(window), Some(hold), Ok(runtime)) =
        (window, hold, tokio::runtime::Handle::try_current())
    else {
        return suspended.end(ChatEnd::Lost);
    };
    if let Some(pipe) = &mut suspended.chat {
        pipe.detach(WRITE_ON_BYTES);
    }
    runtime.spawn(hold_until_claimed(Arc::clone(hub), suspended, window, hold));
}

async fn hold_until_claimed(
    hub: Arc<Shared>,
    mut suspended: Box<Suspended>,
    window: Duration,
    _hold: Hold,
) {
    let mut timers = Detached::new(Instant::now().into_std(), window);
    loop {
        let change = hub.phase_change();
        // A client that connects while the hub drains is sent away, so it cannot claim.
        if hub.phase() != Phase::Open {
            return suspended.end(ChatEnd::Ended);
        }
        let timeout = timers.poll_timeout().map(Instant::from);
        tokio::select! {
            biased;
            request = poll_fn(|cx| suspended.poll_request(cx)) => match request {
                Request::Abandon => return suspended.end(ChatEnd::Lost),
                Request::Claim(to) => match to.send(suspended) {
                    Ok(()) => return,
                    // The connection that claimed was lost meanwhile.
                    Err(unclaimed) => match unclaimed.downcast() {
                        Ok(unclaimed) => suspended = unclaimed,
                        Err(_) => return,
                    },
                },
            },
            () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {
                match timers.handle_timeout(Instant::now().into_std()) {
                    Some(Lapse::TellAway) => {
                        if let Some(pipe) = &mut suspended.chat {
                            pipe.tell_away();
                        }
                    }
                    Some(Lapse::Expired) => {
                        hub.stats.expired.add(1);
                        suspended.registration.note_expired(hub.limits.detached);
                        return suspended.end(ChatEnd::Lost);
                    }
                    None => {}
                }
            }
            () = change => {}
        }
    }
}

impl Suspended {
    fn poll_request(&mut self, cx: &Context<'_>) -> Poll<Request> {
        self.registration.set_owner(cx);
        self.flush_held_frames(cx);
        self.registration.take_request().map_or(Poll::Pending, Poll::Ready)
    }
}

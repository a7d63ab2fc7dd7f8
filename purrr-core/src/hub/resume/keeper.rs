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
            held::Held,
            suspended::Suspended,
            table::{Hold, OwnerRequest},
        },
        shared::{Phase, Shared},
    },
    model::{
        ids::OriginKey,
        reason::{ChatEnd, Closing},
    },
    session::{Detached, Lapse},
};

/// Bytes that a partner may write to a session without a transport.
const WRITE_ON_BYTES: usize = 16 * 1024;

/// Holds a session until it is claimed, or ends it: at once, when its window is over, or when the
/// hub drains.
pub(crate) fn keep(hub: &Arc<Shared>, suspended: Box<Suspended>, closing: Closing) {
    let (window, origin) = (suspended.session.window(closing), suspended.session.origin());
    if let Err(suspended) = try_keep(hub, suspended, origin, window) {
        suspended.end(ChatEnd::Lost);
    }
}

/// Holds something for this long, until it is claimed.
///
/// # Errors
///
/// Returns it if there is no window or no room, the hub drains, or no runtime is there.
pub(crate) fn try_keep<H: Held>(
    hub: &Arc<Shared>,
    mut held: Box<H>,
    origin: OriginKey,
    window: Option<Duration>,
) -> Result<(), Box<H>> {
    let window = window.filter(|_| hub.phase() == Phase::Open);
    let bytes = held.bytes_to_receive() + WRITE_ON_BYTES;
    let hold = held.registration().hold(&hub.limits, origin, bytes);
    let (Some(window), Some(hold), Ok(runtime)) =
        (window, hold, tokio::runtime::Handle::try_current())
    else {
        return Err(held);
    };
    held.detach(WRITE_ON_BYTES);
    runtime.spawn(hold_until_claimed(Arc::clone(hub), held, window, hold));
    Ok(())
}

async fn hold_until_claimed<H: Held>(
    hub: Arc<Shared>,
    mut held: Box<H>,
    window: Duration,
    _hold: Hold,
) {
    let mut timers = Detached::new(Instant::now().into_std(), window);
    loop {
        let change = hub.phase_change();
        // A client that connects while the hub drains is sent away, so it cannot claim.
        if hub.phase() != Phase::Open {
            return held.end(ChatEnd::Ended);
        }
        let timeout = timers.poll_timeout().map(Instant::from);
        tokio::select! {
            biased;
            request = poll_fn(|cx| poll_request(&mut *held, cx)) => match request {
                OwnerRequest::Abandon => return held.end(ChatEnd::Lost),
                OwnerRequest::Claim(to) => match to.send(held) {
                    Ok(()) => return,
                    // The connection that claimed was lost meanwhile.
                    Err(unclaimed) => match unclaimed.downcast() {
                        Ok(unclaimed) => held = unclaimed,
                        Err(_) => return,
                    },
                },
            },
            () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {
                match timers.handle_timeout(Instant::now().into_std()) {
                    Some(Lapse::TellAway) => {
                        held.tell_away();
                    }
                    Some(Lapse::Expired) => {
                        hub.stats.expired.add(1);
                        held.registration().note_expired(hub.limits.detached);
                        return held.end(ChatEnd::Lost);
                    }
                    None => {}
                }
            }
            () = change => {}
        }
    }
}

fn poll_request(held: &mut impl Held, cx: &Context<'_>) -> Poll<OwnerRequest> {
    held.registration().set_owner(cx);
    held.flush(cx);
    held.registration().take_request().map_or(Poll::Pending, Poll::Ready)
}

//! The [`Lobby`] of a node.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use purrr_core::{
    Lobby, Pairing,
    backend::{LobbyError, Place},
    codec::portable,
    model::{Census, PeerId, Ticket},
};
use tokio::{sync::oneshot, time::timeout};

use super::{Node, Seat, Unreachable};
use crate::protocol::message::{PlaceId, Steps};

/// How long entering waits for the leader's answer. After that the peer waits, and is told by its
/// place if it was refused: without a leader there are no matches, and nothing else is amiss.
const ENTERING: Duration = Duration::from_secs(1);

/// Leaves the lobby when it is dropped, unless a match was made.
struct Leaving {
    node: Node,
    peer: PeerId,
    place: PlaceId,
}

#[async_trait]
impl Lobby for Node {
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        let unavailable = || LobbyError::Unavailable(Unreachable.into());
        let (bytes, steps) = (portable::encode_ticket(&ticket), Steps::of(&*rule, &ticket));
        let (enter, entered) = oneshot::channel();
        let (make, made) = oneshot::channel();
        let (peer, waited) = (ticket.peer, ticket.waited);
        let seat = Seat { ticket, rule, entered: Some(enter), made: make };
        let place = self.change(|core, now, after| {
            // The rule of the seat is an embedder's.
            if self.is_degraded() || core.lease.is_none() {
                after.rules.push(seat.rule);
                return Err(unavailable());
            }
            if core.busy.contains_key(&peer) {
                after.rules.push(seat.rule);
                return Err(LobbyError::AlreadyHere);
            }
            core.last_place += 1;
            let place = core.last_place;
            core.busy.insert(peer, place);
            core.seats.insert(place, seat);
            core.member.enter(now, place, bytes.into(), waited, steps);
            Ok(place)
        })?;
        let leaving = Leaving { node: self.clone(), peer, place };
        match timeout(ENTERING, entered).await {
            Ok(Ok(Err(error))) => return Err(error),
            Ok(Err(_)) => return Err(unavailable()),
            Ok(Ok(Ok(()))) | Err(_) => {}
        }
        Ok(Place::new(async move {
            let made = made.await.unwrap_or_else(|_| Err(unavailable()));
            drop(leaving);
            made
        }))
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        if self.is_degraded() {
            return Err(LobbyError::Unavailable(Unreachable.into()));
        }
        let numbers = self.numbers();
        Ok(Census::new(numbers.waiting, numbers.matched / 2))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.node.change(|core, _, after| {
            if let Some(seat) = core.seats.remove(&self.place) {
                core.free(self.peer, self.place);
                core.member.leave(self.place);
                after.rules.push(seat.rule);
            }
        });
    }
}

//! Two hubs whose peers wait in one lobby, each with people of its own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use purrr_core::{
    Hub, Limits, Lobby, Pairing, Profile,
    backend::{Backend, Identity, LobbyError, MemoryLobby, MemoryPeople, Place},
    model::{Census, PersonId, ResumeToken, Ticket},
};

use crate::serve::peer::settled;

/// Counts the tickets that enter.
#[derive(Debug, Default)]
struct Counted(MemoryLobby, AtomicUsize);

#[async_trait]
impl Lobby for Counted {
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        let before = self.1.fetch_add(1, Ordering::Relaxed);
        assert!(before < 100, "two peers go round for ever");
        self.0.enter(ticket, rule).await
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        self.0.census().await
    }
}

/// One hub knows of a block that the other does not.
#[tokio::test(start_paused = true)]
async fn partner_that_one_hub_refuses_is_offered_once() {
    let lobby = Arc::new(Counted::default());
    let [ann, bob] = [1, 2].map(PersonId::from_bits);
    let hub = |people: MemoryPeople| {
        let mut backend = Backend::memory(&Limits::default());
        (backend.lobby, backend.people) = (Arc::clone(&lobby) as Arc<dyn Lobby>, Arc::new(people));
        Hub::builder().backend(backend).build()
    };
    let people = MemoryPeople::default();
    let blocker = Identity::new(bob, ResumeToken::random());
    purrr_core::backend::People::block(&people, blocker, ann.into()).await.unwrap();
    let (one, other) = (hub(people), hub(MemoryPeople::default()));
    let search = |hub: &Hub, person| {
        let hub = hub.clone();
        tokio::spawn(async move { hub.pair(Profile::default().person(person)).await })
    };
    let (ann, bob) = (search(&one, ann), search(&other, bob));
    settled().await;
    assert!(lobby.1.load(Ordering::Relaxed) <= 4, "{:?}", lobby.1);
    // Both meet others.
    let cid = search(&one, PersonId::from_bits(3));
    let dan = search(&other, PersonId::from_bits(4));
    let met =
        tokio::time::timeout(Limits::default().stall, async { tokio::join!(ann, bob, cid, dan) });
    let (ann, bob, ..) = met.await.expect("all are met");
    assert_ne!(ann.unwrap().unwrap().id(), bob.unwrap().unwrap().id());
}

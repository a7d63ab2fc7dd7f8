//! A backend of one's own, checked by the conformance suite: a lobby that counts its searches.
//!
//! It leaves the waiting to the lobby in memory. Another one would ask a broker in `enter`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use purrr_core::{
    Hub, Limits, Lobby, Pairing, Profile,
    backend::{Backend, LobbyError, Place, conformance::check_all},
    model::{Census, Ticket},
};

#[derive(Debug)]
struct Counting {
    lobby: Arc<dyn Lobby>,
    searches: AtomicU64,
}

#[async_trait]
impl Lobby for Counting {
    async fn enter(&self, ticket: Ticket, rule: Arc<dyn Pairing>) -> Result<Place, LobbyError> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        self.lobby.enter(ticket, rule).await // dropping the place leaves
    }

    async fn census(&self) -> Result<Census, LobbyError> {
        self.lobby.census().await
    }
}

fn backend() -> (Backend, Arc<Counting>) {
    let Backend { lobby, relay, people, .. } = Backend::memory(&Limits::default());
    let lobby = Arc::new(Counting { lobby, searches: AtomicU64::new(0) });
    (Backend::new(Arc::clone(&lobby) as Arc<dyn Lobby>, relay, people), lobby)
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
#[tokio::main(flavor = "current_thread", start_paused = true)] // in virtual time
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let violations = check_all(&|| backend().0).await;
    if let Some(violation) = violations.first() {
        return Err(violation.to_string().into());
    }
    let (backend, lobby) = backend();
    let hub = Hub::builder().backend(backend).build();
    let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
    println!("one chat: {}, searches: {:?}", ann?.id() == bob?.id(), lobby.searches);
    Ok(())
}

//! An observer that counts chats and logs what happens in a hub: ids and reasons, never contents.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::Router;
use purrr_core::{
    Hub, Observer, Profile,
    hub::{ChatSide, Ending},
};
use purrr_server::RouterBuilder;

#[derive(Default)]
struct Sides(AtomicU64);

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
impl Observer for Sides {
    fn matched(&self, side: &ChatSide, waited: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (peer, partner) = (side.peer.person, side.partner.person);
        println!("{:?} meets {:?} after {} ms", peer, partner, waited.as_millis());
    }

    fn ended(&self, side: &ChatSide, ending: &Ending) {
        println!("{:?}: over, {:?} by the {:?}", side.peer.person, ending.reason, ending.by);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sides = Arc::new(Sides::default());
    let (chat, handle) = RouterBuilder::new(Hub::builder()).observe(Arc::clone(&sides)).build();
    // To be served with `purrr_server::run`, or by an app of one's own.
    let _app: Router = Router::new().nest_service("/chat", chat);

    let hub = handle.hub();
    let (ann, bob) = tokio::join!(hub.pair(Profile::named("Ann")), hub.pair(Profile::named("Bob")));
    let (mut ann, mut bob) = (ann?, bob?);
    ann.say("good evening").await?;
    bob.recv().await.map_err(|reason| format!("over too early: {reason:?}"))?;
    drop((ann, bob));
    match sides.0.load(Ordering::Relaxed) {
        2 => Ok(()),
        other => Err(format!("{other} sides of a chat were told, and not 2").into()),
    }
}

//! A rule for two kinds that seek each other: mentors and mentees. What each is, the embedder says.

use std::time::Duration;

use futures::FutureExt;
use purrr_core::{
    Hub, PairError, Pairing, Profile,
    matching::Bucket,
    model::{Attributes, Ticket},
};

#[derive(Debug)]
struct Mentoring;

impl Pairing for Mentoring {
    fn buckets(&self, ticket: &Ticket, _: Duration) -> Vec<Bucket> {
        vec![Bucket::of("mentor", &!ticket.attributes.flag("mentor"))] // where it looks
    }

    fn stands_in(&self, ticket: &Ticket, _: Duration) -> Option<Vec<Bucket>> {
        Some(vec![Bucket::of("mentor", &ticket.attributes.flag("mentor"))]) // where it is found
    }
}

fn profile(name: &str, mentor: bool) -> Profile {
    Profile::named(name).with_attributes(Attributes::default().with("mentor", mentor))
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), PairError> {
    let hub = Hub::builder().rule(Mentoring).build();
    let [mut ann, mut bob] = ["Ann", "Bob"].map(|name| Box::pin(hub.pair(profile(name, false))));
    assert!((&mut ann).now_or_never().is_none() && (&mut bob).now_or_never().is_none());
    let (ann, mentor) = tokio::join!(ann, hub.pair(profile("Dr. Cid", true)));
    println!("Ann meets {}", ann?.partner().name.as_deref().unwrap_or("a stranger"));
    println!("Dr. Cid meets {}", mentor?.partner().name.as_deref().unwrap_or("a stranger"));
    Ok(())
}

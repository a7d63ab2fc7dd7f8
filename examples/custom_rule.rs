//! A rule of one's own: a shared interest at once, a shared language after 5 s, anybody after 20 s.

use std::time::Duration;

use purrr_core::{Bucket, Hub, Interest, Pairing, Profile, Search, Ticket};

#[derive(Debug)]
struct SameSubject;

const SCHEDULE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(20)];

impl Pairing for SameSubject {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let named = |space: &'static str, tags: &[Interest]| -> Vec<Bucket> {
            tags.iter().map(|tag| Bucket::new(space, tag.as_ref())).collect()
        };
        let mut buckets = named("subject", &ticket.search.interests);
        if waited >= SCHEDULE[0] {
            buckets.extend(named("language", &ticket.search.languages));
        }
        if waited >= SCHEDULE[1] {
            buckets.push(Bucket::new("anybody", ""));
        }
        buckets
    }

    fn widen_at(&self) -> &[Duration] {
        &SCHEDULE
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().rule(SameSubject).build();
    let began = tokio::time::Instant::now(); // virtual time: the program does not really wait
    let meet = |name: &'static str, about: &'static [&'static str], language: &'static str| {
        let hub = hub.clone();
        tokio::spawn(async move {
            let search = Search::for_interests(about.iter().copied()).in_languages([language]);
            let chat = hub.pair(Profile::named(name).seeking(search)).await?;
            let partner = chat.partner().name.as_deref().unwrap_or("somebody");
            println!("{:>2} s: {name} meets {partner}", began.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(60)).await; // they talk
            Ok::<_, purrr_core::PairError>(())
        })
    };
    let people = [
        meet("Ann", &["cats", "trains"], "en"),
        meet("Bob", &["Cats"], "de"), // shares a subject with Ann
        meet("Cid", &["chess"], "en"),
        meet("Dee", &["go"], "en"), // shares a language with Cid
        meet("Eve", &["opera"], "fr"),
        meet("Flo", &["surfing"], "pt"), // shares nothing with Eve
    ];
    for person in people {
        person.await??;
    }
    Ok(())
}

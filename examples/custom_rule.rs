//! A rule of one's own: a shared language and interest at once, a shared language after 5 s, anybody after 20 s.
//!
//! The rules that come with the crate can be put together to do the same:
//! `Languages.and(Interests::default()).widening(Duration::from_secs(20), Anyone)`.

use std::time::Duration;

use purrr_core::{Hub, Pairing, Profile, Search, matching::Bucket, model::Ticket};

#[derive(Debug)]
struct SameSubject;

const SCHEDULE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(20)];

impl Pairing for SameSubject {
    fn buckets(&self, ticket: &Ticket, waited: Duration) -> Vec<Bucket> {
        let mut buckets = Vec::new();
        for language in ticket.search.languages.iter().map(AsRef::as_ref) {
            for subject in ticket.search.interests.iter().map(AsRef::as_ref) {
                buckets.push(Bucket::new("subject", &format!("{language}/{subject}")));
            }
        }
        if waited >= SCHEDULE[0] {
            let languages = ticket.search.languages.iter();
            buckets.extend(languages.map(|language| Bucket::new("language", language.as_ref())));
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
            let partner = chat.partner().name.as_deref().unwrap_or("a stranger");
            println!("{:>2} s: {name} meets {partner}", began.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(60)).await; // they talk
            Ok::<_, purrr_core::PairError>(())
        })
    };
    let people = [
        meet("Ann", &["cats", "trains"], "en"),
        meet("Bob", &["Cats"], "en"), // shares a subject and a language with Ann
        meet("Cid", &["chess"], "de"),
        meet("Dee", &["go"], "de"), // shares a language with Cid
        meet("Eve", &["opera"], "fr"),
        meet("Flo", &["surfing"], "pt"), // shares nothing with Eve
    ];
    for person in people {
        person.await??;
    }
    Ok(())
}

//! What ends many at once, and what there is not enough of.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::{net::TcpStream, time::sleep};

use crate::{
    ALONE,
    faults::{
        Story, check,
        crowd::{LOST, Others, search},
        size,
        target::Target,
        within,
    },
    support::Peer,
};

#[tokio::test]
async fn mass_disconnect() {
    let count = size(100, 1_000);
    let story = Story::new(format!("{count} clients in chats killed at once"));
    check(story, async |target| {
        let mut others = Others::meet(target.address, count).await;
        let began = Instant::now();
        others.signal("KILL").await;
        let told = others.partners.iter_mut().map(|partner| partner.gets(LOST));
        within("the news", join_all(told)).await;
        format!("all partners told within {:.0} ms", began.elapsed().as_secs_f64() * 1e3)
    })
    .await;
}

#[tokio::test]
async fn out_of_descriptors() {
    const FILES: u32 = 256;
    const STARVED: &str = "raise the limit of open files";
    const RECOVERED: &str = "accepting connections again";
    let count = size(400, 1_000);
    let window = Duration::from_secs(size(1, 3) as u64);
    let mut story = Story::new(format!("`ulimit -n {FILES}`, {count} connects"));
    story.files = Some(FILES);
    check(story, async |target| {
        // The last ones wait in the system, which takes more than the server can.
        let told = target.times_logged(STARVED);
        let crowd = join_all((0..count).map(async |_| {
            TcpStream::connect(target.address).await.expect("the system takes connections")
        }))
        .await;
        within("starvation", async {
            while target.times_logged(STARVED) == told {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let (began, cpu) = (Instant::now(), target.process.cpu());
        sleep(window).await;
        let share = (target.process.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        // Two people chat meanwhile. To try over and over would take all that there is.
        assert!(share < 0.3, "the processor is busy for {share} of the time");
        // It is said once, not at every attempt.
        assert_eq!(target.times_logged(STARVED), told + 1);
        drop(crowd);
        // Until then new clients get 503, and another exhaustion would not be logged.
        // Busy as it is, the server has no quiet moment in which to look.
        within("recovery", async {
            while target.times_logged(RECOVERED) < target.times_logged(STARVED) {
                TcpStream::connect(target.address).await.expect("the system takes connections");
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        within("a new client", Peer::connect(target.address, "a new client")).await;
        format!("{:.0} % of a core while starved; connects again", share * 100.0)
    })
    .await;
}

#[tokio::test]
async fn signal_during_chats() {
    let pairs = size(50, 1_000);
    let drain = if crate::faults::is_full() { "10s" } else { "2s" };
    let _alone = ALONE.lock().await;
    let options = ["--rate-limits", "off", "--max-connections-per-address", "0", "--drain", drain];
    let target = Target::start(&options, None).await;
    let mut people = join_all((0..2 * pairs).map(async |at| {
        let mut peer = Peer::connect(target.address, "one of many").await;
        peer.send(search(at / 2)).await;
        peer.gets_type("waiting").await;
        peer.gets_type("matched").await;
        peer
    }))
    .await;
    assert_eq!(target.gauges().await[2], pairs as u64);

    let began = Instant::now();
    target.signal("TERM").await;
    within("the news", join_all(people.iter_mut().map(|peer| peer.gets_type("draining")))).await;
    let told = began.elapsed();
    let last = join_all(people.chunks_exact_mut(2).enumerate().map(async |(pair, two)| {
        let [ann, bob] = two else { unreachable!("they are two") };
        let last_words = r#"{"type":"message","text":"one more thing"}"#;
        ann.send(last_words).await;
        bob.gets(last_words).await;
        if pair % 2 == 0 {
            ann.send(r#"{"type":"leave"}"#).await;
            ann.gets(r#"{"type":"idle"}"#).await;
            bob.gets(r#"{"type":"left","reason":"left"}"#).await;
        } else {
            // Both are heard of at once, for a client that is not read answers no ping.
            let ended = r#"{"type":"left","reason":"ended"}"#;
            tokio::join!(ann.gets(ended), bob.gets(ended));
        }
        tokio::join!(ann.is_closed(1001), bob.is_closed(1001));
    }));
    within("the ends of all chats", last).await;
    drop(people);
    target.ended().await;
    eprintln!(
        "| SIGTERM in the midst of {pairs} chats | all told within {:.0} ms; half left, half were ended after {drain}; exit 0 after {:.1} s | – | – | – | – |",
        told.as_secs_f64() * 1e3,
        began.elapsed().as_secs_f64(),
    );
}

//! Checks of faults between the nodes: repeated and late messages, and a broker that dies.

use std::{future::Future, sync::Arc};

use tokio::time::{sleep, timeout};

use super::{
    lobby::{NoMatch, every_census},
    pipes::acknowledge_three,
    subject::{Subject, ensure},
};
use crate::{
    backend::pipe::{Pipe, Received},
    model::{census::Census, frame::Frame, ids::PeerId, reason::ChatEnd, ticket::Ticket},
};

pub(super) async fn repeated_messages_change_nothing(subject: Subject) -> Result<(), String> {
    match &subject.cluster.faults {
        Some(faults) if faults.repeat_messages().await => {}
        _ => return Ok(()),
    }
    for _ in 0..3 {
        let (mut ann, mut bob) = subject.chat().await?;
        for number in 0..20 {
            let text = number.to_string();
            for pipe in [&mut ann, &mut bob] {
                subject.say(pipe, &text).await?;
            }
            for pipe in [&mut ann, &mut bob] {
                let altered = "a frame was repeated, lost or reordered";
                subject.hear(pipe, &text, altered).await?;
            }
        }
        acknowledge_three(&subject, &mut bob, &mut ann).await?;
        ann.part(ChatEnd::Next);
        let parted = subject.recv(&mut bob).await?;
        ensure(parted == Received::Parted(ChatEnd::Next), "a parting came late or altered")?;
    }
    let (mut ann, mut bob) = subject.chat().await?;
    sleep(subject.quiet()).await;
    subject.say(&mut ann, "still here").await?;
    let late = "a late message of another chat reached this one";
    subject.hear(&mut bob, "still here", late).await?;
    drop((ann, bob));
    every_census(&subject, Census::default(), "a late message left a place or a chat behind").await
}

pub(super) async fn a_dead_broker_is_told(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    let waiting = subject.enter(3, NoMatch).await?;
    let (mut cat, mut dan) = subject.pair_of([5, 6]).await?;
    let eve = subject.arrive(1);
    match &subject.cluster.faults {
        Some(faults) if faults.kill_broker().await => {}
        _ => return Ok(()),
    }
    let place = within(&subject, waiting, "a place waits on for a dead broker").await?;
    ensure(place.is_err(), "a rule was not obeyed")?;
    let [cats, dans] = [5, 6].map(|peer| &subject.node(peer).relay);
    let open = async { tokio::join!(cats.open(&mut cat), dans.open(&mut dan)) };
    let _opened = within(&subject, open, "an opening waits on for a dead broker").await?;

    let ticket = Ticket::new(PeerId::from_bits(7));
    let enter = async {
        match subject.node(7).lobby.enter(ticket, Arc::new(NoMatch)).await {
            Ok(place) => place.await.map(drop),
            Err(error) => Err(error),
        }
    };
    let entered = within(&subject, enter, "entering does not end without a broker").await?;
    ensure(entered.is_err(), "a rule was not obeyed")?;
    let hangs = "a call does not end without a broker";
    within(&subject, subject.node(1).lobby.census(), hangs).await?.ok();
    let (people, other) = (subject.people(1), eve.person_at());
    within(&subject, people.exclusions(eve.person), hangs).await?.ok();
    within(&subject, people.keeps_apart(other, other), hangs).await?.ok();
    within(&subject, people.block(eve, other), hangs).await?.ok();
    within(&subject, people.met(eve, eve.person), hangs).await?.ok();
    within(&subject, people.resume(eve.token, eve.token, None), hangs).await?.ok();
    // What is told and not asked returns at once.
    people.depart(eve.token);
    people.begin_search();
    people.end_search(None);
    people.queue_status();

    goes_on_or_ends(&subject, &mut ann, &mut bob).await?;
    goes_on_or_ends(&subject, &mut bob, &mut ann).await
}

/// Checks that a frame arrives, or that both sides are told of the end of their chat.
async fn goes_on_or_ends(
    subject: &Subject,
    sender: &mut Pipe,
    receiver: &mut Pipe,
) -> Result<(), String> {
    let silent = "a chat neither goes on nor ends without a broker";
    let sent = within(subject, sender.send(Frame::text("still here")), silent).await?;
    match within(subject, receiver.recv(), silent).await? {
        Received::Frame(_) => ensure(sent.is_ok(), "a frame arrived that was not sent"),
        Received::Parted(_) => {
            let own = within(subject, sender.recv(), "one side was not told of the end").await?;
            ensure(matches!(own, Received::Parted(_)), "a chat goes on for one side only")
        }
    }
}

/// Awaits what must end soon, well or not.
async fn within<T>(
    subject: &Subject,
    ends: impl Future<Output = T>,
    otherwise: &str,
) -> Result<T, String> {
    timeout(subject.soon(), ends).await.map_err(|_| otherwise.to_owned())
}

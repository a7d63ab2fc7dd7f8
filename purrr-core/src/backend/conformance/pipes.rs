//! Checks of a running chat: frames, receipts, progress, bounds, stalls, reasons and openings.

use std::{future::poll_fn, time::Duration};

use tokio::time::{sleep, timeout};

use super::subject::{Subject, ensure};
use crate::{
    backend::{
        pipe::{Pipe, Received, TrySendError},
        relay::RelayError,
    },
    matching::rules::Anyone,
    model::{frame::Frame, reason::ChatEnd},
};

pub(super) async fn a_match_opens_once(subject: Subject) -> Result<(), String> {
    let (mut ann, bob) = subject.pair().await?;
    let relay = &subject.node(1).relay;
    let first = async { relay.open(&mut ann).await.map_err(|error| error.to_string()) };
    let _pipes = tokio::try_join!(first, subject.open(2, bob))?;
    let again = timeout(subject.soon(), relay.open(&mut ann)).await;
    ensure(matches!(again, Ok(Err(RelayError::Foreign))), "a match opened twice")
}

pub(super) async fn frames_arrive_in_order(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    // Two at a time, which the smallest queue holds once one is read.
    for number in 0..100 {
        let text = number.to_string();
        for pipe in [&mut ann, &mut bob] {
            subject.say(pipe, &text).await?;
        }
        for pipe in [&mut ann, &mut bob] {
            subject.hear(pipe, &text, "a frame is missing or out of order").await?;
        }
    }
    Ok(())
}

pub(super) async fn the_parting_comes_last(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    subject.say(&mut ann, "bye").await?;
    ann.part(ChatEnd::Next);
    let altered = "the parting came early, late or altered";
    subject.hear(&mut bob, "bye", altered).await?;
    for _ in 0..2 {
        let parted = Received::Parted(ChatEnd::Next);
        ensure(subject.recv(&mut bob).await? == parted, altered)?;
    }
    // The chat is over for both: either may enter again, even while the other still holds its pipe.
    let (_ann, _bob) = (subject.enter(1, Anyone).await?, subject.enter(2, Anyone).await?);
    Ok(())
}

pub(super) async fn receipts_arrive(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    subject.say(&mut ann, "one").await?;
    subject.recv(&mut bob).await?;
    let early = receipts_within(subject.quiet(), &mut ann).await;
    ensure(early == 0, "a receipt without an acknowledgement")?;
    acknowledge_three(&subject, &mut bob, &mut ann).await?;
    let own = receipts_within(subject.quiet(), &mut bob).await;
    ensure(own == 0, "a side got its own receipts")
}

/// Acknowledges three messages in two steps, and awaits three receipts and no more.
pub(super) async fn acknowledge_three(
    subject: &Subject,
    receiver: &mut Pipe,
    sender: &mut Pipe,
) -> Result<(), String> {
    receiver.acknowledge(1);
    receiver.acknowledge(2);
    let mut receipts = 0;
    while receipts < 3 {
        match receipts_within(subject.soon(), sender).await {
            0 => return Err(format!("{receipts} of 3 receipts arrived")),
            more => receipts += more,
        }
    }
    receipts += receipts_within(subject.quiet(), sender).await;
    ensure(receipts == 3, "more receipts arrived than messages were acknowledged")
}

async fn receipts_within(time: Duration, pipe: &mut Pipe) -> u64 {
    timeout(time, poll_fn(|cx| pipe.poll_receipts(cx))).await.ok().flatten().unwrap_or(0)
}

pub(super) async fn progress_arrives(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    let idle = timeout(subject.quiet(), poll_fn(|cx| ann.poll_progress(cx))).await;
    ensure(idle.is_err(), "progress of a partner that reported none")?;
    bob.report_progress();
    let told = timeout(subject.soon(), poll_fn(|cx| ann.poll_progress(cx))).await;
    ensure(told.is_ok(), "progress of the partner was not told")
}

pub(super) async fn queues_are_bounded(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    let sent = subject.fill(&mut ann).await?;
    hear_all(&subject, &mut bob, sent).await?;
    match timeout(subject.soon(), ann.send(Frame::text("room"))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("no room after the partner has read everything".to_owned()),
    }
}

async fn hear_all(subject: &Subject, pipe: &mut Pipe, sent: usize) -> Result<(), String> {
    for number in 0..sent {
        let altered = "a full queue lost or reordered frames";
        subject.hear(pipe, &number.to_string(), altered).await?;
    }
    Ok(())
}

/// A side that does not read holds up what is sent to it, and nothing else.
pub(super) async fn a_stall_stops_one_direction(subject: Subject) -> Result<(), String> {
    let (mut ann, mut bob) = subject.chat().await?;
    let (mut cat, mut dan) = subject.chat_of([3, 4]).await?;
    let sent = subject.fill(&mut ann).await?;
    for number in 0..20 {
        let text = number.to_string();
        subject.say(&mut bob, &text).await?;
        subject.hear(&mut ann, &text, "a stall holds up the other direction").await?;
        subject.say(&mut cat, &text).await?;
        subject.hear(&mut dan, &text, "a stall holds up another chat").await?;
        subject.say(&mut dan, &text).await?;
        subject.hear(&mut cat, &text, "a stall holds up another chat").await?;
    }
    acknowledge_three(&subject, &mut bob, &mut ann).await?;
    bob.report_progress();
    let told = timeout(subject.soon(), poll_fn(|cx| ann.poll_progress(cx))).await;
    ensure(told.is_ok(), "a stall holds up progress")?;
    // The side that waits is free at once, and the other loses nothing.
    ann.part(ChatEnd::Next);
    let _again = subject.enter(1, Anyone).await?;
    hear_all(&subject, &mut bob, sent).await?;
    let parted = subject.recv(&mut bob).await?;
    ensure(parted == Received::Parted(ChatEnd::Next), "a stalled side is not told of the parting")
}

pub(super) async fn every_reason_arrives(subject: Subject) -> Result<(), String> {
    for reason in ChatEnd::ALL {
        let (ann, mut bob) = subject.chat().await?;
        ann.part(reason);
        let parted = timeout(subject.soon(), poll_fn(|cx| bob.poll_parted(cx))).await;
        ensure(parted == Ok(reason), "a parting was not told, or with another reason")?;
        let again = subject.recv(&mut bob).await?;
        ensure(again == Received::Parted(reason), "two reasons for one parting")?;
    }
    let (ann, mut bob) = subject.chat().await?;
    drop(ann);
    let lost = subject.recv(&mut bob).await? == Received::Parted(ChatEnd::Lost);
    ensure(lost, "a dropped pipe does not part as lost")
}

pub(super) async fn parting_ends_sending(subject: Subject) -> Result<(), String> {
    let (ann, mut bob) = subject.chat().await?;
    ann.part(ChatEnd::Left);
    subject.recv(&mut bob).await?;
    let sent = bob.try_send(Frame::text("too late"));
    ensure(matches!(sent, Err(TrySendError::Parted(_))), "a chat that is over takes frames")
}

/// A side that waits for the other must not wait for ever.
pub(super) async fn an_opening_has_an_end(subject: Subject) -> Result<(), String> {
    let (mut ann, bob) = subject.pair().await?;
    // The partner holds its match, and neither opens nor drops it.
    let opened = timeout(subject.suite.opening, subject.node(1).relay.open(&mut ann)).await;
    drop(bob);
    match opened {
        Ok(Err(RelayError::Gone)) => Ok(()),
        Ok(Err(error)) => Err(format!("open: {error}")),
        Ok(Ok(_)) => Err("a chat began for one side".to_owned()),
        Err(_) => Err("a side waits for ever for a partner that does not open".to_owned()),
    }
}

/// Late and repeated calls change nothing.
pub(super) async fn a_chat_is_left_once(subject: Subject) -> Result<(), String> {
    let (ann, bob) = subject.chat().await?;
    ann.part(ChatEnd::Next);
    bob.part(ChatEnd::Left);
    sleep(subject.quiet()).await;
    // Both are free, and the late parting does not end their next chat.
    let (mut ann, mut bob) = subject.chat().await?;
    subject.say(&mut ann, "still here").await?;
    let ended = "the parting of the last chat ended the next one";
    subject.hear(&mut bob, "still here", ended).await
}

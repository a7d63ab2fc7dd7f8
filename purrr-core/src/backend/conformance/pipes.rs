//! Checks of a pipe beside its frames: receipts, progress, bounds, reasons and openings.

use std::{future::poll_fn, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Backend, PATIENCE, QUIET, SOON, ensure, recv};
use crate::{
    backend::{
        pipe::{Pipe, Received, TrySendError},
        relay::RelayError,
    },
    model::{frame::Frame, reason::ChatEnd},
};

/// More frames than any backend may hold for one direction of a chat.
const BEYOND_BOUNDS: usize = 20_000;

pub(super) async fn receipts_arrive(backend: Backend) -> Result<(), String> {
    let (mut ann, mut bob) = backend.chat().await?;
    send(&mut ann, "one").await?;
    recv(&mut bob).await?;
    ensure(receipts_within(QUIET, &mut ann).await == 0, "a receipt without an acknowledgement")?;
    bob.acknowledge(1);
    bob.acknowledge(2);
    let mut receipts = 0;
    while receipts < 3 {
        match receipts_within(SOON, &mut ann).await {
            0 => return Err(format!("{receipts} of 3 receipts arrived")),
            more => receipts += more,
        }
    }
    ensure(receipts == 3, "more receipts arrived than messages were acknowledged")?;
    ensure(receipts_within(QUIET, &mut bob).await == 0, "a side got its own receipts")
}

async fn receipts_within(time: Duration, pipe: &mut Pipe) -> u64 {
    timeout(time, poll_fn(|cx| pipe.poll_receipts(cx))).await.ok().flatten().unwrap_or(0)
}

pub(super) async fn progress_arrives(backend: Backend) -> Result<(), String> {
    let (mut ann, mut bob) = backend.chat().await?;
    let idle = timeout(QUIET, poll_fn(|cx| ann.poll_progress(cx))).await;
    ensure(idle.is_err(), "progress of a partner that reported none")?;
    bob.report_progress();
    let told = timeout(SOON, poll_fn(|cx| ann.poll_progress(cx))).await;
    ensure(told.is_ok(), "progress of the partner was not told")
}

pub(super) async fn queues_are_bounded(backend: Backend) -> Result<(), String> {
    let (mut ann, mut bob) = backend.chat().await?;
    let mut sent = 0;
    while sent < BEYOND_BOUNDS {
        // A backend over a network takes frames on while it passes them along.
        match timeout(QUIET, ann.send(Frame::text(sent.to_string()))).await {
            Ok(Ok(())) => sent += 1,
            Ok(Err(_)) => return Err("a chat ended because its partner did not read".to_owned()),
            Err(_) => break,
        }
    }
    ensure(sent < BEYOND_BOUNDS, "a queue without a bound")?;
    for number in 0..sent {
        let expected = Received::Frame(Frame::text(number.to_string()));
        ensure(recv(&mut bob).await? == expected, "a full queue lost or reordered frames")?;
    }
    match timeout(SOON, ann.send(Frame::text("room"))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("no room after the partner has read everything".to_owned()),
    }
}

pub(super) async fn every_reason_arrives(backend: Backend) -> Result<(), String> {
    for reason in ChatEnd::ALL {
        let (ann, mut bob) = backend.chat().await?;
        ann.part(reason);
        let parted = timeout(SOON, poll_fn(|cx| bob.poll_parted(cx))).await;
        ensure(parted == Ok(reason), "a parting was not told, or with another reason")?;
        ensure(recv(&mut bob).await? == Received::Parted(reason), "two reasons for one parting")?;
    }
    let (ann, mut bob) = backend.chat().await?;
    drop(ann);
    let lost = recv(&mut bob).await? == Received::Parted(ChatEnd::Lost);
    ensure(lost, "a dropped pipe does not part as lost")
}

pub(super) async fn parting_ends_sending(backend: Backend) -> Result<(), String> {
    let (ann, mut bob) = backend.chat().await?;
    ann.part(ChatEnd::Left);
    recv(&mut bob).await?;
    let sent = bob.try_send(Frame::text("too late"));
    ensure(matches!(sent, Err(TrySendError::Parted(_))), "a chat that is over takes frames")
}

/// A side that waits for the other must not wait for ever.
pub(super) async fn an_opening_has_an_end(backend: Backend) -> Result<(), String> {
    let (mut ann, bob) = backend.pair().await?;
    // The partner holds its match, and neither opens nor drops it.
    let opened = timeout(PATIENCE, backend.relay.open(&mut ann)).await;
    drop(bob);
    match opened {
        Ok(Err(RelayError::Gone)) => Ok(()),
        Ok(Err(error)) => Err(format!("open: {error}")),
        Ok(Ok(_)) => Err("a chat began for one side".to_owned()),
        Err(_) => Err("a side waits for ever for a partner that does not open".to_owned()),
    }
}

async fn send(pipe: &mut Pipe, text: &'static str) -> Result<(), String> {
    pipe.send(Frame::text(text)).await.map_err(|_| "a running chat takes no frame".to_owned())
}

/// Late and repeated calls change nothing.
pub(super) async fn a_chat_is_left_once(backend: Backend) -> Result<(), String> {
    let (ann, bob) = backend.chat().await?;
    ann.part(ChatEnd::Next);
    bob.part(ChatEnd::Left);
    sleep(QUIET).await;
    // Both are free, and the late parting does not end their next chat.
    let (mut ann, mut bob) = backend.chat().await?;
    send(&mut ann, "still here").await?;
    ensure(
        recv(&mut bob).await? == Received::Frame(Frame::text("still here")),
        "the parting of the last chat ended the next one",
    )
}

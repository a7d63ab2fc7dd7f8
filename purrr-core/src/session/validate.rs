//! Checks of one message, one introduction and one search against [`Limits`].

use std::fmt;

use crate::model::{
    frame::{Body, SignalKind},
    limits::Limits,
    problem::{Code, Problem},
    profile::{Hello, Interest, Search},
    ticket::Ticket,
};

/// Checks what a frame carries. `unacknowledged` is how many messages of its sender have no receipt
/// yet.
pub(crate) fn check_body(
    limits: &Limits,
    body: &Body,
    partner: &Ticket,
    unacknowledged: usize,
) -> Result<(), Problem> {
    let encrypts = partner.hello.encrypts;
    let partner = partner.capabilities;
    let Limits { message_bytes, image_bytes, signal_bytes, receipts, .. } = *limits;
    match body {
        Body::Message(message) => {
            if message.id.is_some() && unacknowledged >= receipts {
                let text =
                    format!("more than {receipts} messages are in flight; wait for `delivered`");
                return Err(Problem::new(Code::TooMany, text));
            }
            if let Some(text) = &message.text {
                within(text.len(), message_bytes, Code::TooLong, "a text", "bytes")?;
            }
            if let Some(image) = &message.image {
                within(image.bytes.len(), image_bytes, Code::TooLarge, "a picture", "bytes")?;
                supported(partner.images, "pictures")?;
                // The partner could not decrypt it, so it would pass unchecked.
                if image.encrypted && !encrypts {
                    let text = "this chat is not encrypted; send the image itself";
                    return Err(Problem::new(Code::UnsupportedType, text));
                }
            }
        }
        Body::Signal(signal) => {
            let bytes = signal.data.as_ref().map_or(0, |data| data.len());
            within(bytes, signal_bytes, Code::TooLong, "`data`", "bytes")?;
            supported(partner.signals, "calls")?;
            supported(
                partner.candidates || signal.kind != SignalKind::Candidate,
                "candidates apart from the offer",
            )?;
        }
        Body::Typing(_) | Body::Read { .. } => {}
    }
    Ok(())
}

/// Checks an introduction.
pub(crate) fn check_hello(limits: &Limits, hello: &Hello) -> Result<(), Problem> {
    let Limits { name_chars, key_bytes, .. } = *limits;
    let name = hello.name.as_ref().map_or(0, |name| name.chars().count());
    let key = hello.public_key.as_ref().map_or(0, |key| key.len());
    within(name, name_chars, Code::TooLong, "a name", "characters")?;
    within(key, key_bytes, Code::TooLong, "a public key", "bytes")
}

/// Drops empty and repeated tags, and refuses too many or too long ones.
///
/// Of languages the primary one is kept, in which tags agree that RFC 4647 would match.
pub(crate) fn normalize_search(limits: &Limits, search: Search) -> Result<Search, Problem> {
    let Limits { interests, interest_chars, languages, language_chars, .. } = *limits;
    let of_language = Interest::into_language;
    Ok(Search {
        interests: normalize_tags(
            search.interests,
            (interests, interest_chars),
            "interests",
            |it| it,
        )?,
        languages: normalize_tags(
            search.languages,
            (languages, language_chars),
            "languages",
            of_language,
        )?,
    })
}

fn within(
    size: usize,
    limit: usize,
    code: Code,
    what: impl fmt::Display,
    unit: &str,
) -> Result<(), Problem> {
    if size <= limit {
        return Ok(());
    }
    Err(Problem::new(code, format!("{what} may have {limit} {unit}; this one has {size}")))
}

fn supported(supported: bool, what: &str) -> Result<(), Problem> {
    if supported {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedByPartner,
        format!("not supported by the partner's client: {what}"),
    ))
}

fn normalize_tags(
    given: Vec<Interest>,
    (limit, chars): (usize, usize),
    what: &str,
    normalize: impl Fn(Interest) -> Interest,
) -> Result<Vec<Interest>, Problem> {
    if given.len() > limit {
        return Err(Problem::new(Code::TooMany, format!("at most {limit} {what}")));
    }
    let mut kept: Vec<Interest> = Vec::with_capacity(given.len());
    for tag in given {
        let length = tag.as_ref().chars().count();
        within(length, chars, Code::TooLong, format_args!("each of the {what}"), "characters")?;
        let tag = normalize(tag);
        if !tag.as_ref().is_empty() && !kept.contains(&tag) {
            kept.push(tag);
        }
    }
    Ok(kept)
}

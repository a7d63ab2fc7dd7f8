//! Explores every history of commands, lobby events and deadlines up to the fixpoint, beside an
//! oracle of the rules.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    model::{
        command::{Command, Recover},
        event::{Event, QueueStatus},
        frame::Frame,
        ids::{ChatId, PeerId, PersonId, ResumeToken},
        limits::Limits,
        person::PersonAt,
        profile::{Capabilities, Hello, Search},
        reason::{ChatEnd, CloseReason, Closing},
        ticket::Ticket,
    },
    session::{
        action::{Action, Consumer},
        machine::Session,
    },
};

/// Upper bound for the length of a history that reaches a new situation.
const MAX_DEPTH: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Find,
    Cancel,
    Next,
    Leave,
    Block,
    Resume,
    Unresponsive,
    Responsive,
    Announce,
    Say,
    SayElsewhere,
    Matched,
    Failed,
    Heard,
    Parted,
    Stall(Consumer),
    Progress(Consumer),
    Owed,
    Flushed,
    FlushedInPart,
    Late,
    /// The transport is lost without a word, and the session is held if it can be resumed.
    Lost,
    /// The client claims the session, and means this chat.
    Claim,
    /// The same, without knowing of the chat.
    ClaimUnaware,
    EndAcknowledged,
    PartnerAway,
    PartnerBack,
    Drain,
    DrainLater,
    Close,
}

const STEPS: [Step; 32] = [
    Step::Find,
    Step::Cancel,
    Step::Next,
    Step::Leave,
    Step::Block,
    Step::Resume,
    Step::Unresponsive,
    Step::Responsive,
    Step::Announce,
    Step::Say,
    Step::SayElsewhere,
    Step::Matched,
    Step::Failed,
    Step::Heard,
    Step::Parted,
    Step::Stall(Consumer::Partner),
    Step::Stall(Consumer::Transport),
    Step::Progress(Consumer::Partner),
    Step::Progress(Consumer::Transport),
    Step::Owed,
    Step::Flushed,
    Step::FlushedInPart,
    Step::Late,
    Step::Lost,
    Step::Claim,
    Step::ClaimUnaware,
    Step::EndAcknowledged,
    Step::PartnerAway,
    Step::PartnerBack,
    Step::Drain,
    Step::DrainLater,
    Step::Close,
];

const CHAT: ChatId = ChatId::from_bits(1);

/// A bug to plant.
#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// Enters the lobby without parting from the partner.
    NextWithoutParting,
    /// Relays frames that were meant for another chat.
    EveryEpoch,
    /// Does not tell the client that the partner parted.
    SilentParting,
    /// Does not enter the lobby again when the client answers.
    ForgottenPause,
    /// Leaves a blocked partner without blocking it.
    BlockThatOnlyLeaves,
    /// Does not tell the client what it has resumed.
    SilentResume,
}

/// What a driver has, and what the client was told.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
struct Known {
    place: bool,
    /// The place was given up until the client answers.
    paused: bool,
    pipe: bool,
    /// There was a chat since the last search began.
    parted: bool,
    told_waiting: bool,
    told_paired: bool,
    closing: bool,
    /// There is no transport.
    detached: bool,
}

fn play(history: &[Step], start: Instant, bug: Bug) -> Result<(Known, String), String> {
    let peer = PeerId::from_bits(1);
    let (hello, search) = (Hello::default(), Search::default());
    // Token buckets would make every two histories different. They have tests of their own.
    let limits = Limits { rates: None, ..Limits::default() };
    let mut session = Session::new(peer, hello, search, Capabilities::default(), limits);
    let partner = Arc::new(Ticket::new(PeerId::from_bits(2)));
    let mut known = Known::default();
    for step in history {
        let was = known;
        let claims = matches!(step, Step::Claim | Step::ClaimUnaware);
        if known.detached != claims && (known.detached || claims) {
            // The keeper of a session only waits for a claim. When its window is over, or the hub
            // drains, it drops the session.
            continue;
        }
        let mut sent = None;
        let mut command = |session: &mut Session, command| {
            sent = session.handle_command(command, || start, QueueStatus::default)
        };
        match *step {
            // A driver reads no commands from a transport that it closes.
            Step::Find
            | Step::Cancel
            | Step::Next
            | Step::Leave
            | Step::Block
            | Step::Resume
            | Step::Announce
            | Step::Say
            | Step::SayElsewhere
                if known.closing => {}
            Step::Find => command(&mut session, Command::Find(Search::default())),
            Step::Cancel => command(&mut session, Command::Cancel),
            Step::Next => command(&mut session, Command::Next),
            Step::Leave => command(&mut session, Command::Leave),
            Step::Block if bug == Bug::BlockThatOnlyLeaves => {
                command(&mut session, Command::Leave);
            }
            Step::Block => command(&mut session, Command::Block),
            Step::Resume => command(
                &mut session,
                Command::Hello { hello: Hello::default(), resume: Some(ResumeToken::NONE) },
            ),
            Step::Announce => {
                command(&mut session, Command::Recover(Box::default()));
            }
            Step::Lost if session.window(Closing::Lost).is_some() && !session.draining => {
                session.handle_detached();
                known.detached = true;
            }
            Step::Claim | Step::ClaimUnaware => {
                known.detached = false;
                let meant = (*step == Step::Claim).then_some(CHAT);
                claim(&mut session, &mut known, meant, bug)?;
            }
            Step::EndAcknowledged => session.handle_end_acknowledged(),
            Step::PartnerAway => session.handle_partner_away(),
            Step::PartnerBack => session.handle_partner_back(Hello::default()),
            Step::Unresponsive => session.handle_unresponsive(),
            Step::Responsive if bug == Bug::ForgottenPause => {}
            Step::Responsive => session.handle_responsive(),
            Step::Say => command(&mut session, Command::say("hello")),
            Step::SayElsewhere => {
                let chat = (bug != Bug::EveryEpoch).then_some(ChatId::from_bits(2));
                command(&mut session, Command::Send { chat, frame: Frame::text("hello") });
            }
            Step::Matched if known.place => {
                (known.place, known.pipe) = (false, true);
                session.handle_matched(CHAT, Arc::clone(&partner));
            }
            Step::Failed if known.place => {
                known.place = false;
                session.handle_search_failed();
            }
            Step::Heard if known.pipe => {
                if !session.handle_frame(&Frame::text("hi")) {
                    return Err("a frame of the running chat was dropped".to_owned());
                }
            }
            Step::Parted if known.pipe => session.handle_parted(ChatEnd::Left),
            Step::Stall(whose) => session.handle_stall(whose, start),
            Step::Progress(whose) => session.handle_progress(whose),
            Step::Owed => session.handle_owed(0, start),
            Step::Flushed => session.handle_flushed(false, || start),
            Step::FlushedInPart => session.handle_flushed(true, || start),
            Step::Late => session.handle_timeout(start + Limits::default().stall),
            Step::Drain => session.handle_drain(1, None),
            Step::DrainLater => session.handle_drain(1, Some(start)),
            Step::Close => session.handle_close(),
            Step::Lost | Step::Matched | Step::Failed | Step::Heard | Step::Parted => {}
        }
        let wanted = *step == Step::Say && was.pipe && !was.closing;
        if sent.is_some() != wanted {
            return Err(format!("{step:?} sent {sent:?} while {was:?}"));
        }
        let blocked = apply_actions(&mut session, &mut known, bug, *step)?;
        if blocked != (*step == Step::Block && (was.pipe || was.parted) && !was.closing) {
            return Err(format!("{step:?} blocked {blocked} while {was:?}"));
        }
        let has_timeout = session.poll_timeout().is_some() && !session.draining;
        if known.detached && (known.place || has_timeout) {
            return Err("a session without a transport has a place or a timeout".to_owned());
        }
        listen(&mut session, &mut known, bug)?;
        if *step == Step::Late && session.poll_timeout().is_some() {
            return Err("a deadline that has passed still stands".to_owned());
        }
        if known.paused && claims {
            return Err("a peer that has resumed has no place".to_owned());
        }
        if known.paused && *step == Step::Responsive {
            return Err("a responsive peer has no place".to_owned());
        }
        // A client was told to wait if and only if its peer waits.
        if known.told_waiting != (known.place || known.paused) && !known.closing {
            return Err(format!("the client was told otherwise than is: {known:?}"));
        }
        // A client was told of a partner if and only if its peer is in a chat.
        if known.told_paired != known.pipe && !known.closing {
            return Err(format!("the client was told otherwise than is: {known:?}"));
        }
    }
    Ok((known, format!("{session:?}")))
}

/// Attaches a session that is held to the transport of one that has just arrived.
fn claim(
    session: &mut Session,
    known: &mut Known,
    meant: Option<ChatId>,
    bug: Bug,
) -> Result<(), String> {
    let limits = Limits { rates: None, ..Limits::default() };
    let (hello, search) = (Hello::default(), Search::default());
    let (peer, capabilities) = (PeerId::from_bits(3), Capabilities::default());
    let fresh = Session::new(peer, hello, search, capabilities, limits);
    let recover = Recover { chat: meant, ..Recover::default() };
    let goes_on = session.handle_attached(fresh, recover).is_some();
    if goes_on && !(known.pipe || known.parted) {
        return Err("a chat was resumed that there never was".to_owned());
    }
    known.pipe = goes_on;
    // A client that does not know of the chat is told of it anew.
    known.told_paired &= meant.is_some();
    if bug != Bug::SilentResume {
        session.handle_rewound(meant, 0, QueueStatus::default);
    }
    Ok(())
}

/// Applies the actions of the session. Returns true if one of them blocked the partner.
fn apply_actions(
    session: &mut Session,
    known: &mut Known,
    bug: Bug,
    step: Step,
) -> Result<bool, String> {
    let mut blocked = false;
    while let Some(action) = session.poll_action() {
        let fits = match &action {
            Action::Part(ChatEnd::Next) if bug == Bug::NextWithoutParting => continue,
            Action::Enter(_) => !known.place && !known.pipe && !known.closing,
            Action::Pause => known.place,
            Action::Leave => known.place || known.paused,
            Action::Block(PersonAt { person, .. }) => {
                (known.pipe || known.parted) && *person == PersonId::from_bits(2)
            }
            Action::Resume(_) | Action::Claim(_) => !known.closing,
            Action::Introduce(_) => known.pipe,
            // What was said is lost only to a partner that does not read.
            Action::Discard => known.pipe && step == Step::Late,
            Action::Part(_) => known.pipe,
            // The driver lets go of a transport that stalls, and holds the session.
            Action::Close(CloseReason::Lost) => !known.closing && !known.detached,
            Action::Close(closing) => !known.closing || *closing == CloseReason::Slow,
        };
        if !fits {
            return Err(format!("{action:?} while {known:?}"));
        }
        match action {
            Action::Enter(_) => {
                (known.place, known.paused, known.parted) = (true, false, false);
            }
            Action::Pause => (known.place, known.paused) = (false, true),
            Action::Leave => (known.place, known.paused) = (false, false),
            Action::Block(_) => blocked = true,
            Action::Discard | Action::Introduce(_) | Action::Claim(_) => {}
            Action::Resume(_) => session.handle_unknown_token(),
            Action::Part(_) => (known.pipe, known.parted) = (false, true),
            Action::Close(CloseReason::Lost) => {
                session.handle_detached();
                known.detached = true;
            }
            Action::Close(_) => known.closing = true,
        }
    }
    Ok(blocked)
}

fn listen(session: &mut Session, known: &mut Known, bug: Bug) -> Result<(), String> {
    while let Some(event) = session.poll_event() {
        match event {
            Event::Matched { .. } if known.told_paired => return Err("matched twice".to_owned()),
            Event::Matched { .. } => (known.told_waiting, known.told_paired) = (false, true),
            Event::Resumed(_) => known.told_paired = true,
            Event::Away | Event::Back { .. } if !known.told_paired => {
                return Err("told of a partner that there is not".to_owned());
            }
            Event::Left { .. } if bug == Bug::SilentParting => {}
            Event::Left { .. } if !known.told_paired => {
                return Err("left, without having been matched".to_owned());
            }
            Event::Left { .. } => known.told_paired = false,
            Event::Idle => (known.told_waiting, known.told_paired) = (false, false),
            Event::Waiting(_) => (known.told_waiting, known.told_paired) = (true, false),
            _ => {}
        }
    }
    Ok(())
}

fn explore(bug: Bug) -> Result<usize, String> {
    let start = Instant::now();
    let mut seen = HashSet::new();
    let mut open = VecDeque::from([Vec::new()]);
    while let Some(history) = open.pop_front() {
        for step in STEPS {
            let mut longer: Vec<Step> = history.clone();
            longer.push(step);
            let situation =
                play(&longer, start, bug).map_err(|fault| format!("{fault}, after {longer:?}"))?;
            if seen.insert(situation) {
                assert!(longer.len() <= MAX_DEPTH, "no fixpoint: {longer:?}");
                open.push_back(longer);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn rules_hold_in_every_history() {
    let situations = explore(Bug::None).unwrap();
    // The number that was found: fewer mean that the exploration got stuck.
    assert!(situations >= 48, "{situations}");
}

#[test]
fn planted_bugs_are_caught() {
    for (bug, fault) in [
        (Bug::NextWithoutParting, "Enter("),
        (Bug::EveryEpoch, "SayElsewhere sent"),
        (Bug::SilentParting, "told otherwise"),
        (Bug::ForgottenPause, "has no place"),
        (Bug::BlockThatOnlyLeaves, "Block blocked false"),
        (Bug::SilentResume, "has no place"),
    ] {
        let found = explore(bug).unwrap_err();
        assert!(found.contains(fault), "{found}");
    }
}

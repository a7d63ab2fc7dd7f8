//! Every history of commands, lobby events and deadlines up to the fixpoint, beside an oracle that knows the rules.

use std::collections::{HashSet, VecDeque};

use super::*;

/// As deep as a history can go before it only repeats what shorter ones did, with room to spare.
const DEEPEST: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Find,
    Cancel,
    Next,
    Leave,
    Block,
    Resume,
    Silence,
    SignOfLife,
    Say,
    SayElsewhere,
    Matched,
    Failed,
    Heard,
    Parted,
    Stall(Stalled),
    Flow(Stalled),
    Late,
    Drain,
    DrainLater,
    Close,
}

const STEPS: [Step; 22] = [
    Step::Find,
    Step::Cancel,
    Step::Next,
    Step::Leave,
    Step::Block,
    Step::Resume,
    Step::Silence,
    Step::SignOfLife,
    Step::Say,
    Step::SayElsewhere,
    Step::Matched,
    Step::Failed,
    Step::Heard,
    Step::Parted,
    Step::Stall(Stalled::Partner),
    Step::Stall(Stalled::Own),
    Step::Flow(Stalled::Partner),
    Step::Flow(Stalled::Own),
    Step::Late,
    Step::Drain,
    Step::DrainLater,
    Step::Close,
];

const CHAT: ChatId = ChatId::from_bits(1);

/// A bug to plant.
#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// Enters the lobby without parting from the partner first.
    NextWithoutParting,
    /// Hands on what was meant for another chat.
    EveryEpoch,
    /// Says nothing when the partner parts.
    SilentParting,
    /// Does not enter the lobby again when the peer was there after all.
    ForgottenPause,
    /// Leaves a blocked partner, and no more.
    BlockThatOnlyLeaves,
}

/// What a shell has, and what the peer was told.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
struct Known {
    place: bool,
    /// The place was given up until the peer is heard of.
    paused: bool,
    pipe: bool,
    /// There was a chat since the last search began.
    parted: bool,
    told_waiting: bool,
    told_paired: bool,
    closing: bool,
}

fn play(history: &[Step], start: Instant, bug: Bug) -> Result<(Known, String), String> {
    let peer = PeerId::from_bits(1);
    let (hello, search) = (Hello::default(), Search::default());
    // Rates would tell every two histories apart; they have tests of their own.
    let limits = Limits { rates: None, ..Limits::default() };
    let mut session = Session::new(peer, hello, search, Capabilities::default(), limits);
    let partner = Arc::new(Ticket::new(PeerId::from_bits(2)));
    let mut known = Known::default();
    for step in history {
        let was = known;
        let mut sent = None;
        let mut command = |session: &mut Session, command| {
            sent = session.handle_command(command, || start, QueueStatus::default)
        };
        match *step {
            // A shell whose transport is closing reads nothing more from it.
            Step::Find
            | Step::Cancel
            | Step::Next
            | Step::Leave
            | Step::Block
            | Step::Resume
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
            Step::Silence => session.handle_unresponsive(),
            Step::SignOfLife if bug == Bug::ForgottenPause => {}
            Step::SignOfLife => session.handle_responsive(),
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
                if session.handle_frame(Frame::text("hi")).is_none() {
                    return Err("a frame of the running chat was kept back".to_owned());
                }
            }
            Step::Parted if known.pipe => session.handle_parted(ChatEnd::Left),
            Step::Stall(whose) => session.handle_stall(whose, start),
            Step::Flow(whose) => session.handle_flow(whose),
            Step::Late => session.handle_timeout(start + Limits::default().stall),
            Step::Drain => session.handle_drain(1, None),
            Step::DrainLater => session.handle_drain(1, Some(start)),
            Step::Close => session.handle_close(),
            Step::Matched | Step::Failed | Step::Heard | Step::Parted => {}
        }
        let wanted = *step == Step::Say && was.pipe && !was.closing;
        if sent.is_some() != wanted {
            return Err(format!("{step:?} sent {sent:?} while {was:?}"));
        }
        let blocked = obey(&mut session, &mut known, bug)?;
        if blocked != (*step == Step::Block && (was.pipe || was.parted) && !was.closing) {
            return Err(format!("{step:?} blocked {blocked} while {was:?}"));
        }
        listen(&mut session, &mut known, bug)?;
        if *step == Step::Late && session.poll_timeout().is_some() {
            return Err("a deadline that has passed still stands".to_owned());
        }
        if known.paused && *step == Step::SignOfLife {
            return Err("a peer that is there has no place".to_owned());
        }
        // Whoever was told to wait waits, and the other way round.
        if known.told_waiting != (known.place || known.paused) && !known.closing {
            return Err(format!("the peer was told otherwise than is: {known:?}"));
        }
        // Whoever was told of a partner is in a chat, and the other way round.
        if known.told_paired != known.pipe && !known.closing {
            return Err(format!("the peer was told otherwise than is: {known:?}"));
        }
    }
    Ok((known, format!("{session:?}")))
}

/// Does what the session wants, and returns whether that was to block the partner.
fn obey(session: &mut Session, known: &mut Known, bug: Bug) -> Result<bool, String> {
    let mut blocked = false;
    while let Some(action) = session.poll_lobby() {
        let fits = match &action {
            LobbyAction::Part(ChatEnd::Next) if bug == Bug::NextWithoutParting => continue,
            LobbyAction::Enter(_) => !known.place && !known.pipe && !known.closing,
            LobbyAction::Pause => known.place,
            LobbyAction::Leave => known.place || known.paused,
            LobbyAction::Block(person) => {
                (known.pipe || known.parted) && *person == PersonId::from_bits(2)
            }
            LobbyAction::Resume(_) => !known.closing,
            LobbyAction::Part(_) => known.pipe,
            LobbyAction::Close(closing) => !known.closing || *closing == CloseReason::Slow,
        };
        if !fits {
            return Err(format!("{action:?} while {known:?}"));
        }
        match action {
            LobbyAction::Enter(_) => {
                (known.place, known.paused, known.parted) = (true, false, false);
            }
            LobbyAction::Pause => (known.place, known.paused) = (false, true),
            LobbyAction::Leave => (known.place, known.paused) = (false, false),
            LobbyAction::Block(_) => blocked = true,
            LobbyAction::Resume(_) => session.handle_unknown_token(),
            LobbyAction::Part(_) => (known.pipe, known.parted) = (false, true),
            LobbyAction::Close(_) => known.closing = true,
        }
    }
    Ok(blocked)
}

fn listen(session: &mut Session, known: &mut Known, bug: Bug) -> Result<(), String> {
    while let Some(event) = session.poll_event() {
        match event {
            Event::Matched { .. } if known.told_paired => return Err("matched twice".to_owned()),
            Event::Matched { .. } => (known.told_waiting, known.told_paired) = (false, true),
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
                assert!(longer.len() <= DEEPEST, "this does not come to an end: {longer:?}");
                open.push_back(longer);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn the_rules_hold_in_every_history() {
    let situations = explore(Bug::None).unwrap();
    // The number is what was found; it says that the search went somewhere.
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
    ] {
        let found = explore(bug).unwrap_err();
        assert!(found.contains(fault), "{found}");
    }
}

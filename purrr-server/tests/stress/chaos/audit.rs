//! All logs held against each other: [`audit`].

mod planted;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use crate::chaos::{
    log::{Content, Dialect, Log, Name},
    story::{Absence, Bounds, Chat, End, Fault, FaultKind, Story},
};

/// How many partners back a meeting counts as one with the same person again.
const RECENT: usize = 5;

/// What an audit found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Fault>,
    pub(crate) counts: Counts,
}

/// How much there was to look at.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    matches: usize,
    /// With one of the last [`RECENT`] partners.
    rematches: usize,
    /// Of which only one side learned, since the other had given up its search.
    one_sided: usize,
    frames: usize,
    images: usize,
    receipts: usize,
    blocks: usize,
    pub(crate) resumed: usize,
    absences: usize,
    told_at_most: Duration,
}

/// Checks that what everybody saw can have been.
pub(crate) fn audit(logs: &[Log], bounds: Bounds) -> Findings {
    let mut findings = Findings::default();
    let mut stories: Vec<Story> = logs.iter().map(|log| Story::read(log, bounds)).collect();
    for story in &mut stories {
        findings.faults.append(&mut story.faults);
    }
    let chats = stories.iter().flat_map(|story| &story.chats);
    let chats = chats.map(|chat| ((chat.name, chat.partner), chat)).collect();
    let mut auditor = Auditor { logs, bounds, stories: &stories, chats, findings };
    for (person, story) in stories.iter().enumerate() {
        auditor.check_chats(person);
        auditor.check_absences(person);
        auditor.count_rematches(story);
        auditor.findings.counts.blocks += story.blocks;
        auditor.findings.counts.resumed += story.resumed;
    }
    auditor.findings
}

struct Auditor<'a> {
    logs: &'a [Log],
    bounds: Bounds,
    stories: &'a [Story],
    /// By this side's name and the partner's: one search can come to several chats if it is
    /// repeated.
    chats: HashMap<(Name, Name), &'a Chat>,
    findings: Findings,
}

impl<'a> Auditor<'a> {
    fn check_chats(&mut self, person: usize) {
        let stories = self.stories;
        for chat in &stories[person].chats {
            let counts = &mut self.findings.counts;
            counts.matches += 1;
            counts.frames += chat.received.len();
            counts.receipts += chat.delivered.len();
            let is_image = |content: &&Content| matches!(content, Content::Image(_));
            counts.images += chat.received.iter().filter(is_image).count();
            self.check_addresses(person, chat);
            match self.chats.get(&(chat.partner, chat.name)) {
                Some(other) => self.check_sides(person, chat, other),
                None => self.check_lonely(person, chat),
            }
        }
    }

    /// Every frame is for this chat.
    fn check_addresses(&mut self, person: usize, chat: &Chat) {
        for content in &chat.received {
            let astray = match content {
                Content::Garbled(_) => true,
                content => content
                    .payload()
                    .is_some_and(|it| (it.from, it.to) != (chat.partner, chat.name)),
            };
            if astray {
                self.blame(FaultKind::Stray, &[(person, chat.line)], format!("{content:?}"));
            }
        }
    }

    /// A chat of which the other side knows nothing: it must have had reason to give its search up.
    fn check_lonely(&mut self, person: usize, chat: &Chat) {
        let partner = self.stories.get(chat.partner.person);
        let search = partner
            .and_then(|story| story.searches.iter().find(|search| search.name == chat.partner));
        let seen = [(person, chat.line), (chat.partner.person, 0)];
        match search.map(|search| search.given_up) {
            None => self.blame(FaultKind::Unknown, &seen[..1], format!("{}", chat.partner)),
            Some(None) => {
                self.blame(FaultKind::OneSided, &seen, format!("{} {}", chat.name, chat.partner));
            }
            Some(Some(given_up)) => {
                self.findings.counts.one_sided += 1;
                let held = search.is_some_and(|search| search.lost)
                    && self.logs[chat.partner.person].is_held();
                let window = if held { self.bounds.window } else { Duration::ZERO };
                let due = chat.matched_at.max(given_up) + self.bounds.silence + window;
                let away = self.was_away(person, chat.matched_at, chat.ended_at);
                if chat.ended_at > due && chat.end != End::Cut && !away {
                    self.blame(
                        FaultKind::ToldLate,
                        &seen,
                        format!("{} had given up", chat.partner),
                    );
                }
            }
        }
        // The other side was in no such chat, so it cannot have said anything there.
        let said = |content: &&Content| !matches!(content, Content::Typing(_) | Content::Read(_));
        if let Some(content) = chat.received.iter().find(said) {
            self.blame(FaultKind::NeverSent, &seen, format!("{content:?}"));
        }
    }

    /// What one side received against what the other one sent.
    fn check_sides(&mut self, person: usize, chat: &Chat, other: &Chat) {
        let seen = [(person, chat.line), (other.name.person, other.line)];
        if let (Some(id), Some(same)) = (&chat.id, &other.id)
            && id != same
        {
            self.blame(FaultKind::TwoChats, &seen, format!("{id} {same}"));
        }
        // The Purrr.chat dialect counts messages where the native one names them, and what is read
        // while more is said can be counted differently at both ends.
        let exact = [chat, other].into_iter().all(|side| {
            self.logs.get(side.name.person).is_some_and(|log| log.dialect == Dialect::Native)
        });
        let partner = other.name.person;
        let was_away = |person: usize| self.was_away(person, chat.matched_at, chat.ended_at);
        // The Purrr.chat page is told that an absent partner does not type.
        let typed = self.logs[person].dialect == Dialect::Native || !was_away(partner);
        let counted = |content: &&Content| match content {
            Content::Read(_) => exact,
            Content::Typing(_) => typed,
            _ => true,
        };
        let received: Vec<_> = chat.received.iter().filter(counted).collect();
        let sent: Vec<_> = other.sent.iter().filter(counted).collect();
        // What had no room while this side was away. The sender may not have been told, if it lost
        // its own connection.
        let refused = match other.dropped && was_away(person) {
            true => sent.len(),
            false => other.refused,
        };
        if let Some(fault) = compare(&received, &sent, refused) {
            let (kind, at) = fault;
            let what = format!("frame {at}: {:?}", received[at]);
            return self.blame(kind, &seen, what);
        }
        let reads = |contents: &[Content]| {
            contents.iter().filter(|content| matches!(content, Content::Read(_))).count()
        };
        if reads(&chat.received) > reads(&other.sent) {
            self.blame(FaultKind::NeverSent, &seen, "a read mark".to_owned());
        }
        // The peer that was left has everything that was said before.
        let left = match &chat.end {
            End::Left(reason) => reason.as_deref() != Some("lost"),
            End::Own | End::Cut => false,
        };
        if left && other.end == End::Own && received.len() + refused < sent.len() {
            let what = format!("{} of {} frames", received.len(), sent.len());
            self.blame(FaultKind::Missing, &seen, what);
        }
        self.check_receipts(person, chat, other, &seen);
    }

    /// What is said to be delivered is there, unless the connection that took it ended before it
    /// was read.
    fn check_receipts(
        &mut self,
        person: usize,
        chat: &Chat,
        other: &Chat,
        seen: &[(usize, usize)],
    ) {
        if self.logs[person].dialect != Dialect::Native {
            return;
        }
        let arrived = other.received.iter().filter_map(Content::payload);
        let arrived: Vec<u64> = arrived.map(|payload| payload.counter + 1).collect();
        for (place, id) in chat.delivered.iter().enumerate() {
            let in_order = chat.ids().nth(place) == Some(*id);
            if !in_order || (other.end != End::Cut && !arrived.contains(id)) {
                return self.blame(FaultKind::FalseReceipt, seen, format!("a receipt for {id}"));
            }
        }
    }

    /// The partner of a gone peer is told in time, and no peer meets a gone one.
    fn check_absences(&mut self, person: usize) {
        let stories = self.stories;
        for absence in &stories[person].absences {
            self.findings.counts.absences += 1;
            let Some(name) = absence.name else { continue };
            let bound = if absence.reset { self.bounds.reset } else { self.bounds.silence };
            let held = absence.chatting && self.logs[person].is_held();
            let window = if held { self.bounds.window } else { Duration::ZERO };
            let due = absence.from + bound + window;
            if absence.until.is_some_and(|until| until <= due) {
                continue;
            }
            if absence.chatting {
                self.check_told(person, name, absence, due);
                continue;
            }
            let until = absence.until.unwrap_or(Duration::MAX);
            let met = stories.iter().enumerate().find_map(|(other, story)| {
                let met = |chat: &&Chat| {
                    chat.partner == name && due < chat.matched_at && chat.matched_at < until
                };
                story.chats.iter().find(met).map(|chat| (other, chat))
            });
            if let Some((other, chat)) = met {
                let seen = [(other, chat.line), (person, absence.line)];
                if !self.was_away(other, absence.from, chat.matched_at) {
                    self.blame(FaultKind::MetGhost, &seen, format!("{name} since {due:?}"));
                }
            }
        }
    }

    fn check_told(&mut self, person: usize, name: Name, absence: &Absence, due: Duration) {
        // The last one under this name: it was in that chat that the absence began.
        let chats = &self.stories[person].chats;
        let Some(chat) = chats.iter().rfind(|chat| chat.name == name) else { return };
        let Some(&other) = self.chats.get(&(chat.partner, name)) else { return };
        let partner = chat.partner.person;
        if other.ended_at < absence.from
            || other.end == End::Cut
            || self.was_away(partner, other.matched_at, other.ended_at)
        {
            return;
        }
        let seen = [(partner, other.line), (person, absence.line)];
        if other.ended_at > due {
            let what = format!("{:?} after the end was due", other.ended_at - due);
            self.blame(FaultKind::ToldLate, &seen, what);
            return;
        }
        let lost = End::Left(Some("lost".to_owned()));
        let held_until = absence.from + self.bounds.window;
        if self.logs[person].is_held() && other.end == lost && other.ended_at < held_until {
            let what = format!("{:?} before", held_until - other.ended_at);
            self.blame(FaultKind::ToldEarly, &seen, what);
        }
        if let End::Left(reason) = &other.end {
            let counts = &mut self.findings.counts;
            counts.told_at_most = counts.told_at_most.max(other.ended_at - absence.from);
            if reason.as_deref().is_some_and(|reason| reason != "lost") {
                self.blame(
                    FaultKind::ToldLate,
                    &seen,
                    format!("told {reason:?}, not that it was lost"),
                );
            }
        }
    }

    fn was_away(&self, person: usize, from: Duration, until: Duration) -> bool {
        self.stories[person]
            .absences
            .iter()
            .any(|it| it.from <= until && it.until.is_none_or(|end| end >= from))
    }

    fn count_rematches(&mut self, story: &Story) {
        let mut last: VecDeque<Name> = VecDeque::new();
        for chat in &story.chats {
            if last.front().is_some_and(|_| last.iter().any(|it| it.is_same_person(chat.partner))) {
                self.findings.counts.rematches += 1;
            }
            last.push_front(chat.partner);
            last.truncate(RECENT);
        }
    }

    fn blame(&mut self, kind: FaultKind, seen: &[(usize, usize)], what: String) {
        self.findings.faults.push(Fault { kind, seen: seen.to_vec(), what });
    }
}

/// Whether what came is the beginning of what was sent, but for so many that were `refused`; if
/// not, where it is not, and what is wrong there.
fn compare(
    received: &[&Content],
    sent: &[&Content],
    mut refused: usize,
) -> Option<(FaultKind, usize)> {
    let mut rest = sent.iter();
    let at = received.iter().position(|content| {
        loop {
            match rest.next() {
                Some(next) if next == content => return false,
                Some(_) if refused > 0 => refused -= 1,
                _ => return true,
            }
        }
    })?;
    let place = sent.iter().position(|content| *content == received[at]);
    let kind = match place {
        None => FaultKind::NeverSent,
        Some(place) if place < at => FaultKind::Twice,
        Some(_) => FaultKind::OutOfOrder,
    };
    Some((kind, at))
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.rematches as f64 / self.matches.max(1) as f64;
        write!(
            f,
            "{} matches ({share:.1} % with one of the last {RECENT} partners, {} seen by one side only), {} frames ({} pictures), \
             {} receipts, {} blocks, {} resumed, {} absences (told of within {:.1?})",
            self.matches,
            self.one_sided,
            self.frames,
            self.images,
            self.receipts,
            self.blocks,
            self.resumed,
            self.absences,
            self.told_at_most,
        )
    }
}

//! One log read for itself: [`Story`], and what in it cannot be.

use std::time::Duration;

use crate::chaos::log::{Ask, Content, Dialect, Event, Log, Name, News};

/// What a person's log comes to.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) chats: Vec<Chat>,
    pub(crate) searches: Vec<Search>,
    pub(crate) absences: Vec<Absence>,
    pub(crate) blocks: usize,
    /// How often the client went on over another connection.
    pub(crate) resumed: usize,
    pub(crate) faults: Vec<Fault>,
}

/// A chat as one side had it.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) name: Name,
    pub(crate) partner: Name,
    pub(crate) id: Option<String>,
    pub(crate) sent: Vec<Content>,
    pub(crate) received: Vec<Content>,
    pub(crate) delivered: Vec<u64>,
    /// How many frames were sent, those included that were refused and are not in `sent`.
    pub(crate) said: u64,
    /// How many of `sent` were refused, where it is not known which.
    pub(crate) refused: usize,
    /// This side lost its connection and resumed: it may not have been told what was refused.
    pub(crate) dropped: bool,
    pub(crate) matched_at: Duration,
    pub(crate) ended_at: Duration,
    pub(crate) end: End,
    /// Where in the log it ends.
    pub(crate) line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The partner left or was lost; with the reason where the dialect gives one.
    Left(Option<String>),
    /// This side left.
    Own,
    /// This side's connection ended.
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) name: Name,
    /// Since when it is cancelled, or no client is there to see its outcome: a partner may be told
    /// of a match all the same.
    pub(crate) given_up: Option<Duration>,
    /// It was given up with the connection: the session may be held.
    pub(crate) lost: bool,
}

/// A time in which a person did not answer the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absence {
    /// The search, or the chat that came of it, if there was one.
    pub(crate) name: Option<Name>,
    /// The name is that of a chat.
    pub(crate) chatting: bool,
    pub(crate) from: Duration,
    /// None if the connection was never heard of again.
    pub(crate) until: Option<Duration>,
    /// The connection was reset, so that the server knew at once.
    pub(crate) reset: bool,
    pub(crate) line: usize,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// In whose logs to look, and at which lines.
    pub(crate) seen: Vec<(usize, usize)>,
    pub(crate) what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FaultKind {
    /// Matched without a search, or after it was over.
    MatchedUnasked,
    /// Matched while in a chat.
    TwoAtOnce,
    WithThemself,
    /// A frame, a receipt or a parting without a chat.
    OutsideChat,
    /// `waiting` or `idle` in a chat that neither side left.
    OutOfTurn,
    /// The Purrr.chat page was not told that typing has ended, or that nothing is read.
    PageKept,
    Refused,
    NoAnswer,
    /// The server ended a connection that answered it.
    Cut,
    MetBlocked,
    /// A peer with a key and one without.
    KeyMismatch,
    /// Matched with an unknown name.
    Unknown,
    /// Only one side of a chat was told.
    OneSided,
    /// Two sides of a chat that have two names for it.
    TwoChats,
    /// A frame that belongs to another chat, or to none.
    Stray,
    NeverSent,
    Twice,
    OutOfOrder,
    /// The partner left of its own accord, and something of what it had said before never came.
    Missing,
    /// A receipt for something that did not come, or out of order.
    FalseReceipt,
    /// A partner of a gone peer was told too late, or something else.
    ToldLate,
    /// A partner was told that a peer is lost whose session is to be held.
    ToldEarly,
    /// A client that came back did not find what it was in.
    NotResumed,
    /// Matched with a peer that had been gone for long.
    MetGhost,
}

/// What a client that answers may be kept waiting for, and what it takes to be cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// From a reset connection to the partner's being told.
    pub(crate) reset: Duration,
    /// The same from the beginning of a silence.
    pub(crate) silence: Duration,
    /// A silence for which no client is cut off.
    pub(crate) harmless: Duration,
    /// How long a session is held whose connection was lost.
    pub(crate) window: Duration,
}

impl Story {
    pub(crate) fn read(log: &Log, bounds: Bounds) -> Self {
        let mut reader =
            Reader { log, bounds, story: Self::default(), now: Now::default(), line: 0 };
        for line in 0..log.entries.len() {
            reader.line = line;
            reader.read();
        }
        // A peer still in a chat is in it to the end; one that still searches has not given up.
        if let Some(last) = log.entries.last() {
            reader.end_chat(End::Cut, last.at);
        }
        reader.story
    }
}

impl Chat {
    /// The ids of the messages that were sent and not refused.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.sent.iter().filter_map(Content::payload).map(|payload| payload.counter + 1)
    }

    /// Takes a frame back that was refused.
    fn take_back(&mut self, id: Option<u64>) {
        let is_it = |content: &Content| {
            content.payload().is_some_and(|payload| Some(payload.counter + 1) == id)
        };
        match self.sent.iter().position(is_it) {
            Some(place) => {
                self.sent.remove(place);
            }
            None => self.refused += 1,
        }
    }

    /// Notes all receipts up to one of which the client was told only the last.
    fn note_delivered(&mut self, newest: Option<u64>) {
        let known = self.delivered.last().copied();
        let new: Vec<u64> =
            self.ids().filter(|id| Some(*id) > known && Some(*id) <= newest).collect();
        self.delivered.extend(new);
    }

    /// Takes back what is not the partner's: what the Purrr.chat page is told before a parting.
    /// Whether all of it was there.
    fn wipe_page(&mut self) -> bool {
        let typing = self.received.pop_if(|last| *last == Content::Typing(false)).is_some();
        let unread = self.received.pop_if(|last| *last == Content::Unread).is_some();
        let marked = self.received.iter().any(|content| matches!(content, Content::Read(_)));
        typing && unread == marked
    }
}

struct Reader<'l> {
    log: &'l Log,
    bounds: Bounds,
    story: Story,
    now: Now,
    line: usize,
}

/// How things stand at a line of the log.
#[derive(Default)]
struct Now {
    chat: Option<Chat>,
    searching: Option<Name>,
    leaving: Option<Leaving>,
    /// Asked to search once more, which is not answered yet: if the search has come to a chat by
    /// then that is over, a new one begins under the same name.
    repeating: bool,
    /// Asked to block this partner, which is not answered yet.
    blocking: Option<Name>,
    blocked: Vec<Name>,
    froze: Option<Duration>,
    /// Came back over another connection, and is not told yet what it has resumed.
    dropped: bool,
    longest_freeze: Duration,
}

/// Asked to go, which is not answered yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// The answer is that it waits.
    ForAnother,
    /// The answer is that it is idle. That it waits is still the answer to a search before.
    ForGood,
}

impl Reader<'_> {
    fn read(&mut self) {
        let entry = &self.log.entries[self.line];
        let at = entry.at;
        match &entry.event {
            Event::Asked(ask) => self.read_ask(*ask),
            Event::Sent(content) => {
                if let Some(chat) = &mut self.now.chat {
                    chat.sent.push(content.clone());
                    chat.said += 1;
                }
            }
            Event::Connected | Event::SentLate => {}
            Event::Heard(news) => self.read_news(news, at),
            Event::Froze => {
                self.begin_absence(at, false);
                self.now.froze = Some(at);
            }
            Event::Thawed => {
                if let (Some(absence), Some(froze)) =
                    (self.story.absences.last_mut(), self.now.froze.take())
                {
                    absence.until = Some(at);
                    self.now.longest_freeze = self.now.longest_freeze.max(at - froze);
                }
            }
            Event::Vanished { reset } => {
                self.begin_absence(at, *reset && self.log.dialect != Dialect::Polling);
                self.end_connection();
            }
            Event::Dropped { reset } => {
                self.begin_absence(at, *reset);
                self.lose_connection();
            }
            Event::Lost { resumes } => {
                if self.now.longest_freeze < self.bounds.harmless {
                    self.blame(FaultKind::Cut, format!("{:?}", self.bounds));
                }
                if *resumes {
                    self.begin_absence(at, true);
                    self.lose_connection();
                } else {
                    self.end_connection();
                }
            }
            Event::Closed => self.end_connection(),
            Event::NoAnswer => {
                self.blame(FaultKind::NoAnswer, String::new());
                self.end_connection();
            }
        }
    }

    fn read_ask(&mut self, ask: Ask) {
        let Now { chat, leaving, blocking, .. } = &mut self.now;
        match ask {
            Ask::Find(name) => self.search(name),
            Ask::Next(name) => {
                *leaving = Some(Leaving::ForAnother);
                self.search(name);
            }
            Ask::Block => {
                *leaving = Some(Leaving::ForGood);
                *blocking = chat.as_ref().map(|chat| chat.partner);
            }
            Ask::Leave => {
                *leaving = Some(Leaving::ForGood);
                self.give_up_search();
            }
            Ask::Cancel => {
                if self.log.dialect != Dialect::Native {
                    *leaving = Some(Leaving::ForGood);
                }
                self.give_up_search();
            }
            Ask::FindAgain => self.now.repeating = true,
            Ask::Fence => {}
        }
    }

    fn read_news(&mut self, news: &News, at: Duration) {
        if self.now.dropped && !matches!(news, News::Welcome(_)) {
            self.read_claim(news, at);
        }
        match news {
            News::Welcome(_) | News::Resumed { .. } | News::Away | News::Back => {}
            News::NoRoom(id) => match &mut self.now.chat {
                Some(chat) => chat.take_back(*id),
                None => self.blame(FaultKind::OutsideChat, format!("no room for {id:?}")),
            },
            News::Waiting if self.now.leaving == Some(Leaving::ForAnother) => {
                self.end_chat(End::Own, at);
                self.now.leaving = None;
            }
            News::Idle if self.now.leaving.is_some() => {
                self.end_chat(End::Own, at);
                (self.now.leaving, self.now.searching) = (None, None);
                if let Some(partner) = self.now.blocking.take() {
                    self.now.blocked.push(partner);
                    self.story.blocks += 1;
                }
            }
            News::Waiting | News::Idle => {
                if self.now.chat.is_some() {
                    self.blame(FaultKind::OutOfTurn, String::new());
                }
                if *news == News::Idle {
                    self.now.searching = None;
                }
            }
            News::Matched { chat, partner, keyed } => {
                self.read_match(chat.as_ref(), *partner, *keyed, at);
            }
            News::Received(content, _) => match &mut self.now.chat {
                Some(chat) => chat.received.push(content.clone()),
                None => self.blame(FaultKind::OutsideChat, format!("{content:?}")),
            },
            News::Delivered(id) => match &mut self.now.chat {
                Some(chat) => chat.delivered.push(*id),
                None => self.blame(FaultKind::OutsideChat, format!("a receipt for {id}")),
            },
            News::Left(reason) => self.read_left(reason.as_ref(), at),
            News::Fence => {
                if self.now.leaving.is_some() {
                    // The other dialect does not answer a cancelled search.
                    self.now.searching = None;
                }
                (self.now.leaving, self.now.repeating) = (None, false);
            }
            News::Refused(code) => match code.as_str() {
                "not-paired" => self.now.blocking = None,
                "already-paired" => self.now.repeating = false,
                _ => self.blame(FaultKind::Refused, code.clone()),
            },
        }
    }

    /// The first answer over another connection must be that all goes on.
    fn read_claim(&mut self, news: &News, at: Duration) {
        self.now.dropped = false;
        if let Some(absence) = self.story.absences.last_mut() {
            absence.until.get_or_insert(at);
        }
        let is_resumed = match (&mut self.now.chat, news) {
            (Some(chat), News::Resumed { chat: id, received, missing: 0, delivered })
                if chat.id.as_ref() == Some(id) && *received <= chat.said =>
            {
                chat.note_delivered(*delivered);
                true
            }
            (None, News::Waiting | News::Matched { .. }) => true,
            _ => false,
        };
        self.story.resumed += usize::from(is_resumed);
        if !is_resumed {
            self.blame(FaultKind::NotResumed, format!("{news:?}"));
        }
    }

    fn read_match(
        &mut self,
        id: Option<&String>,
        partner: Option<Name>,
        keyed: bool,
        at: Duration,
    ) {
        let Some(name) = self.now.searching.take() else {
            return self.blame(FaultKind::MatchedUnasked, format!("{partner:?}"));
        };
        let Some(partner) = partner else {
            return self.blame(FaultKind::Unknown, String::new());
        };
        if self.now.chat.is_some() {
            self.blame(FaultKind::TwoAtOnce, format!("{partner}"));
            self.end_chat(End::Cut, at);
        }
        if partner.is_same_person(name) {
            self.blame(FaultKind::WithThemself, format!("{partner}"));
        }
        if self.now.blocked.iter().any(|blocked| blocked.is_same_person(partner)) {
            self.blame(FaultKind::MetBlocked, format!("{partner}"));
        }
        if keyed != self.log.keyed {
            self.blame(FaultKind::KeyMismatch, format!("{partner}"));
        }
        self.now.chat = Some(Chat {
            name,
            partner,
            id: id.cloned(),
            sent: Vec::new(),
            received: Vec::new(),
            delivered: Vec::new(),
            said: 0,
            refused: 0,
            dropped: false,
            matched_at: at,
            ended_at: at,
            end: End::Cut,
            line: self.line,
        });
    }

    fn read_left(&mut self, reason: Option<&String>, at: Duration) {
        let purrr_chat = self.log.dialect != Dialect::Native;
        let Some(chat) = &mut self.now.chat else {
            return self.blame(FaultKind::OutsideChat, format!("left: {reason:?}"));
        };
        let name = chat.name;
        if purrr_chat && !chat.wipe_page() {
            self.blame(FaultKind::PageKept, String::new());
        }
        // This dialect says the same for either side.
        let own = purrr_chat && self.now.leaving.is_some();
        if self.now.repeating {
            self.now.searching = Some(name);
        }
        self.end_chat(if own { End::Own } else { End::Left(reason.cloned()) }, at);
    }

    fn search(&mut self, name: Name) {
        if name.life != self.story.searches.last().map_or(0, |search| search.name.life) {
            // A person whom the server cannot know: what was blocked before is forgotten.
            self.now.blocked.clear();
        }
        self.now.searching = Some(name);
        self.story.searches.push(Search { name, given_up: None, lost: false });
    }

    fn give_up_search(&mut self) {
        let at = self.log.entries[self.line].at;
        if let (Some(_), Some(search)) = (self.now.searching, self.story.searches.last_mut()) {
            search.given_up.get_or_insert(at);
        }
    }

    fn begin_absence(&mut self, at: Duration, reset: bool) {
        self.lose_search();
        let chatting = self.now.chat.is_some();
        let name = self.now.chat.as_ref().map(|chat| chat.name).or(self.now.searching);
        let absence = Absence { name, chatting, from: at, until: None, reset, line: self.line };
        self.story.absences.push(absence);
    }

    fn end_chat(&mut self, end: End, at: Duration) {
        if let Some(mut chat) = self.now.chat.take() {
            if self.log.dialect != Dialect::Native && end == End::Cut {
                // The parting may have begun and was not heard to its end.
                chat.wipe_page();
            }
            (chat.end, chat.ended_at, chat.line) = (end, at, self.line);
            self.story.chats.push(chat);
        }
    }

    fn lose_search(&mut self) {
        if let (Some(_), Some(search)) = (self.now.searching, self.story.searches.last_mut()) {
            search.lost = true;
        }
        self.give_up_search();
    }

    /// The connection is lost, and the client resumes over another one.
    fn lose_connection(&mut self) {
        (self.now.dropped, self.now.longest_freeze) = (true, Duration::ZERO);
        if let Some(chat) = &mut self.now.chat {
            chat.dropped = true;
        }
    }

    fn end_connection(&mut self) {
        self.end_chat(End::Cut, self.log.entries[self.line].at);
        self.lose_search();
        let blocked = std::mem::take(&mut self.now.blocked);
        self.now = Now { blocked, ..Now::default() };
    }

    fn blame(&mut self, kind: FaultKind, what: String) {
        let seen = vec![(self.log.person, self.line)];
        self.story.faults.push(Fault { kind, seen, what });
    }
}

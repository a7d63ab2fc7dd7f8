//! The session machine, driven by whatever a peer, a lobby, a partner and a clock can do.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use purrr_core::{
    Code, Command, Event, Frame, Hello, Limits, Problem, Search,
    model::{
        Body, Capabilities, ChatEnd, ChatId, CloseReason, Image, Interest, Message, PeerId,
        QueueStatus, Signal, SignalKind, Ticket,
    },
    session::{Action, Consumer, Session},
};

/// What the shell holds, and what the peer has been told.
struct World {
    session: Session,
    limits: Limits,
    now: Instant,
    chats: u64,
    place: bool,
    /// The place was given up until the peer is heard of.
    paused: bool,
    pipe: Option<(ChatId, Capabilities)>,
    /// The partner has a key.
    encrypts: bool,
    draining: bool,
    closing: Option<CloseReason>,
    told: Told,
    /// Messages of this chat whose receipt is owed, and how many receipts have come.
    owed: VecDeque<u64>,
    receipts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Idle,
    Waiting,
    Paired(ChatId),
}

/// The shell reads no command while so many events wait.
const BACKLOG: usize = 16;

/// How many events one step may bring at most.
const NEWS: usize = 3;

/// Reads a history out of the bytes and plays it. The invariants 3, 4 and 6 hold, and the queues keep their bounds.
pub(crate) fn check(data: &[u8]) {
    let mut limits = Limits::default();
    (limits.message_bytes, limits.image_bytes, limits.signal_bytes) = (8, 8, 8);
    (limits.name_chars, limits.key_bytes) = (4, 4);
    (limits.interests, limits.interest_chars, limits.languages) = (2, 4, 1);
    limits.receipts = 3;
    // What is refused for coming too fast would hide what these bounds refuse.
    limits.rates = None;
    let mut world = World::new(limits);
    let mut bytes = data.iter().copied();
    while let Some(step) = bytes.next() {
        let before = world.session.backlog();
        world.play(step, &mut || bytes.next().unwrap_or(0));
        assert!(world.session.backlog() <= before + NEWS, "{step}");
        assert!(world.session.backlog() <= BACKLOG + 3 * NEWS, "{step}");
        // Some peers are slow.
        world.reads(if step & 0x80 == 0 { usize::MAX } else { usize::from(step >> 5 & 3) });
    }
    world.reads(usize::MAX);
}

impl World {
    fn new(limits: Limits) -> Self {
        let (hello, search) = (Hello::default(), Search::default());
        let peer = PeerId::from_bits(1);
        Self {
            session: Session::new(peer, hello, search, Capabilities::default(), limits.clone()),
            limits,
            now: Instant::now(),
            chats: 0,
            place: false,
            paused: false,
            pipe: None,
            encrypts: false,
            draining: false,
            closing: None,
            told: Told::Idle,
            owed: VecDeque::new(),
            receipts: 0,
        }
    }

    fn play(&mut self, step: u8, next: &mut impl FnMut() -> u8) {
        let reads_commands = self.closing.is_none() && self.session.backlog() < BACKLOG;
        let session = &mut self.session;
        match step & 0x1f {
            0..=11 if !reads_commands => {}
            0 | 1 => self.command(Command::Find(search(next))),
            2 => self.command(Command::Cancel),
            3 => self.command(Command::Next),
            4 => self.command(Command::Leave),
            5 => self.command(Command::Block),
            6 => {
                let mut hello = Hello::named(word(next));
                hello.public_key = Some(word(next)).filter(|key| !key.is_empty()).map(Into::into);
                let resume = "0123456789abcdef0123456789abcdef".parse().ok();
                self.command(Command::Hello { hello, resume: resume.filter(|_| next() & 1 > 0) });
            }
            7..=9 => self.send(body(next), next() % 4),
            10 => self.command(Command::Unsupported { what: "report" }),
            11 => {
                session.handle_invalid(Problem::new(Code::BadMessage, "what is this?"), self.now);
            }
            12 | 13 if self.place => {
                let capabilities = next();
                let mut partner = Ticket::new(PeerId::from_bits(2));
                partner.capabilities.images = capabilities & 1 == 0;
                partner.capabilities.signals = capabilities & 2 == 0;
                partner.capabilities.candidates = capabilities & 4 == 0;
                partner.hello.encrypts = capabilities & 8 == 0;
                self.encrypts = partner.hello.encrypts;
                self.chats += 1;
                let chat = ChatId::from_bits(self.chats.into());
                (self.place, self.pipe) = (false, Some((chat, partner.capabilities)));
                session.handle_matched(chat, Arc::new(partner));
            }
            14 if self.place => {
                self.place = false;
                session.handle_search_failed();
            }
            15 if self.pipe.is_some() => {
                // The shell takes a frame of the partner's when the session has said all it had to.
                self.reads(usize::MAX);
                let frame = Frame::new(body(next));
                assert!(self.session.handle_frame(&frame), "a frame of the running chat");
                assert!(matches!(self.told, Told::Paired(_)), "a frame before `matched`");
            }
            15 => {
                let frame = Frame::text("of a chat that is over");
                assert!(!session.handle_frame(&frame), "a frame outside a chat");
            }
            16 => {
                let reasons =
                    [ChatEnd::Left, ChatEnd::Next, ChatEnd::Lost, ChatEnd::Slow, ChatEnd::Ended];
                session.handle_parted(reasons[usize::from(next() % 5)]);
            }
            17 if self.pipe.is_some() => {
                let more = (self.owed.len() - self.receipts).min(usize::from(next()));
                self.receipts += more;
                session.handle_receipts(more as u64);
            }
            18 => session.handle_unresponsive(),
            19 => session.handle_responsive(),
            20 => session.handle_stall(Consumer::Partner, self.now),
            21 => session.handle_stall(Consumer::Transport, self.now),
            22 => session.handle_progress(Consumer::Partner),
            23 => session.handle_progress(Consumer::Transport),
            24..=26 => {
                self.now += Duration::from_millis(100) * u32::from(next());
                session.handle_timeout(self.now);
                let due = session.poll_timeout();
                assert!(due.is_none_or(|due| due > self.now), "a deadline that has passed stands");
            }
            27 => {
                self.draining = true;
                let linger = Duration::from_millis(100) * u32::from(next());
                session.handle_drain(1_000, (!linger.is_zero()).then(|| self.now + linger));
            }
            28 => session.handle_close(),
            _ => {}
        }
        self.obeys();
    }

    fn command(&mut self, command: Command) {
        let sent = self.session.handle_command(command, || self.now, QueueStatus::default);
        assert_eq!(sent, None, "only what is sent is passed on");
    }

    /// Sends this, meant for no chat in particular, for the running one, or for another.
    fn send(&mut self, body: Body, meant: u8) {
        let (current, capabilities) = match self.pipe {
            Some((chat, capabilities)) => (chat, Some(capabilities)),
            None => (ChatId::from_bits(self.chats.into()), None),
        };
        let chat =
            [None, None, Some(current), Some(ChatId::from_bits(1 << 20))][usize::from(meant)];
        let frame = Frame::new(body);
        let before = self.session.backlog();
        let command = Command::Send { chat, frame: frame.clone() };
        let sent = self.session.handle_command(command, || self.now, QueueStatus::default);
        let is_elsewhere = meant == 3;
        // Meant for the partner that the peer knew of.
        let is_early = chat.is_none() && self.told != Told::Paired(current);
        let wanted = capabilities
            .filter(|_| !is_elsewhere && !is_early)
            .filter(|capabilities| self.may(&frame.body, *capabilities));
        assert_eq!(sent, wanted.map(|_| frame.clone()), "meant for {chat:?} while in {current:?}");
        // Nothing is dropped in silence but what is for another chat.
        let is_refused = sent.is_none() && !(is_elsewhere && capabilities.is_some());
        assert_eq!(self.session.backlog(), before + usize::from(is_refused));
        if let (Some(_), Body::Message(Message { id: Some(id), .. })) = (sent, &frame.body) {
            self.owed.push_back(*id);
        }
    }

    fn may(&self, body: &Body, partner: Capabilities) -> bool {
        match body {
            Body::Message(Message { id, text, image, .. }) => {
                (id.is_none() || self.owed.len() < self.limits.receipts)
                    && text.as_ref().is_none_or(|text| text.len() <= 8)
                    && image.as_ref().is_none_or(|image| {
                        let opens = self.encrypts || !image.encrypted;
                        partner.images && opens && image.bytes.len() <= 8
                    })
            }
            Body::Signal(Signal { kind, data, .. }) => {
                partner.signals
                    && (partner.candidates || *kind != SignalKind::Candidate)
                    && data.as_ref().is_none_or(|data| data.len() <= 8)
            }
            _ => true,
        }
    }

    /// Does what the session wants, which must be something that can be done.
    fn obeys(&mut self) {
        while let Some(action) = self.session.poll_action() {
            let is_open = self.closing.is_none();
            match action {
                Action::Enter(ticket) => {
                    assert!(is_open && !self.draining && !self.place && self.pipe.is_none());
                    let Ticket { hello, search, .. } = *ticket;
                    assert!(hello.name.is_none_or(|name| name.chars().count() <= 4));
                    assert!(hello.public_key.is_none_or(|key| key.len() <= 4));
                    assert!(search.interests.len() <= 2 && search.languages.len() <= 1);
                    (self.place, self.paused) = (true, false);
                }
                Action::Pause => {
                    assert!(self.place);
                    (self.place, self.paused) = (false, true);
                }
                Action::Leave => {
                    assert!(self.place || self.paused);
                    (self.place, self.paused) = (false, false);
                }
                Action::Block(_) => assert!(is_open && self.chats > 0),
                Action::Resume(_) => {
                    assert!(is_open && self.chats == 0);
                    self.session.handle_unknown_token();
                }
                Action::Claim(_) => {
                    assert!(is_open && self.chats == 0);
                    self.session.handle_unknown_token();
                }
                Action::Introduce(_) | Action::Discard => assert!(self.pipe.is_some()),
                Action::Part(_) => {
                    assert!(self.pipe.take().is_some());
                    self.owed.clear();
                    self.receipts = 0;
                }
                Action::Close(closing) => {
                    assert!(is_open || closing == CloseReason::Slow);
                    self.closing = Some(closing);
                }
            }
        }
    }

    /// Takes so many events.
    fn reads(&mut self, most: usize) {
        for _ in 0..most {
            let Some(event) = self.session.poll_event() else {
                self.knows();
                return;
            };
            match event {
                Event::Waiting(_) => self.told = Told::Waiting,
                Event::Idle => self.told = Told::Idle,
                Event::Matched { chat, .. } => {
                    assert!(!matches!(self.told, Told::Paired(_)), "matched twice");
                    self.told = Told::Paired(chat);
                }
                Event::Left { .. } => {
                    assert!(matches!(self.told, Told::Paired(_)), "left, and not matched before");
                    self.told = Told::Idle;
                }
                Event::Delivered { id } => {
                    assert_eq!(Some(id), self.owed.pop_front(), "receipts come in order, once");
                    self.receipts = self.receipts.checked_sub(1).expect("it was delivered");
                }
                Event::Received(_) => panic!("the session makes up what the partner sent"),
                _ => {}
            }
        }
    }

    /// A peer that has taken all events knows its state.
    fn knows(&self) {
        assert_eq!(self.receipts, 0, "a receipt is kept back");
        if self.closing.is_some() {
            return;
        }
        let stands = match self.pipe {
            Some((chat, _)) => Told::Paired(chat),
            None if self.place || self.paused => Told::Waiting,
            None => Told::Idle,
        };
        assert_eq!(self.told, stands);
    }
}

fn word(next: &mut impl FnMut() -> u8) -> String {
    let length = next() % 7;
    (0..length).map(|at| char::from(b'a' + at)).collect()
}

fn search(next: &mut impl FnMut() -> u8) -> Search {
    let mut words = |count: u8| (0..count).map(|_| word(next)).collect::<Vec<_>>();
    let (interests, languages) = (words(3), words(2));
    // The longest word is for none at all.
    let some = |words: Vec<String>| {
        let words = words.into_iter().filter(|word| word.len() < 6);
        words.map(|word| Interest::from(&*word)).collect::<Vec<_>>()
    };
    Search::for_interests(some(interests)).in_languages(some(languages))
}

fn body(next: &mut impl FnMut() -> u8) -> Body {
    match next() % 8 {
        0 => Body::Typing(next() & 1 > 0),
        1 => Body::Read { id: next().into() },
        2 => {
            let kind = SignalKind::ALL[usize::from(next() % 5)];
            let data = next();
            let data = (data > 0).then(|| "x".repeat(usize::from(data % 12)).into());
            Body::Signal(Signal::new(kind, data))
        }
        3 => {
            let bytes = vec![0; usize::from(next() % 12)];
            let image = Image::new("image/png", bytes).encrypted(next() & 1 > 0);
            let mut message = Message::default();
            (message.id, message.image) = (Some(next().into()), Some(image.into()));
            Body::Message(message)
        }
        _ => {
            let id = next();
            let text = Some("x".repeat(usize::from(next() % 12)).into());
            let mut message = Message::default();
            (message.id, message.text) = ((id > 0).then(|| id.into()), text);
            Body::Message(message)
        }
    }
}

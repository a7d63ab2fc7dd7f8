//! One person with a will of its own: [`Client`].

use std::{net::SocketAddr, time::Duration};

use fastrand::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chaos::{
    dialect::{Heard, Native, PurrrChat, Saying, Tongue},
    log::{Ask, Content, Dialect, Entry, Event, Log, Name, News, Payload},
    wire::{Raw, Wire},
};

/// When and where everybody meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) began: Instant,
    pub(crate) ends: Instant,
    /// A freeze without consequences, at most, and one that the server takes for the end, at least.
    pub(crate) short_freeze: Duration,
    pub(crate) long_freeze: Duration,
    /// Whether people block each other and come back as who they were, for which the server has to
    /// remember them.
    pub(crate) remembered: bool,
}

/// What is left of a client when all is over.
pub(crate) struct Remains {
    pub(crate) log: Log,
    /// The connections on which it has gone silent. They are still open.
    pub(crate) silent: Vec<Wire>,
}

pub(crate) struct Client {
    world: World,
    rng: Rng,
    log: Log,
    silent: Vec<Wire>,
    line: Option<Line>,
    /// The name of the latest search.
    name: Name,
    token: Option<String>,
    /// Whether a partner was met in this life, so that the server knows the person again.
    has_met: bool,
    stage: Stage,
    /// Asked to be idle, which is not answered yet.
    leaving: bool,
    /// Whether something was asked, or told, that the server may not have handled yet.
    unsettled: bool,
    /// Whether it has lost its connection and come back, or tried to.
    has_dropped: bool,
    /// Asked to resume, which is not answered yet.
    resuming: bool,
    fences: usize,
}

struct Line {
    wire: Wire,
    tongue: Box<dyn Tongue>,
}

enum Stage {
    Idle,
    Waiting,
    Chatting(Chat),
}

struct Chat {
    name: Name,
    partner: Name,
    id: Option<String>,
    said: u64,
    /// The frames that were said, for a client that resumes: what has not arrived is said again.
    frames: Vec<Vec<Raw>>,
    /// How many frames of the chat it has.
    received: u64,
    acknowledged: u64,
    typing: bool,
    /// Something of the partner's that can be marked as read.
    readable: Option<u64>,
}

/// The connection is over, by either side.
struct Gone;

/// How long anything may take to be answered. A partner that is frozen can hold a peer up for as
/// long as it takes to find out.
const PATIENCE: Duration = Duration::from_secs(20);

/// Frames after which a client that resumes acknowledges at the latest. The protocol allows 16.
const UNACKNOWLEDGED: u64 = 8;

const INTERESTS: [&str; 6] = ["cats", "chess", "trains", "tea", "rust", "rain"];

impl Client {
    pub(crate) fn new(world: World, log: Log, seed: u64) -> Self {
        let name = Name { person: log.person, life: 0, search: 0 };
        Self {
            world,
            rng: Rng::with_seed(seed),
            log,
            silent: Vec::new(),
            line: None,
            name,
            token: None,
            has_met: false,
            stage: Stage::Idle,
            leaving: false,
            unsettled: false,
            has_dropped: false,
            resuming: false,
            fences: 0,
        }
    }

    /// Lives until the world ends.
    pub(crate) async fn live(mut self) -> Remains {
        // Not everybody at once.
        sleep(Duration::from_millis(self.rng.u64(0..500))).await;
        while Instant::now() < self.world.ends {
            if self.line.is_none() && self.connect().await.is_err() {
                continue;
            }
            let step = match self.stage {
                Stage::Idle => self.look().await,
                Stage::Waiting => self.wait().await,
                Stage::Chatting(_) => self.talk().await,
            };
            // A client that went left no line behind.
            if step.is_err() {
                self.pause(300).await;
            }
        }
        if self.rng.bool() && self.line.is_some() {
            self.leave().await.ok();
        }
        if let Some(line) = self.line.take() {
            self.note(Event::Closed);
            line.wire.close().await;
        }
        Remains { log: self.log, silent: self.silent }
    }

    async fn connect(&mut self) -> Result<(), Gone> {
        if self.can_resume() {
            return self.resume().await;
        }
        let token = self.token.take();
        let comes_back = self.world.remembered && self.has_met && self.rng.u8(..) > 50;
        let token = token.filter(|_| comes_back);
        if token.is_none() {
            self.name.life += 1;
            self.has_met = false;
        }
        let World { address, .. } = self.world;
        let wire = match self.log.dialect {
            Dialect::Native => Wire::websocket(address, "/ws").await,
            Dialect::Socket => {
                Wire::websocket(address, "/socket.io/?EIO=4&transport=websocket").await
            }
            Dialect::Polling => Wire::polling(address).await,
        };
        let tongue: Box<dyn Tongue> = match self.log.dialect {
            Dialect::Native => Box::new(Native::default()),
            Dialect::Socket | Dialect::Polling => Box::new(PurrrChat::resuming(token.clone())),
        };
        self.line = Some(Line { wire, tongue });
        self.note(Event::Connected);
        self.listen(PATIENCE, |client| client.token.is_some()).await?;
        if self.token.is_none() {
            return Err(self.give_up());
        }
        if let (Some(token), Dialect::Native) = (token, self.log.dialect) {
            let Log { keyed, resumes, .. } = self.log;
            self.say(Saying::Hello { name: self.name, keyed, resumes, resume: Some(&token) });
            if self.fence().await.is_err() {
                // Whether the old token is used up, and the new one good, is unknown.
                self.token = None;
                return Err(Gone);
            }
        }
        Ok(())
    }

    /// Whether the server holds what this client was in until it comes back, and the client knows
    /// what that is.
    fn can_resume(&self) -> bool {
        let has_something = !matches!(self.stage, Stage::Idle);
        self.log.resumes && has_something && self.is_settled() && self.token.is_some()
    }

    fn is_settled(&self) -> bool {
        !self.unsettled && !self.leaving && !self.resuming && self.fences == 0
    }

    /// Goes on over another connection with what it was in.
    async fn resume(&mut self) -> Result<(), Gone> {
        let Some(token) = self.token.take() else { return Err(Gone) };
        self.resuming = true;
        let wire = Wire::websocket(self.world.address, "/ws").await;
        self.line = Some(Line { wire, tongue: Box::new(Native::default()) });
        self.note(Event::Connected);
        self.listen(PATIENCE, |client| client.token.is_some()).await?;
        let (chat, received) = match &self.stage {
            Stage::Chatting(Chat { id, received, .. }) => (id.clone(), *received),
            Stage::Idle | Stage::Waiting => (None, 0),
        };
        self.say(Saying::Claim { token: &token, chat: chat.as_deref(), received });
        self.listen(PATIENCE, |client| !client.resuming).await?;
        if self.resuming { Err(self.give_up()) } else { Ok(()) }
    }

    // ---- What it does when it is idle, waits or chats -------------------------------------------

    async fn look(&mut self) -> Result<(), Gone> {
        match self.rng.u32(0..100) {
            0..2 => return self.vanish(),
            2..5 => return self.freeze().await,
            5..10 => {
                // To no partner, and not to the next one.
                self.late(None);
                return self.fence().await;
            }
            _ => {}
        }
        self.find();
        match self.rng.u32(0..100) {
            0..15 => {
                let hesitation = self.rng.u64(0..6);
                self.listen(Duration::from_millis(hesitation), |_| false).await?;
                let ask = if self.rng.bool() { Ask::Cancel } else { Ask::Leave };
                self.ask(ask);
                self.fence().await
            }
            15..20 => {
                self.ask(Ask::FindAgain);
                self.fence().await
            }
            _ => self.fence().await,
        }
    }

    async fn wait(&mut self) -> Result<(), Gone> {
        let patience = Duration::from_millis(self.rng.u64(200..1_500));
        self.listen(patience, |client| !matches!(client.stage, Stage::Waiting)).await?;
        if !matches!(self.stage, Stage::Waiting) {
            return Ok(());
        }
        match self.rng.u32(0..100) {
            0..50 => self.leave().await,
            50..65 => self.drop_line().await,
            65..80 => self.freeze().await,
            _ => Ok(()),
        }
    }

    async fn talk(&mut self) -> Result<(), Gone> {
        for _ in 0..self.rng.u32(1..16) {
            let pause = Duration::from_millis(self.rng.u64(2..60));
            self.listen(pause, |client| !matches!(client.stage, Stage::Chatting(_))).await?;
            let Stage::Chatting(_) = self.stage else { return Ok(()) };
            // In its first chat, and in one of four of those after it.
            if self.log.resumes && (!self.has_dropped || self.rng.u8(0..100) < 3) {
                return self.drop_line().await;
            }
            match self.rng.u32(0..200) {
                0..100 => self.message(false),
                100..120 => self.message(true),
                120..160 => self.typing(),
                160..190 => self.read(),
                // Faster than the other side can read.
                190..194 => (0..12).for_each(|_| self.message(false)),
                194..196 => (0..6).for_each(|_| self.message(true)),
                196..198 => return self.freeze().await,
                _ => return self.vanish(),
            }
        }
        match self.rng.u32(0..100) {
            0..35 => self.next().await,
            35..50 => self.leave().await,
            50..75 => self.block().await,
            // Sees whether the other side has more to say.
            _ => {
                let patience = Duration::from_millis(match self.rng.u32(0..3) {
                    // For long enough to be told that the other side is gone.
                    0 => 4_500,
                    _ => self.rng.u64(0..400),
                });
                self.listen(patience, |client| !matches!(client.stage, Stage::Chatting(_))).await
            }
        }
    }

    // ---- What it says ---------------------------------------------------------------------------

    fn find(&mut self) {
        self.introduce();
        self.ask(Ask::Find(self.name));
    }

    async fn next(&mut self) -> Result<(), Gone> {
        let chat = match &self.stage {
            Stage::Chatting(Chat { id, .. }) => id.clone(),
            Stage::Idle | Stage::Waiting => None,
        };
        self.introduce();
        self.ask(Ask::Next(self.name));
        // In the one dialect the message says where it belongs, in the other the server knows what
        // this side has not seen.
        let can_be_told = chat.is_some() || self.log.dialect != Dialect::Native;
        if can_be_told && self.rng.bool() {
            self.late(chat.as_deref());
        }
        self.fence().await
    }

    async fn leave(&mut self) -> Result<(), Gone> {
        self.ask(Ask::Leave);
        self.fence().await
    }

    async fn block(&mut self) -> Result<(), Gone> {
        let can = self.world.remembered && self.log.dialect == Dialect::Native;
        self.ask(if can { Ask::Block } else { Ask::Leave });
        self.fence().await
    }

    /// Takes the name of a new search.
    fn introduce(&mut self) {
        self.name.search += 1;
        let Log { keyed, resumes, .. } = self.log;
        self.say(Saying::Hello { name: self.name, keyed, resumes, resume: None });
    }

    fn ask(&mut self, ask: Ask) {
        self.note(Event::Asked(ask));
        self.unsettled |= ask != Ask::Fence;
        match ask {
            Ask::Find(_) | Ask::FindAgain => {
                let count = self.rng.usize(0..4);
                let interests = self.rng.choose_multiple(INTERESTS.iter().copied(), count);
                self.say(Saying::Find { interests: &interests });
            }
            Ask::Cancel => self.say(Saying::Cancel),
            Ask::Leave => self.say(Saying::Leave),
            Ask::Next(_) => self.say(Saying::Next),
            Ask::Block => self.say(Saying::Block),
            Ask::Fence => self.say(Saying::Fence),
        }
        self.leaving |= match ask {
            Ask::Leave | Ask::Block => true,
            Ask::Cancel => self.log.dialect != Dialect::Native,
            Ask::Find(_) | Ask::FindAgain | Ask::Next(_) | Ask::Fence => false,
        };
    }

    fn message(&mut self, image: bool) {
        let largest = match self.rng.u32(0..10) {
            _ if !image => 400,
            0 => 200_000,
            _ => 20_000,
        };
        let padding = self.rng.usize(0..largest);
        let Stage::Chatting(chat) = &mut self.stage else { return };
        let payload = Payload { from: chat.name, to: chat.partner, counter: chat.said, padding };
        chat.said += 1;
        let id = chat.said;
        if image {
            self.note(Event::Sent(Content::Image(payload)));
            let sealed = self.log.keyed;
            self.say_in_chat(|chat| Saying::Image { id, body: payload.write(), sealed, chat });
        } else {
            self.note(Event::Sent(Content::Text(payload)));
            self.say_in_chat(|chat| Saying::Text { id, text: payload.write(), chat });
        }
    }

    /// Says something for a chat that is over.
    fn late(&mut self, chat: Option<&str>) {
        let payload = Payload { from: self.name, to: self.name, counter: 0, padding: 0 };
        self.note(Event::SentLate);
        self.say(Saying::Text { id: 1_000_000, text: payload.write(), chat });
    }

    fn typing(&mut self) {
        let Stage::Chatting(chat) = &mut self.stage else { return };
        chat.typing = !chat.typing;
        let typing = chat.typing;
        self.note(Event::Sent(Content::Typing(typing)));
        self.say_in_chat(|chat| Saying::Typing { on: typing, chat });
    }

    fn read(&mut self) {
        let Stage::Chatting(chat) = &self.stage else { return };
        let Some(id) = chat.readable else { return };
        self.note(Event::Sent(Content::Read(id)));
        self.say_in_chat(|chat| Saying::Read { id, chat });
    }

    /// Says something that is counted. A client that resumes says for which chat, and keeps it.
    fn say_in_chat<'a>(&'a mut self, saying: impl FnOnce(Option<&'a str>) -> Saying<'a>) {
        let (Stage::Chatting(chat), Some(Line { wire, tongue })) =
            (&mut self.stage, &mut self.line)
        else {
            return;
        };
        let Chat { id, frames, .. } = chat;
        let raws = tongue.say(saying(id.as_deref().filter(|_| self.log.resumes)));
        raws.iter().for_each(|raw| wire.queue(raw.clone()));
        if self.log.resumes {
            frames.push(raws);
        }
    }

    fn acknowledge(&mut self) {
        let Stage::Chatting(chat) = &mut self.stage else { return };
        let (received, chat) = (chat.received, chat.id.clone());
        self.say(Saying::Ack { chat: chat.as_deref(), received });
        if let Stage::Chatting(chat) = &mut self.stage {
            chat.acknowledged = received;
        }
    }

    /// Waits until everything that was asked has been done.
    async fn fence(&mut self) -> Result<(), Gone> {
        self.fences += 1;
        self.ask(Ask::Fence);
        self.listen(PATIENCE, |client| client.fences == 0).await?;
        if self.fences == 0 { Ok(()) } else { Err(self.give_up()) }
    }

    fn say(&mut self, saying: Saying<'_>) {
        if let Some(Line { wire, tongue }) = &mut self.line {
            tongue.say(saying).into_iter().for_each(|raw| wire.queue(raw));
        }
    }

    // ---- How it goes ----------------------------------------------------------------------------

    fn vanish(&mut self) -> Result<(), Gone> {
        let reset = self.rng.u8(..) > 80;
        self.note(Event::Vanished { reset });
        self.lose_line(reset);
        // The server may not have read that the end of the last chat is known.
        self.unsettled |= self.log.resumes;
        Err(self.forget())
    }

    /// Loses the connection, and comes back if it can resume. The old connection may still look
    /// open to the server then.
    async fn drop_line(&mut self) -> Result<(), Gone> {
        if !self.can_resume() {
            return self.vanish();
        }
        let reset = self.rng.bool();
        self.note(Event::Dropped { reset });
        self.lose_line(reset);
        // A third of them so late that the partner is told, and never the first one, so that even
        // the shortest run has some that come back.
        let is_late = std::mem::replace(&mut self.has_dropped, true) && self.rng.u8(0..3) == 0;
        let most = if is_late { 4_000 } else { 400 };
        self.pause(most).await;
        Err(Gone)
    }

    fn lose_line(&mut self, reset: bool) {
        let Some(line) = self.line.take() else { return };
        if reset {
            line.wire.vanish();
        } else {
            self.silent.push(line.wire);
        }
    }

    /// Neither reads nor answers for a while. What was said before has been read by then.
    async fn freeze(&mut self) -> Result<(), Gone> {
        self.fence().await?;
        self.note(Event::Froze);
        let World { short_freeze, long_freeze, .. } = self.world;
        let span =
            if self.rng.u8(..) < 80 { long_freeze } else { short_freeze.mul_f32(self.rng.f32()) };
        sleep(span).await;
        self.note(Event::Thawed);
        Ok(())
    }

    fn give_up(&mut self) -> Gone {
        self.note(Event::NoAnswer);
        self.forget()
    }

    fn forget(&mut self) -> Gone {
        let is_idle = matches!(self.stage, Stage::Idle) && self.is_settled();
        if self.log.is_held() && !is_idle {
            // Comes back as another person: this one is in a chat that it does not want to resume.
            self.token = None;
        }
        self.line = None;
        self.stage = Stage::Idle;
        (self.leaving, self.unsettled, self.resuming) = (false, false, false);
        self.fences = 0;
        Gone
    }

    // ---- What it hears --------------------------------------------------------------------------

    /// Takes what comes until enough has come or the time is over.
    async fn listen(
        &mut self,
        patience: Duration,
        enough: impl Fn(&Self) -> bool,
    ) -> Result<(), Gone> {
        let until = Instant::now() + patience;
        while !enough(self) {
            let Some(Line { wire, tongue }) = &mut self.line else { return Err(Gone) };
            let raw = tokio::select! {
                raw = wire.next() => raw,
                () = sleep_until(until) => return Ok(()),
            };
            let Some(raw) = raw else {
                let resumes = self.can_resume();
                self.note(Event::Lost { resumes });
                if resumes {
                    self.line = None;
                    return Err(Gone);
                }
                return Err(self.forget());
            };
            match tongue.hear(raw) {
                Heard::News(news) => {
                    self.take(&news);
                    self.note(Event::Heard(news));
                }
                Heard::Answer(raw) => wire.queue(raw),
                Heard::Nothing => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, news: &News) {
        self.count(news);
        match news {
            News::Welcome(token) => {
                self.token = Some(token.clone());
                return;
            }
            News::Resumed { received, .. } => self.say_again(*received),
            News::Waiting => self.stage = Stage::Waiting,
            News::Idle => {
                self.stage = Stage::Idle;
                self.leaving = false;
            }
            News::Matched { chat, partner: Some(partner), .. } => {
                self.has_met = true;
                self.stage = Stage::Chatting(Chat {
                    name: self.name,
                    partner: *partner,
                    id: chat.clone(),
                    said: 0,
                    frames: Vec::new(),
                    received: 0,
                    acknowledged: 0,
                    typing: false,
                    readable: None,
                });
            }
            News::Received(Content::Text(_) | Content::Image(_), id) => {
                if let Stage::Chatting(chat) = &mut self.stage {
                    chat.readable = id.or(Some(0));
                }
            }
            News::Left(_) => self.stage = Stage::Idle,
            News::Fence => {
                self.fences = self.fences.saturating_sub(1);
                // The other dialect does not answer a cancelled search.
                if self.leaving && self.log.dialect != Dialect::Native {
                    self.stage = Stage::Idle;
                }
                self.leaving = false;
                self.unsettled &= self.fences > 0;
            }
            News::Matched { partner: None, .. }
            | News::Received(..)
            | News::Delivered(_)
            | News::Away
            | News::Back
            | News::NoRoom(_)
            | News::Refused(_) => {}
        }
        self.resuming = false;
    }

    /// Counts what is received of a chat, and acknowledges it.
    fn count(&mut self, news: &News) {
        let (Stage::Chatting(chat), true) = (&mut self.stage, self.log.resumes) else { return };
        let at_once = match news {
            News::Received(content, _) => matches!(content, Content::Image(_)),
            News::Left(_) => true,
            _ => return,
        };
        chat.received += 1;
        if at_once || chat.received - chat.acknowledged >= UNACKNOWLEDGED {
            self.acknowledge();
        }
        // Until the server has read that the end of the chat is known.
        self.unsettled |= matches!(news, News::Left(_));
    }

    /// Says again what has not arrived over the connections before.
    fn say_again(&mut self, arrived: u64) {
        let (Stage::Chatting(chat), Some(line)) = (&self.stage, &mut self.line) else { return };
        let arrived = usize::try_from(arrived).unwrap_or(usize::MAX);
        let lost = chat.frames.get(arrived..).unwrap_or_default();
        lost.iter().flatten().for_each(|raw| line.wire.queue(raw.clone()));
    }

    fn note(&mut self, event: Event) {
        self.log.entries.push(Entry { at: self.world.began.elapsed(), event });
    }

    async fn pause(&mut self, most_ms: u64) {
        sleep(Duration::from_millis(self.rng.u64(0..most_ms))).await;
    }
}

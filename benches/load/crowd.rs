//! All the connections of a run, and the one loop that drives them: [`Crowd`].

use std::{
    io::{self, ErrorKind},
    marker::PhantomData,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use mio::{Events, Interest, Poll, Token, event::Event};

use crate::{
    args::{Args, Mode},
    dialect::{Dialect, News, Shared},
    link::{Link, Step},
    script::{Line, Script},
    server::Server,
};

/// Connections that speak one dialect.
#[derive(Debug)]
pub(crate) struct Crowd<D> {
    poll: Poll,
    events: Events,
    shared: Shared,
    members: Vec<Member<D>>,
    scratch: Vec<u8>,
    /// Whether a connection gives the memory of its buffers back each time, because there are very many.
    frugal: bool,
    /// Whether it never sleeps.
    awake: bool,
    /// How long it has looked for something to happen in vain, being awake.
    idled: Duration,
}

#[derive(Debug)]
struct Member<D> {
    link: Link,
    dialect: D,
    connected: bool,
}

/// Receives what the connections hear.
pub(crate) trait Hear<D> {
    /// `member` heard `news`, and may answer with `voice`.
    fn hear(
        &mut self,
        member: usize,
        news: News<'_>,
        voice: &mut Voice<'_, D>,
    ) -> anyhow::Result<()>;
}

/// One connection's means to say something, which goes out as soon as its turn is over.
#[derive(Debug)]
pub(crate) struct Voice<'a, D> {
    dialect: PhantomData<D>,
    shared: &'a Shared,
    out: &'a mut Vec<u8>,
}

/// How many connections are being opened at any time: fewer than a listener keeps waiting.
pub(crate) const OPENING: usize = 100;

/// Bytes read at once.
const SCRATCH: usize = 128 * 1024;

/// Events taken from the system at once.
const EVENTS: usize = 1024;

impl<D: Dialect> Crowd<D> {
    /// Opens two connections for each pair and waits until all of them are ready.
    pub(crate) fn open(args: &Args, server: &Server) -> anyhow::Result<Self> {
        let mut from = args.from.iter().cycle().map(|from| SocketAddr::from((*from, 0)));
        Self::open_part(args, server, 2 * args.pairs(), || from.next(), OPENING, || Ok(()))
    }

    /// Opens `total` connections, each from where `from` says next, `at_once` being opened at any
    /// time, and waits until all of them are ready. `on_ready` is told of each.
    pub(crate) fn open_part(
        args: &Args,
        server: &Server,
        total: usize,
        mut from: impl FnMut() -> Option<SocketAddr>,
        at_once: usize,
        on_ready: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let script = Script::new(args.bytes())?;
        let mut crowd = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            shared: Shared::new(server.address, script, args.mode == Mode::Image, args.resumable()),
            members: Vec::with_capacity(total),
            scratch: vec![0; SCRATCH],
            frugal: args.mode == Mode::Crowd,
            awake: args.awake && matches!(args.mode, Mode::Relay | Mode::Image),
            idled: Duration::ZERO,
        };
        let mut opening = Opening { ready: 0, on_ready };
        while opening.ready < total {
            while crowd.members.len() < total.min(opening.ready + at_once) {
                crowd.connect(&mut from).with_context(|| {
                    format!("connection {} cannot be opened", crowd.members.len())
                })?;
            }
            let before = opening.ready;
            ensure!(
                crowd.turn(args.patience, &mut opening)? > 0 || opening.ready > before,
                "only {} of {total} connections were ready in time",
                opening.ready
            );
        }
        Ok(crowd)
    }

    /// How many connections there are.
    pub(crate) const fn len(&self) -> usize {
        self.members.len()
    }

    /// The time it has spent on nothing, instead of sleeping.
    pub(crate) const fn idled(&self) -> Duration {
        self.idled
    }

    /// What resumes the chats of the connections over others.
    pub(crate) fn claims(&self) -> Option<Vec<String>> {
        self.members.iter().map(|member| member.dialect.claim()).collect()
    }

    /// Lets one connection say something, and sends it.
    pub(crate) fn with<T>(
        &mut self,
        member: usize,
        say: impl FnOnce(&mut Voice<'_, D>) -> T,
    ) -> anyhow::Result<T> {
        let Member { link, .. } = &mut self.members[member];
        let said = say(&mut Voice::new(&self.shared, link.out()));
        link.flush()?;
        if self.frugal {
            link.rest();
        }
        Ok(said)
    }

    /// Handles what has happened, waiting up to `patience` for something to. Returns how many connections it was on.
    pub(crate) fn turn(
        &mut self,
        patience: Duration,
        hear: &mut impl Hear<D>,
    ) -> anyhow::Result<usize> {
        if let Err(error) = self.wait(patience) {
            ensure!(error.kind() == ErrorKind::Interrupted, error);
            return Ok(0);
        }
        let Self { events, shared, members, scratch, frugal, .. } = self;
        for event in &*events {
            let Token(index) = event.token();
            members[index]
                .handle(index, event, shared, scratch, hear)
                .with_context(|| format!("connection {index}"))?;
            if *frugal {
                members[index].link.rest();
            }
        }
        Ok(events.iter().count())
    }

    /// Waits up to `patience` for something to happen.
    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        if !self.awake {
            return self.poll.poll(&mut self.events, Some(patience));
        }
        let (began, mut idled) = (Instant::now(), Duration::ZERO);
        loop {
            self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
            if !self.events.is_empty() || idled >= patience {
                self.idled += idled;
                return Ok(());
            }
            idled = began.elapsed();
        }
    }

    /// Turns until `done` or until nothing has happened for `patience`. Returns whether it is done.
    pub(crate) fn turn_until<H: Hear<D>>(
        &mut self,
        patience: Duration,
        hear: &mut H,
        done: impl Fn(&H) -> bool,
    ) -> anyhow::Result<bool> {
        let mut last = Instant::now();
        while !done(hear) {
            let left = patience.saturating_sub(last.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            if self.turn(left, hear)? > 0 {
                last = Instant::now();
            }
        }
        Ok(true)
    }

    /// Gives back what memory the connections do not need while they are idle.
    pub(crate) fn rest(&mut self) {
        for member in &mut self.members {
            member.link.rest();
        }
    }

    fn connect(&mut self, mut from: impl FnMut() -> Option<SocketAddr>) -> anyhow::Result<()> {
        let mut link = loop {
            let from = from();
            match Link::connect(self.shared.server, from) {
                // Another process has that port; the next one may be free.
                Err(error)
                    if error.kind() == ErrorKind::AddrInUse
                        && from.is_some_and(|from| from.port() > 0) => {}
                link => break link?,
            }
        };
        let token = Token(self.members.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, token, interest)?;
        self.members.push(Member { link, dialect: D::default(), connected: false });
        Ok(())
    }
}

impl<D: Dialect> Member<D> {
    fn handle(
        &mut self,
        index: usize,
        event: &Event,
        shared: &mut Shared,
        scratch: &mut [u8],
        hear: &mut impl Hear<D>,
    ) -> anyhow::Result<()> {
        let Self { link, dialect, connected } = self;
        if !*connected {
            if !link.connected()? {
                return Ok(());
            }
            *connected = true;
            if dialect.open(shared, link.out()) {
                let mut voice = Voice::new(shared, link.out());
                hear.hear(index, News::Ready, &mut voice)?;
            }
        }
        if event.is_readable() {
            link.read(scratch, |input, out| {
                Ok(match dialect.read(shared, input, out)? {
                    Step::Needs(bytes) => Step::Needs(bytes),
                    Step::Took(bytes, news) => {
                        hear.hear(index, news, &mut Voice::<D>::new(shared, out))?;
                        Step::Took(bytes, ())
                    }
                })
            })?;
        }
        link.flush()
    }
}

impl<'a, D: Dialect> Voice<'a, D> {
    const fn new(shared: &'a Shared, out: &'a mut Vec<u8>) -> Self {
        Self { dialect: PhantomData, shared, out }
    }

    pub(crate) const fn shared(&self) -> &Shared {
        self.shared
    }

    pub(crate) fn find(&mut self) -> anyhow::Result<()> {
        if self.shared.resumable {
            D::announce(self.out)?;
        }
        D::find(self.out);
        Ok(())
    }

    pub(crate) fn resume(&mut self, claim: &str) {
        D::resume(claim, self.out);
    }

    pub(crate) fn find_nobody(&mut self, member: usize) -> anyhow::Result<()> {
        D::find_nobody(member, self.out)
    }

    pub(crate) fn say(&mut self, line: Line) {
        D::say(self.shared, line, self.out);
    }
}

struct Opening<F> {
    ready: usize,
    on_ready: F,
}

impl<D, F: FnMut() -> anyhow::Result<()>> Hear<D> for Opening<F> {
    fn hear(&mut self, _: usize, news: News<'_>, _: &mut Voice<'_, D>) -> anyhow::Result<()> {
        if news == News::Ready {
            self.ready += 1;
            (self.on_ready)()?;
        }
        Ok(())
    }
}

//! Who talks to whom, and what each must hear next: [`Talk`].

use std::{collections::VecDeque, time::Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;

use crate::{
    args::Args,
    crowd::{Crowd, Hear, Voice},
    dialect::{Dialect, News},
    script::Line,
};

/// The chats of a crowd. Everything that is said is checked when it is heard.
#[derive(Debug)]
pub(crate) struct Talk {
    people: Vec<Person>,
    /// How many have found a partner, and how many have heard who that is.
    pub(crate) matched: usize,
    pub(crate) introduced: usize,
    /// How many have the same partner again, over another connection.
    pub(crate) resumed: usize,
    /// Whether a line is answered with a line.
    pub(crate) answering: bool,
    /// Lines that were heard, introductions left out.
    pub(crate) heard: u64,
    /// Lines that were said and not yet heard.
    pub(crate) under_way: u64,
    /// From saying to hearing, and from looking to finding, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    began: Instant,
}

#[derive(Clone, Debug, Default)]
struct Person {
    partner: Option<u32>,
    said: u32,
    heard: u32,
    /// When what is under way was said; while looking for a partner, when that began.
    since: VecDeque<u64>,
}

/// Nanoseconds in ten minutes, above which all latencies are alike.
const LONGEST: u64 = 600_000_000_000;

impl Talk {
    pub(crate) fn new(people: usize) -> anyhow::Result<Self> {
        Ok(Self {
            people: vec![Person::default(); people],
            matched: 0,
            introduced: 0,
            resumed: 0,
            answering: false,
            heard: 0,
            under_way: 0,
            latencies: Histogram::new_with_bounds(1, LONGEST, 3)?,
            began: Instant::now(),
        })
    }

    /// Has everyone look for a partner, find one, and introduce themself.
    pub(crate) fn pair_up<D: Dialect>(
        &mut self,
        args: &Args,
        crowd: &mut Crowd<D>,
    ) -> anyhow::Result<()> {
        for member in 0..crowd.len() {
            self.find(crowd, member)?;
        }
        self.meet(args, crowd)?;
        self.introduce(args, crowd)
    }

    pub(crate) fn find<D: Dialect>(
        &mut self,
        crowd: &mut Crowd<D>,
        member: usize,
    ) -> anyhow::Result<()> {
        self.note_find(member);
        crowd.with(member, |voice| voice.find())?
    }

    /// A client begins to search.
    pub(crate) fn note_find(&mut self, member: usize) {
        let now = self.now();
        self.people[member].since.push_back(now);
    }

    /// Waits until everyone has been matched.
    pub(crate) fn meet<D: Dialect>(
        &mut self,
        args: &Args,
        crowd: &mut Crowd<D>,
    ) -> anyhow::Result<()> {
        if !D::HAS_LOBBY {
            self.matched = crowd.len();
        }
        let everyone = self.people.len();
        let met = crowd.turn_until(args.patience, self, |talk| talk.matched == everyone)?;
        ensure!(met, "only {} of {everyone} people found a partner", self.matched);
        Ok(())
    }

    /// Has everyone tell their partner who they are, and checks that each has exactly one.
    pub(crate) fn introduce<D: Dialect>(
        &mut self,
        args: &Args,
        crowd: &mut Crowd<D>,
    ) -> anyhow::Result<()> {
        let everyone = self.people.len();
        for member in 0..everyone {
            self.people[member].since.clear();
            self.say_with(crowd, member)?;
        }
        crowd.turn_until(args.patience, self, |talk| talk.introduced == everyone)?;
        self.check_introductions()
    }

    /// Checks that everyone has heard of exactly one partner.
    pub(crate) fn check_introductions(&self) -> anyhow::Result<()> {
        let (met, everyone) = (self.introduced, self.people.len());
        ensure!(met == everyone, "only {met} of {everyone} people heard of their partner");
        for (member, person) in self.people.iter().enumerate() {
            let partner = person.partner.context("a client has no partner")?;
            let back = self.people.get(partner as usize).and_then(|partner| partner.partner);
            ensure!(back == Some(member as u32), "{member} has {partner}, who has {back:?}");
        }
        Ok(())
    }

    /// Waits for what is still under way. What does not come is lost.
    pub(crate) fn drain<D: Dialect>(
        &mut self,
        args: &Args,
        crowd: &mut Crowd<D>,
    ) -> anyhow::Result<()> {
        self.answering = false;
        let drained = crowd.turn_until(args.patience, self, |talk| talk.under_way == 0)?;
        ensure!(drained, "{} messages were lost", self.under_way);
        Ok(())
    }

    /// Lets a client say its next line.
    pub(crate) fn say_with<D: Dialect>(
        &mut self,
        crowd: &mut Crowd<D>,
        member: usize,
    ) -> anyhow::Result<()> {
        let line = self.next_line(member);
        crowd.with(member, |voice| voice.say(line))
    }

    /// Has the first of each pair say so many lines at once.
    pub(crate) fn start<D: Dialect>(
        &mut self,
        crowd: &mut Crowd<D>,
        lines: usize,
    ) -> anyhow::Result<()> {
        self.answering = true;
        for member in 0..self.people.len() {
            if self.people[member].partner.is_some_and(|partner| partner as usize > member) {
                crowd.with(member, |voice| {
                    for _ in 0..lines {
                        voice.say(self.next_line(member));
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Begins anew to gather latencies.
    pub(crate) fn forget_latencies(&mut self) {
        self.latencies.reset();
    }

    /// A client's next line.
    pub(crate) fn next_line(&mut self, member: usize) -> Line {
        let now = self.now();
        let person = &mut self.people[member];
        let line = Line { speaker: member as u32, number: person.said };
        person.said += 1;
        person.since.push_back(now);
        self.under_way += 1;
        line
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn check(&mut self, member: usize, line: Line) -> anyhow::Result<()> {
        let now = self.now();
        let person = &mut self.people[member];
        if line.number == 0 {
            ensure!(person.partner.is_none(), "{member} met {} and then {line:?}", person.heard);
            person.partner = Some(line.speaker);
            self.introduced += 1;
        } else {
            ensure!(
                person.partner == Some(line.speaker),
                "{member} talks to {:?} and heard {line:?}",
                person.partner
            );
            self.heard += 1;
        }
        ensure!(line.number == person.heard, "expected line {} and heard {line:?}", person.heard);
        person.heard += 1;
        let speaker = self.people.get_mut(line.speaker as usize).context("an unknown speaker")?;
        let since = speaker.since.pop_front().context("a client heard what no client said")?;
        self.under_way -= 1;
        if line.number > 0 {
            self.latencies.saturating_record(now.saturating_sub(since));
        }
        Ok(())
    }
}

impl<D: Dialect> Hear<D> for Talk {
    fn hear(
        &mut self,
        member: usize,
        news: News<'_>,
        voice: &mut Voice<'_, D>,
    ) -> anyhow::Result<()> {
        match news {
            News::Line(line) => {
                let line = voice.shared().script.read(line)?;
                self.check(member, line)?;
                if self.answering {
                    voice.say(self.next_line(member));
                }
            }
            News::Matched => {
                self.matched += 1;
                let now = self.now();
                let since = self.people[member].since.pop_front();
                let since = since.context("a client was matched that did not search")?;
                self.latencies.saturating_record(now.saturating_sub(since));
            }
            News::Resumed => self.resumed += 1,
            News::Parted => bail!("{member} was parted"),
            News::Ready | News::Other => {}
        }
        Ok(())
    }
}

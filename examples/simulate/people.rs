//! Made-up people: [`Crowd`] draws who comes, and how long they do what they do.

use std::{f64::consts::TAU, time::Duration};

use purrr_core::{Search, model::Interest};

use crate::Args;

/// Where people come from, with all the chance there is in it.
#[derive(Debug)]
pub(crate) struct Crowd {
    random: fastrand::Rng,
    tags: Zipf,
    tags_each: usize,
    languages: Zipf,
    arrivals: f64,
    patience: Duration,
    chat: Duration,
    chat_spread: f64,
    next: f64,
    pause: Duration,
}

/// QueueStatus of which the n-th comes up in proportion to a power of n.
#[derive(Debug)]
struct Zipf {
    /// The sum of the weights up to each number.
    sums: Vec<f64>,
}

impl Crowd {
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            random: fastrand::Rng::with_seed(args.seed),
            tags: Zipf::new(args.tags, args.zipf),
            tags_each: args.tags_each.min(args.tags) as usize,
            languages: Zipf::new(args.languages, args.zipf),
            arrivals: args.arrivals(),
            patience: args.patience,
            chat: args.chat,
            chat_spread: args.chat_spread,
            next: args.next,
            pause: args.pause,
        }
    }

    /// How long until the next one comes.
    pub(crate) fn until_next(&mut self) -> Duration {
        self.exponential(1.0 / self.arrivals)
    }

    /// The search of one person.
    pub(crate) fn search(&mut self) -> Search {
        let mut tags = Vec::new();
        while tags.len() < self.tags_each {
            let tag = self.tags.draw(&mut self.random);
            // Where few are left to choose from, the popular ones are drawn over and over: then the next free one.
            let free = (tag..self.tags.len()).chain(0..tag).find(|tag| !tags.contains(tag));
            tags.extend(free);
        }
        let language = self.languages.draw(&mut self.random);
        let tags = tags.into_iter().map(|tag| Interest::from(&*format!("tag {tag}")));
        Search::for_interests(tags).in_languages([&*format!("language {language}")])
    }

    pub(crate) fn patience(&mut self) -> Duration {
        self.exponential(self.patience.as_secs_f64())
    }

    pub(crate) fn pause(&mut self) -> Duration {
        self.exponential(self.pause.as_secs_f64())
    }

    pub(crate) fn goes_on(&mut self) -> bool {
        self.random.f64() < self.next
    }

    pub(crate) fn chat(&mut self) -> Duration {
        // Box and Muller's way to a normal distribution.
        let radius = (-2.0 * (1.0 - self.random.f64()).ln()).sqrt();
        let normal = radius * (TAU * self.random.f64()).cos();
        seconds(self.chat.as_secs_f64() * (self.chat_spread * normal).exp())
    }

    fn exponential(&mut self, mean: f64) -> Duration {
        seconds(-mean * (1.0 - self.random.f64()).ln())
    }
}

/// So many seconds, or for ever if a duration does not go that far.
fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX)
}

impl Zipf {
    fn new(numbers: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=numbers).map(|number| {
            sum += f64::from(number).powf(-exponent);
            sum
        });
        Self { sums: sums.collect() }
    }

    fn len(&self) -> usize {
        self.sums.len()
    }

    fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let point = random.f64() * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum <= point).min(self.len() - 1)
    }
}

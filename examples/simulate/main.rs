//! How long people wait and whom they meet: the engine with made-up people, in virtual time.
//!
//! `cargo run --release --example simulate -- --help` says what can be set. The same arguments print the same figures
//! again, but for the pairs per second of real time.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod people;
mod world;

use std::{sync::Arc, time::Duration};

use clap::{Parser, ValueEnum};
use purrr_core::{Anyone, Interests, Languages, Pairing, PairingExt};
use world::{Figures, World};

/// Simulates people who come, wait, chat, and go on to the next, and prints how they fared.
///
/// Everything follows from the arguments and the seed. The first sixth of the time is not counted, since the room is
/// empty at first.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many come, and for how long one watches.
    #[arg(long, value_enum, default_value = "busy")]
    scenario: Scenario,
    /// People who come per second (Poisson), instead of the scenario's.
    #[arg(long, value_parser = positive)]
    arrivals: Option<f64>,
    /// Virtual time to simulate, such as "90min", instead of the scenario's.
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Who fits whom.
    #[arg(long, value_enum, default_value = "interests")]
    rule: Rule,
    /// Let people meet again whom they met lately.
    #[arg(long)]
    meet_again: bool,
    /// Interests that there are.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tags: u32,
    /// Interests that each person names.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=16))]
    tags_each: u32,
    /// How unequal interests and languages are: the n-th is named in proportion to n to the minus this (Zipf).
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    zipf: f64,
    /// Languages that there are; each person speaks one.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    languages: u32,
    /// How long people wait before they give up, on average (exponential).
    #[arg(long, default_value = "1min", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// How long half of the chats last at most (log-normal).
    #[arg(long, default_value = "40s", value_parser = humantime::parse_duration)]
    chat: Duration,
    /// How unequal chats are: the standard deviation of their length's logarithm.
    #[arg(long, default_value_t = 1.5, value_parser = not_negative)]
    chat_spread: f64,
    /// Share of people who look for the next one when a chat is over.
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    next: f64,
    /// How long they take to do so, on average (exponential).
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// What all chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print a table of every scenario with several rules instead.
    #[arg(long, conflicts_with_all = ["scenario", "arrivals", "duration", "rule", "meet_again"])]
    table: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Three people a minute, for two days.
    Few,
    /// One person a second, for two hours.
    Busy,
    /// Twenty people a second, for half an hour.
    Rush,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// Any two people.
    Anyone,
    /// A shared interest, after 5 s a shared language, after 20 s anyone.
    Interests,
    /// A shared interest and nothing else.
    InterestsOnly,
    /// A shared language and nothing else.
    Languages,
    /// A shared language always, and within it a shared interest for the first 5 s.
    LanguagesAndInterests,
}

fn main() {
    let args = Args::parse();
    if !args.table {
        print_report(&args, &World::new(&args).run());
        return;
    }
    println!("| people | rule | wait p50 | p90 | p99 | in common | met again | gave up |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    for scenario in Scenario::value_variants() {
        let rules = [
            (Rule::Anyone, true),
            (Rule::Anyone, false),
            (Rule::Interests, false),
            (Rule::LanguagesAndInterests, false),
        ];
        for (rule, meet_again) in rules {
            let args = Args { scenario: *scenario, rule, meet_again, ..args.clone() };
            print_row(&args, &World::new(&args).run());
        }
    }
}

fn print_report(args: &Args, figures: &Figures) {
    let share = |part| 100.0 * Figures::share(part, figures.chats);
    println!("wait until a match      p50 {}", seconds(figures.wait(0.5)));
    println!("                        p90 {}", seconds(figures.wait(0.9)));
    println!("                        p99 {}", seconds(figures.wait(0.99)));
    println!("chats with a common interest  {:.1} %", share(figures.in_common));
    println!("chats with someone met lately {:.2} %", share(figures.met_again));
    println!("searches that were given up   {:.2} %", 100.0 * figures.unpaired());
    println!("people at the end             {} in {:?}", figures.here, args.duration());
    println!("chats counted                 {}", figures.chats);
    println!("pairs per second of real time {:.0}", figures.pairs_per_second());
}

fn print_row(args: &Args, figures: &Figures) {
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map_or_else(String::new, |value| value.get_name().replace('-', " "))
    };
    println!(
        "| {} | {}{} | {} | {} | {} | {:.0} % | {:.1} % | {:.1} % |",
        name(&|| args.scenario.to_possible_value()),
        name(&|| args.rule.to_possible_value()),
        if args.meet_again { ", met or not" } else { "" },
        seconds(figures.wait(0.5)),
        seconds(figures.wait(0.9)),
        seconds(figures.wait(0.99)),
        100.0 * Figures::share(figures.in_common, figures.chats),
        100.0 * Figures::share(figures.met_again, figures.chats),
        100.0 * figures.unpaired(),
    );
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0, "a number above 0")
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 0.0, "a number from 0")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |number| (0.0..=1.0).contains(&number), "a number from 0 to 1")
}

fn number(text: &str, fits: fn(f64) -> bool, wanted: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && fits(*number));
    number.ok_or_else(|| format!("this is not {wanted}"))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl Args {
    fn arrivals(&self) -> f64 {
        self.arrivals.unwrap_or(match self.scenario {
            Scenario::Few => 0.05,
            Scenario::Busy => 1.0,
            Scenario::Rush => 20.0,
        })
    }

    fn duration(&self) -> Duration {
        const MINUTE: u64 = 60;
        self.duration.unwrap_or(Duration::from_secs(match self.scenario {
            Scenario::Few => 48 * 60 * MINUTE,
            Scenario::Busy => 2 * 60 * MINUTE,
            Scenario::Rush => 30 * MINUTE,
        }))
    }
}

impl Rule {
    fn build(self) -> Arc<dyn Pairing> {
        match self {
            Self::Anyone => Arc::new(Anyone),
            Self::Interests => Arc::new(Interests::default()),
            Self::InterestsOnly => {
                Arc::new(Interests::default().widen_after(Duration::MAX, Duration::MAX))
            }
            Self::Languages => Arc::new(Languages),
            Self::LanguagesAndInterests => Arc::new(Languages.and(Interests::default())),
        }
    }
}

//! A test suite for backends: the contracts of [`Lobby`](crate::Lobby), [`Relay`](crate::Relay) and
//! [`People`](crate::backend::People), check by check (feature `conformance`).
//!
//! A backend within one process:
//!
//! ```
//! use purrr_core::{Limits, backend::{Backend, conformance::check_all}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let new = || Backend::memory(&Limits::default());
//! assert_eq!(check_all(&new).await, []);
//! # }
//! ```
//!
//! A backend of several nodes. Peers are spread over the nodes, and what takes effect on another
//! node must do so [soon](Suite::soon):
//!
//! ```
//! use std::time::Duration;
//! use purrr_core::{Limits, backend::{Backend, conformance::{Cluster, Suite}}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let start = async || {
//!     let backend = Backend::memory(&Limits::default());
//!     Cluster::new([backend.clone(), backend])
//! };
//! let suite = Suite::default().soon(Duration::from_secs(2));
//! assert_eq!(suite.check(start).await, []);
//! # }
//! ```

mod faults;
mod lobby;
mod people;
mod pipes;
mod subject;

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::timeout;

use self::subject::Subject;
use crate::backend::bundle::Backend;

/// A check that a backend failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {what}")]
#[non_exhaustive]
pub struct Violation {
    /// The name of the check: the promise in short.
    pub check: &'static str,
    /// What was seen instead.
    pub what: String,
}

/// The suite with its bounds of time. With a paused clock they cost no time.
#[derive(Clone, Debug)]
pub struct Suite {
    soon: Duration,
    quiet: Duration,
    opening: Duration,
}

/// The nodes that a check runs on: handles of one new and empty backend.
///
/// Dropped when the check has ended, together with its faults.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Backend>,
    faults: Option<Box<dyn Faults>>,
}

/// Faults that a test injects between the nodes of a [`Cluster`].
///
/// A check of a fault that cannot be injected passes.
#[async_trait]
pub trait Faults: fmt::Debug + Send + Sync + 'static {
    /// Ends the broker between the nodes for good, as a crash does. Returns false if it cannot.
    async fn kill_broker(&self) -> bool {
        false
    }

    /// Delays messages between the nodes and delivers some of them twice, from now on. Returns
    /// false if it cannot.
    async fn repeat_messages(&self) -> bool {
        false
    }
}

/// The time that one check may take, whatever it waits for.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);

type Checked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = (&'static str, fn(Subject) -> Checked);

/// Runs every check on one node, each on a new and empty backend. Returns those that failed.
pub async fn check_all(new: &(dyn Fn() -> Backend + Send + Sync)) -> Vec<Violation> {
    Suite::default().check(|| ready(Cluster::new([new()]))).await
}

macro_rules! checks {
    ($($name:literal => $check:path,)*) => {
        [$(($name, |subject| Box::pin($check(subject)))),*]
    };
}

const CHECKS: [Check; 30] = checks![
    "both see one chat" => lobby::both_see_one_chat,
    "one place for a peer" => lobby::one_place_for_a_peer,
    "dropping a place leaves" => lobby::dropping_a_place_leaves,
    "dropping a match tells the partner" => lobby::dropping_a_match_tells,
    "a match opens once" => pipes::a_match_opens_once,
    "frames arrive in order" => pipes::frames_arrive_in_order,
    "the parting comes last" => pipes::the_parting_comes_last,
    "receipts arrive" => pipes::receipts_arrive,
    "progress arrives" => pipes::progress_arrives,
    "queues are bounded" => pipes::queues_are_bounded,
    "a stall stops one direction of one chat" => pipes::a_stall_stops_one_direction,
    "every reason arrives" => pipes::every_reason_arrives,
    "a parting ends sending" => pipes::parting_ends_sending,
    "an opening has an end" => pipes::an_opening_has_an_end,
    "a chat is left once" => pipes::a_chat_is_left_once,
    "repeated messages change nothing" => faults::repeated_messages_change_nothing,
    "a dead broker is told" => faults::a_dead_broker_is_told,
    "rules are obeyed" => lobby::rules_are_obeyed,
    "who must not meet does not" => lobby::who_must_not_meet_does_not,
    "who met lately meets later" => lobby::who_met_lately_meets_later,
    "a search widens by itself" => lobby::a_search_widens_by_itself,
    "who has waited goes on" => lobby::who_has_waited_goes_on,
    "the census counts" => lobby::the_census_counts,
    "a token is good once" => people::a_token_is_good_once,
    "a token is its person's" => people::a_token_is_its_persons,
    "blocks survive reconnects" => people::blocks_survive_reconnects,
    "blocks cover the address" => people::blocks_cover_the_address,
    "recent partners are excluded" => people::recent_partners_are_excluded,
    "present peers are counted" => people::present_peers_are_counted,
    "searches are counted" => people::searches_are_counted,
];

impl Suite {
    /// Sets how long anything that must happen may take. Default: 10 s.
    ///
    /// It bounds what one node learns of another, such as a match, a frame, a number or the death
    /// of the broker. What a call has resolved must hold on every node at once.
    #[must_use]
    pub const fn soon(mut self, bound: Duration) -> Self {
        self.soon = bound;
        self
    }

    /// Sets for how long a check watches that nothing happens. Default: 100 ms.
    ///
    /// Must be several round trips of the backend's network. Otherwise a fault is seen too late.
    #[must_use]
    pub const fn quiet(mut self, time: Duration) -> Self {
        self.quiet = time;
        self
    }

    /// Sets how long one side may wait for the other to open a match. Default: 60 s.
    ///
    /// Must be longer than the [`Limits::stall`](crate::Limits::stall) of the backend, and shorter
    /// than the 120 s of a check.
    #[must_use]
    pub const fn opening(mut self, bound: Duration) -> Self {
        self.opening = bound;
        self
    }

    /// Returns the names of all checks, in the order in which they run.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CHECKS.into_iter().map(|(name, _)| name)
    }

    /// Runs every check, each on a cluster of its own. Returns those that failed.
    ///
    /// A check that does not end within 120 s has failed.
    pub async fn check<F: Future<Output = Cluster>>(
        &self,
        start: impl Fn() -> F,
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (check, run) in CHECKS {
            let subject = Subject { cluster: start().await, suite: self.clone() };
            let ended = timeout(CHECK_TIMEOUT, run(subject)).await;
            let hangs = || Err(format!("did not end within {} s", CHECK_TIMEOUT.as_secs()));
            if let Err(what) = ended.unwrap_or_else(|_| hangs()) {
                violations.push(Violation { check, what });
            }
        }
        violations
    }
}

impl Default for Suite {
    fn default() -> Self {
        Self {
            soon: Duration::from_secs(10),
            quiet: Duration::from_millis(100),
            opening: Duration::from_secs(60),
        }
    }
}

impl Cluster {
    /// Creates a cluster of these nodes, which share one new and empty backend.
    ///
    /// # Panics
    ///
    /// Panics if there is no node.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = Backend>) -> Self {
        let nodes: Vec<_> = nodes.into_iter().collect();
        assert!(!nodes.is_empty(), "a cluster has at least one node");
        Self { nodes, faults: None }
    }

    /// Sets the faults that the suite may inject.
    #[must_use]
    pub fn with_faults(mut self, faults: impl Faults) -> Self {
        self.faults = Some(Box::new(faults));
        self
    }
}

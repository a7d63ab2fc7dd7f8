//! Who may connect: [`Admission`] counts connections and paces new ones, in all and per address.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{
        StatusCode,
        header::{CONNECTION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use purrr_core::{Rates, rate::Allowance};
use tokio::time::Instant;

use super::{
    addresses::{Addresses, Shared},
    memory::Budget,
    permits::{Full, Place, Places},
};
use crate::{
    config::Config,
    net::{
        cidr::Network,
        client_address::{client, counted, for_logs},
    },
};

/// The door that both dialects share.
///
/// A connection is a WebSocket, or an Engine.IO session from its handshake to its end, however many requests it takes.
/// The sockets below them are counted apart: HTTP needs some, and a client that polls has two. What is held per address is
/// one entry for each that has a connection, and one for each of the last [`ADDRESSES`](super::addresses::ADDRESSES) that asked for one.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: Arc<Places>,
    sockets: Arc<Places>,
    addresses: Option<Mutex<Addresses>>,
    trusted: Vec<Network>,
    budget: Budget,
    refused: [AtomicU64; Reason::ALL.len()],
    /// When a refusal was last told in the log.
    told: Mutex<Option<Instant>>,
}

/// Somebody who was let in, until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _place: Place,
    shared: Shared,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There are as many connections as there may be.
    Full,
    /// There are as many from this address as there may be.
    Crowded,
    /// They come too fast from this address; one may come after this time.
    Hasty(Duration),
    /// There are as many sockets, connections or not, as there may be.
    Sockets,
}

/// How often the log tells of refusals, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// After which time, in seconds, it is worth trying again where all places are taken.
const RETRY_FULL: u64 = 10;

/// Sockets for pages, health and handshakes, beside two for each connection.
const SPARE_SOCKETS: usize = 1024;

/// The same for one address.
const SPARE_SOCKETS_EACH: usize = 64;

impl Admission {
    /// `rates` are those of one client, of which an address has a multiple.
    pub(crate) fn new(config: &Config, rates: Option<Rates>) -> Self {
        let (all, each) = (config.max_connections, config.max_connections_per_address);
        let budget = Budget::new(config.buffered_bytes, config.body_timeout);
        let sockets_each = if each == 0 { 0 } else { pairs(each, SPARE_SOCKETS_EACH) };
        Self {
            connections: Arc::new(Places::new(all, each)),
            sockets: Arc::new(Places::new(pairs(all, SPARE_SOCKETS), sockets_each)),
            addresses: config.rate_limits.then(|| {
                let (pace, most) = (config.connects_per_second, config.buffered_bytes_per_address);
                let most = if most == 0 { usize::MAX } else { most };
                let rates = rates.zip(NonZeroU32::new(config.rates_per_address));
                Mutex::new(Addresses::new(pace, rates, budget.clone(), most))
            }),
            trusted: config.trusted_proxies.clone(),
            budget,
            refused: Default::default(),
            told: Mutex::default(),
        }
    }

    /// What those who were let in may have held for them together.
    pub(crate) const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Lets a request begin a connection, which lasts until what is returned is dropped.
    ///
    /// Without [`ConnectInfo`], as in an app that does not provide it, nobody knows who asks and only the total counts.
    pub(crate) fn admit(&self, request: &Request) -> Result<Admitted, Reason> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let who = peer.map(|peer| client(peer, request.headers(), &self.trusted));
        self.admit_at(who, Instant::now())
    }

    /// Lets a socket in, from which nothing has been read yet.
    pub(crate) fn admit_socket(&self, peer: IpAddr) -> Result<Place, Reason> {
        // Behind a proxy there are many people, who are counted when they connect.
        let proxy = self.trusted.iter().any(|network| network.contains(peer));
        let who = (!proxy).then_some(peer);
        Places::take(&self.sockets, who.map(counted))
            .map_err(|_| self.refuse(Reason::Sockets, who, Instant::now()))
    }

    /// How many were refused, by reason.
    pub(crate) fn refused(&self) -> [(&'static str, u64); Reason::ALL.len()] {
        Reason::ALL
            .map(|reason| (reason.name(), self.refused[reason.index()].load(Ordering::Relaxed)))
    }

    fn admit_at(&self, who: Option<IpAddr>, now: Instant) -> Result<Admitted, Reason> {
        let mut shared = Shared { allowance: None, budget: self.budget.clone() };
        if let (Some(addresses), Some(who)) = (&self.addresses, who) {
            let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let entered = addresses.enter(counted(who), now);
            drop(addresses);
            shared = entered.map_err(|wait| self.refuse(Reason::Hasty(wait), Some(who), now))?;
        }
        let place = Places::take(&self.connections, who.map(counted)).map_err(|full| {
            let reason = match full {
                Full::All => Reason::Full,
                Full::Each => Reason::Crowded,
            };
            self.refuse(reason, who, now)
        })?;
        Ok(Admitted { _place: place, shared })
    }

    /// Counts a refusal and tells of it which option would have let them in.
    fn refuse(&self, reason: Reason, who: Option<IpAddr>, now: Instant) -> Reason {
        self.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY) {
            *told = Some(now);
            drop(told);
            let from = who.map_or_else(|| "an unknown address".to_owned(), for_logs);
            tracing::warn!(%from, "refused a connection: {}", reason.advice());
        }
        reason
    }
}

impl Admitted {
    /// What whoever was let in may do together with the others of its address.
    pub(crate) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.shared.allowance.clone()
    }

    /// What it may have held for it together with them.
    pub(crate) const fn budget(&self) -> &Budget {
        &self.shared.budget
    }
}

/// Two for each of `count`, and some.
const fn pairs(count: usize, spare: usize) -> usize {
    count.saturating_mul(2).saturating_add(spare)
}

impl Reason {
    const ALL: [Self; 4] = [Self::Full, Self::Crowded, Self::Hasty(Duration::ZERO), Self::Sockets];

    const fn index(self) -> usize {
        match self {
            Self::Full => 0,
            Self::Crowded => 1,
            Self::Hasty(_) => 2,
            Self::Sockets => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Full => "connections",
            Self::Crowded => "address",
            Self::Hasty(_) => "rate",
            Self::Sockets => "sockets",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Full => "--max-connections is reached",
            Self::Crowded => {
                "--max-connections-per-address is reached; if this is a proxy, name it with --trusted-proxy"
            }
            Self::Hasty(_) => {
                "--connects-per-second is exceeded; if this is a proxy, name it with --trusted-proxy"
            }
            Self::Sockets => {
                "there are twice as many sockets as --max-connections or --max-connections-per-address \
                 allow; if this is a proxy, name it with --trusted-proxy"
            }
        }
    }
}

impl IntoResponse for Reason {
    fn into_response(self) -> Response {
        let (status, wait, why) = match self {
            Self::Hasty(wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (StatusCode::TOO_MANY_REQUESTS, seconds, "too many connections in a short time\n")
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, RETRY_FULL, "too many connections\n"),
        };
        // The socket is needed for somebody else.
        let headers = [(RETRY_AFTER, wait.to_string()), (CONNECTION, "close".to_owned())];
        (status, headers, why).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(change: impl FnOnce(&mut Config)) -> Admission {
        let mut config = Config::default();
        change(&mut config);
        Admission::new(&config, config.limits.rates.clone())
    }

    fn who(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_place_is_given_back_when_it_is_dropped() {
        let admission = admission(|config| {
            (config.max_connections, config.max_connections_per_address) = (3, 2);
        });
        let now = Instant::now();
        let admit = |address| admission.admit_at(who(address), now);
        let first = admit("2001:db8:0:1::1").unwrap();
        let second = admit("2001:db8:0:1:ffff::2").unwrap();
        assert_eq!(admit("2001:db8:0:1::3").unwrap_err(), Reason::Crowded);
        let third = admit("2001:db8:0:2::1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Reason::Full);
        assert_eq!(admission.admit_at(None, now).unwrap_err(), Reason::Full);
        assert_eq!(admission.connections.taken(), 3);
        drop((first, second));
        let fourth = admission.admit_at(None, now).unwrap();
        assert_eq!(admission.connections.taken(), 2);
        drop((third, fourth));
        assert_eq!(admission.connections.taken(), 0);
        assert_eq!(admission.refused()[..2], [("connections", 2), ("address", 1)]);
    }

    #[test]
    fn a_school_behind_one_address_is_let_in_and_a_flood_is_not() {
        let admission = admission(|config| config.max_connections_per_address = 0);
        let start = Instant::now();
        let mut open = Vec::new();
        for tick in 0..5_000 {
            let now = start + Duration::from_millis(2) * tick;
            open.push(admission.admit_at(who("192.0.2.1"), now).unwrap());
        }
        let now = start + Duration::from_secs(60);
        let flood = |_| admission.admit_at(who("192.0.2.1"), now);
        let admitted: Vec<_> = (0..5_000).map_while(|round| flood(round).ok()).collect();
        assert_eq!(admitted.len(), 1_000);
        let refused = flood(0).unwrap_err();
        assert!(matches!(refused, Reason::Hasty(wait) if wait <= Duration::from_millis(2)));
        let response = refused.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert!(admission.admit_at(who("192.0.2.2"), now).is_ok());
    }

    #[test]
    fn limits_can_be_turned_off() {
        let admission = admission(|config| {
            (config.rate_limits, config.max_connections_per_address) = (false, 0);
        });
        let now = Instant::now();
        let admit = |_| admission.admit_at(who("192.0.2.1"), now);
        assert_eq!(
            (0..20_000).map_while(|round| admit(round).ok()).collect::<Vec<_>>().len(),
            20_000
        );
    }
}

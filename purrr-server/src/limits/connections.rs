//! Limits on connections and sockets, in all and for each address: [`ConnectionLimiter`].

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
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
use purrr_core::{Rates, model::OriginKey, rate::Allowance};
use tokio::time::Instant;

use super::{
    address_quotas::{AddressQuotas, ByteQuotas, Quota},
    control_frames::{ControlFrameLimit, EndedConnections},
    lock,
    log_interval::LogInterval,
    memory::MemoryBudget,
    permits::{LimitReached, Permit, Permits},
    provisional::{ProvisionalPermit, ProvisionalSessions},
    requests::{RequestLimiter, SessionRequests, TooManyRequests},
};
use crate::{
    config::Config,
    net::{
        cidr::Network,
        client_address::{client, for_logs},
    },
};

/// Admits connections of both dialects, by number and by rate.
///
/// A connection is a WebSocket, or an Engine.IO session from its handshake to its end, however
/// many requests that takes. Sockets are counted apart, since probes and pages need some and a
/// client that polls has two. Memory: one entry for each address that has a connection, and one
/// for each of the last [`NETWORKS`](super::address_quotas::NETWORKS) that asked for one.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    connections: Arc<Permits>,
    sockets: Arc<Permits>,
    /// None without rate limits.
    quotas: Option<Mutex<AddressQuotas>>,
    provisional: Arc<ProvisionalSessions>,
    /// None without rate limits.
    requests: Option<RequestLimiter>,
    trusted_proxies: Vec<Network>,
    budget: MemoryBudget,
    rejected: [AtomicU64; Rejection::ALL.len()],
    /// The connections that sent too much that asks for nothing. None without rate limits.
    ended: Option<Arc<EndedConnections>>,
    log: LogInterval,
}

/// One admitted connection. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    permit: Permit,
    quota: Quota,
}

/// The limit that a connection was rejected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The total number of connections.
    Connections,
    /// The number of connections from this address.
    Address,
    /// The number of connections from this IPv6 /56 or /48.
    Prefix,
    /// The rate of connections from this address, and how long to wait.
    Rate(Duration),
    /// The number of sockets, in all or from this address.
    Sockets,
    /// The number of provisional sessions, in all or from this address.
    Provisional,
}

/// When to try again after a number is reached, in seconds.
const RETRY_SECONDS: u64 = 10;

/// Sockets for pages, probes and handshakes, beside two for each connection.
const SPARE_SOCKETS: usize = 1024;

/// The same for one address.
const SPARE_ADDRESS_SOCKETS: usize = 64;

impl ConnectionLimiter {
    /// Creates the limits of a server. `rates` are those of one client; an address has a multiple.
    pub(crate) fn new(config: &Config, rates: Option<Rates>) -> Self {
        let (total, each) = (config.max_connections.get(), config.max_connections_per_address);
        let budget = MemoryBudget::new(config.buffered_bytes, config.body_timeout);
        let sockets_each = if each == 0 { 0 } else { sockets(each, SPARE_ADDRESS_SOCKETS) };
        let prefix_factor = config.ipv6_prefix_factor;
        let sockets = Permits::new(sockets(total, SPARE_SOCKETS), sockets_each, prefix_factor);
        Self {
            connections: Arc::new(Permits::new(total, each, prefix_factor)),
            sockets: Arc::new(sockets),
            quotas: config.rate_limits.then(|| {
                let bytes = match config.buffered_bytes_per_address {
                    0 => ByteQuotas { address: usize::MAX, network: usize::MAX },
                    // Otherwise four addresses of one /56 could hold the whole budget.
                    each => {
                        ByteQuotas { address: each, network: each.max(config.buffered_bytes / 2) }
                    }
                };
                let per_second = config.connects_per_second;
                let rates = rates.zip(NonZeroU32::new(config.rates_per_address));
                let budget = budget.clone();
                let quotas = AddressQuotas::new(per_second, rates, budget, bytes, prefix_factor);
                Mutex::new(quotas)
            }),
            provisional: Arc::new(ProvisionalSessions::new(config)),
            requests: RequestLimiter::new(config),
            trusted_proxies: config.trusted_proxy.clone(),
            budget,
            rejected: Default::default(),
            ended: config.rate_limits.then(Arc::default),
            log: LogInterval::default(),
        }
    }

    /// Returns the limit of a connection's control frames.
    pub(crate) fn control_frames(&self, permit: &ConnectionPermit) -> ControlFrameLimit {
        match &self.ended {
            Some(ended) => ControlFrameLimit::new(Arc::clone(ended), permit.allowance()),
            None => ControlFrameLimit::unlimited(),
        }
    }

    /// Returns the connections that were ended for what asks for nothing. None without rate limits.
    pub(crate) fn ended(&self) -> Option<&EndedConnections> {
        self.ended.as_deref()
    }

    /// Returns the global memory budget of all connections.
    pub(crate) const fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Admits the connection that a request begins, until the permit is dropped.
    ///
    /// Without [`ConnectInfo`], as in an app that does not provide it, the address is unknown and
    /// only the total counts.
    pub(crate) fn admit(&self, request: &Request) -> Result<ConnectionPermit, Rejection> {
        self.admit_at(self.address(request), Instant::now())
    }

    /// Admits a request, if the rate of its address allows.
    pub(crate) fn admit_request(&self, request: &Request) -> Result<(), TooManyRequests> {
        let Some(requests) = &self.requests else { return Ok(()) };
        requests.admit(self.address(request))
    }

    /// Counts a probe, which is answered in any case. Returns true if it is above the rate.
    pub(crate) fn is_exceeded_by_probe(&self, request: &Request) -> bool {
        let requests = self.requests.as_ref();
        requests.is_some_and(|requests| requests.is_exceeded_by(self.address(request)))
    }

    /// Admits a request of a polling session, if the rates of the session and its address allow.
    pub(crate) fn admit_polling(
        &self,
        request: &Request,
        session: &SessionRequests,
    ) -> Result<(), TooManyRequests> {
        let Some(requests) = &self.requests else { return Ok(()) };
        requests.admit_polling(session, self.address(request))
    }

    /// Returns the limits on requests. None without rate limits.
    pub(crate) const fn requests(&self) -> Option<&RequestLimiter> {
        self.requests.as_ref()
    }

    /// Returns the address of a request's client. None if the app does not tell it.
    fn address(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip();
        Some(client(peer, request.headers(), &self.trusted_proxies))
    }

    /// Admits a socket from which nothing has been read yet.
    pub(crate) fn admit_socket(&self, peer: IpAddr) -> Result<Permit, Rejection> {
        // Behind a proxy there are many clients, which are counted when they connect.
        let proxy = self.trusted_proxies.iter().any(|network| network.contains(peer));
        let address = (!proxy).then_some(peer);
        Permits::take(&self.sockets, address)
            .map_err(|_| self.reject(Rejection::Sockets, address, Instant::now()))
    }

    /// Admits a polling session whose client has sent nothing yet.
    pub(crate) fn admit_provisional(
        &self,
        connection: &ConnectionPermit,
    ) -> Result<ProvisionalPermit, Rejection> {
        let address = connection.permit.address();
        ProvisionalSessions::admit(&self.provisional, address)
            .map_err(|_| self.reject(Rejection::Provisional, address, Instant::now()))
    }

    /// Returns the polling sessions whose client has sent nothing yet.
    pub(crate) fn provisional(&self) -> &ProvisionalSessions {
        &self.provisional
    }

    /// Returns the number of rejected connections and sockets by limit.
    pub(crate) fn rejected(&self) -> [(&'static str, u64); Rejection::ALL.len()] {
        Rejection::ALL
            .map(|limit| (limit.name(), self.rejected[limit.index()].load(Ordering::Relaxed)))
    }

    fn admit_at(
        &self,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<ConnectionPermit, Rejection> {
        let mut quota =
            Quota { allowance: None, budget: self.budget.clone(), origin: OriginKey::NONE };
        if let (Some(quotas), Some(address)) = (&self.quotas, address) {
            let admitted = lock(quotas).admit(address, now);
            quota =
                admitted.map_err(|wait| self.reject(Rejection::Rate(wait), Some(address), now))?;
        }
        let permit = Permits::take(&self.connections, address).map_err(|limit| {
            let rejection = match limit {
                LimitReached::Total => Rejection::Connections,
                LimitReached::Address => Rejection::Address,
                LimitReached::Prefix => Rejection::Prefix,
            };
            self.reject(rejection, address, now)
        })?;
        Ok(ConnectionPermit { permit, quota })
    }

    /// Counts a rejection and logs which option would have admitted it.
    fn reject(&self, rejection: Rejection, address: Option<IpAddr>, now: Instant) -> Rejection {
        self.rejected[rejection.index()].fetch_add(1, Ordering::Relaxed);
        if self.log.is_due(now) {
            let from = address.map_or_else(|| "an unknown address".to_owned(), for_logs);
            tracing::warn!(%from, "refused a connection: {}", rejection.advice());
        }
        rejection
    }
}

impl ConnectionPermit {
    /// Returns a permit of no server, with an unlimited budget.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn unlimited() -> Self {
        let permit = Permits::take(&Arc::new(Permits::new(1, 0, 0)), None);
        let permit = permit.expect("the pool has one permit");
        let quota =
            Quota { allowance: None, budget: MemoryBudget::unlimited(), origin: OriginKey::NONE };
        Self { permit, quota }
    }

    /// Returns the rate limits that the connections of the address share.
    pub(crate) fn allowance(&self) -> Option<Arc<Allowance>> {
        self.quota.allowance.clone()
    }

    /// Returns the address as a keyed hash, or none without rate limits.
    pub(crate) const fn origin(&self) -> OriginKey {
        self.quota.origin
    }

    /// Returns the memory budget with the quota of the address.
    pub(crate) const fn budget(&self) -> &MemoryBudget {
        &self.quota.budget
    }
}

/// Returns two sockets for each connection, and some more.
const fn sockets(connections: usize, spare: usize) -> usize {
    connections.saturating_mul(2).saturating_add(spare)
}

impl Rejection {
    const ALL: [Self; 6] = [
        Self::Connections,
        Self::Address,
        Self::Rate(Duration::ZERO),
        Self::Sockets,
        Self::Prefix,
        Self::Provisional,
    ];

    const fn index(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::Address => 1,
            Self::Rate(_) => 2,
            Self::Sockets => 3,
            Self::Prefix => 4,
            Self::Provisional => 5,
        }
    }

    /// Returns the name of the limit in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::Rate(_) => "rate",
            Self::Sockets => "sockets",
            Self::Prefix => "prefix",
            Self::Provisional => "provisional",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Connections => "--max-connections is reached",
            Self::Address => {
                "--max-connections-per-address is reached; if this is a proxy, name it with \
                 --trusted-proxy"
            }
            Self::Prefix => {
                "--ipv6-prefix-factor times --max-connections-per-address is reached by a /56 or /48"
            }
            Self::Provisional => {
                "--provisional-sessions or --provisional-sessions-per-address is reached; if this is a \
                 proxy, name it with --trusted-proxy"
            }
            Self::Rate(_) => {
                "--connects-per-second is exceeded; if this is a proxy, name it with \
                 --trusted-proxy"
            }
            Self::Sockets => {
                "there are twice as many sockets as --max-connections or \
                 --max-connections-per-address allow; if this is a proxy, name it with \
                 --trusted-proxy"
            }
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let (status, wait, message) = match self {
            Self::Rate(wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (StatusCode::TOO_MANY_REQUESTS, seconds, "too many connections in a short time\n")
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, RETRY_SECONDS, "too many connections\n"),
        };
        // The socket is needed for other clients.
        let headers = [(RETRY_AFTER, wait.to_string()), (CONNECTION, "close".to_owned())];
        (status, headers, message).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(change: impl FnOnce(&mut Config)) -> ConnectionLimiter {
        let mut config = Config::default();
        change(&mut config);
        ConnectionLimiter::new(&config, Some(Rates::default()))
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn dropped_permit_makes_room() {
        let limiter = limiter(|config| {
            config.max_connections = 3.try_into().unwrap();
            config.max_connections_per_address = 2;
        });
        let now = Instant::now();
        let admit = |from| limiter.admit_at(address(from), now);
        let first = admit("2001:db8:0:1::1").unwrap();
        let second = admit("2001:db8:0:1:ffff::2").unwrap();
        assert_eq!(admit("2001:db8:0:1::3").unwrap_err(), Rejection::Address);
        let third = admit("2001:db8:0:2::1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Rejection::Connections);
        assert_eq!(limiter.admit_at(None, now).unwrap_err(), Rejection::Connections);
        assert_eq!(limiter.connections.taken(), 3);
        drop((first, second));
        let fourth = limiter.admit_at(None, now).unwrap();
        assert_eq!(limiter.connections.taken(), 2);
        drop((third, fourth));
        assert_eq!(limiter.connections.taken(), 0);
        assert_eq!(limiter.rejected()[..2], [("connections", 2), ("address", 1)]);
    }

    #[test]
    fn connection_rate_admits_a_school_and_rejects_a_flood() {
        let limiter = limiter(|config| config.max_connections_per_address = 0);
        let start = Instant::now();
        let mut open = Vec::new();
        for tick in 0..5_000 {
            let now = start + Duration::from_millis(2) * tick;
            open.push(limiter.admit_at(address("192.0.2.1"), now).unwrap());
        }
        let now = start + Duration::from_secs(60);
        let flood = |_| limiter.admit_at(address("192.0.2.1"), now);
        let admitted: Vec<_> = (0..5_000).map_while(|round| flood(round).ok()).collect();
        assert_eq!(admitted.len(), 1_000);
        let rejection = flood(0).unwrap_err();
        assert!(matches!(rejection, Rejection::Rate(wait) if wait <= Duration::from_millis(2)));
        let response = rejection.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert!(limiter.admit_at(address("192.0.2.2"), now).is_ok());
    }

    #[test]
    fn limits_can_be_disabled() {
        let limiter = limiter(|config| {
            (config.rate_limits, config.max_connections_per_address) = (false, 0);
        });
        let now = Instant::now();
        let admit = |_| limiter.admit_at(address("192.0.2.1"), now);
        assert_eq!(
            (0..20_000).map_while(|round| admit(round).ok()).collect::<Vec<_>>().len(),
            20_000
        );
    }
}

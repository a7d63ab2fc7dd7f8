//! A rate limit on HTTP requests: [`RequestLimiter`].

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    http::{
        StatusCode,
        header::{CONNECTION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use hashlink::LruCache;
use ipnet::IpNet;
use purrr_core::{model::Rate, rate::Gcra};
use tokio::time::Instant;

use super::{
    address_quotas::{NETWORKS, scaled},
    lock,
    log_interval::LogInterval,
};
use crate::{
    config::Config,
    net::client_address::{for_logs, scopes},
};

/// Limits how fast requests come from an address, and within a polling session.
///
/// A request of a polling session counts only there and in what the sessions of the address share.
/// So a lively client that polls is not held up by the pages of its neighbours, nor they by it.
/// Memory: 120 bytes for each of the last [`NETWORKS`] addresses and networks, twice.
#[derive(Debug)]
pub(crate) struct RequestLimiter {
    start: Instant,
    requests: AddressRates,
    /// The rate of one polling session.
    session: Rate,
    /// What the polling sessions of an address share. None without a limit.
    polling: Option<AddressRates>,
    rejected: [AtomicU64; RequestKind::ALL.len()],
    log: LogInterval,
}

/// The requests of one polling session.
#[derive(Debug, Default)]
pub(crate) struct SessionRequests(Mutex<Gcra>);

/// A request above its rate, and how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyRequests(Duration);

/// What a request counts as.
#[derive(Clone, Copy, Debug)]
enum RequestKind {
    Plain,
    Polling,
}

/// One rate for each address and its wider networks.
#[derive(Debug)]
struct AddressRates {
    rate: Rate,
    prefix_factor: u32,
    limiters: Mutex<LruCache<IpNet, Gcra>>,
}

impl RequestLimiter {
    /// Creates the limits of a server. Returns `None` without rate limits.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let rates = |rate| AddressRates::new(rate, config.ipv6_prefix_factor);
        let clients = NonZeroU32::new(config.rates_per_address);
        config.rate_limits.then(|| Self {
            start: Instant::now(),
            requests: rates(config.request_rate),
            session: config.polling_rate,
            polling: clients.map(|clients| rates(scaled(config.polling_rate, clients.get()))),
            rejected: Default::default(),
            log: LogInterval::default(),
        })
    }

    /// Admits a request of no polling session.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Result<(), TooManyRequests> {
        self.take(address).map_err(|wait| self.reject(RequestKind::Plain, wait, address))
    }

    /// Counts a request that is answered in any case. Returns true if it is above the rate.
    pub(super) fn is_exceeded_by(&self, address: Option<IpAddr>) -> bool {
        self.take(address).is_err()
    }

    fn take(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        address.map_or(Ok(()), |address| self.requests.take(address, self.start.elapsed()))
    }

    /// Admits a request of a polling session.
    pub(super) fn admit_polling(
        &self,
        session: &SessionRequests,
        address: Option<IpAddr>,
    ) -> Result<(), TooManyRequests> {
        let now = self.start.elapsed();
        let taken = lock(&session.0).take(self.session, 1, now);
        let taken = taken.and_then(|()| match (&self.polling, address) {
            (Some(polling), Some(address)) => polling.take(address, now),
            _ => Ok(()),
        });
        taken.map_err(|wait| self.reject(RequestKind::Polling, wait, address))
    }

    /// Returns the number of rejected requests by reason.
    pub(crate) fn rejected(&self) -> [(&'static str, u64); RequestKind::ALL.len()] {
        RequestKind::ALL
            .map(|kind| (kind.name(), self.rejected[kind as usize].load(Ordering::Relaxed)))
    }

    #[cold]
    fn reject(
        &self,
        kind: RequestKind,
        wait: Duration,
        address: Option<IpAddr>,
    ) -> TooManyRequests {
        self.rejected[kind as usize].fetch_add(1, Ordering::Relaxed);
        if self.log.is_due(Instant::now()) {
            let from = address.map_or_else(|| "an unknown address".to_owned(), for_logs);
            tracing::warn!(%from, "refused a request: {}", kind.advice());
        }
        TooManyRequests(wait)
    }
}

impl AddressRates {
    fn new(rate: Rate, prefix_factor: u32) -> Self {
        Self { rate, prefix_factor, limiters: Mutex::new(LruCache::new(NETWORKS)) }
    }

    /// Takes a token of the address and of each wider network, or of none.
    ///
    /// The widest network comes first: an address that it refuses evicts no other.
    fn take(&self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let mut limiters = lock(&self.limiters);
        let mut taken = [const { None }; 3];
        for (scope, taken) in scopes(address, self.prefix_factor).rev().zip(&mut taken) {
            let mut limiter = limiters.get(&scope.net).copied().unwrap_or_default();
            limiter.take(scaled(self.rate, scope.factor), 1, now)?;
            *taken = Some((scope.net, limiter));
        }
        limiters.extend(taken.into_iter().flatten());
        Ok(())
    }
}

impl RequestKind {
    const ALL: [Self; 2] = [Self::Plain, Self::Polling];

    /// Returns the name of the reason in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "request-rate",
            Self::Polling => "polling-rate",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Plain => {
                "--request-rate is exceeded; if this is a proxy, name it with --trusted-proxy"
            }
            Self::Polling => {
                "--polling-rate, or --rates-per-address times it, is exceeded; if this is a proxy, \
                 name it with --trusted-proxy"
            }
        }
    }
}

impl IntoResponse for TooManyRequests {
    fn into_response(self) -> Response {
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        // Otherwise the client would go on without a pause.
        let headers = [(RETRY_AFTER, seconds.to_string()), (CONNECTION, "close".to_owned())];
        let message = format!("too many requests; retry after {seconds} s\n");
        (StatusCode::TOO_MANY_REQUESTS, headers, message).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(change: impl FnOnce(&mut Config)) -> RequestLimiter {
        let mut config = Config::default();
        (config.request_rate, config.polling_rate) = (Rate::new(1, 10), Rate::new(1, 20));
        change(&mut config);
        RequestLimiter::new(&config).unwrap()
    }

    fn admitted(mut admit: impl FnMut() -> bool) -> usize {
        (0..10_000).take_while(|_| admit()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn request_rate_of_an_address_and_of_its_ipv6_networks() {
        let limiter = limiter(|_| {});
        let take = |address: &str| {
            let address = Some(address.parse().unwrap());
            admitted(|| limiter.admit(address).is_ok())
        };
        assert_eq!([take("192.0.2.1"), take("192.0.2.1"), take("192.0.2.2")], [10, 0, 10]);
        let network = |number: u32| take(&format!("2001:db8:0:{number:x}::1"));
        assert_eq!((0..256).map(network).sum::<usize>(), 40, "a /56");
        assert_eq!((256..0x1_0000).map(network).sum::<usize>(), 120, "the rest of a /48");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(take("192.0.2.1"), 3);
        assert_eq!(admitted(|| limiter.admit(None).is_ok()), 10_000, "the address is unknown");
        assert!(lock(&limiter.requests.limiters).len() < 256, "refused addresses are not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn polling_session_has_a_rate_of_its_own() {
        let limiter = limiter(|config| config.rates_per_address = 2);
        let address = Some("192.0.2.1".parse().unwrap());
        let take = |session: &SessionRequests| {
            admitted(|| limiter.admit_polling(session, address).is_ok())
        };
        let sessions: [_; 4] = std::array::from_fn(|_| SessionRequests::default());
        assert_eq!(sessions.each_ref().map(take), [20, 20, 0, 0]);
        assert_eq!(admitted(|| limiter.admit(address).is_ok()), 10);
        assert_eq!(limiter.rejected(), [("request-rate", 1), ("polling-rate", 4)]);
        let unlimited = Config { rate_limits: false, ..Config::default() };
        assert!(RequestLimiter::new(&unlimited).is_none());
    }
}

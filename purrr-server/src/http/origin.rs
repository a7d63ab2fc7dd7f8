//! Which web pages may connect: [`Origins`].

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONNECTION, HOST, ORIGIN},
    },
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use crate::{
    config::{Config, Network, Origin},
    limits::log_interval::LogInterval,
    net::{
        authority::{Authority, forwarded_hosts},
        client_address::is_from_proxy,
    },
};

/// The relation between the page that sends a request and this server (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The allowed origins, compared by scheme, host and port.
///
/// A page of the server's own host is always allowed: the host that the request names, or that a
/// trusted proxy says the client named. A port that one side leaves out is no difference. A request
/// without `Origin` is allowed unless its browser says that a page of another site sent it:
/// browsers send no `Origin` with an image. A client that is no browser sends neither header.
#[derive(Debug)]
pub(crate) struct Origins {
    allowed: Vec<Origin>,
    trusted_proxies: Vec<Network>,
    refused: [AtomicU64; OriginRefusal::ALL.len()],
    log: LogInterval,
}

/// Why a request may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginRefusal {
    /// The page's origin is not allowed.
    Origin,
    /// A page of another site sent the request without `Origin`.
    CrossSite,
    /// A header that decides is there twice, so proxy and server may each read another one.
    DuplicateHeader,
}

impl Origins {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            allowed: config.allowed_origin.clone(),
            trusted_proxies: config.trusted_proxy.clone(),
            refused: Default::default(),
            log: LogInterval::default(),
        }
    }

    /// Checks if a request may connect. Counts refusals and logs which option would allow it.
    pub(crate) fn check(&self, request: &Request) -> Result<(), OriginRefusal> {
        self.decide(request).inspect_err(|refusal| {
            self.refused[refusal.index()].fetch_add(1, Ordering::Relaxed);
            if self.log.is_due(Instant::now()) {
                let headers = request.headers();
                let origin = for_logs(headers.get(ORIGIN));
                let host = match request.uri().authority() {
                    Some(authority) => shortened(authority.as_str()),
                    None => for_logs(headers.get(HOST)),
                };
                tracing::info!(origin, host, "refused a request: {}", refusal.advice());
            }
        })
    }

    /// Returns true if the origin is in the list.
    pub(crate) fn lists(&self, origin: &HeaderValue) -> bool {
        // Most browsers send the normal form.
        self.allowed.iter().any(|allowed| origin == allowed.as_str())
            || parse(origin).is_some_and(|sent| self.lists_parsed(&sent))
    }

    fn lists_parsed(&self, sent: &Origin) -> bool {
        self.allowed.iter().any(|allowed| allowed.matches(sent))
    }

    /// Returns true if the page came from the host that it connects to.
    fn is_own(&self, origin: &Origin, request: &Request) -> bool {
        let headers = request.headers();
        // RFC 9112, section 3.2.2: the target's authority counts and not `Host`.
        let named = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(HOST).and_then(|host| host.to_str().ok()),
        };
        let is_of = |host: Authority| origin.is_of(&host);
        named.and_then(Authority::parse).is_some_and(is_of)
            || (is_from_proxy(request, &self.trusted_proxies)
                && forwarded_hosts(headers).any(is_of))
    }

    /// Returns the number of refused requests by reason.
    pub(crate) fn refused(&self) -> [(&'static str, u64); OriginRefusal::ALL.len()] {
        OriginRefusal::ALL
            .map(|refusal| (refusal.name(), self.refused[refusal.index()].load(Ordering::Relaxed)))
    }

    fn decide(&self, request: &Request) -> Result<(), OriginRefusal> {
        let headers = request.headers();
        if let Some(origin) = single(headers, &ORIGIN)? {
            single(headers, &SEC_FETCH_SITE)?;
            let sent = parse(origin);
            let allowed =
                sent.is_some_and(|sent| self.lists_parsed(&sent) || self.is_own(&sent, request));
            return allowed.then_some(()).ok_or(OriginRefusal::Origin);
        }
        match single(headers, &SEC_FETCH_SITE)? {
            Some(site) if site != "none" && site != "same-origin" => Err(OriginRefusal::CrossSite),
            _ => Ok(()),
        }
    }
}

impl OriginRefusal {
    const ALL: [Self; 3] = [Self::Origin, Self::CrossSite, Self::DuplicateHeader];

    const fn index(self) -> usize {
        self as usize
    }

    /// Returns the name of the reason in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::CrossSite => "cross-site",
            Self::DuplicateHeader => "duplicate-header",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Origin => "its page has another origin; --allowed-origin allows further origins",
            Self::CrossSite => "a page of another site sent it without `Origin`",
            Self::DuplicateHeader => "`Origin` or `Sec-Fetch-Site` is there twice",
        }
    }
}

impl IntoResponse for OriginRefusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect here; connect from an allowed origin\n",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "pages of other sites may not connect here; send `Origin` from an allowed one\n",
            ),
            Self::DuplicateHeader => {
                (StatusCode::BAD_REQUEST, "send `Origin` and `Sec-Fetch-Site` at most once each\n")
            }
        };
        (status, [(CONNECTION, "close")], message).into_response()
    }
}

/// Returns the value of a header that may be there once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, OriginRefusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(OriginRefusal::DuplicateHeader),
    }
}

fn parse(origin: &HeaderValue) -> Option<Origin> {
    origin.to_str().ok()?.parse().ok()
}

/// Returns a header of a client for the log.
fn for_logs(value: Option<&HeaderValue>) -> String {
    value.map_or_else(String::new, |value| shortened(&String::from_utf8_lossy(value.as_bytes())))
}

/// Returns the beginning of a text that a client wrote.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    text.chars().take(LONGEST).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{body::Body, extract::ConnectInfo, http::header::FORWARDED};

    use super::*;

    fn origins(allowed: &str) -> Origins {
        let config = Config {
            allowed_origin: vec![allowed.parse().unwrap()],
            trusted_proxy: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::default()
        };
        Origins::new(&config)
    }

    /// Returns a request of a peer with this address.
    fn request(peer: &str, target: &str, lines: &[(&HeaderName, &str)]) -> Request {
        let mut request = Request::builder().uri(target);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let peer: SocketAddr = format!("{peer}:1").parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    }

    #[test]
    fn origins_are_compared_as_origins() {
        let origins = origins("https://good.example");
        for (origin, host, admitted) in [
            ("https://good.example", "chat.example", true),
            ("https://Good.Example:443", "chat.example", true),
            ("wss://good.example", "chat.example", true),
            ("https://good.example.evil.com", "chat.example", false),
            ("https://evilgood.example", "chat.example", false),
            ("http://good.example", "chat.example", false),
            ("https://good.example:444", "chat.example", false),
            ("null", "chat.example", false),
            ("", "chat.example", false),
            ("https://chat.example", "chat.example", true),
            ("https://chat.example", "CHAT.example.", true),
            ("https://chat.example:8443", "chat.example", true),
            ("https://chat.example", "chat.example:8443", true),
            ("https://chat.example:8443", "chat.example:443", false),
            ("https://chat.example.evil.test:8443", "chat.example", false),
            ("app://chat.example", "chat.example", false),
            ("http://localhost:3007", "localhost:3007", true),
            ("http://localhost:3008", "localhost:3007", false),
            ("ws://127.0.0.1:3007", "127.0.0.1:3007", true),
            ("wss://chat.example", "chat.example", true),
            ("http://[::1]:3007", "[0:0::1]:3007", true),
            ("http://a b", "a b", false),
            ("https://", "", false),
        ] {
            let request = request("192.0.2.1", "/ws", &[(&ORIGIN, origin), (&HOST, host)]);
            assert_eq!(origins.check(&request).is_ok(), admitted, "{origin} on {host}");
        }
        assert_eq!(origins.check(&request("192.0.2.1", "/ws", &[])), Ok(()));
        for (target, host, admitted) in [
            ("http://a.example/ws", "b.example", true),
            ("http://a.example/ws", "a.example", true),
            ("http://b.example/ws", "a.example", false),
        ] {
            let lines = [(&ORIGIN, "http://a.example"), (&HOST, host)];
            let request = request("192.0.2.1", target, &lines);
            assert_eq!(origins.check(&request).is_ok(), admitted, "{target}, host {host}");
        }
    }

    #[test]
    fn forwarded_hosts_count_from_trusted_proxies() {
        let origins = origins("https://good.example");
        let (x, f) = (HeaderName::from_static("x-forwarded-host"), FORWARDED);
        for (name, value, admitted) in [
            (&x, "chat.example", true),
            (&x, "Chat.Example:443", true),
            (&x, "chat.example, inner.example", true),
            (&x, "chat.example:8443", true),
            (&x, "chat.example:x", false),
            (&x, "chat.example.evil.test", false),
            (&x, "", false),
            (&f, "host=chat.example", true),
            (&f, "for=1.1.1.1;Host=\"chat.example:443\";proto=https", true),
            (&f, "for=1.1.1.1, for=10.0.0.2;host=chat.example", true),
            (&f, "for=chat.example", false),
        ] {
            let lines =
                [(&ORIGIN, "https://chat.example"), (&HOST, "127.0.0.1:3007"), (name, value)];
            let ask = |peer: &str| origins.check(&request(peer, "/ws", &lines)).is_ok();
            assert_eq!(ask("10.0.0.1"), admitted, "{value}");
            assert!(!ask("192.0.2.1"), "{value} from any other peer");
        }
    }

    #[test]
    fn cross_site_requests_without_origin_are_refused() {
        let origins = origins("https://good.example");
        let (origin, site) = (ORIGIN, SEC_FETCH_SITE);
        let listed = (&origin, "https://good.example");
        let evil = (&origin, "https://evil.example");
        for (lines, expected) in [
            (&[(&site, "cross-site")][..], Err(OriginRefusal::CrossSite)),
            (&[(&site, "same-site")], Err(OriginRefusal::CrossSite)),
            (&[(&site, "a-later-word")], Err(OriginRefusal::CrossSite)),
            (&[(&site, "same-origin")], Ok(())),
            (&[(&site, "none")], Ok(())),
            (&[listed, (&site, "cross-site")], Ok(())),
            (&[evil, (&site, "same-origin")], Err(OriginRefusal::Origin)),
            (&[listed, evil], Err(OriginRefusal::DuplicateHeader)),
            (&[listed, listed], Err(OriginRefusal::DuplicateHeader)),
            (&[(&site, "none"), (&site, "cross-site")], Err(OriginRefusal::DuplicateHeader)),
            (&[listed, (&site, "none"), (&site, "none")], Err(OriginRefusal::DuplicateHeader)),
        ] {
            let request = request("192.0.2.1", "/ws", lines);
            assert_eq!(origins.check(&request), expected, "{lines:?}");
        }
        let refused = [("origin", 1), ("cross-site", 3), ("duplicate-header", 4)];
        assert_eq!(origins.refused(), refused);
    }
}

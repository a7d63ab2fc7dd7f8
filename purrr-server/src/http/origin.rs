//! Which web pages may connect: [`Origins`].

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONNECTION, HOST, ORIGIN},
    },
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use crate::{config::Origin, limits::log_interval::LogInterval};

/// The relation between the page that sends a request and this server (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The allowed origins, compared exactly.
///
/// A page of the server's own host is always allowed. A request without `Origin` is allowed unless
/// its browser says that a page of another site sent it: browsers send no `Origin` with an image.
/// A client that is no browser sends neither header.
#[derive(Debug)]
pub(crate) struct Origins {
    allowed: Vec<Origin>,
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
    pub(crate) fn new(allowed: Vec<Origin>) -> Self {
        Self { allowed, refused: Default::default(), log: LogInterval::default() }
    }

    /// Checks if a request may connect. Counts refusals and logs which option would allow it.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), OriginRefusal> {
        self.decide(headers).inspect_err(|refusal| {
            self.refused[refusal.index()].fetch_add(1, Ordering::Relaxed);
            if self.log.is_due(Instant::now()) {
                tracing::info!("refused a request: {}", refusal.advice());
            }
        })
    }

    /// Returns true if the origin is in the list.
    pub(crate) fn lists(&self, origin: &HeaderValue) -> bool {
        self.allowed.iter().any(|allowed| origin == allowed.as_str())
    }

    /// Returns the number of refused requests by reason.
    pub(crate) fn refused(&self) -> [(&'static str, u64); OriginRefusal::ALL.len()] {
        OriginRefusal::ALL
            .map(|refusal| (refusal.name(), self.refused[refusal.index()].load(Ordering::Relaxed)))
    }

    fn decide(&self, headers: &HeaderMap) -> Result<(), OriginRefusal> {
        if let Some(origin) = single(headers, &ORIGIN)? {
            single(headers, &SEC_FETCH_SITE)?;
            let allowed = self.lists(origin) || is_own(origin, headers.get(HOST));
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

/// Returns true if the page came from the host that it connects to.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_exactly() {
        let origins = Origins::new(vec!["https://good.example".parse().unwrap()]);
        for (origin, host, admitted) in [
            ("https://good.example", "chat.example", true),
            ("https://good.example.evil.com", "chat.example", false),
            ("https://evilgood.example", "chat.example", false),
            ("http://good.example", "chat.example", false),
            ("https://good.example:444", "chat.example", false),
            ("null", "chat.example", false),
            ("https://chat.example", "chat.example", true),
            ("http://localhost:3007", "localhost:3007", true),
            ("http://localhost:3008", "localhost:3007", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            headers.insert(HOST, HeaderValue::from_static(host));
            assert_eq!(origins.check(&headers).is_ok(), admitted, "{origin} on {host}");
        }
        assert_eq!(origins.check(&HeaderMap::new()), Ok(()));
        let with_slash = Origins::new(vec!["https://good.example/".parse().unwrap()]);
        assert!(with_slash.lists(&HeaderValue::from_static("https://good.example")));
    }

    #[test]
    fn cross_site_requests_without_origin_are_refused() {
        let origins = Origins::new(vec!["https://good.example".parse().unwrap()]);
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
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(origins.check(&headers), expected, "{lines:?}");
        }
        let refused = [("origin", 1), ("cross-site", 3), ("duplicate-header", 4)];
        assert_eq!(origins.refused(), refused);
    }
}

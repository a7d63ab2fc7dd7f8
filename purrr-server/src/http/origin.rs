//! The origins of web pages that may connect: [`Origins`].

use axum::http::{
    HeaderMap, HeaderValue,
    header::{HOST, ORIGIN},
};

use crate::config::Origin;

/// The allowed origins, compared exactly.
///
/// A page of the server's own host is always allowed, and so is a client without `Origin`, which is
/// no web page.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<Origin>);

impl Origins {
    pub(crate) const fn new(allowed: Vec<Origin>) -> Self {
        Self(allowed)
    }

    /// Returns true if a request may connect. Logs which option would allow it otherwise.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let admitted = self.lists(origin) || is_own(origin, headers.get(HOST));
        if !admitted {
            tracing::info!("refused a page of another origin; `--allowed-origin` lets one in");
        }
        admitted
    }

    /// Returns true if the origin is in the list.
    pub(crate) fn lists(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|listed| origin == listed.as_str())
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
            assert_eq!(origins.admit(&headers), admitted, "{origin} on {host}");
        }
        assert!(origins.admit(&HeaderMap::new()));
        let with_slash = Origins::new(vec!["https://good.example/".parse().unwrap()]);
        assert!(with_slash.lists(&HeaderValue::from_static("https://good.example")));
    }
}

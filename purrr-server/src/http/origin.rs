//! Which web pages may talk to this server: [`Origins`].

use axum::http::{
    HeaderMap, HeaderValue,
    header::{HOST, ORIGIN},
};

use crate::config::Origin;

/// The origins that are let in, compared whole and exactly.
///
/// Besides those in the list, a page may always talk to the host it came from; and programs, which send no `Origin`,
/// are nobody's page.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<Origin>);

impl Origins {
    pub(crate) const fn new(allowed: Vec<Origin>) -> Self {
        Self(allowed)
    }

    /// Whether a request with these headers may go on; says in the log which option would let it.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let admitted = self.lists(origin) || own(origin, headers.get(HOST));
        if !admitted {
            tracing::info!("refused a page of another origin; `--allowed-origin` lets one in");
        }
        admitted
    }

    /// Whether the origin is in the list.
    pub(crate) fn lists(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|listed| origin == listed.as_str())
    }
}

fn own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else {
        return false;
    };
    ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
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

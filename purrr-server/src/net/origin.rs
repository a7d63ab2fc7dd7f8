//! Origins of web pages: [`Origin`].

use std::{fmt, str::FromStr};

use super::authority::Authority;

/// The origin of a web page, such as `https://chat.example`, in one normal form.
///
/// Scheme and host are in lower case, `ws` and `wss` are `http` and `https`, and a default port is
/// left out. `null` and `file://` are origins, and `https://*.example.com` stands for all hosts one
/// label below `example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: String,
    scheme: String,
    /// None for `null` and `file://`.
    authority: Option<Authority>,
}

/// A text that is no [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an origin such as https://chat.example")]
pub struct OriginError;

impl Origin {
    /// Returns the origin in its normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if a request with this origin is one of those that `self` stands for.
    pub(crate) fn matches(&self, sent: &Self) -> bool {
        let below = || {
            let (pattern, sent_authority) = (self.authority.as_ref()?, sent.authority.as_ref()?);
            let label = sent_authority.host.strip_suffix(pattern.host.strip_prefix('*')?)?;
            let is_label = !label.is_empty() && !label.contains(['.', '*']);
            Some(is_label && self.scheme == sent.scheme && pattern.port == sent_authority.port)
        };
        self == sent || below() == Some(true)
    }

    /// Returns false for `null` and `file://`, which name no site.
    pub(crate) const fn has_host(&self) -> bool {
        self.authority.is_some()
    }

    /// Returns true if the page came from `host`, by HTTP or HTTPS.
    pub(crate) fn is_of(&self, host: &Authority) -> bool {
        matches!(&*self.scheme, "http" | "https")
            && self.authority.as_ref().is_some_and(|own| own.agrees_with(host))
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Parses a scheme, a host and maybe a port, without a path but for one slash.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if text.eq_ignore_ascii_case("null") => {
                let scheme = "null".to_owned();
                return Ok(Self { text: scheme.clone(), scheme, authority: None });
            }
            None => return Err(OriginError),
        };
        let scheme = match &*scheme {
            "ws" => "http".to_owned(),
            "wss" => "https".to_owned(),
            _ => scheme,
        };
        if scheme == "file" && matches!(rest, "" | "/") {
            return Ok(Self { text: "file://".to_owned(), scheme, authority: None });
        }
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let authority = Authority::parse(rest.strip_suffix('/').unwrap_or(rest));
        let (true, Some(mut authority)) = (is_scheme, authority) else { return Err(OriginError) };
        if authority.host.contains('*') && !is_pattern(&authority.host) {
            return Err(OriginError);
        }
        authority.port = authority.port.filter(|port| Some(*port) != default_port(&scheme));
        Ok(Self { text: format!("{scheme}://{authority}"), scheme, authority: Some(authority) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns true for `*.` and at least two labels, so that no pattern names all of a top level.
fn is_pattern(host: &str) -> bool {
    host.strip_prefix("*.").is_some_and(|rest| {
        rest.contains('.') && rest.split('.').all(|label| !label.is_empty() && !label.contains('*'))
    })
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap_or_else(|OriginError| panic!("{text}"))
    }

    #[test]
    fn origin_has_one_normal_form() {
        for (text, normal) in [
            ("https://chat.example", "https://chat.example"),
            ("https://chat.example/", "https://chat.example"),
            ("HTTPS://Chat.Example:443", "https://chat.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:80/", "http://localhost"),
            ("https://chat.example:80", "https://chat.example:80"),
            ("ws://chat.example", "http://chat.example"),
            ("wss://chat.example:443", "https://chat.example"),
            ("app.x+y-z://h", "app.x+y-z://h"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("http://[::1]:3007", "http://[::1]:3007"),
            ("null", "null"),
            ("file://", "file://"),
            ("file:///", "file://"),
            ("https://*.example.com", "https://*.example.com"),
            ("https://*.Example.com:8443", "https://*.example.com:8443"),
        ] {
            assert_eq!(origin(text).as_str(), normal);
            assert_eq!(origin(origin(text).as_str()), origin(text));
        }
        for wrong in [
            "",
            "*",
            "chat.example",
            "://a",
            "https://",
            "https://a/b",
            "https://a b",
            "https://user@a",
            "https://*",
            "https://*.a",
            "https://*.",
            "https://*..a.example",
            "https://a*.example.com",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "1s://a",
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(OriginError), "{wrong}");
        }
    }

    #[test]
    fn pattern_is_one_label_deep() {
        for (sent, matches) in [
            ("https://a.example.com", true),
            ("https://A.Example.com:443", true),
            ("https://example.com", false),
            ("https://a.b.example.com", false),
            ("https://a.example.com.evil.test", false),
            ("https://aexample.com", false),
            ("https://a.example.com:8443", false),
            ("http://a.example.com", false),
            ("https://*.example.com", true),
            ("null", false),
        ] {
            let pattern = origin("https://*.example.com");
            assert_eq!(pattern.matches(&origin(sent)), matches, "{sent}");
        }
        assert!(origin("null").matches(&origin("null")));
        assert!(!origin("null").matches(&origin("file://")));
    }
}

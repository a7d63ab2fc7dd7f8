//! Hosts with ports, as `Host` and origins have them: [`Authority`].

use std::{fmt, net::Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, header::FORWARDED};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A host and maybe a port, in one normal form: lower case, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Parses `uri-host [ ":" port ]` of RFC 9110, section 7.2. An empty host is refused.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let host = host.strip_suffix('.').unwrap_or(host);
                let is_plain = !host.is_empty() && host.bytes().all(is_in_host);
                (is_plain.then(|| host.to_ascii_lowercase())?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Returns true if the hosts are equal, and the ports as far as both are told.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.host == other.host
            && self.port.zip(other.port).is_none_or(|(port, other)| port == other)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Returns the hosts that proxies say the client asked for.
///
/// Only for requests of trusted proxies.
pub(crate) fn forwarded_hosts(headers: &HeaderMap) -> impl Iterator<Item = Authority> {
    let items = |name: &HeaderName| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim)
    };
    let forwarded = items(&FORWARDED).flat_map(|element| element.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("host").then(|| value.trim().trim_matches('"'))
    });
    items(&X_FORWARDED_HOST).chain(forwarded).filter_map(Authority::parse)
}

/// Returns true for the bytes of a registered name or an IPv4 address (RFC 3986, section 3.2.2).
const fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_has_one_normal_form() {
        for (text, normal) in [
            ("chat.example", Some("chat.example")),
            ("Chat.Example.", Some("chat.example")),
            ("chat.example:", Some("chat.example")),
            ("chat.example:08443", Some("chat.example:8443")),
            ("127.0.0.1:3007", Some("127.0.0.1:3007")),
            ("[::1]:3007", Some("[::1]:3007")),
            ("[2001:DB8:0::1]", Some("[2001:db8::1]")),
            ("xn--4ca.example", Some("xn--4ca.example")),
            ("my_service", Some("my_service")),
            ("", None),
            (".", None),
            (":80", None),
            ("a b", None),
            ("a/b", None),
            ("a,b", None),
            ("user@a", None),
            ("a?b", None),
            ("a#b", None),
            ("a:b", None),
            ("a:80:80", None),
            ("a:65536", None),
            ("a:+80", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[a]", None),
            ("ä.example", None),
        ] {
            let parsed = Authority::parse(text).map(|authority| authority.to_string());
            assert_eq!(parsed.as_deref(), normal, "{text}");
        }
    }
}

//! The address of a client, also behind trusted proxies: [`client`].

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, header::FORWARDED},
};
use ipnet::IpNet;

use super::cidr::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A network that limits count by, and what it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) net: IpNet,
    /// The limits of the network, in those of one address.
    pub(crate) factor: u32,
}

/// Returns the networks that an address counts in, the narrowest first.
///
/// An IPv4 address counts by itself. An IPv6 address counts as its /64, since a client with one of
/// them usually has all 2^64; and in its /56, which is what a line usually gets, and in its /48. A
/// /56 has `prefix_factor` times the limits of a /64, and a /48 as many times those of a /56. With
/// 0 only the /64 counts.
pub(crate) fn scopes(
    address: IpAddr,
    prefix_factor: u32,
) -> impl DoubleEndedIterator<Item = Scope> + Clone {
    let scope = move |v6, factor| Scope { net: truncated(address, 32, v6), factor };
    let wider = prefix_factor > 0 && address.to_canonical().is_ipv6();
    let wider = [(56, prefix_factor), (48, prefix_factor.saturating_mul(prefix_factor))]
        .into_iter()
        .filter(move |_| wider);
    std::iter::once((64, 1)).chain(wider).map(move |(length, factor)| scope(length, factor))
}

/// Returns the network of an address for the log: an IPv4 /24 or an IPv6 /48.
///
/// That is enough to find a proxy by, and too little to find a person.
pub(crate) fn for_logs(address: IpAddr) -> String {
    truncated(address, 24, 48).to_string()
}

fn truncated(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let address = address.to_canonical();
    let prefix = if address.is_ipv4() { v4 } else { v6 };
    IpNet::new(address, prefix).expect("the prefix is no longer than the address").trunc()
}

/// Returns true if a trusted proxy sent the request.
///
/// False without [`ConnectInfo`], as in an app that does not provide it.
pub(crate) fn is_from_proxy(request: &Request, trusted: &[Network]) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|ConnectInfo(peer)| trusted.iter().any(|network| network.contains(peer.ip())))
}

/// Returns the address of the client behind `peer`: the last hop that is no trusted proxy.
///
/// A proxy that sets one of the two headers forwards the other as the client wrote it. If both are
/// present and disagree, neither is trusted and the request counts as the proxy's own.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let trusts = |address| trusted.iter().any(|network| network.contains(address));
    if !trusts(peer) {
        return peer;
    }
    let follow = |name: &HeaderName, read: fn(&str) -> Option<IpAddr>| {
        let mut last = peer;
        for value in headers.get_all(name).iter().rev() {
            for hop in value.to_str().ok()?.rsplit(',') {
                let Some(hop) = read(hop.trim()) else { return Some(last) };
                last = hop;
                if !trusts(hop) {
                    return Some(last);
                }
            }
        }
        headers.contains_key(name).then_some(last)
    };
    match (follow(&X_FORWARDED_FOR, hop), follow(&FORWARDED, forwarded_hop)) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => peer,
    }
}

/// Parses an address that may come with a port.
fn hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
}

/// Parses an element of `Forwarded`, such as `for="[2001:db8::1]:80";proto=https`.
fn forwarded_hop(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| hop(value.trim().trim_matches('"')))?
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_are_truncated_to_networks() {
        let [v4, v6, mapped] = ["192.0.2.77", "2001:db8:1:2:3::4", "::ffff:192.0.2.77"]
            .map(|text| text.parse().unwrap());
        let counted = |address, factor| {
            let scopes = scopes(address, factor).map(|scope| (scope.net.to_string(), scope.factor));
            scopes.collect::<Vec<_>>()
        };
        let networks = |networks: &[(&str, u32)]| {
            networks.iter().map(|(net, factor)| ((*net).to_owned(), *factor)).collect::<Vec<_>>()
        };
        let [one, wider, widest] =
            [("2001:db8:1:2::/64", 1), ("2001:db8:1::/56", 4), ("2001:db8:1::/48", 16)];
        assert_eq!(counted(v6, 4), networks(&[one, wider, widest]));
        assert_eq!(counted(v6, 0), networks(&[one]));
        assert_eq!(counted(mapped, 4), networks(&[("192.0.2.77/32", 1)]));
        assert_eq!(for_logs(v4), "192.0.2.0/24");
        assert_eq!(for_logs(v6), "2001:db8:1::/48");
    }

    #[test]
    fn forwarded_headers_need_trusted_proxy() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let (x, f) = (X_FORWARDED_FOR, FORWARDED);
        for (peer, lines, client_is) in [
            ("192.0.2.1", &[(&x, "198.51.100.1")][..], "192.0.2.1"),
            ("192.0.2.1", &[(&f, "for=198.51.100.1")], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(&x, "198.51.100.1")], "198.51.100.1"),
            ("::ffff:10.0.0.1", &[(&x, "198.51.100.1:4711")], "198.51.100.1"),
            ("10.0.0.1", &[(&x, "1.1.1.1, 198.51.100.1, 10.0.0.2")], "198.51.100.1"),
            ("10.0.0.1", &[(&x, "1.1.1.1"), (&x, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(&x, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[(&x, "198.51.100.1, rubbish")], "10.0.0.1"),
            ("10.0.0.1", &[(&x, "rubbish, 198.51.100.1")], "198.51.100.1"),
            (
                "10.0.0.1",
                &[(&f, "for=1.1.1.1, For=\"[2001:db9::1]:80\";proto=https")],
                "2001:db9::1",
            ),
            ("10.0.0.1", &[(&f, "for=\"1.1.1.1, for=198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(&f, "for=_hidden;by=1.1.1.1")], "10.0.0.1"),
            ("10.0.0.1", &[(&f, "for=198.51.100.1"), (&x, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(&f, "for=1.1.1.1"), (&x, "198.51.100.1")], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found = client(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found, client_is.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }
}

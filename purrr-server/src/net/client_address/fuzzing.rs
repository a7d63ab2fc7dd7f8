//! The target `client_address`: headers of proxies and clients.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use super::{X_FORWARDED_FOR, client};
use crate::net::cidr::Network;

/// An address that no trusted proxy has.
const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

/// Checks that trust ends at the proxies.
///
/// An untrusted peer is its own client. A hop that a client forges, left of the hops that trusted
/// proxies wrote, changes nothing. Each line of the input is a header: `F` and a value of
/// `Forwarded`, or else a value of `X-Forwarded-For`.
pub fn client_address(data: &[u8]) {
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
    let trusts = |address| trusted.iter().any(|network: &Network| network.contains(address));
    let [proxy, stranger] =
        ["10.0.0.1", "192.0.2.1"].map(|text| text.parse::<IpAddr>().expect("an address"));
    let headers = headers(data, None);
    assert_eq!(client(stranger, &headers, &trusted), stranger, "the peer is not trusted");
    assert_eq!(client(proxy, &headers, &[]), proxy, "no peer is trusted");

    let found = client(proxy, &headers, &trusted);
    if !trusts(found) {
        let forged = self::headers(data, Some(FORGED));
        assert_eq!(client(proxy, &forged, &trusted), found, "a forged hop is believed");
    }
}

/// Returns the headers, with a forged hop before all others of the same name.
fn headers(data: &[u8], forged: Option<Ipv4Addr>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let (name, value) = match line {
            [b'F', value @ ..] => (FORWARDED, value),
            value => (X_FORWARDED_FOR, value),
        };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        if let Some(forged) = forged.filter(|_| !headers.contains_key(&name)) {
            let hop = forge(&name, forged);
            headers.append(&name, HeaderValue::from_str(&hop).expect("an ASCII header"));
        }
        headers.append(&name, value);
    }
    headers
}

fn forge(name: &HeaderName, hop: Ipv4Addr) -> String {
    if name == FORWARDED { format!("for={hop}") } else { hop.to_string() }
}

//! Networks in CIDR notation: [`Network`].

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// A network such as `10.0.0.0/8` or `2001:db8::/32`, or a single address.
///
/// Host bits of the address are ignored: `10.1.2.3/8` is `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// A text that is no network.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be a network such as 10.0.0.0/8 or 2001:db8::/32, or an address")]
pub struct NetworkError;

impl Network {
    /// Returns true if the address belongs to the network.
    ///
    /// An IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = match text.split_once('/') {
            Some((address, prefix)) => {
                let address = address.parse().map_err(|_| NetworkError)?;
                let prefix = prefix.parse().map_err(|_| NetworkError)?;
                IpNet::new(address, prefix).map_err(|_| NetworkError)?
            }
            None => text.parse::<IpAddr>().map_err(|_| NetworkError)?.into(),
        };
        Ok(Self(network.trunc()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_its_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            let address = address.parse().unwrap();
            assert_eq!(parsed.contains(address), inside, "{address} in {network}");
        }
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "proxy"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}

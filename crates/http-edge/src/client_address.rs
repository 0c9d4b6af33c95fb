//! Whose request it is: the right-most hop that is not one of our own proxies. Forwarding headers count only as far as
//! trusted proxies wrote them (ASVS 4.1.3); whatever a client puts in front of them changes nothing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;

/// A network, as in `10.0.0.0/8`; an address alone is itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address = canonical(address.parse().ok()?);
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(widest), |p| p.parse().ok())?;
        (prefix <= widest).then_some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical(address)) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// An IPv4 address that came in as IPv6 is IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A network of the setting cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is not a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

/// The proxies whose forwarding headers count.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// From the setting's list.
    ///
    /// # Errors
    /// [`InvalidNetwork`], naming the first that cannot be read.
    pub fn parse(networks: &[String]) -> Result<Self, InvalidNetwork> {
        let parsed = networks.iter().map(|text| Network::parse(text).ok_or_else(|| InvalidNetwork(text.clone())));
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request. Loopback when the peer is not a network address.
    #[must_use]
    pub fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::LOCALHOST), |peer| canonical(peer.ip()));
        let forwarded: Vec<&str> = request
            .headers()
            .get_all("x-forwarded-for")
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let mut client = peer;
        for hop in forwarded.iter().rev() {
            if !self.trusts(client) {
                break;
            }
            // What a trusted proxy wrote and we cannot read ends the chain at that proxy.
            let Some(address) = parse_hop(hop.trim()) else { break };
            client = address;
        }
        client
    }
}

fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(canonical)
}

/// The key under which an address is counted: IPv6 by its /64, since a household or a host has a whole one.
#[must_use]
pub fn counted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8".into(), "fd00::/8".into()]).unwrap();
        let mut request = TestRequest::get().peer_addr(SocketAddr::new(peer.parse().unwrap(), 1));
        for value in forwarded {
            request = request.append_header(("x-forwarded-for", *value));
        }
        trusted.client(&request.to_http_request()).to_string()
    }

    #[test]
    fn the_right_most_untrusted_hop() {
        assert_eq!(client("203.0.113.9", &["1.1.1.1"]), "203.0.113.9", "a stranger's header counts for nothing");
        assert_eq!(client("10.1.2.3", &["1.1.1.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &["1.1.1.1, 203.0.113.9, 10.9.9.9"]), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &["203.0.113.9", "10.9.9.9"]), "203.0.113.9", "several headers are one list");
        assert_eq!(client("10.1.2.3", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &["junk"]), "10.1.2.3");
        assert_eq!(client("::ffff:10.1.2.3", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn ipv6_is_counted_by_its_64() {
        assert_eq!(counted("2001:db8:1:2:3:4:5:6".parse().unwrap()), "2001:db8:1:2::/64");
        assert_eq!(counted("203.0.113.9".parse().unwrap()), "203.0.113.9");
    }

    #[test]
    fn networks_are_checked() {
        for bad in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/-1"] {
            assert!(TrustedProxies::parse(&[bad.into()]).is_err(), "{bad}");
        }
    }
}

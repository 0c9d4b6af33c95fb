//! Where a server is.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::failure::Failure;

/// `http://host:port`, resolved once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For the `Host` header.
    pub(crate) host: String,
}

impl Target {
    /// Takes `http://`, `ws://` and nothing before the host; a path is not taken. No TLS: this machine measures itself.
    ///
    /// # Errors
    /// [`Failure::Usage`]
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let usage = |problem: &str| Failure::Usage(format!("{url}: {problem}; expected http://host:port"));
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")).unwrap_or(url);
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(usage("not an address"));
        }
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let mut addresses = with_port.to_socket_addrs().map_err(|error| usage(&error.to_string()))?;
        let address = addresses.find(SocketAddr::is_ipv4).ok_or_else(|| usage("no IPv4 address"))?;
        Ok(Self { address, host: host.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_scheme() {
        for url in ["http://127.0.0.1:8080", "ws://127.0.0.1:8080/", "127.0.0.1:8080"] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.address.port(), target.host.as_str()), (8080, "127.0.0.1:8080"));
        }
        for url in ["http://", "https://h:1", "http://127.0.0.1:1/path"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}

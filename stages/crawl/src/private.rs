//! Which addresses of the Internet Protocol are public, and a resolver that gives out no others.
//!
//! A connection is made to the very address that was checked, so a name that changes its address between check and use
//! (DNS rebinding) gains nothing. It does not know URLs: an address in place of a name is checked where the connection is made.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether an address belongs to a server that everybody may reach (IANA's special-purpose registries, RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = || {
        let [.., a, b, c, d] = address.octets();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // Mapped to version 4, and translated by NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => embedded(),
        // Special uses (Teredo among them), documentation, and 6to4, which contains any address of version 4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// The name of a server that has only private addresses.
#[derive(Debug)]
pub(crate) struct PrivateAddress;

impl std::fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name has only private addresses")
    }
}

impl std::error::Error for PrivateAddress {}

/// The system's resolver, without private addresses unless they are allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver {
    /// Whether private addresses are allowed.
    pub(crate) private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept: Vec<SocketAddr> =
                found.iter().copied().filter(|address| private || is_public(address.ip())).collect();
            if kept.is_empty() && !found.is_empty() {
                return Err(PrivateAddress.into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of this machine, which all systems know.
    #[test]
    fn a_name_with_private_addresses_only_is_refused() {
        let resolve = |private: bool| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let name = "localhost".parse().unwrap();
            runtime.block_on(Resolver { private }.resolve(name)).map(Iterator::count)
        };
        let error = resolve(false).unwrap_err();
        assert!(error.is::<PrivateAddress>(), "{error}");
        assert!(resolve(true).unwrap() > 0);
    }

    #[test]
    fn only_public_addresses_pass() {
        let private = "0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 \
                       192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 fe80::1 \
                       fc00::1 fd12::1 ff02::1 2001:db8::1 2001::1 2002:7f00:1:: ::ffff:127.0.0.1 ::ffff:10.0.0.1 \
                       ::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 100::1 fec0::1 3fff::1";
        for text in private.split_whitespace() {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = "1.1.1.1 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 198.20.0.1 223.255.255.255 \
                      2606:4700::1111 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808";
        for text in public.split_whitespace() {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}

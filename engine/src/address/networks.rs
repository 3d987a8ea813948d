//! Which network an IP address belongs to: public, or one of those that a stranger must not make us ask.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network that is not the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Network {
    Unspecified,
    Loopback,
    LinkLocal,
    Private,
    Shared,
    UniqueLocal,
    Multicast,
    Reserved,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "no network at all",
            Self::Loopback => "this machine's loopback network",
            Self::LinkLocal => "a link-local network",
            Self::Private => "a private network",
            Self::Shared => "a provider's shared network",
            Self::UniqueLocal => "a unique-local network",
            Self::Multicast => "a multicast group",
            Self::Reserved => "a reserved network",
        })
    }
}

/// The network of `ip`; `None` is the public internet. An IPv4 address inside an IPv6 one is what counts,
/// since that is where the packets go.
pub(super) fn of(ip: IpAddr) -> Option<Network> {
    match ip {
        IpAddr::V4(ip) => of_v4(ip),
        IpAddr::V6(ip) => of_v6(ip),
    }
}

/// The addresses by which a rule may allow `ip`: itself, and the IPv4 address that the kernel would really
/// connect to.
pub(super) fn names(ip: IpAddr) -> [IpAddr; 2] {
    match ip {
        IpAddr::V6(v6) => [ip, v6.to_ipv4_mapped().map_or(ip, IpAddr::V4)],
        IpAddr::V4(_) => [ip, ip],
    }
}

fn of_v4(ip: Ipv4Addr) -> Option<Network> {
    match ip.octets() {
        [0, 0, 0, 0] => Some(Network::Unspecified),
        [0, ..] => Some(Network::Reserved),
        [127, ..] => Some(Network::Loopback),
        [169, 254, ..] => Some(Network::LinkLocal),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Network::Private),
        [100, 64..=127, ..] => Some(Network::Shared),
        [224..=239, ..] => Some(Network::Multicast),
        // Protocol assignments, the three for documentation, the old 6to4 relays, benchmarks, the future.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            Some(Network::Reserved)
        }
        [198, 18..=19, ..] | [240..=255, ..] => Some(Network::Reserved),
        _ => None,
    }
}

fn of_v6(ip: Ipv6Addr) -> Option<Network> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Network::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Network::Loopback),
        // v4-compatible, v4-mapped, v4-translated, NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of_v4(embedded(high, low)),
        // 6to4 carries the IPv4 address of its router in front.
        [0x2002, high, low, ..] => of_v4(embedded(high, low)),
        // NAT64 of one's own.
        [0x64, 0xff9b, 1, ..] => Some(Network::Private),
        [0xfe80..=0xfebf, ..] => Some(Network::LinkLocal),
        // Site-local, the forerunner of unique-local.
        [0xfec0..=0xfeff, ..] => Some(Network::Private),
        [0xfc00..=0xfdff, ..] => Some(Network::UniqueLocal),
        [0xff00..=0xffff, ..] => Some(Network::Multicast),
        // Teredo and other assignments, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Network::Reserved),
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Network::Reserved),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

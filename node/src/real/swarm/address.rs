//! Addresses: which ones a node may listen at, dial, and believe others to have.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::config::SwarmError;

/// A parsed address, by what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Tcp,
    Quic,
}

/// Reads an address and checks that it is a route this mesh has.
pub(super) fn parse(text: &str, private: bool) -> Result<Multiaddr, SwarmError> {
    let refused = |reason: String| SwarmError::Address { address: text.to_owned(), reason };
    let address: Multiaddr = text.parse().map_err(|error| refused(format!("it cannot be read ({error})")))?;
    match route(&address) {
        Some(Route::Quic) if private => Err(SwarmError::QuicWithKey { address: text.to_owned() }),
        Some(_) => Ok(address),
        None => Err(refused("it is neither TCP nor QUIC at an IP address".to_owned())),
    }
}

/// The route an address takes to its first hop; none where it is no IP address or something else on the way.
pub(super) fn route(address: &Multiaddr) -> Option<Route> {
    let mut parts = address.iter().peekable();
    match parts.next()? {
        Protocol::Ip4(_) | Protocol::Ip6(_) => {}
        _ => return None,
    }
    let route = match parts.next()? {
        Protocol::Tcp(_) => Route::Tcp,
        Protocol::Udp(_) if parts.next() == Some(Protocol::QuicV1) => Route::Quic,
        _ => return None,
    };
    // What may follow: a peer, and a circuit through it, and the peer behind that.
    let peer = |part: &Protocol<'_>| matches!(part, Protocol::P2p(_));
    let first = parts.next_if(peer).is_some();
    let circuit = parts.next_if(|part| matches!(part, Protocol::P2pCircuit)).is_some();
    if circuit {
        parts.next_if(peer);
    }
    ((first || !circuit) && parts.next().is_none()).then_some(route)
}

/// Whether the address leads through a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// The peer at the address's end, and the address without its name. A relay's name stays: it is not the end's.
pub(super) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

/// The address of the first hop.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// Where it is to be listened for TCP, if that is what it is for.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    match address.iter().nth(1)? {
        Protocol::Tcp(port) if !is_relayed(address) => Some(SocketAddr::new(ip(address)?, port)),
        _ => None,
    }
}

/// Whether it stands for every address of this machine.
pub(super) fn is_unspecified(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_unspecified())
}

/// Why nobody reaches a node that listens there at this address, by its settings; none if somebody may.
pub(super) fn unreachable(address: &Multiaddr, listen: &BTreeSet<Multiaddr>) -> Option<&'static str> {
    let route = |address: &Multiaddr| route(address).filter(|_| !is_relayed(address));
    if address.iter().any(|part| matches!(part, Protocol::P2p(_) | Protocol::P2pCircuit)) {
        Some("it names a node; leave out /p2p/ and what follows")
    } else if address.iter().any(|part| matches!(part, Protocol::Tcp(0) | Protocol::Udp(0))) {
        Some("it has no port; write the one that is forwarded")
    } else if !is_plausible(address, false, true) {
        Some("no machine has that address; write the one under which others see this one")
    } else if !listen.iter().any(|own| route(own) == route(address)) {
        Some("the node does not listen by that transport (TCP or QUIC); add such an address to listen")
    } else {
        None
    }
}

/// What a peer says of itself or of another is a hint: worth dialling only if it is a route of this mesh to somewhere. A
/// peer may name this machine only from this machine.
pub(super) fn is_plausible(address: &Multiaddr, private: bool, from_here: bool) -> bool {
    let Some(ip) = ip(address) else { return false };
    let somewhere = !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::from([255; 4]);
    let allowed = match route(address) {
        Some(Route::Tcp) => true,
        Some(Route::Quic) => !private,
        None => false,
    };
    allowed && somewhere && (from_here || !ip.is_loopback())
}

/// Whether anybody in the world might reach this address: not a private network's, nor this machine's.
pub(super) fn is_public(address: &Multiaddr) -> bool {
    match ip(address).map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        Some(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
        None => false,
    }
}

/// What is counted together: an IPv4 network of 24 bits, an IPv6 network of 48. None for this machine, which may
/// connect to itself as it likes, and for circuits, which are counted at their relay.
pub(super) fn subnet(address: &Multiaddr) -> Option<IpAddr> {
    if is_relayed(address) {
        return None;
    }
    match ip(address)?.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(IpAddr::from([a, b, c, 0]))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Some(IpAddr::from([a, b, c, 0, 0, 0, 0, 0]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn address(text: &str) -> Multiaddr {
        text.replace("RELAY", RELAY).parse().unwrap()
    }

    #[test]
    fn routes_are_told_apart() {
        for tcp in
            ["/ip4/0.0.0.0/tcp/0", "/ip6/::1/tcp/1/p2p/RELAY", "/ip4/1.2.3.4/tcp/1/p2p/RELAY/p2p-circuit"]
        {
            assert_eq!(route(&address(tcp)), Some(Route::Tcp), "{tcp}");
        }
        for quic in
            ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/1.2.3.4/udp/1/quic-v1/p2p/RELAY/p2p-circuit/p2p/RELAY"]
        {
            assert_eq!(route(&address(quic)), Some(Route::Quic), "{quic}");
        }
        for other in [
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/1",
            "/dns4/a.example/tcp/1",
            "/ip4/1.2.3.4/tcp/1/ws",
            "/memory/1",
        ] {
            assert_eq!(route(&address(other)), None, "{other}");
        }
        assert_eq!(route(&address("/ip4/1.2.3.4/tcp/1/p2p-circuit")), None);
        assert_eq!(route(&address("/ip4/1.2.3.4/tcp/1/p2p/RELAY/p2p/RELAY")), None);
    }

    #[test]
    fn quic_and_a_key_exclude_each_other() {
        for quic in
            ["/ip4/0.0.0.0/udp/0/quic-v1", &format!("/ip4/1.2.3.4/udp/1/quic-v1/p2p/{RELAY}/p2p-circuit")]
        {
            assert!(parse(quic, false).is_ok());
            assert!(matches!(parse(quic, true), Err(SwarmError::QuicWithKey { .. })));
        }
        assert!(matches!(parse("/dns4/a.example/tcp/1", false), Err(SwarmError::Address { .. })));
        assert!(matches!(parse("0.0.0.0:80", false), Err(SwarmError::Address { .. })));
    }

    #[test]
    fn hints_that_lead_nowhere_are_dropped() {
        assert!(is_plausible(&address("/ip4/192.168.0.9/tcp/4"), true, false));
        assert!(!is_plausible(&address("/ip4/127.0.0.1/tcp/4"), true, false));
        assert!(is_plausible(&address("/ip4/127.0.0.1/tcp/4"), true, true));
        assert!(!is_plausible(&address("/ip4/9.9.9.9/udp/4/quic-v1"), true, false));
        assert!(is_plausible(&address("/ip4/9.9.9.9/udp/4/quic-v1"), false, false));
        for nowhere in
            ["/ip4/0.0.0.0/tcp/4", "/ip4/255.255.255.255/tcp/4", "/ip4/224.0.0.1/tcp/4", "/dns/a/tcp/4"]
        {
            assert!(!is_plausible(&address(nowhere), false, true), "{nowhere}");
        }
    }

    #[test]
    fn the_world_reaches_public_addresses_only() {
        for public in ["/ip4/9.9.9.9/tcp/4", "/ip6/2001:db8::1/tcp/4", "/ip4/100.128.0.1/tcp/4"] {
            assert!(is_public(&address(public)), "{public}");
        }
        for other in [
            "/ip4/10.0.0.1/tcp/4",
            "/ip4/100.64.0.1/tcp/4",
            "/ip6/fd00::1/tcp/4",
            "/ip6/::1/tcp/4",
            "/dns/a/tcp/1",
        ] {
            assert!(!is_public(&address(other)), "{other}");
        }
    }

    #[test]
    fn the_last_name_is_the_peers() {
        let peer: PeerId = RELAY.parse().unwrap();
        assert_eq!(
            split_peer(address("/ip4/1.2.3.4/tcp/1/p2p/RELAY")),
            (address("/ip4/1.2.3.4/tcp/1"), Some(peer))
        );
        let circuit = address("/ip4/1.2.3.4/tcp/1/p2p/RELAY/p2p-circuit");
        assert_eq!(split_peer(circuit.clone()), (circuit, None));
    }

    #[test]
    fn neighbours_share_a_subnet() {
        let subnet = |text: &str| subnet(&address(text)).map(|ip| ip.to_string());
        assert_eq!(subnet("/ip4/9.8.7.6/tcp/1").as_deref(), Some("9.8.7.0"));
        assert_eq!(subnet("/ip6/2001:db8:1:2::9/tcp/1").as_deref(), Some("2001:db8:1::"));
        assert_eq!(subnet("/ip6/::ffff:9.8.7.1/tcp/1").as_deref(), Some("9.8.7.0"));
        assert_eq!(subnet("/ip4/127.0.0.1/tcp/1"), None);
    }

    #[test]
    fn where_nobody_reaches_a_node_is_no_external_address_of_it() {
        let listen = BTreeSet::from(["/ip4/0.0.0.0/tcp/4610".parse().unwrap()]);
        let reason = |text: &str| unreachable(&text.parse().unwrap(), &listen);
        for good in ["/ip4/203.0.113.7/tcp/4610", "/ip4/127.0.0.1/tcp/1", "/ip6/2001:db8::1/tcp/80"] {
            assert_eq!(reason(good), None, "{good}");
        }
        let peer = PeerId::random();
        for (bad, word) in [
            (format!("/ip4/203.0.113.7/tcp/4610/p2p/{peer}"), "/p2p/"),
            (format!("/ip4/203.0.113.7/tcp/4610/p2p/{peer}/p2p-circuit"), "/p2p/"),
            ("/ip4/203.0.113.7/tcp/0".to_owned(), "port"),
            ("/ip4/0.0.0.0/tcp/4610".to_owned(), "no machine"),
            ("/ip4/224.0.0.1/tcp/4610".to_owned(), "no machine"),
            ("/ip6/::/tcp/4610".to_owned(), "no machine"),
            ("/ip4/203.0.113.7/udp/4610/quic-v1".to_owned(), "listen"),
        ] {
            assert!(reason(&bad).is_some_and(|reason| reason.contains(word)), "{bad}: {:?}", reason(&bad));
        }
        assert!(unreachable(&"/ip4/203.0.113.7/tcp/1".parse().unwrap(), &BTreeSet::new()).is_some());
    }
}

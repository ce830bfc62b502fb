//! Addresses: where a new node listens, and which of its addresses a ticket names.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;

use forgemesh_protocol::limits;

use super::error::CliError;
use super::home;
use crate::real::swarm::{Config, Status, Swarm, SwarmError};

/// Where a founder listens if nothing is said.
pub const DEFAULT_LISTEN: &str = "/ip4/0.0.0.0/tcp/4610";
/// Ports that no system gives away by itself: Linux begins at 32,768, others at 49,152 (RFC 6335, section 6).
const PORTS: Range<u16> = 20_000..32_768;
/// So many of them are tried.
const ATTEMPTS: usize = 100;

/// Puts a free port in the place of port 0, so that a node is found at the same address after each start.
pub fn settle_port(listen: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| CliError::Swarm(SwarmError::listen(listen.to_owned(), &error));
    if let Some(head) = listen.strip_suffix("/tcp/0") {
        let bind = |any: (IpAddr, u16)| TcpListener::bind(any).and_then(|socket| socket.local_addr());
        return Ok(format!("{head}/tcp/{}", free_port(bind).map_err(failed)?));
    }
    if let Some(head) = listen.strip_suffix("/udp/0/quic-v1") {
        let bind = |any: (IpAddr, u16)| UdpSocket::bind(any).and_then(|socket| socket.local_addr());
        return Ok(format!("{head}/udp/{}/quic-v1", free_port(bind).map_err(failed)?));
    }
    Ok(listen.to_owned())
}

/// A port at which nobody listens. It is used later, so not one of those that systems give away by themselves, unless no
/// other is found.
fn free_port(bind: impl Fn((IpAddr, u16)) -> std::io::Result<SocketAddr>) -> std::io::Result<u16> {
    let ports = std::iter::from_fn(|| home::random::<2>().ok())
        .map(|drawn| PORTS.start + u16::from_le_bytes(drawn) % (PORTS.end - PORTS.start));
    let any = |port| bind(([0, 0, 0, 0].into(), port));
    let found = ports.take(ATTEMPTS).find_map(|port| any(port).ok());
    found.map_or_else(|| any(0), Ok).map(|address| address.port())
}

/// The addresses that a node with this configuration would have: it listens for a moment.
pub fn of(config: Config) -> Result<Vec<String>, CliError> {
    let swarm = Swarm::start(config)?;
    Ok(reachable(&swarm.handle().status()))
}

/// The addresses of a node that others may use: those of this machine alone only if there are no others.
pub fn reachable(status: &Status) -> Vec<String> {
    let mut all: Vec<String> = status.external.iter().chain(&status.listen).cloned().collect();
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|address| seen.insert(address.clone()));
    let local = |address: &&String| ["/ip4/127.", "/ip6/::1/"].iter().any(|head| address.starts_with(head));
    let elsewhere: Vec<String> = all.iter().filter(|address| !local(address)).cloned().collect();
    let mut chosen = if elsewhere.is_empty() { all } else { elsewhere };
    chosen.truncate(limits::BOOTSTRAP);
    chosen
}

/// The TCP socket of a multiaddr text that begins with an IP address.
pub fn socket_of(text: &str) -> Option<SocketAddr> {
    let mut parts = text.split('/').skip(1);
    let (kind, ip, protocol, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let ip: IpAddr = ip.parse().ok()?;
    let right = matches!(kind, "ip4" | "ip6") && protocol == "tcp";
    right.then_some(SocketAddr::new(ip, port.parse().ok()?))
}

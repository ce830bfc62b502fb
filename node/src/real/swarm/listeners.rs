//! Where the node is to listen: says when it does, and listens again where it was interrupted.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use tokio::net::TcpSocket;

use super::address;
use super::behaviour::Protocols;
use super::config::SwarmError;

/// What was closed is opened again after so long: a relay may be back by then.
const AGAIN: Duration = Duration::from_secs(2);
/// Who listens on every address of this machine hears of them one after the other, and nobody says which is the last:
/// after so many looks without a new one all are there.
const QUIET_LOOKS: u32 = 2;

struct Listener {
    address: Multiaddr,
    /// None while it is closed.
    id: Option<ListenerId>,
    not_before: Instant,
}

/// All listeners.
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// Those whose address is not known yet, until all are.
    starting: HashSet<ListenerId>,
    /// Looks that must pass without a new address before the start is over, and how many have.
    wanted_looks: u32,
    looks: u32,
    /// Where it may not listen.
    refused: Option<SwarmError>,
}

impl Listeners {
    /// Listens at all addresses. A circuit may come later: its relay must be reached first.
    pub fn open(swarm: &mut libp2p::Swarm<Protocols>, addresses: Vec<Multiaddr>) -> Result<Self, SwarmError> {
        addresses.iter().try_for_each(check_free)?;
        let (mut listeners, mut starting) = (Vec::new(), HashSet::new());
        let wanted_looks = if addresses.iter().any(address::is_unspecified) { QUIET_LOOKS } else { 0 };
        for address in addresses {
            let refused = |error| SwarmError::no_listener(address.to_string(), &error);
            let id = swarm.listen_on(address.clone()).map_err(refused)?;
            if !address::is_relayed(&address) {
                starting.insert(id);
            }
            listeners.push(Listener { address, id: Some(id), not_before: Instant::now() });
        }
        Ok(Listeners { listeners, starting, wanted_looks, looks: 0, refused: None })
    }

    /// How the start went; none while it is under way.
    pub fn started(&mut self) -> Option<Result<(), SwarmError>> {
        let is_over = self.starting.is_empty() && self.looks >= self.wanted_looks;
        self.refused.take().map(Err).or(is_over.then_some(Ok(())))
    }

    /// Whether others may connect without a relay's help.
    pub fn are_direct(&self) -> bool {
        self.listeners.iter().any(|listener| !address::is_relayed(&listener.address))
    }

    /// A listener has an address.
    pub fn opened(&mut self, id: ListenerId) {
        self.starting.remove(&id);
        self.looks = 0;
    }

    /// A listener is closed.
    pub fn closed(&mut self, id: ListenerId, reason: io::Result<()>) {
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id == Some(id)) else {
            return;
        };
        listener.id = None;
        listener.not_before = Instant::now() + AGAIN;
        if self.starting.contains(&id) {
            let error = reason.err().unwrap_or_else(|| io::Error::other("it was closed"));
            self.refused = Some(SwarmError::listen(listener.address.to_string(), &error));
        }
    }

    /// Listens again where it is time to.
    pub fn tick(&mut self, swarm: &mut libp2p::Swarm<Protocols>, now: Instant) {
        self.looks = self.looks.saturating_add(1);
        for listener in self.listeners.iter_mut().filter(|listener| listener.id.is_none()) {
            if listener.not_before <= now {
                listener.not_before = now + AGAIN;
                listener.id = swarm.listen_on(listener.address.clone()).ok();
            }
        }
    }
}

/// Two nodes of one machine may listen at the same port, since both say that it may be shared; each would then hear a part
/// of what comes. Who does not say so is refused if anybody listens there.
fn check_free(address: &Multiaddr) -> Result<(), SwarmError> {
    let Some(mut socket) = address::socket(address).filter(|socket| socket.port() != 0) else {
        return Ok(());
    };
    if socket.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Elsewhere than in the network's own listener this stands for the addresses of IPv4 too.
        socket.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
    match bind(socket) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(SwarmError::listen(address.to_string(), &error))
        }
        // What else is wrong with it is found when the network itself listens.
        _ => Ok(()),
    }
}

/// Binds a socket and closes it again; it never listens. A process that another thread starts at this moment, a worker,
/// holds a copy of it until it runs its own program: a copy that listened would be in the way of the network's own.
fn bind(at: SocketAddr) -> io::Result<()> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of who listened here before may still be ending.
    socket.set_reuseaddr(true)?;
    socket.bind(at)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Listens as the network does.
    fn listen(at: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(at)?;
        socket.listen(8)
    }

    /// An address where nobody listens, nor did a moment ago.
    fn free() -> SocketAddr {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("there is a network");
        socket.local_addr().expect("it is bound")
    }

    /// A node starts its worker while its network begins to listen.
    #[test]
    fn who_looks_whether_an_address_is_free_is_not_in_its_own_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let start_to_listen = || {
            let _within = runtime.enter();
            let at = free();
            check_free(&format!("/ip4/{}/tcp/{}", at.ip(), at.port()).parse().expect("an address"))?;
            listen(at).map(drop).map_err(|error| SwarmError::listen(at.to_string(), &error))
        };
        let failed = std::thread::scope(|scope| {
            let network = scope.spawn(|| (0..20_000).find_map(|_| start_to_listen().err()));
            while !network.is_finished() {
                Command::new("true").status().expect("it starts");
            }
            network.join().expect("it does not panic")
        });
        assert_eq!(failed.map(|error| error.to_string()), None);
    }

    #[test]
    fn an_address_where_somebody_listens_is_not_free() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _within = runtime.enter();
        // Who says that it may be shared, too.
        let listener = listen(free()).expect("it is free");
        let at = listener.local_addr().expect("it listens");
        let error = check_free(&format!("/ip4/127.0.0.1/tcp/{}", at.port()).parse().expect("an address"));
        assert!(error.is_err_and(|error| error.to_string().contains("stop what listens there")));
    }
}

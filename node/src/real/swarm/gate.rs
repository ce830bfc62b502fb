//! Who may connect: nobody who is banned, nobody without a node's key, and not too many from one subnet.
//!
//! The numbers in all and for each peer are kept by libp2p's own connection limits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use forgemesh_protocol::limits;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerOutEvent, ToSwarm};
use libp2p::{Multiaddr, PeerId};

use super::{address, identity};

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("this peer is banned for {0} s more: it sent what no node sends, or does not belong to the mesh")]
    Banned(u64),
    #[error("this peer's key is not an ed25519 key that a node may have")]
    NoNode,
    #[error("too many connections from {0}/24 or /48")]
    Crowded(IpAddr),
}

/// The gate.
pub(super) struct Gate {
    banned: BTreeMap<PeerId, Instant>,
    /// Connections by subnet, and the subnet of each connection.
    crowds: BTreeMap<IpAddr, u32>,
    connections: BTreeMap<ConnectionId, IpAddr>,
    per_subnet: u32,
}

impl Gate {
    pub fn new(per_subnet: u32) -> Self {
        Gate { banned: BTreeMap::new(), crowds: BTreeMap::new(), connections: BTreeMap::new(), per_subnet }
    }

    /// Keeps a peer out for a while. The ban that ends first makes room.
    pub fn keep_out(&mut self, peer: PeerId, now: Instant, ban: Duration) {
        self.banned.retain(|_, until| *until > now);
        if self.banned.len() >= limits::CONDUCT
            && let Some(first) = self.banned.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.banned.remove(&first);
        }
        let until = self.banned.get(&peer).copied().unwrap_or(now);
        self.banned.insert(peer, until.max(now + ban));
    }

    fn admit(&self, peer: &PeerId, now: Instant) -> Result<(), Denied> {
        let left = self.banned.get(peer).map(|until| until.saturating_duration_since(now));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Err(Denied::Banned(left.as_secs()));
        }
        identity::node_of(peer).map(|_| ()).ok_or(Denied::NoNode)
    }

    fn has_room(&self, address: &Multiaddr) -> Result<(), Denied> {
        match address::subnet(address) {
            Some(subnet) if self.crowds.get(&subnet).is_some_and(|crowd| *crowd >= self.per_subnet) => {
                Err(Denied::Crowded(subnet))
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, connection: ConnectionId, address: &Multiaddr) {
        if let Some(subnet) = address::subnet(address) {
            *self.crowds.entry(subnet).or_default() += 1;
            self.connections.insert(connection, subnet);
        }
    }

    fn leave(&mut self, connection: ConnectionId) {
        let Some(subnet) = self.connections.remove(&connection) else { return };
        if let Some(crowd) = self.crowds.get_mut(&subnet) {
            *crowd -= 1;
            if *crowd == 0 {
                self.crowds.remove(&subnet);
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({} banned, {} counted)", self.banned.len(), self.connections.len())
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.has_room(remote).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.admit(&peer, Instant::now())
            .and_then(|()| self.has_room(remote))
            .map_err(ConnectionDenied::new)?;
        Ok(ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        peer.map_or(Ok(()), |peer| self.admit(&peer, Instant::now())).map_err(ConnectionDenied::new)?;
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.admit(&peer, Instant::now()).map_err(ConnectionDenied::new)?;
        Ok(ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, endpoint, .. }) => {
                self.enter(connection_id, endpoint.get_remote_address());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => self.leave(connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::keys::SecretKey;

    use super::*;

    const BAN: Duration = Duration::from_secs(60);

    fn peer(seed: u8) -> PeerId {
        identity::peer_of(&SecretKey::from_bytes(&[seed; 32]).public()).unwrap()
    }

    #[test]
    fn one_subnet_cannot_take_all_places() {
        let mut gate = Gate::new(2);
        let near: Multiaddr = "/ip4/9.8.7.6/tcp/5".parse().unwrap();
        let far: Multiaddr = "/ip4/9.8.6.6/tcp/5".parse().unwrap();
        let ids: Vec<ConnectionId> = (0..2).map(ConnectionId::new_unchecked).collect();
        for id in &ids {
            assert!(gate.handle_pending_inbound_connection(*id, &far, &near).is_ok());
            gate.enter(*id, &near);
        }
        let next = ConnectionId::new_unchecked(9);
        assert!(gate.handle_pending_inbound_connection(next, &far, &near).is_err());
        assert!(gate.handle_established_inbound_connection(next, peer(1), &far, &near).is_err());
        assert!(gate.handle_pending_inbound_connection(next, &far, &far).is_ok());
        gate.leave(ids[0]);
        assert!(gate.handle_established_inbound_connection(next, peer(1), &far, &near).is_ok());
        gate.leave(ids[1]);
        assert!(gate.crowds.is_empty() && gate.connections.is_empty());
    }

    #[test]
    fn a_ban_ends_and_bans_are_bounded() {
        let mut gate = Gate::new(1);
        let now = Instant::now();
        gate.keep_out(peer(1), now, BAN);
        gate.keep_out(peer(1), now, BAN / 2);
        assert!(gate.admit(&peer(1), now + BAN / 2).is_err() && gate.admit(&peer(2), now).is_ok());
        assert!(gate.admit(&peer(1), now + BAN).is_ok());
        for i in 0..limits::CONDUCT as u64 {
            gate.keep_out(PeerId::random(), now + Duration::from_micros(1 + i), BAN);
        }
        assert_eq!(gate.banned.len(), limits::CONDUCT);
        assert!(!gate.banned.contains_key(&peer(1)));
    }

    #[test]
    fn a_key_that_no_node_has_is_refused() {
        assert!(Gate::new(1).admit(&PeerId::random(), Instant::now()).is_err());
    }
}

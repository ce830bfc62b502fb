//! Who is known: the peer id behind a node id, where it may be reached, whether it is connected, when to try next.
//!
//! Everything but the configured addresses is a hint. Must never grow beyond its bounds, whatever others say.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use libp2p::{Multiaddr, PeerId};

use super::identity;

/// After a failure the next attempt comes so much later, twice as much after each further one ...
const BACKOFF: Duration = Duration::from_millis(100);
/// ... at most so much for a hub member or a node of the configuration, ...
const BACKOFF_KEPT: Duration = Duration::from_secs(1);
/// ... and so much for others.
const BACKOFF_OTHERS: Duration = Duration::from_secs(30);

/// A known node.
#[derive(Debug)]
pub(super) struct Peer {
    pub id: PeerId,
    /// Configured addresses: never forgotten.
    fixed: Vec<Multiaddr>,
    /// What was heard, the latest first.
    heard: VecDeque<Multiaddr>,
    /// Where it was found before this start: what others say does not take its place.
    recalled: Vec<Multiaddr>,
    /// A hub member, or a node of the configuration: it is looked for when it is not connected.
    pub is_kept: bool,
    pub connections: u32,
    failures: u32,
    is_dialled: bool,
    not_before: Instant,
    /// When it was last heard of, in the order of hearing.
    heard_of: u64,
}

impl Peer {
    /// Where it may be reached: first by the configuration, then by what was heard, last where it was before.
    pub fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        let is_new = |address: &&Multiaddr| !self.fixed.contains(address) && !self.heard.contains(address);
        self.fixed.iter().chain(&self.heard).chain(self.recalled.iter().filter(is_new))
    }

    /// Is this one of its addresses by the configuration?
    pub fn is_told(&self, address: &Multiaddr) -> bool {
        self.fixed.contains(address)
    }
}

/// All known nodes.
#[derive(Debug)]
pub(super) struct Peers {
    own: PeerId,
    by_node: BTreeMap<NodeId, Peer>,
    hearing: u64,
}

impl Peers {
    pub fn new(own: PeerId) -> Self {
        Peers { own, by_node: BTreeMap::new(), hearing: 0 }
    }

    /// A node of the configuration.
    pub fn keep(&mut self, peer: PeerId, address: Option<Multiaddr>) {
        if let Some(known) = self.note(peer) {
            known.is_kept = true;
            if let Some(address) = address
                && !known.fixed.contains(&address)
            {
                known.fixed.push(address);
            }
        }
    }

    /// Where a node was found before this start.
    pub fn recall(&mut self, peer: PeerId, address: Multiaddr) {
        if let Some(known) = self.note(peer)
            && known.recalled.len() < limits::PEER_ADDRESSES
        {
            known.recalled.push(address);
        }
    }

    /// A hint; the caller has looked whether the addresses are plausible.
    pub fn hear(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) -> Option<NodeId> {
        let known = self.note(peer)?;
        for address in addresses {
            if !known.fixed.contains(&address) {
                known.heard.retain(|other| *other != address);
                known.heard.push_front(address);
            }
        }
        known.heard.truncate(limits::PEER_ADDRESSES);
        identity::node_of(&peer)
    }

    pub fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.by_node.get(node)
    }

    /// The number of known nodes.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    pub fn connected(&mut self, peer: PeerId) -> Option<&mut Peer> {
        let known = self.note(peer)?;
        known.connections += 1;
        known.failures = 0;
        known.is_dialled = false;
        Some(known)
    }

    /// True if that was the last connection.
    pub fn disconnected(&mut self, peer: &PeerId, now: Instant) -> bool {
        let Some(known) = identity::node_of(peer).and_then(|node| self.by_node.get_mut(&node)) else {
            return false;
        };
        known.connections = known.connections.saturating_sub(1);
        known.not_before = known.not_before.max(now);
        known.connections == 0
    }

    /// Addresses to dial now, if it is time to; then an attempt is under way.
    pub fn begin_dial(&mut self, node: &NodeId, now: Instant) -> Option<(PeerId, Vec<Multiaddr>)> {
        let peer = self.by_node.get_mut(node)?;
        if peer.connections > 0 || peer.is_dialled || now < peer.not_before {
            return None;
        }
        peer.is_dialled = true;
        Some((peer.id, peer.addresses().cloned().collect()))
    }

    /// The attempt came to nothing.
    pub fn dial_failed(&mut self, peer: &PeerId, now: Instant) {
        if let Some(known) = identity::node_of(peer).and_then(|node| self.by_node.get_mut(&node)) {
            let most = if known.is_kept { BACKOFF_KEPT } else { BACKOFF_OTHERS };
            known.not_before = now + most.min(BACKOFF * 2_u32.saturating_pow(known.failures));
            known.failures = known.failures.saturating_add(1);
            known.is_dialled = false;
        }
    }

    /// Kept nodes that have an address and no connection.
    pub fn missing(&self) -> Vec<NodeId> {
        let missing =
            |peer: &Peer| peer.is_kept && peer.connections == 0 && peer.addresses().next().is_some();
        self.by_node.iter().filter(|(_, peer)| missing(peer)).map(|(node, _)| *node).collect()
    }

    /// The entry of a peer, made if there is none; none for this node itself and for keys that no node has.
    fn note(&mut self, peer: PeerId) -> Option<&mut Peer> {
        let node = identity::node_of(&peer).filter(|_| peer != self.own)?;
        if self.by_node.len() >= limits::PEERS && !self.by_node.contains_key(&node) {
            let idle = self.by_node.iter().filter(|(_, peer)| !peer.is_kept && peer.connections == 0);
            let oldest = idle.min_by_key(|(_, peer)| peer.heard_of).map(|(node, _)| *node)?;
            self.by_node.remove(&oldest);
        }
        self.hearing += 1;
        let known = self.by_node.entry(node).or_insert_with(|| Peer {
            id: peer,
            fixed: Vec::new(),
            heard: VecDeque::new(),
            recalled: Vec::new(),
            is_kept: false,
            connections: 0,
            failures: 0,
            is_dialled: false,
            not_before: Instant::now(),
            heard_of: 0,
        });
        known.heard_of = self.hearing;
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::keys::SecretKey;

    use super::*;

    fn peer(number: u32) -> PeerId {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        identity::peer_of(&SecretKey::from_bytes(&seed).public()).unwrap()
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/9.8.7.6/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn hints_are_bounded_and_configured_addresses_stay() {
        let mut peers = Peers::new(peer(0));
        peers.keep(peer(1), Some(address(1)));
        let node = peers.hear(peer(1), (2..40).map(address)).unwrap();
        let (id, addresses) = peers.begin_dial(&node, Instant::now()).unwrap();
        assert_eq!((id, addresses.len()), (peer(1), 1 + limits::PEER_ADDRESSES));
        assert_eq!((&addresses[0], &addresses[1]), (&address(1), &address(39)));
        assert_eq!(peers.hear(peer(0), []), None);
        assert_eq!(peers.hear(PeerId::random(), []), None);
        assert_eq!(peers.len(), 1);
    }

    #[test]
    fn where_a_node_was_before_is_tried_last_and_nobody_talks_it_away() {
        let mut peers = Peers::new(peer(0));
        peers.keep(peer(1), Some(address(1)));
        for port in [1, 2, 3] {
            peers.recall(peer(1), address(port));
        }
        let node = peers.hear(peer(1), [address(3)]).unwrap();
        let addresses = |peers: &Peers| peers.get(&node).unwrap().addresses().cloned().collect::<Vec<_>>();
        assert_eq!(addresses(&peers), [1, 3, 2].map(address));
        peers.hear(peer(1), (10..40).map(address));
        assert_eq!(addresses(&peers)[1 + limits::PEER_ADDRESSES..], [2, 3].map(address));
        assert!(!peers.get(&node).unwrap().is_told(&address(2)), "it is no setting");
        (50..99).for_each(|port| peers.recall(peer(1), address(port)));
        assert_eq!(addresses(&peers).len(), 1 + 2 * limits::PEER_ADDRESSES - 1);
    }

    #[test]
    fn attempts_come_one_at_a_time_and_ever_later() {
        let mut peers = Peers::new(peer(0));
        let node = peers.hear(peer(1), [address(1)]).unwrap();
        let mut now = Instant::now() + BACKOFF;
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(peers.begin_dial(&node, now).is_some());
            assert!(peers.begin_dial(&node, now).is_none());
            peers.dial_failed(&peer(1), now);
            assert!(peers.begin_dial(&node, now).is_none());
            waits.push(peers.by_node[&node].not_before - now);
            now += *waits.last().unwrap();
        }
        assert!(waits.is_sorted() && waits[0] == BACKOFF && waits[11] == BACKOFF_OTHERS);
        assert!(peers.connected(peer(1)).is_some() && peers.begin_dial(&node, now).is_none());
        assert!(peers.disconnected(&peer(1), now) && peers.begin_dial(&node, now).is_some());
    }

    #[test]
    fn the_least_recent_stranger_makes_room_and_nobody_else() {
        let mut peers = Peers::new(peer(0));
        peers.keep(peer(1), None);
        peers.connected(peer(2));
        let last = limits::PEERS as u32 + 2;
        for number in 3..=last {
            peers.hear(peer(number), []);
        }
        let knows = |peers: &Peers, number| peers.get(&identity::node_of(&peer(number)).unwrap()).is_some();
        assert_eq!(peers.len(), limits::PEERS);
        assert!([1, 2, 5, last].into_iter().all(|number| knows(&peers, number)));
        assert!(![3, 4].into_iter().any(|number| knows(&peers, number)));
    }
}

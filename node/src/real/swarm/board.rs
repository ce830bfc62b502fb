//! What the network shows of itself: keeps the status that handles read.

use std::collections::BTreeMap;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;

use super::conduct::Fault;
use super::handle::{Link, Misled, PeerStatus, Status};
use super::peers::Peers;
use super::{address, identity};

/// Characters of what a peer says it runs, and of an error.
const TEXT: usize = 200;

/// The status, and the connections behind it.
pub(super) struct Board {
    own: PeerId,
    status: watch::Sender<Status>,
    links: BTreeMap<PeerId, BTreeMap<ConnectionId, Link>>,
}

impl Board {
    pub fn new(own: PeerId, status: watch::Sender<Status>) -> Self {
        Board { own, status, links: BTreeMap::new() }
    }

    /// Whether there is a connection to this peer.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }

    /// Whether one of the peer's connections comes from this machine.
    pub fn is_local(&self, peer: &PeerId) -> bool {
        let links = self.links.get(peer).into_iter().flat_map(BTreeMap::values);
        let ip = |link: &Link| address::ip(&link.address.parse().ok()?);
        links.filter_map(ip).any(|ip| ip.is_loopback())
    }

    /// A connection is there.
    pub fn link_up(&mut self, peer: PeerId, connection: ConnectionId, link: Link, is_kept: bool) {
        self.links.entry(peer).or_default().insert(connection, link);
        self.show_links(peer);
        self.peer(peer, |status| status.is_kept = is_kept);
        let node = identity::node_of(&peer);
        self.status.send_if_modified(|status| node.is_some_and(|node| status.misled.remove(&node).is_some()));
    }

    /// Somebody else answers at an address. If the configuration names it, that is shown until there is a connection to the
    /// peer that it is said to lead to.
    pub fn misled(&self, peers: &Peers, expected: Option<PeerId>, address: &Multiaddr, found: PeerId) {
        let (address, _) = address::split_peer(address.clone());
        let Some(expected) = expected.as_ref().and_then(identity::node_of) else { return };
        let peer = peers.get(&expected).filter(|peer| peer.is_told(&address));
        if let (Some(peer), Some(node)) = (peer, identity::node_of(&found)) {
            let misled = Misled { address: named(&address, peer.id), node, instead: named(&address, found) };
            self.status.send_modify(|status| drop(status.misled.insert(expected, misled)));
        }
    }

    /// A connection is gone.
    pub fn link_down(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(links) = self.links.get_mut(&peer) {
            links.remove(&connection);
            if links.is_empty() {
                self.links.remove(&peer);
            }
        }
        self.show_links(peer);
    }

    /// The addresses have changed.
    pub fn addresses<'a>(
        &self,
        listen: impl Iterator<Item = &'a Multiaddr>,
        external: impl Iterator<Item = &'a Multiaddr>,
    ) {
        let own = |address: &Multiaddr| named(address, self.own);
        let (listen, external) = (listen.map(own).collect(), external.map(own).collect());
        self.status.send_modify(|status| (status.listen, status.external) = (listen, external));
    }

    /// What became known of a connected peer.
    pub fn peer(&self, peer: PeerId, change: impl FnOnce(&mut PeerStatus)) {
        let Some(node) = identity::node_of(&peer) else { return };
        self.status.send_modify(|status| {
            if let Some(shown) = status.peers.get_mut(&node) {
                change(shown);
            }
        });
    }

    /// What a peer says it runs, and where it may be dialled.
    pub fn identified(&self, peer: PeerId, agent: &str, addresses: &[Multiaddr]) {
        let addresses = addresses.iter().map(|address| named(address, peer)).collect();
        let agent = Some(printable(agent));
        self.peer(peer, |status| (status.agent, status.addresses) = (agent, addresses));
    }

    /// The number of nodes that were heard of.
    pub fn known(&self, known: usize) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.known, known) != known);
    }

    /// The number of connected nodes that listen to announcements.
    pub fn listeners(&self, listeners: usize) {
        self.status.send_modify(|status| status.listeners = listeners);
    }

    /// Somebody could reach this node, or could not. Who was reached once is reachable. True if that is news.
    pub fn reached(&self, is_reached: bool) -> bool {
        self.status.send_if_modified(|status| {
            let is_news = status.is_reachable.is_none() || is_reached && status.is_reachable == Some(false);
            if is_news {
                status.is_reachable = Some(is_reached);
            }
            is_news
        })
    }

    /// An attempt to connect failed.
    pub fn failure(&self, reason: &str) {
        let reason = printable(reason);
        self.status.send_modify(|status| status.last_failure = Some(reason));
    }

    /// A peer did something wrong. Who sees it counted sees what it was.
    pub fn fault(&self, peer: &PeerId, fault: Fault, count: impl FnOnce()) {
        self.status.send_modify(|status| {
            status.last_fault = identity::node_of(peer).map(|node| (node, fault));
            count();
        });
    }

    fn show_links(&self, peer: PeerId) {
        let Some(node) = identity::node_of(&peer) else { return };
        let links: Vec<Link> =
            self.links.get(&peer).into_iter().flat_map(BTreeMap::values).cloned().collect();
        self.status.send_modify(|status| {
            if links.is_empty() {
                status.peers.remove(&node);
            } else {
                status.peers.entry(node).or_default().links = links;
            }
        });
    }
}

/// An address as the settings and tickets have it, with whose it is at its end.
fn named(address: &Multiaddr, peer: PeerId) -> String {
    address.clone().with_p2p(peer).unwrap_or_else(|address| address).to_string()
}

/// What others say, cut short and fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT).collect()
}

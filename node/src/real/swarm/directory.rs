//! Finding nodes through Kademlia: who has the key behind a node id, and where that peer may be reached.
//!
//! Every node is the one provider of its own node id, which is the digest of its key: an answer that names another key
//! is seen to be wrong. What is found is a hint, and is dialled only when a message waits for it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use libp2p::kad::store::{MemoryStore, RecordStore};
use libp2p::kad::{
    Event, GetClosestPeersError, GetClosestPeersOk, GetProvidersOk, InboundRequest, PeerInfo, QueryId,
    QueryResult, RecordKey,
};
use libp2p::{Multiaddr, PeerId, kad};

use super::identity;

/// A node is not searched for again before this.
const AGAIN: Duration = Duration::from_secs(1);
/// A node does not say again where it is before this.
const PROVIDE: Duration = Duration::from_secs(2);
/// While so few nodes are known, each further one may be closer to this node's id than those it was told to.
const FEW: usize = 20;

type Kademlia = kad::Behaviour<MemoryStore>;
type Hint = (PeerId, Vec<Multiaddr>);

/// What an event brought.
#[derive(Default)]
pub(super) struct Found {
    pub hints: Vec<Hint>,
    /// The node for which a search has just found its peer, or ended.
    pub searched: Option<NodeId>,
}

/// The searches under way, and this node's own entry.
pub(super) struct Directory {
    own: NodeId,
    searches: HashMap<QueryId, NodeId>,
    searched: BTreeMap<NodeId, Instant>,
    is_provided: bool,
    provided: Option<Instant>,
}

impl Directory {
    pub fn new(own: NodeId) -> Self {
        Directory {
            own,
            searches: HashMap::new(),
            searched: BTreeMap::new(),
            is_provided: false,
            provided: None,
        }
    }

    /// Looks for a node, by its peer where that is known; says at once what this node itself was told.
    pub fn search(
        &mut self,
        kad: &mut Kademlia,
        node: NodeId,
        peer: Option<PeerId>,
        now: Instant,
    ) -> Vec<Hint> {
        let is_soon = self.searched.get(&node).is_some_and(|at| now.saturating_duration_since(*at) < AGAIN);
        if is_soon || self.searches.len() >= limits::LOOKUPS || is_empty(kad) {
            return Vec::new();
        }
        self.searched.insert(node, now);
        let told = kad.store_mut().providers(&key(node)).into_iter();
        let told = told.map(|record| (record.provider, record.addresses)).collect();
        // Who listens through a relay alone stands in nobody's table: it is found by what it has said of itself.
        self.searches.insert(kad.get_providers(key(node)), node);
        if let Some(peer) = peer {
            self.searches.insert(kad.get_closest_peers(peer), node);
        }
        told
    }

    /// This node's addresses have changed: others are told again.
    pub fn provide_again(&mut self) {
        self.is_provided = false;
    }

    /// Says where this node is, if that is due.
    pub fn tick(&mut self, kad: &mut Kademlia, now: Instant) {
        self.searched.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        let is_soon = self.provided.is_some_and(|at| now.saturating_duration_since(at) < PROVIDE);
        if !self.is_provided && !is_soon && !is_empty(kad) {
            self.is_provided = kad.start_providing(key(self.own)).is_ok();
            self.provided = Some(now);
        }
    }

    /// What happened in Kademlia. Addresses that others are to be told must be plausible.
    pub fn event(
        &mut self,
        kad: &mut Kademlia,
        event: Event,
        is_plausible: impl Fn(&Multiaddr) -> bool,
    ) -> Found {
        match event {
            Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(mut record) } } => {
                // Only a node's own key provides its id.
                if identity::node_of(&record.provider).is_some_and(|node| key(node) == record.key) {
                    record.addresses.retain(is_plausible);
                    record.addresses.truncate(limits::PEER_ADDRESSES);
                    // A full store knows enough nodes.
                    let _ = kad.store_mut().add_provider(record);
                }
                Found::default()
            }
            Event::RoutingUpdated { peer, is_new_peer, addresses, .. } => {
                let known: usize = kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
                self.is_provided &= !is_new_peer || known > FEW;
                Found { hints: vec![(peer, addresses.into_vec())], searched: None }
            }
            Event::RoutablePeer { peer, address } | Event::PendingRoutablePeer { peer, address } => {
                Found { hints: vec![(peer, vec![address])], searched: None }
            }
            Event::OutboundQueryProgressed { id, result, step, .. } => self.progress(id, result, step.last),
            _ => Found::default(),
        }
    }

    fn progress(&mut self, id: QueryId, result: QueryResult, is_last: bool) -> Found {
        let node = self.searches.get(&id).copied();
        if is_last {
            self.searches.remove(&id);
        }
        match result {
            QueryResult::GetClosestPeers(
                Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. }),
            ) => {
                let hint = |peer: PeerInfo| (peer.peer_id, peer.addrs);
                Found { hints: peers.into_iter().map(hint).collect(), searched: node }
            }
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                // The addresses stand with the query, where a dial finds them.
                let of_node =
                    providers.into_iter().filter(|peer| node.is_some() && identity::node_of(peer) == node);
                let hints: Vec<Hint> = of_node.map(|peer| (peer, Vec::new())).collect();
                let searched = node.filter(|_| !hints.is_empty());
                Found { hints, searched }
            }
            _ => Found { hints: Vec::new(), searched: node.filter(|_| is_last) },
        }
    }
}

/// Under what a node is found.
fn key(node: NodeId) -> RecordKey {
    RecordKey::new(&node.0.0)
}

fn is_empty(kad: &mut Kademlia) -> bool {
    kad.kbuckets().all(|bucket| bucket.is_empty())
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::keys::SecretKey;
    use libp2p::kad::ProviderRecord;

    use super::*;

    fn peer(seed: u8) -> PeerId {
        identity::peer_of(&SecretKey::from_bytes(&[seed; 32]).public()).unwrap()
    }

    fn node(seed: u8) -> NodeId {
        SecretKey::from_bytes(&[seed; 32]).public().id()
    }

    #[test]
    fn a_peer_speaks_for_its_own_node_alone() {
        let mut kad = kad::Behaviour::new(peer(1), MemoryStore::new(peer(1)));
        let mut directory = Directory::new(node(1));
        let (good, bad): (Multiaddr, Multiaddr) =
            ("/ip4/9.8.7.6/tcp/1".parse().unwrap(), "/ip4/9.8.7.6/tcp/2".parse().unwrap());
        let mut tell = |about: NodeId, provider: PeerId| {
            let record = ProviderRecord::new(key(about), provider, vec![good.clone(), bad.clone()]);
            let request = InboundRequest::AddProvider { record: Some(record) };
            directory.event(&mut kad, Event::InboundRequest { request }, |address| *address == good);
            kad.store_mut().providers(&key(about))
        };
        assert!(tell(node(2), peer(3)).is_empty());
        assert!(tell(node(2), PeerId::random()).is_empty());
        let stored = tell(node(2), peer(2));
        assert_eq!((stored.len(), &stored[0].addresses), (1, &vec![good.clone()]));
    }

    #[test]
    fn an_answer_that_names_another_key_is_no_answer() {
        let mut kad = kad::Behaviour::new(peer(1), MemoryStore::new(peer(1)));
        let mut directory = Directory::new(node(1));
        let now = Instant::now();
        assert!(directory.search(&mut kad, node(2), None, now).is_empty());
        assert!(directory.searches.is_empty(), "nobody can be asked yet");
        kad.add_address(&peer(9), "/ip4/9.8.7.6/tcp/1".parse().unwrap());
        directory.search(&mut kad, node(2), None, now);
        let id = *directory.searches.keys().next().unwrap();
        let mut answer = |provider: PeerId| {
            let providers = [provider].into();
            let found = GetProvidersOk::FoundProviders { key: key(node(2)), providers };
            directory.progress(id, QueryResult::GetProviders(Ok(found)), false)
        };
        assert!(answer(peer(3)).hints.is_empty() && answer(PeerId::random()).searched.is_none());
        let found = answer(peer(2));
        assert_eq!((found.hints, found.searched), (vec![(peer(2), Vec::new())], Some(node(2))));
    }
}

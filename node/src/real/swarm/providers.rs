//! Who has which artifact, by what nodes say of themselves in Kademlia.
//!
//! It is only ever a hint: whoever is found is asked like any source, and what it sends is held against the address. Must
//! never let artifacts crowd out the nodes that the directory finds, nor one provider the others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use libp2p::kad::store::{MemoryStore, RecordStore};
use libp2p::kad::{Event, GetProvidersOk, InboundRequest, QueryId, QueryResult, RecordKey};
use libp2p::{Multiaddr, PeerId, kad};

use super::identity;

/// An artifact is not searched for again before this.
const AGAIN: Duration = Duration::from_secs(5);
/// An artifact that the node has not named for so long is provided no longer.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// What stands before the address in a key: no node's key is as long.
const TAG: u8 = b'a';

type Kademlia = kad::Behaviour<MemoryStore>;

/// A node that says it has an artifact.
pub(super) type Hint = (NodeId, Hash);

/// What this node provides and looks for, and how much others have told it.
#[derive(Default)]
pub(super) struct Providers {
    /// Still to be told to others, one at a time.
    waiting: VecDeque<Hash>,
    /// When the node named each last.
    provided: BTreeMap<Hash, Instant>,
    searches: HashMap<QueryId, Hash>,
    searched: BTreeMap<Hash, Instant>,
    /// Records of each peer that were taken since then, and of all.
    taken: BTreeMap<PeerId, usize>,
    all: usize,
    since: Option<Instant>,
}

impl Providers {
    /// The node has these artifacts.
    pub fn provide(&mut self, artifacts: Vec<Hash>, now: Instant) {
        for artifact in artifacts {
            if !self.provided.contains_key(&artifact) {
                if self.provided.len() >= limits::PROVIDED {
                    continue;
                }
                self.waiting.push_back(artifact);
            }
            self.provided.insert(artifact, now);
        }
    }

    /// Looks for who has an artifact; says at once who has told this node.
    pub fn search(&mut self, kad: &mut Kademlia, artifact: Hash, now: Instant) -> Vec<Hint> {
        let is_soon =
            self.searched.get(&artifact).is_some_and(|at| now.saturating_duration_since(*at) < AGAIN);
        if is_soon || self.searches.len() >= limits::LOOKUPS {
            return Vec::new();
        }
        self.searched.insert(artifact, now);
        let told = kad.store_mut().providers(&key(&artifact));
        self.searches.insert(kad.get_providers(key(&artifact)), artifact);
        hints(artifact, told.iter().map(|record| &record.provider))
    }

    /// Tells others of one more artifact, and no longer of those that are gone.
    pub fn tick(&mut self, kad: &mut Kademlia, now: Instant) {
        self.searched.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        let is_gone = |_: &Hash, at: &mut Instant| now.saturating_duration_since(*at) >= FORGOTTEN;
        for (artifact, _) in self.provided.extract_if(.., is_gone) {
            kad.stop_providing(&key(&artifact));
        }
        if let Some(artifact) = self.waiting.pop_front()
            && self.provided.contains_key(&artifact)
            && kad.start_providing(key(&artifact)).is_err()
        {
            // A store that is full may have room later.
            self.provided.remove(&artifact);
        }
    }

    /// Takes what happened in Kademlia if it is about artifacts, and gives it back if not.
    pub fn event(
        &mut self,
        kad: &mut Kademlia,
        event: Event,
        now: Instant,
        is_plausible: impl Fn(&Multiaddr) -> bool,
    ) -> (Vec<Hint>, Option<Event>) {
        match event {
            Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(mut record) } }
                if is_artifact(&record.key) =>
            {
                if self.has_room(record.provider, now) {
                    record.addresses.retain(is_plausible);
                    record.addresses.truncate(limits::PEER_ADDRESSES);
                    // A full store knows enough.
                    let _ = kad.store_mut().add_provider(record);
                }
                (Vec::new(), None)
            }
            Event::OutboundQueryProgressed { id, result, step, stats } => {
                let Some(artifact) = self.searches.get(&id).copied() else {
                    return (Vec::new(), Some(Event::OutboundQueryProgressed { id, result, step, stats }));
                };
                if step.last {
                    self.searches.remove(&id);
                }
                let found = match result {
                    QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                        hints(artifact, providers.iter())
                    }
                    _ => Vec::new(),
                };
                (found, None)
            }
            other => (Vec::new(), Some(other)),
        }
    }

    /// May this peer have one more record here?
    fn has_room(&mut self, provider: PeerId, now: Instant) -> bool {
        let lasts = Duration::from_millis(limits::PROVIDE_MS);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= lasts) {
            (self.since, self.all) = (Some(now), 0);
            self.taken.clear();
        }
        let of_peer = self.taken.get(&provider).copied().unwrap_or(0);
        // Each word is said twice while it lasts.
        let has_room = of_peer < 2 * limits::PROVIDED && self.all < limits::PROVIDED_BY_ALL;
        if has_room {
            self.taken.insert(provider, of_peer + 1);
            self.all += 1;
        }
        has_room
    }
}

fn hints<'a>(artifact: Hash, peers: impl Iterator<Item = &'a PeerId>) -> Vec<Hint> {
    peers.filter_map(identity::node_of).map(|node| (node, artifact)).take(limits::FETCH_SOURCES).collect()
}

/// Under what the providers of an artifact are found: nothing from which its address could be learnt, for whoever knows that
/// may read it.
fn key(artifact: &Hash) -> RecordKey {
    let digest = Hash::blob(&[b"forgemesh provider of ", &artifact.0[..]].concat());
    RecordKey::new(&[&[TAG], &digest.0[..]].concat())
}

fn is_artifact(key: &RecordKey) -> bool {
    let bytes = key.as_ref();
    bytes.len() == 33 && bytes[0] == TAG
}

#[cfg(test)]
mod tests {
    use libp2p::kad::ProviderRecord;
    use libp2p::kad::store::MemoryStoreConfig;

    use super::*;

    #[test]
    fn no_provider_takes_more_than_its_share_and_none_a_node_s_place() {
        let own = PeerId::random();
        let room = MemoryStoreConfig { max_provided_keys: limits::PEERS, ..MemoryStoreConfig::default() };
        let mut kad = kad::Behaviour::new(own, MemoryStore::with_config(own, room));
        let (mut providers, now) = (Providers::default(), Instant::now());
        let mut tell = |number: u64, key: RecordKey, provider: PeerId| {
            let record = ProviderRecord::new(key, provider, Vec::new());
            let request = InboundRequest::AddProvider { record: Some(record) };
            let event = Event::InboundRequest { request };
            let later = now + Duration::from_millis(number);
            providers.event(&mut kad, event, later, |_| true).1.is_none()
        };
        let address = |number: u64| Hash::blob(&number.to_le_bytes());
        let (greedy, modest) = (PeerId::random(), PeerId::random());
        let most = 2 * limits::PROVIDED as u64;
        for number in 0..most + 10 {
            assert!(tell(number, key(&address(number)), greedy));
        }
        assert!(tell(1, key(&address(1)), modest));
        assert!(!tell(1, RecordKey::new(&address(1).0), modest), "a node's key is the directory's");
        let mut stored = |number: u64| kad.store_mut().providers(&key(&address(number))).len();
        assert_eq!((stored(0), stored(1), stored(most - 1), stored(most)), (1, 2, 1, 0));
    }

    #[test]
    fn what_is_named_again_is_told_once() {
        let own = PeerId::random();
        let mut kad = kad::Behaviour::new(own, MemoryStore::new(own));
        let (mut providers, now) = (Providers::default(), Instant::now());
        let artifact = Hash::blob(b"an artifact");
        for _ in 0..3 {
            providers.provide(vec![artifact], now);
        }
        assert_eq!(providers.waiting.len(), 1);
        providers.tick(&mut kad, now);
        assert_eq!(kad.store_mut().provided().count(), 1);
        providers.tick(&mut kad, now + FORGOTTEN);
        assert_eq!((kad.store_mut().provided().count(), providers.provided.len()), (0, 0));
    }
}

//! Announcements to all nodes of the mesh: short, signed by their author, checked before they are passed on.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use libp2p::PeerId;
use libp2p::gossipsub::{
    self, Behaviour, ConfigBuilder, IdentTopic, IdentityTransform, MessageAuthenticity, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;

use super::config::{Config, SwarmError};
use super::identity;
use super::window::Window;

/// Nobody may subscribe to anything but the one topic.
pub(super) type Gossip = Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// In which an author has its share.
const SECOND: Duration = Duration::from_secs(1);
/// Bytes of a message around its announcement: author, number, topic, signature, key.
const ENVELOPE: usize = 512;

/// The score of a peer that does not belong to the mesh: below every threshold.
pub(super) const OF_STRANGERS: f64 = -1_000.0;

/// The one topic of a mesh.
pub(super) fn topic(config: &Config) -> IdentTopic {
    IdentTopic::new(format!("/forgemesh/{}/announce/1", config.mesh_name()))
}

/// Subscribed to the topic.
pub(super) fn build(config: &Config, keypair: &Keypair) -> Result<Gossip, SwarmError> {
    let setup = |reason: String| SwarmError::Setup { reason };
    let topic = topic(config);
    let settings = ConfigBuilder::default()
        .protocol_id_prefix(format!("/forgemesh/{}/gossip", config.mesh_name()))
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .flood_publish(false)
        .max_transmit_size(limits::GOSSIP_FRAME_BYTES)
        .max_transmit_size_for_topic(limits::GOSSIP_BYTES + ENVELOPE, topic.hash())
        .build()
        .map_err(|error| setup(error.to_string()))?;
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let author = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip =
        Gossip::new_with_subscription_filter(author, settings, filter).map_err(|e| setup(e.to_owned()))?;
    let (scores, thresholds) = scores(&topic, config.limits.connections_per_subnet);
    gossip.with_peer_score(scores, thresholds).map_err(setup)?;
    gossip.subscribe(&topic).map_err(|error| setup(error.to_string()))?;
    Ok(gossip)
}

/// Peers lose by passing on what is invalid and by breaking the protocol, not by having little to pass on: announcements
/// are rare. Nor by sharing an address, up to the number that may connect from one subnet at all.
fn scores(topic: &IdentTopic, per_subnet: u32) -> (PeerScoreParams, PeerScoreThresholds) {
    let topic_scores = TopicScoreParams {
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_weight: 0.01,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    let scores = PeerScoreParams {
        topics: [(topic.hash(), topic_scores)].into(),
        ip_colocation_factor_threshold: f64::from(per_subnet.max(1)),
        ip_colocation_factor_whitelist: [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into(),
        ..PeerScoreParams::default()
    };
    (scores, PeerScoreThresholds::default())
}

/// What a message announces, and who; none if no node of this mesh would send it.
pub(super) fn announcement(message: gossipsub::Message) -> Option<(NodeId, Message)> {
    let from = identity::node_of(&message.source?)?;
    if message.data.len() > limits::GOSSIP_BYTES {
        return None;
    }
    let announced = Message::decode(&message.data).ok()?;
    matches!(announced, Message::Announced { .. }).then_some((from, announced))
}

/// Who may still be heard in this second: an author, by its signature, and the neighbour that passes it on, since keys cost
/// nothing.
pub(super) struct Hearing {
    authors: Pace<NodeId>,
    neighbours: Pace<PeerId>,
}

impl Default for Hearing {
    fn default() -> Hearing {
        Hearing {
            authors: Pace::of(limits::GOSSIP_PER_S),
            neighbours: Pace::of(limits::GOSSIP_OF_NEIGHBOUR_PER_S),
        }
    }
}

impl Hearing {
    /// Counts an announcement; false if there were too many in this second.
    pub fn may_speak(&mut self, author: NodeId, neighbour: PeerId, now: Instant) -> bool {
        self.neighbours.count(neighbour, now) && self.authors.count(author, now)
    }
}

/// How much each has announced lately.
struct Pace<K> {
    most: u32,
    counted: BTreeMap<K, Window>,
}

impl<K: Ord> Pace<K> {
    fn of(most: u32) -> Pace<K> {
        Pace { most, counted: BTreeMap::new() }
    }

    fn count(&mut self, key: K, now: Instant) -> bool {
        if self.counted.len() >= limits::CONDUCT {
            self.counted.retain(|_, window| !window.is_over(SECOND, now));
        }
        if self.counted.len() >= limits::CONDUCT && !self.counted.contains_key(&key) {
            return false;
        }
        self.counted.entry(key).or_insert_with(|| Window::new(now)).count(SECOND, now) <= self.most
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::hash::Hash;

    use super::*;

    fn author(number: u64) -> NodeId {
        NodeId(Hash::blob(&number.to_le_bytes()))
    }

    /// A neighbour with a fresh key for each announcement keeps nobody from being heard by way of another.
    #[test]
    fn who_has_many_keys_is_heard_no_more_than_a_neighbour_may_be() {
        let (mut hearing, now) = (Hearing::default(), Instant::now());
        let (liar, honest) = (PeerId::random(), PeerId::random());
        let heard = (0..100_000).filter(|&number| hearing.may_speak(author(number), liar, now)).count();
        assert_eq!(heard, limits::GOSSIP_OF_NEIGHBOUR_PER_S as usize);
        let own = author(u64::MAX);
        let heard = (0..1_000).filter(|_| hearing.may_speak(own, honest, now)).count();
        assert_eq!(heard, limits::GOSSIP_PER_S as usize);
        let later = now + SECOND;
        assert!(hearing.may_speak(own, honest, later) && hearing.may_speak(author(0), liar, later));
    }
}

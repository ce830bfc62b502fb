//! Announcements to all nodes of the mesh: short, signed by their author, checked before they are passed on.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use forgemesh_protocol::limits;
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, IdentTopic, IdentityTransform, Message, MessageAuthenticity, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;

use super::config::{Config, SwarmError};
use super::handle::Announcement;
use super::identity;

/// Nobody may subscribe to anything but the one topic.
pub(super) type Gossip = Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// Bytes of a message around its announcement: author, number, topic, signature, key.
const ENVELOPE: usize = 512;

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
        .max_transmit_size(limits::GOSSIP_BYTES + ENVELOPE)
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

/// What a message announces; none if no node of this mesh would send it.
pub(super) fn announcement(message: Message) -> Option<Announcement> {
    let from = identity::node_of(&message.source?)?;
    let fits = (1..=limits::GOSSIP_BYTES).contains(&message.data.len());
    fits.then_some(Announcement { from, bytes: message.data })
}

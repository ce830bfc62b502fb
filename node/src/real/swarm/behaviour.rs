//! The protocols a node speaks, and how each is set.
//!
//! Every name carries the mesh's id where libp2p lets it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use forgemesh_protocol::limits;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{PeerId, autonat, dcutr, identify, kad, mdns, ping, relay};

use super::config::{Config, SwarmError};
use super::gate::Gate;
use super::gossip;
use super::streams::Streams;

/// Searches end after so long.
const QUERY: Duration = Duration::from_millis(limits::MESH_WAIT_MS);
/// A node says again where it is to be found this often, and is forgotten after twice as long.
const PROVIDE: Duration = Duration::from_millis(limits::PROVIDE_MS / 2);
/// How often each peer is pinged.
const PING: Duration = Duration::from_secs(10);

/// All protocols. Who keeps others out comes first.
#[derive(NetworkBehaviour)]
pub(super) struct Protocols {
    pub gate: Gate,
    pub limits: connection_limits::Behaviour,
    pub streams: Streams,
    pub identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub kad: kad::Behaviour<MemoryStore>,
    pub gossip: gossip::Gossip,
    autonat_client: autonat::v2::client::Behaviour,
    autonat_server: autonat::v2::server::Behaviour,
    circuits: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    dcutr: dcutr::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Protocols {
    /// For a node with this key; `kept` are peers whose connections stay.
    pub fn new(
        config: &Config,
        keypair: &Keypair,
        circuits: relay::client::Behaviour,
        kept: &BTreeSet<PeerId>,
    ) -> Result<Protocols, SwarmError> {
        let setup = |reason: String| SwarmError::Setup { reason };
        let own = keypair.public().to_peer_id();
        let mdns = config.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), own)).transpose();
        let mut bounds = connection_limits::Behaviour::new(connection_limits(config));
        kept.iter().for_each(|peer| bounds.bypass_peer_id(peer));
        let identify = identify::Config::new(version(config), keypair.public())
            .with_agent_version(concat!("forgemesh/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true)
            // Addresses are remembered in `peers`, after a look at them.
            .with_cache_size(0);
        Ok(Protocols {
            gate: Gate::new(config.limits.connections_per_subnet),
            limits: bounds,
            streams: Streams::new(protocol(config, "msg/1")?, kept.clone()),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING)),
            kad: kademlia(own, protocol(config, "kad/1")?),
            gossip: gossip::build(config, keypair)?,
            autonat_client: autonat::v2::client::Behaviour::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
            circuits,
            relay: config.relay.then(|| relay::Behaviour::new(own, relay_config())).into(),
            dcutr: dcutr::Behaviour::new(own),
            mdns: mdns.map_err(|error| setup(error.to_string()))?.into(),
        })
    }
}

/// What `identify` calls the mesh: who says otherwise is in the wrong one.
pub(super) fn version(config: &Config) -> String {
    format!("/forgemesh/{}/1", config.mesh_name())
}

fn protocol(config: &Config, name: &str) -> Result<StreamProtocol, SwarmError> {
    StreamProtocol::try_from_owned(format!("/forgemesh/{}/{name}", config.mesh_name()))
        .map_err(|error| SwarmError::Setup { reason: error.to_string() })
}

fn kademlia(own: PeerId, protocol: StreamProtocol) -> kad::Behaviour<MemoryStore> {
    // Nothing is stored but where nodes are, and that only after a look at it.
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        // A node has but one, itself.
        max_providers_per_key: limits::FETCH_SOURCES,
        // Artifacts of two spans of time, for one begins before the words of the other have ended.
        max_provided_keys: limits::PEERS + 2 * limits::PROVIDED_BY_ALL + limits::PROVIDED,
    };
    let mut config = kad::Config::new(protocol);
    config
        .set_query_timeout(QUERY)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(Some(PROVIDE))
        .set_provider_record_ttl(Some(2 * PROVIDE))
        .set_caching(kad::Caching::Disabled)
        .set_max_packet_size(64 << 10)
        .set_periodic_bootstrap_interval(Some(Duration::from_millis(limits::REFRESH_MS)))
        .set_kbucket_size(const { NonZeroUsize::new(20).expect("invariant: 20 is not zero") });
    kad::Behaviour::with_config(own, MemoryStore::with_config(own, store), config)
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits::CONNECTIONS_PENDING))
        .with_max_pending_outgoing(Some(limits::CONNECTIONS_PENDING))
        .with_max_established(Some(config.limits.connections))
        .with_max_established_per_peer(Some(config.limits.connections_per_peer))
}

/// A relay of a mesh carries its work, not a stranger's greeting: circuits last, and carry as much as a node sends.
fn relay_config() -> relay::Config {
    relay::Config {
        max_reservations: limits::RELAY_CIRCUITS,
        max_circuits: limits::RELAY_CIRCUITS,
        max_circuit_duration: Duration::from_millis(limits::RELAY_MS),
        max_circuit_bytes: limits::RELAY_BYTES,
        ..relay::Config::default()
    }
}

//! What the network counts, for whoever watches over many nodes: the protocols' own figures and this node's, as OpenMetrics.
//!
//! Must never decide anything, nor grow by what others say: no label is a stranger's word. So it is counted that a peer
//! identified itself, and not what it claims of itself; and nothing of what it says of this node's addresses.

use std::fmt;
use std::sync::Arc;

use libp2p::metrics::{self, Recorder};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, identify};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use super::behaviour::ProtocolsEvent;
use super::counters::Counters;

/// What libp2p counts by the addresses at which peers saw this node; of those it is told none.
const OBSERVED: &str = "libp2p_identify_local_observed_addresses";

/// Where events become figures.
pub(super) struct Metrics(metrics::Metrics);

/// The figures as they are at any time.
#[derive(Clone, Debug)]
pub(super) struct Figures(Arc<Registry>);

/// Nothing has happened yet; `counters` go on elsewhere.
pub(super) fn begin(counters: Arc<Counters>) -> (Metrics, Figures) {
    let mut registry = Registry::default();
    let metrics = Metrics(metrics::Metrics::new(&mut registry));
    registry.sub_registry_with_prefix("forgemesh_mesh").register_collector(Box::new(Own(counters)));
    (metrics, Figures(Arc::new(registry)))
}

impl Metrics {
    /// Something happened.
    pub fn record(&self, event: &SwarmEvent<ProtocolsEvent>) {
        match event {
            // Its label is an address as a peer wrote it.
            SwarmEvent::NewExternalAddrCandidate { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => {}
            event => self.0.record(event),
        }
        match event {
            SwarmEvent::Behaviour(ProtocolsEvent::Ping(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Identify(event)) => self.identified(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Kad(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Gossip(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Relay(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Dcutr(event)) => self.0.record(event),
            _ => {}
        }
    }

    fn identified(&self, event: &identify::Event) {
        match event {
            identify::Event::Received { connection_id, peer_id, info } => {
                let info = identify::Info {
                    public_key: info.public_key.clone(),
                    protocol_version: String::new(),
                    agent_version: String::new(),
                    listen_addrs: Vec::new(),
                    protocols: Vec::new(),
                    observed_addr: Multiaddr::empty(),
                    signed_peer_record: None,
                };
                let (connection_id, peer_id) = (*connection_id, *peer_id);
                self.0.record(&identify::Event::Received { connection_id, peer_id, info });
            }
            event => self.0.record(event),
        }
    }
}

impl Figures {
    /// In the text format of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.0).expect("invariant: a text takes all that is written to it");
        text.split_inclusive('\n').filter(|line| !line.contains(OBSERVED)).collect()
    }
}

/// The counters of this folder.
#[derive(Debug)]
struct Own(Arc<Counters>);

impl Collector for Own {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, meaning, count) in self.0.read().named() {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, meaning, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use libp2p::identity::Keypair;
    use libp2p::multiaddr::Protocol;
    use libp2p::swarm::{ConnectionId, StreamProtocol};

    use super::*;

    #[test]
    fn what_others_say_of_addresses_makes_it_no_longer() {
        let (metrics, figures) = begin(Arc::default());
        let before = figures.text();
        for number in 1..200 {
            // Every one with a stack of protocols of its own.
            let circuits = (0..number).map(|_| Protocol::P2pCircuit);
            let address: Multiaddr = circuits.chain([Protocol::P2p(PeerId::random())]).collect();
            for event in [
                SwarmEvent::NewExternalAddrCandidate { address: address.clone() },
                SwarmEvent::ExternalAddrConfirmed { address: address.clone() },
                SwarmEvent::ExternalAddrExpired { address: address.clone() },
            ] {
                metrics.record(&event);
            }
        }
        assert_eq!(figures.text(), before);
        assert!(before.ends_with("# EOF\n"));
    }

    #[test]
    fn who_identifies_itself_is_counted_and_not_what_it_claims() {
        let (metrics, figures) = begin(Arc::default());
        let mut lines = Vec::new();
        for number in 1..100 {
            let public_key = Keypair::ed25519_from_bytes([number; 32]).unwrap().public();
            let (peer_id, claim) = (public_key.to_peer_id(), format!("/claim/{number}"));
            let address: Multiaddr = (0..number).map(|_| Protocol::P2pCircuit).collect();
            let info = identify::Info {
                public_key,
                protocol_version: claim.clone(),
                agent_version: claim.clone(),
                listen_addrs: vec![address.clone()],
                protocols: vec![StreamProtocol::try_from_owned(claim).unwrap()],
                observed_addr: address,
                signed_peer_record: None,
            };
            let connection_id = ConnectionId::new_unchecked(usize::from(number));
            let event = identify::Event::Received { connection_id, peer_id, info };
            metrics.record(&SwarmEvent::Behaviour(ProtocolsEvent::Identify(event)));
            lines.push(figures.text().lines().count());
        }
        let text = figures.text();
        assert!(text.contains("libp2p_identify_received_total 99"), "{text}");
        assert!(lines.iter().all(|count| *count == lines[0]) && !text.contains("claim"), "{text}");
        // Of nobody is it counted where this node was seen.
        assert!(!text.contains("observed"), "{text}");
    }
}

//! What the network counts, for whoever watches over many nodes: the protocols' own figures and this node's, as OpenMetrics.
//!
//! Must never decide anything, nor grow by what others say: no label is a stranger's word. So what a peer claims of itself
//! (identify) and of this node's addresses is not counted.

use std::fmt;
use std::sync::Arc;

use libp2p::metrics::{self, Recorder};
use libp2p::swarm::SwarmEvent;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use super::behaviour::ProtocolsEvent;
use super::counters::Counters;

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
            SwarmEvent::Behaviour(ProtocolsEvent::Kad(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Gossip(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Relay(event)) => self.0.record(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Dcutr(event)) => self.0.record(event),
            _ => {}
        }
    }
}

impl Figures {
    /// In the text format of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.0).expect("invariant: a text takes all that is written to it");
        text
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
    use libp2p::multiaddr::{Multiaddr, Protocol};

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
}

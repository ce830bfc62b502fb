//! The network's event loop: carries messages between the node and its peers' streams, and keeps track of who is where.
//!
//! It runs on a thread of its own. Must never wait for anything but the next event.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, identify, kad, mdns, ping};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::behaviour::{Protocols, ProtocolsEvent, version};
use super::conduct::{Conduct, Fault};
use super::config::{Config, SwarmError};
use super::counters::Counters;
use super::directory::Directory;
use super::gossip;
use super::handle::{Announcement, Link, Route, Status};
use super::lane::Parcel;
use super::outboxes::Outboxes;
use super::peers::Peers;
use super::reader::{Inbox, Reader};
use super::{address, identity, streams};

/// How often what waits is looked at.
const TICK: Duration = Duration::from_millis(100);
/// A relay that was lost is asked for another circuit after so long.
const RELISTEN: Duration = Duration::from_secs(2);
/// Nodes of the local network that are dialled at once.
const NEIGHBOURS: usize = 16;
/// Characters of what a peer says it runs, and of an error.
const TEXT: usize = 200;

/// What the network is asked.
#[derive(Debug)]
pub(super) enum Command {
    Send { to: NodeId, parcel: Parcel },
    Dial(Multiaddr),
    Publish(Vec<u8>),
}

/// The loop's ends towards the node.
pub(super) struct Ends {
    pub commands: mpsc::Receiver<Command>,
    pub inbox: Inbox,
    pub faults: mpsc::Receiver<(PeerId, Fault)>,
    pub status: watch::Sender<Status>,
    pub announcements: broadcast::Sender<Announcement>,
    pub stop: oneshot::Receiver<()>,
}

/// A listener that is to be there.
struct Listener {
    address: Multiaddr,
    /// None while it is closed.
    id: Option<ListenerId>,
    not_before: Instant,
}

/// The loop.
pub(super) struct EventLoop {
    swarm: libp2p::Swarm<Protocols>,
    ends: Ends,
    counters: Arc<Counters>,
    version: String,
    topic: IdentTopic,
    is_private: bool,
    is_relay: bool,
    peers: Peers,
    conduct: Conduct,
    directory: Directory,
    outboxes: Outboxes,
    readers: JoinSet<()>,
    links: BTreeMap<PeerId, BTreeMap<ConnectionId, Link>>,
    listeners: Vec<Listener>,
    /// Listeners whose address is not known yet, until all are; then the start is reported.
    starting: Option<(HashSet<ListenerId>, SyncSender<Result<(), SwarmError>>)>,
}

impl EventLoop {
    /// Of a swarm that listens nowhere yet; it reports when it does.
    pub fn new(
        config: &Config,
        swarm: libp2p::Swarm<Protocols>,
        peers: Peers,
        ends: Ends,
        ready: SyncSender<Result<(), SwarmError>>,
    ) -> Self {
        let counters = ends.inbox.counters.clone();
        EventLoop {
            counters: counters.clone(),
            version: version(config),
            topic: gossip::topic(config),
            is_private: config.pre_shared_key.is_some(),
            is_relay: config.relay,
            peers,
            conduct: Conduct::new(config.limits),
            directory: Directory::new(config.secret.public().id()),
            outboxes: Outboxes::new(counters),
            readers: JoinSet::new(),
            links: BTreeMap::new(),
            listeners: Vec::new(),
            starting: Some((HashSet::new(), ready)),
            swarm,
            ends,
        }
    }

    /// Listens where it is told to. A circuit may come later: its relay must be reached first.
    pub fn listen(&mut self, addresses: Vec<Multiaddr>) -> Result<(), SwarmError> {
        for address in addresses {
            let id = self.swarm.listen_on(address.clone()).map_err(|error| SwarmError::Listen {
                address: address.to_string(),
                reason: error.to_string(),
            })?;
            if !address::is_relayed(&address)
                && let Some((starting, _)) = &mut self.starting
            {
                starting.insert(id);
            }
            self.listeners.push(Listener { address, id: Some(id), not_before: Instant::now() });
        }
        // Who listens directly answers others' searches; who does not only searches.
        let is_direct = self.listeners.iter().any(|listener| !address::is_relayed(&listener.address));
        let mode = if is_direct { kad::Mode::Server } else { kad::Mode::Client };
        self.swarm.behaviour_mut().kad.set_mode(Some(mode));
        self.report_start();
        Ok(())
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut self.ends.stop => return,
                Some(command) = self.ends.commands.recv() => self.command(command),
                Some((peer, fault)) = self.ends.faults.recv() => self.strike(peer, fault),
                Some(node) = self.outboxes.next_end() => self.serve(node),
                Some(_) = self.readers.join_next() => {}
                event = self.swarm.select_next_some() => self.event(event),
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send { to, parcel } => {
                let is_connected = self.is_connected(&to);
                self.outboxes.post(to, parcel, is_connected, Instant::now());
                self.serve(to);
            }
            Command::Dial(address) => {
                if let Err(error) = self.swarm.dial(address) {
                    self.dial_failed(None, &error.to_string());
                }
            }
            // With nobody listening there is nobody to tell.
            Command::Publish(bytes) => {
                drop(self.swarm.behaviour_mut().gossip.publish(self.topic.clone(), bytes))
            }
        }
    }

    /// Brings what waits for a node on its way: opens streams, or looks for the node.
    fn serve(&mut self, node: NodeId) {
        let now = Instant::now();
        let Some(peer) = self.peers.get(&node).filter(|peer| peer.connections > 0) else {
            return self.reach(node, now);
        };
        for size in self.outboxes.begin_opening(&node, now) {
            self.swarm.behaviour_mut().streams.open(peer.id, size);
        }
    }

    /// Dials a node, or searches for it where it is not known.
    fn reach(&mut self, node: NodeId, now: Instant) {
        let Some((peer, addresses)) = self.peers.begin_dial(&node, now) else {
            if self.peers.get(&node).is_none() {
                self.search(node, now);
            }
            return;
        };
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(Some(peer), &error.to_string());
            self.search(node, now);
        }
    }

    fn search(&mut self, node: NodeId, now: Instant) {
        let peer = self.peers.get(&node).map(|peer| peer.id);
        for (peer, addresses) in self.directory.search(&mut self.swarm.behaviour_mut().kad, node, peer, now) {
            self.hear(peer, addresses, true);
        }
    }

    /// Takes a hint about a peer.
    fn hear(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, from_here: bool) {
        let own = |address: Multiaddr| match address::split_peer(address) {
            (address, named) if named.is_none_or(|named| named == peer) => Some(address),
            _ => None,
        };
        let plausible = |address: &Multiaddr| address::is_plausible(address, self.is_private, from_here);
        let addresses: Vec<Multiaddr> =
            addresses.into_iter().filter_map(own).filter(plausible).take(limits::PEER_ADDRESSES).collect();
        self.peers.hear(peer, addresses);
    }

    fn event(&mut self, event: SwarmEvent<ProtocolsEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.protocol_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.disconnected(peer_id, connection_id)
            }
            SwarmEvent::Dialing { .. } => drop(self.counters.dials.fetch_add(1, Ordering::Relaxed)),
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                self.dial_failed(peer_id, &error.to_string());
                if let Some(node) = peer_id.as_ref().and_then(identity::node_of)
                    && !self.is_connected(&node)
                    && self.outboxes.awaited().contains(&node)
                {
                    self.search(node, Instant::now());
                }
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                if self.is_relay && !address::is_relayed(&address) {
                    // A relay is asked to be one: it is reachable where it listens, or it is of no use.
                    self.swarm.add_external_address(address);
                }
                if let Some((starting, _)) = &mut self.starting {
                    starting.remove(&listener_id);
                }
                self.show_addresses();
                self.report_start();
            }
            SwarmEvent::ExpiredListenAddr { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.show_addresses()
            }
            SwarmEvent::ExternalAddrConfirmed { .. } => {
                self.directory.provide_again();
                self.show_addresses();
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let reason =
                    reason.err().map_or_else(|| "it was closed".to_owned(), |error| error.to_string());
                self.listener_closed(listener_id, reason);
            }
            _ => {}
        }
    }

    fn protocol_event(&mut self, event: ProtocolsEvent) {
        match event {
            ProtocolsEvent::Streams(event) => self.stream_event(event),
            ProtocolsEvent::Identify(identify::Event::Received { peer_id, info, connection_id }) => {
                self.identified(peer_id, connection_id, info);
            }
            ProtocolsEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(rtt) => self.show_peer(peer, |status| status.rtt = Some(rtt)),
                Err(ping::Failure::Unsupported) => {}
                // Nothing comes through any more: better found out now than when something is to be sent.
                Err(_) => drop(self.swarm.close_connection(connection)),
            },
            ProtocolsEvent::Kad(event) => self.directory_event(event),
            ProtocolsEvent::Gossip(event) => self.gossip_event(event),
            ProtocolsEvent::AutonatClient(event) => self.reachability(&event),
            ProtocolsEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found.into_iter().take(NEIGHBOURS) {
                    self.hear(peer, vec![address], false);
                    if let Some(node) = identity::node_of(&peer) {
                        self.reach(node, Instant::now());
                    }
                }
            }
            _ => {}
        }
    }

    fn stream_event(&mut self, event: streams::Event) {
        match event {
            streams::Event::Incoming { peer, stream } => {
                let intake = self.conduct.intake(peer, Instant::now());
                // One stream too many is dropped, which resets it.
                if let (Some(node), Some(place)) = (identity::node_of(&peer), intake.enter()) {
                    let reader = Reader { peer, node, intake, inbox: self.ends.inbox.clone(), _place: place };
                    self.readers.spawn(reader.run(stream));
                }
            }
            streams::Event::Opened { peer, connection, size, stream } => {
                let Some(node) = identity::node_of(&peer) else { return };
                let is_kept = self.peers.get(&node).is_some_and(|peer| peer.is_kept);
                self.outboxes.opened(node, size, connection, stream, is_kept);
            }
            streams::Event::Refused { peer, size } => {
                if let Some(node) = identity::node_of(&peer) {
                    self.outboxes.refused(&node, size);
                }
            }
        }
    }

    fn connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let remote = endpoint.get_remote_address();
        let route = match address::route(remote) {
            _ if endpoint.is_relayed() => Route::Relayed,
            Some(address::Route::Quic) => Route::Quic,
            _ => Route::Tcp,
        };
        let link = Link { address: remote.to_string(), route, is_outgoing: endpoint.is_dialer() };
        self.links.entry(peer).or_default().insert(connection, link);
        if endpoint.is_dialer() {
            self.hear(peer, vec![remote.clone()], true);
        }
        let Some(known) = self.peers.connected(peer) else { return };
        let is_kept = known.is_kept;
        self.show_links(peer, is_kept);
        if let Some(node) = identity::node_of(&peer) {
            let best = self.swarm.behaviour().streams.best(&peer);
            self.outboxes.prefer(&node, best);
            self.serve(node);
        }
    }

    fn disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        self.peers.disconnected(&peer, Instant::now());
        if let Some(links) = self.links.get_mut(&peer) {
            links.remove(&connection);
            if links.is_empty() {
                self.links.remove(&peer);
            }
        }
        self.show_links(peer, false);
        if let Some(node) = identity::node_of(&peer) {
            let best = self.swarm.behaviour().streams.best(&peer);
            self.outboxes.prefer(&node, best);
            if self.outboxes.awaited().contains(&node) {
                self.serve(node);
            }
        }
    }

    fn dial_failed(&mut self, peer: Option<PeerId>, reason: &str) {
        self.counters.failed_dials.fetch_add(1, Ordering::Relaxed);
        if let Some(peer) = peer {
            self.peers.dial_failed(&peer, Instant::now());
        }
        let reason = printable(reason);
        self.ends.status.send_modify(|status| status.last_failure = Some(reason));
    }

    fn identified(&mut self, peer: PeerId, connection: ConnectionId, info: identify::Info) {
        if info.protocol_version != self.version {
            // It speaks of another mesh. Only QUIC lets it come so far.
            self.swarm.close_connection(connection);
            return;
        }
        let from_here = self.links.get(&peer).is_some_and(|links| {
            let local = |link: &Link| link.address.parse().ok().and_then(|address| address::ip(&address));
            links.values().any(|link| local(link).is_some_and(|ip| ip.is_loopback()))
        });
        self.hear(peer, info.listen_addrs, from_here);
        let kad = &mut self.swarm.behaviour_mut().kad;
        if info.protocols.iter().any(|protocol| kad.protocol_names().contains(protocol))
            && let Some(known) = identity::node_of(&peer).and_then(|node| self.peers.get(&node))
        {
            for address in known.addresses() {
                kad.add_address(&peer, address.clone());
            }
        }
        let agent = printable(&info.agent_version);
        self.show_peer(peer, |status| status.agent = Some(agent));
    }

    fn directory_event(&mut self, event: kad::Event) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let found =
            self.directory.event(kad, event, |address| address::is_plausible(address, self.is_private, true));
        for (peer, addresses) in found.hints {
            self.hear(peer, addresses, true);
        }
        self.ends.status.send_if_modified(|status| {
            let known = self.peers.len();
            std::mem::replace(&mut status.known, known) != known
        });
        if let Some(node) = found.searched
            && self.outboxes.awaited().contains(&node)
            && self.peers.get(&node).is_some()
        {
            self.serve(node);
        }
    }

    fn gossip_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let announcement = gossip::announcement(message);
                let verdict = if announcement.is_some() {
                    MessageAcceptance::Accept
                } else {
                    MessageAcceptance::Reject
                };
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, verdict);
                if let Some(announcement) = announcement {
                    self.counters.announcements.fetch_add(1, Ordering::Relaxed);
                    // Nobody listening is no error.
                    let _ = self.ends.announcements.send(announcement);
                }
            }
            gossipsub::Event::Subscribed { .. } | gossipsub::Event::Unsubscribed { .. } => {
                let topic = self.topic.hash();
                let peers = self.swarm.behaviour().gossip.all_peers();
                let listeners = peers.filter(|(_, topics)| topics.contains(&&topic)).count();
                self.ends.status.send_modify(|status| status.listeners = listeners);
            }
            _ => {}
        }
    }

    /// Somebody tried to reach this node at one of its addresses.
    fn reachability(&mut self, event: &autonat::v2::client::Event) {
        let is_reached = event.result.is_ok();
        if !is_reached && !address::is_public(&event.tested_addr) {
            return;
        }
        let was = self.ends.status.borrow().is_reachable;
        if is_reached || was.is_none() {
            let mode = if is_reached { kad::Mode::Server } else { kad::Mode::Client };
            self.swarm.behaviour_mut().kad.set_mode(Some(mode));
            self.ends.status.send_modify(|status| status.is_reachable = Some(is_reached));
        }
    }

    fn strike(&mut self, peer: PeerId, fault: Fault) {
        let now = Instant::now();
        self.counters.strikes.fetch_add(1, Ordering::Relaxed);
        if self.conduct.strike(peer, now) {
            self.counters.bans.fetch_add(1, Ordering::Relaxed);
            let protocols = self.swarm.behaviour_mut();
            protocols.gate.ban(peer, now);
            protocols.kad.remove_peer(&peer);
            // An error says that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.ends
            .status
            .send_modify(|status| status.last_fault = identity::node_of(&peer).map(|node| (node, fault)));
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let peers = &self.peers;
        self.outboxes.sweep(now, |node| peers.get(node).is_some_and(|peer| peer.connections > 0));
        self.conduct.sweep(now, |peer| self.links.contains_key(peer));
        for node in self.outboxes.awaited() {
            self.serve(node);
        }
        for node in self.peers.missing() {
            self.reach(node, now);
        }
        self.directory.tick(&mut self.swarm.behaviour_mut().kad, now);
        for listener in
            self.listeners.iter_mut().filter(|listener| listener.id.is_none() && listener.not_before <= now)
        {
            listener.not_before = now + RELISTEN;
            listener.id = self.swarm.listen_on(listener.address.clone()).ok();
        }
    }

    fn listener_closed(&mut self, id: ListenerId, reason: String) {
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id == Some(id)) else {
            return;
        };
        listener.id = None;
        listener.not_before = Instant::now() + RELISTEN;
        if self.starting.as_ref().is_some_and(|(starting, _)| starting.contains(&id))
            && let Some((_, ready)) = self.starting.take()
        {
            let address = listener.address.to_string();
            // Who started it has given up waiting if this fails.
            let _ = ready.send(Err(SwarmError::Listen { address, reason }));
        }
        self.show_addresses();
    }

    fn report_start(&mut self) {
        if self.starting.as_ref().is_some_and(|(starting, _)| starting.is_empty())
            && let Some((_, ready)) = self.starting.take()
        {
            // As above.
            let _ = ready.send(Ok(()));
        }
    }

    fn is_connected(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.connections > 0)
    }

    fn show_addresses(&mut self) {
        let own = *self.swarm.local_peer_id();
        let named =
            |address: &Multiaddr| address.clone().with_p2p(own).unwrap_or_else(|address| address).to_string();
        let listen: Vec<String> = self.swarm.listeners().map(named).collect();
        let external: Vec<String> = self.swarm.external_addresses().map(named).collect();
        self.ends.status.send_modify(|status| (status.listen, status.external) = (listen, external));
    }

    fn show_links(&mut self, peer: PeerId, is_kept: bool) {
        let Some(node) = identity::node_of(&peer) else { return };
        let links: Vec<Link> =
            self.links.get(&peer).into_iter().flat_map(BTreeMap::values).cloned().collect();
        let known = self.peers.len();
        self.ends.status.send_modify(|status| {
            status.known = known;
            if links.is_empty() {
                status.peers.remove(&node);
            } else {
                let shown = status.peers.entry(node).or_default();
                shown.links = links;
                shown.is_kept |= is_kept;
            }
        });
    }

    fn show_peer(&mut self, peer: PeerId, change: impl FnOnce(&mut super::handle::PeerStatus)) {
        let Some(node) = identity::node_of(&peer) else { return };
        self.ends.status.send_modify(|status| {
            if let Some(shown) = status.peers.get_mut(&node) {
                change(shown);
            }
        });
    }
}

/// What others say, cut short and fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT).collect()
}

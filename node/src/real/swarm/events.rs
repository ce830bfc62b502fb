//! The network's event loop: carries messages between the node and its peers' streams, and keeps track of who is where.
//!
//! It runs on a thread of its own, or beside the node's loop. Must never wait for anything but the next event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use libp2p::core::ConnectedPoint;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, identify, kad, mdns, ping};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::behaviour::{Protocols, ProtocolsEvent, version};
use super::board::Board;
use super::conduct::{Conduct, Fault};
use super::config::{Config, SwarmError};
use super::counters::Counters;
use super::directory::Directory;
use super::gossip::{self, Hearing};
use super::handle::{Link, Route, Status};
use super::lane::Parcel;
use super::listeners::Listeners;
use super::metrics::Metrics;
use super::misleading::Misleading;
use super::neighbours::Neighbours;
use super::outboxes::Outboxes;
use super::peers::Peers;
use super::providers::{Hint, Providers};
use super::reader::{Inbox, Reader};
use super::strangers::Strangers;
use super::{address, identity, streams};

/// How often what waits is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a peer that misbehaves stays out.
const BAN: Duration = Duration::from_millis(limits::BAN_MS);
/// And one that does not belong to the mesh: it may have a ticket the next time.
const OUT: Duration = Duration::from_millis(limits::STRANGER_OUT_MS);

/// What the network is asked.
#[derive(Debug)]
pub(super) enum Command {
    Send {
        to: NodeId,
        parcel: Parcel,
    },
    Dial(Multiaddr),
    Publish(Vec<u8>),
    /// This node has these artifacts.
    Provide(Vec<Hash>),
    /// Who has this one?
    Seek(Hash),
    /// This node belongs to the mesh, or does not.
    Vouch {
        node: NodeId,
        belongs: bool,
    },
}

/// The loop's ends towards the node.
pub(super) struct Ends {
    pub commands: mpsc::Receiver<Command>,
    pub inbox: Inbox,
    pub faults: mpsc::Receiver<(PeerId, Fault)>,
    pub find: mpsc::Sender<Hint>,
    pub status: watch::Sender<Status>,
    pub metrics: Metrics,
    pub stop: oneshot::Receiver<()>,
}

/// The loop.
pub(super) struct EventLoop {
    swarm: libp2p::Swarm<Protocols>,
    commands: mpsc::Receiver<Command>,
    inbox: Inbox,
    faults: mpsc::Receiver<(PeerId, Fault)>,
    hearing: Hearing,
    find: mpsc::Sender<Hint>,
    stop: oneshot::Receiver<()>,
    counters: Arc<Counters>,
    metrics: Metrics,
    /// Where others reach this node, by its settings.
    told: BTreeSet<Multiaddr>,
    version: String,
    topic: IdentTopic,
    is_private: bool,
    is_relay: bool,
    peers: Peers,
    misleading: Misleading,
    neighbours: Neighbours,
    conduct: Conduct,
    strangers: Strangers,
    /// Nodes without a connection of which the node is told with the next tick: what they said before comes first.
    parting: BTreeSet<NodeId>,
    directory: Directory,
    providers: Providers,
    outboxes: Outboxes,
    readers: JoinSet<()>,
    board: Board,
    listeners: Listeners,
    tick: Interval,
}

impl EventLoop {
    /// Begins to listen where it is told to.
    pub fn new(
        config: &Config,
        listen: Vec<Multiaddr>,
        mut swarm: libp2p::Swarm<Protocols>,
        (peers, misleading): (Peers, Misleading),
        ends: Ends,
    ) -> Result<Self, SwarmError> {
        let counters = ends.inbox.counters.clone();
        let listeners = Listeners::open(&mut swarm, listen)?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Who listens directly answers others' searches; who does not only searches.
        let mode = if listeners.are_direct() { kad::Mode::Server } else { kad::Mode::Client };
        swarm.behaviour_mut().kad.set_mode(Some(mode));
        Ok(EventLoop {
            counters: counters.clone(),
            metrics: ends.metrics,
            // Nothing else has said so yet.
            told: swarm.external_addresses().cloned().collect(),
            version: version(config),
            topic: gossip::topic(config),
            is_private: config.pre_shared_key.is_some(),
            is_relay: config.relay,
            peers,
            misleading,
            neighbours: Neighbours::default(),
            conduct: Conduct::new(config.limits),
            strangers: Strangers::default(),
            parting: BTreeSet::new(),
            directory: Directory::new(config.secret.public().id()),
            providers: Providers::default(),
            outboxes: Outboxes::new(counters),
            readers: JoinSet::new(),
            board: Board::new(*swarm.local_peer_id(), ends.status),
            listeners,
            tick,
            swarm,
            commands: ends.commands,
            inbox: ends.inbox,
            faults: ends.faults,
            hearing: Hearing::default(),
            find: ends.find,
            stop: ends.stop,
        })
    }

    /// Waits until it listens everywhere, and says where it may not.
    pub async fn listening(&mut self) -> Result<(), SwarmError> {
        loop {
            if let Some(started) = self.listeners.started() {
                return started;
            }
            self.step().await;
        }
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        while self.step().await {}
    }

    /// The next event; false if it is told to stop.
    async fn step(&mut self) -> bool {
        tokio::select! {
            _ = &mut self.stop => return false,
            Some(command) = self.commands.recv() => self.command(command),
            Some((peer, fault)) = self.faults.recv() => self.strike(peer, fault),
            Some(node) = self.outboxes.next_end() => self.serve(node),
            Some(_) = self.readers.join_next() => {}
            event = self.swarm.select_next_some() => self.event(event),
            _ = self.tick.tick() => self.tick(),
        }
        true
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send { to, parcel } => {
                let is_connected = self.is_connected(&to);
                self.outboxes.post(to, parcel, is_connected, Instant::now());
                self.serve(to);
            }
            Command::Dial(address) => {
                if let Err(error) = self.attempt(address.into()) {
                    self.dial_failed(None, &error.to_string());
                }
            }
            Command::Vouch { node, belongs } => self.vouch(node, belongs),
            Command::Provide(artifacts) => self.providers.provide(artifacts, Instant::now()),
            Command::Seek(artifact) => {
                let kad = &mut self.swarm.behaviour_mut().kad;
                let found = self.providers.search(kad, artifact, Instant::now());
                self.tell(found);
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

    /// Dials a node, or searches for it where no address of it is known: an attempt in vain would put off the one that
    /// follows from the search.
    fn reach(&mut self, node: NodeId, now: Instant) {
        match self.peers.get(&node).and_then(|peer| peer.addresses().next()) {
            Some(_) => self.dial(node, now),
            None => self.search(node, now),
        }
    }

    /// Dials a node whose peer is known, if it is time to: at the addresses that are remembered, and those that a search
    /// under way has found.
    fn dial(&mut self, node: NodeId, now: Instant) {
        let Some((peer, addresses)) = self.peers.begin_dial(&node, now) else { return };
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        if let Err(error) = self.attempt(options) {
            self.dial_failed(Some(peer), &error.to_string());
            self.search(node, now);
        }
    }

    /// Begins an attempt to connect, and counts it as those that protocols make by themselves: only of these the swarm tells.
    fn attempt(&mut self, options: DialOpts) -> Result<(), DialError> {
        let (peer_id, connection_id) = (options.get_peer_id(), options.connection_id());
        self.swarm.dial(options)?;
        self.event(SwarmEvent::Dialing { peer_id, connection_id });
        Ok(())
    }

    fn search(&mut self, node: NodeId, now: Instant) {
        let peer = self.peers.get(&node).map(|peer| peer.id);
        for (peer, addresses) in self.directory.search(&mut self.swarm.behaviour_mut().kad, node, peer, now) {
            self.hear(peer, addresses, true);
        }
    }

    /// Takes a hint about a peer; gives what of it makes sense.
    fn hear(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, from_here: bool) -> Vec<Multiaddr> {
        let own = |address: Multiaddr| match address::split_peer(address) {
            (address, named) if named.is_none_or(|named| named == peer) => Some(address),
            _ => None,
        };
        let plausible = |address: &Multiaddr| address::is_plausible(address, self.is_private, from_here);
        let addresses: Vec<Multiaddr> =
            addresses.into_iter().filter_map(own).filter(plausible).take(limits::PEER_ADDRESSES).collect();
        self.peers.hear(peer, addresses.iter().cloned());
        addresses
    }

    fn event(&mut self, event: SwarmEvent<ProtocolsEvent>) {
        self.metrics.record(&event);
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
                match error {
                    DialError::WrongPeerId { address, obtained } => {
                        self.board.misled(&self.peers, peer_id, &address, obtained);
                        self.misleading.note(address, Instant::now());
                    }
                    DialError::LocalPeerId { address } => {
                        self.board.misled(&self.peers, peer_id, &address, *self.swarm.local_peer_id());
                    }
                    _ => {}
                }
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
                // Whoever waits for the start finds the addresses in the status.
                self.show_addresses();
                self.listeners.opened(listener_id);
            }
            SwarmEvent::ExpiredListenAddr { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.show_addresses()
            }
            SwarmEvent::ExternalAddrConfirmed { .. } => {
                self.directory.provide_again();
                self.show_addresses();
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                self.listeners.closed(listener_id, reason);
                self.show_addresses();
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
                Ok(rtt) => self.board.peer(peer, |status| status.rtt = Some(rtt)),
                Err(ping::Failure::Unsupported) => {}
                // Nothing comes through any more: better found out now than when something is to be sent.
                Err(_) => drop(self.swarm.close_connection(connection)),
            },
            ProtocolsEvent::Kad(event) => self.directory_event(event),
            ProtocolsEvent::Gossip(event) => self.gossip_event(event),
            ProtocolsEvent::AutonatClient(event) => self.reachability(&event),
            ProtocolsEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    if !self.neighbours.admits(Instant::now()) {
                        break;
                    }
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
                    let reader = Reader { peer, node, intake, inbox: self.inbox.clone(), _place: place };
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
        if endpoint.is_dialer() {
            self.hear(peer, vec![remote.clone()], true);
        }
        let Some(known) = self.peers.connected(peer) else { return };
        self.board.link_up(peer, connection, link, known.is_kept);
        self.board.known(self.peers.len());
        if let Some(node) = identity::node_of(&peer) {
            self.inbox.notice(node, true);
            let best = self.swarm.behaviour().streams.best(&peer);
            self.outboxes.prefer(&node, best);
            self.serve(node);
        }
    }

    fn disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        let is_last = self.peers.disconnected(&peer, Instant::now());
        self.board.link_down(peer, connection);
        if let Some(node) = identity::node_of(&peer) {
            if is_last {
                self.strangers.parted(&node);
                self.parting.insert(node);
            }
            let best = self.swarm.behaviour().streams.best(&peer);
            self.outboxes.prefer(&node, best);
            if self.outboxes.awaited().contains(&node) {
                self.serve(node);
            }
        }
    }

    /// A connected node belongs to the mesh, or does not: then announcements are neither sent to it nor taken from it, for
    /// its score is below every threshold.
    fn vouch(&mut self, node: NodeId, belongs: bool) {
        let Some(peer) = self.peers.get(&node).filter(|peer| peer.connections > 0).map(|peer| peer.id) else {
            return;
        };
        self.strangers.vouch(node, belongs, Instant::now());
        let score = if belongs { 0.0 } else { gossip::OF_STRANGERS };
        self.swarm.behaviour_mut().gossip.set_application_score(&peer, score);
    }

    fn dial_failed(&mut self, peer: Option<PeerId>, reason: &str) {
        self.counters.failed_dials.fetch_add(1, Ordering::Relaxed);
        if let Some(peer) = peer {
            self.peers.dial_failed(&peer, Instant::now());
            // A relay dials itself where another is reached through it alone.
            let other = Some(peer).filter(|peer| peer != self.swarm.local_peer_id());
            let node = other.as_ref().and_then(identity::node_of);
            if let Some(node) = node.filter(|node| !self.is_connected(node)) {
                self.parting.insert(node);
            }
        }
        self.board.failure(reason);
    }

    fn identified(&mut self, peer: PeerId, connection: ConnectionId, info: identify::Info) {
        if info.protocol_version != self.version {
            // It speaks of another mesh. Only QUIC lets it come so far.
            self.swarm.close_connection(connection);
            return;
        }
        let from_here = self.board.is_local(&peer);
        let said = self.hear(peer, info.listen_addrs, from_here);
        let kad = &mut self.swarm.behaviour_mut().kad;
        if info.protocols.iter().any(|protocol| kad.protocol_names().contains(protocol))
            && let Some(known) = identity::node_of(&peer).and_then(|node| self.peers.get(&node))
        {
            for address in known.addresses() {
                kad.add_address(&peer, address.clone());
            }
        }
        self.board.identified(peer, &info.agent_version, &said);
    }

    /// Hands on who has said that it has an artifact.
    fn tell(&self, found: Vec<Hint>) {
        for hint in found {
            // What the node cannot take now it looks for again.
            let _ = self.find.try_send(hint);
        }
    }

    fn directory_event(&mut self, event: kad::Event) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let is_plausible = |address: &Multiaddr| address::is_plausible(address, self.is_private, true);
        let (found, event) = self.providers.event(kad, event, Instant::now(), is_plausible);
        self.tell(found);
        let Some(event) = event else { return };
        let kad = &mut self.swarm.behaviour_mut().kad;
        let found =
            self.directory.event(kad, event, |address| address::is_plausible(address, self.is_private, true));
        let is_found = found.hints.iter().any(|(peer, _)| identity::node_of(peer) == found.searched);
        for (peer, addresses) in found.hints {
            self.hear(peer, addresses, true);
        }
        self.board.known(self.peers.len());
        if let Some(node) = found.searched
            && self.outboxes.awaited().contains(&node)
            && let Some(peer) = self.peers.get(&node)
            && peer.connections == 0
            && (is_found || peer.addresses().next().is_some())
        {
            self.dial(node, Instant::now());
        }
    }

    fn gossip_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let announcement = gossip::announcement(message);
                let verdict = match &announcement {
                    Some((from, _)) if !self.hearing.may_speak(*from, propagation_source, Instant::now()) => {
                        MessageAcceptance::Ignore
                    }
                    Some(_) => MessageAcceptance::Accept,
                    None => MessageAcceptance::Reject,
                };
                let is_heard = matches!(verdict, MessageAcceptance::Accept);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, verdict);
                if let Some((from, message)) = announcement.filter(|_| is_heard) {
                    self.counters.announcements.fetch_add(1, Ordering::Relaxed);
                    self.inbox.hear(from, message);
                }
            }
            gossipsub::Event::Subscribed { .. } | gossipsub::Event::Unsubscribed { .. } => {
                let topic = self.topic.hash();
                let peers = self.swarm.behaviour().gossip.all_peers();
                let listeners = peers.filter(|(_, topics)| topics.contains(&&topic)).count();
                self.board.listeners(listeners);
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
        if self.board.reached(is_reached) {
            let mode = if is_reached { kad::Mode::Server } else { kad::Mode::Client };
            self.swarm.behaviour_mut().kad.set_mode(Some(mode));
        }
    }

    fn strike(&mut self, peer: PeerId, fault: Fault) {
        let now = Instant::now();
        let is_banned = self.conduct.strike(peer, now);
        if is_banned {
            let protocols = self.swarm.behaviour_mut();
            protocols.gate.keep_out(peer, now, BAN);
            protocols.kad.remove_peer(&peer);
            // An error says that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let counters = &self.counters;
        self.board.fault(&peer, fault, || {
            counters.strikes.fetch_add(1, Ordering::Relaxed);
            counters.bans.fetch_add(u64::from(is_banned), Ordering::Relaxed);
        });
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let peers = &self.peers;
        self.outboxes.sweep(now, |node| peers.get(node).is_some_and(|peer| peer.connections > 0));
        for node in std::mem::take(&mut self.parting) {
            if !self.is_connected(&node) {
                self.inbox.notice(node, false);
            }
        }
        for node in self.strangers.tick(now) {
            if let Some(peer) = self.peers.get(&node).map(|peer| peer.id) {
                self.swarm.behaviour_mut().gate.keep_out(peer, now, OUT);
                // An error says that it is gone already.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }
        self.conduct.sweep(now, |peer| self.board.is_connected(peer));
        for node in self.outboxes.awaited() {
            self.serve(node);
        }
        for node in self.peers.missing() {
            self.reach(node, now);
        }
        self.directory.tick(&mut self.swarm.behaviour_mut().kad, now);
        self.providers.tick(&mut self.swarm.behaviour_mut().kad, now);
        self.listeners.tick(&mut self.swarm, now);
    }

    fn is_connected(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.connections > 0)
    }

    fn show_addresses(&self) {
        let found = self.swarm.external_addresses().filter(|address| !self.told.contains(address));
        self.board.addresses(self.swarm.listeners(), self.told.iter().chain(found));
    }
}

//! The mesh of production: libp2p behind the port `Mesh`.
//!
//! Owns the network's thread or task and the bounded channels to it. Nothing outside this folder knows of libp2p. What the
//! network cannot deliver, or has no room for, is lost and counted: the port promises no more.

mod address;
mod behaviour;
mod board;
mod budget;
mod conduct;
mod config;
mod counters;
mod directory;
mod events;
mod frame;
mod gate;
mod gathered;
mod gossip;
mod handle;
mod identity;
mod lane;
mod listeners;
mod metrics;
mod misleading;
mod neighbours;
mod outboxes;
mod peers;
mod providers;
mod reader;
mod room;
mod security;
mod strangers;
mod streams;
mod transport;
mod verifier;
mod window;

use std::collections::BTreeSet;
use std::future::pending;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::PublicKey;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use libp2p::{Multiaddr, PeerId};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::ports::{Brought, Mesh};

pub use conduct::Fault;
pub use config::{Addresses, Config, Limits, SwarmError};
pub use counters::Counts;
pub use handle::{AskError, Link, Misled, PeerStatus, Route, Status, SwarmHandle};

use events::{Command, Ends, EventLoop};
use lane::{Parcel, body_bytes};
use reader::{Delivery, Inbox};
use room::Rooms;

/// Threads that encode and decode large messages.
const CODERS: usize = 4;
/// How long a start may take: only addresses are looked up.
const START: Duration = Duration::from_millis(limits::FRAME_MS);
/// Connections that nobody uses are closed after so long.
const IDLE: Duration = Duration::from_millis(limits::STREAM_IDLE_MS);
/// Attempts to reach one peer at once.
const ATTEMPTS: NonZeroU8 = NonZeroU8::new(8).expect("invariant: 8 is not zero");

/// A runtime of one thread in which a network may run, alone or beside a node's loop.
pub fn runtime() -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(CODERS).thread_name("forgemesh-coder").build()
}

/// A running network. Dropping it closes all connections; where it is a task, once that runs again or its runtime ends.
pub struct Swarm {
    handle: SwarmHandle,
    deliveries: mpsc::Receiver<Delivery>,
    presence: mpsc::Receiver<(NodeId, bool)>,
    /// Who has said that it has an artifact.
    found: mpsc::Receiver<(NodeId, Hash)>,
    /// Bytes of large messages that may wait to be sent.
    room: Arc<Semaphore>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Swarm {
    /// Starts the network on a thread of its own; it listens when this returns, and says where. Waits for that: some tenths
    /// of a second at most.
    pub fn start(config: Config) -> Result<Swarm, SwarmError> {
        let (report, started) = sync_channel(1);
        let network = move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(SwarmError::Thread(error)))),
            };
            match runtime.block_on(Swarm::open(config)) {
                Ok((swarm, events)) => {
                    drop(report.send(Ok(swarm)));
                    runtime.block_on(events.run());
                }
                Err(error) => drop(report.send(Err(error))),
            }
            // What is being encoded or decoded is wanted by nobody any more.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new()
            .name("forgemesh-mesh".to_owned())
            .spawn(network)
            .map_err(SwarmError::Thread)?;
        let ended = |_| SwarmError::Setup { reason: "its thread has ended".to_owned() };
        let mut swarm = started.recv().map_err(ended)??;
        swarm.thread = Some(thread);
        Ok(swarm)
    }

    /// The same as a task of the runtime that this is called in, which ends with it. Nothing is handed from one thread to
    /// another then, but the network rests while whatever else is in that runtime does not.
    pub async fn spawn(config: Config) -> Result<Swarm, SwarmError> {
        let (swarm, events) = Swarm::open(config).await?;
        tokio::spawn(events.run());
        Ok(swarm)
    }

    /// A network that listens, and what is to be run.
    async fn open(config: Config) -> Result<(Swarm, EventLoop), SwarmError> {
        let checked = config.check()?;
        let (stop, stopped) = oneshot::channel();
        let (commands, asked) = mpsc::channel(limits::MESH_COMMANDS);
        let (deliver, deliveries) = mpsc::channel(limits::MESH_INBOX);
        let (notice, presence) = mpsc::channel(limits::MESH_PRESENCE);
        let (fault, faults) = mpsc::channel(limits::MESH_INBOX);
        let (find, found) = mpsc::channel(limits::PROVIDERS_FOUND);
        let (status, shown) = watch::channel(Status::new(config.secret.public().id()));
        let counters = Arc::<counters::Counters>::default();
        let kept = Arc::new(Semaphore::new(limits::KEPT_BUFFERS));
        let (metrics, figures) = metrics::begin(counters.clone());
        let inbox = Inbox {
            deliveries: deliver,
            presence: notice,
            rooms: Rooms::default(),
            kept,
            faults: fault,
            counters: counters.clone(),
        };
        let ends = Ends { commands: asked, inbox, faults, find, status, metrics, stop: stopped };
        let mut events = set_up(&config, checked, ends)?;
        let silent =
            |_| SwarmError::Setup { reason: "its addresses did not become known in time".to_owned() };
        timeout(START, events.listening()).await.map_err(silent)??;
        let is_private = config.pre_shared_key.is_some();
        let handle = SwarmHandle { commands, status: shown, counters, figures, is_private };
        let room = Arc::new(Semaphore::new(limits::MESH_OUTBOX_BYTES));
        Ok((Swarm { handle, deliveries, presence, found, room, stop: Some(stop), thread: None }, events))
    }

    /// A way to ask about the network.
    pub fn handle(&self) -> SwarmHandle {
        self.handle.clone()
    }

    fn lose(&self) {
        self.handle.counters.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl Mesh for Swarm {
    fn send(&mut self, to: NodeId, message: Message) {
        let body = body_bytes(&message);
        let room = if body > limits::SMALL_MESSAGE_BYTES {
            let Some(room) =
                u32::try_from(body).ok().and_then(|body| self.room.clone().try_acquire_many_owned(body).ok())
            else {
                return self.lose();
            };
            Some(room)
        } else {
            None
        };
        if self.handle.commands.try_send(Command::Send { to, parcel: Parcel::new(message, room) }).is_err() {
            self.lose();
        }
    }

    fn announce(&mut self, message: Message) {
        let bytes = message.encode();
        let fits = (1..=limits::GOSSIP_BYTES).contains(&bytes.len());
        if !fits || self.handle.commands.try_send(Command::Publish(bytes)).is_err() {
            self.lose();
        }
    }

    async fn next(&mut self) -> (NodeId, Brought) {
        tokio::select! {
            biased;
            Some((node, is_there)) = self.presence.recv() => {
                (node, if is_there { Brought::Met } else { Brought::Parted })
            }
            Some(delivery) = self.deliveries.recv() => (delivery.from, Brought::Message(delivery.message)),
            Some((node, artifact)) = self.found.recv() => {
                (node, Brought::Message(Message::At { artifact, nodes: vec![node] }))
            }
            // The network has ended: nothing comes any more.
            else => pending().await,
        }
    }

    fn provide(&mut self, artifacts: Vec<Hash>) {
        // The node says it again.
        drop(self.handle.commands.try_send(Command::Provide(artifacts)));
    }

    fn vouch(&mut self, node: NodeId, belongs: bool) {
        // A word that is lost is said again with the next connection.
        drop(self.handle.commands.try_send(Command::Vouch { node, belongs }));
    }

    fn seek(&mut self, artifact: Hash) {
        drop(self.handle.commands.try_send(Command::Seek(artifact)));
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Its connections end with it, however it ends.
            let _ = thread.join();
        }
    }
}

/// The peer id of a key as it stands in addresses, after `/p2p/`; none for a key that is not usable.
pub fn peer_id(key: &PublicKey) -> Option<String> {
    identity::peer_of(key).map(|peer| peer.to_string())
}

/// The node at the end of an address; none if the address does not say.
pub fn node_at(address: &str) -> Option<NodeId> {
    let address: Multiaddr = address.parse().ok()?;
    identity::node_of(&address::split_peer(address).1?)
}

fn set_up(config: &Config, checked: config::Checked, ends: Ends) -> Result<EventLoop, SwarmError> {
    let keypair = identity::keypair(&config.secret);
    let own = keypair.public().to_peer_id();
    let (transport, circuits) = transport::build(config, &keypair)?;
    let misleading = misleading::Misleading::default();
    let transport = misleading.avoided_by(transport);
    let mut peers = peers::Peers::new(own);
    config.known.iter().filter_map(identity::peer_of).for_each(|peer| peers.keep(peer, None));
    checked.bootstrap.iter().for_each(|(peer, address)| peers.keep(*peer, Some(address.clone())));
    config.recalled().for_each(|(peer, address)| peers.recall(peer, address));
    let known = config.known.iter().filter_map(identity::peer_of);
    let kept: BTreeSet<PeerId> = known.chain(checked.bootstrap.iter().map(|(peer, _)| *peer)).collect();
    let mut protocols = behaviour::Protocols::new(config, &keypair, circuits, &kept)?;
    for (peer, address) in checked.bootstrap {
        protocols.kad.add_address(&peer, address);
    }
    let settings = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_dial_concurrency_factor(ATTEMPTS);
    let mut swarm = libp2p::Swarm::new(transport, protocols, own, settings);
    checked.external.into_iter().for_each(|address| swarm.add_external_address(address));
    EventLoop::new(config, checked.listen, swarm, (peers, misleading), ends)
}

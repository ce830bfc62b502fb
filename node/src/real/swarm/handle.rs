//! What others in this process see of the network and may ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forgemesh_protocol::id::NodeId;
use libp2p::Multiaddr;
use tokio::sync::{mpsc, watch};

use super::address;
use super::conduct::Fault;
use super::config::SwarmError;
use super::counters::{Counters, Counts};
use super::events::Command;
use super::metrics::Figures;

/// How a connection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Tcp,
    Quic,
    Relayed,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub address: String,
    pub route: Route,
    /// Whether this node made it.
    pub is_outgoing: bool,
}

/// A connected node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    pub links: Vec<Link>,
    /// Time to the node and back, once it was measured.
    pub rtt: Option<Duration>,
    /// What it runs, once it has said so; then it has also said ...
    pub agent: Option<String>,
    /// ... where it may be dialled, each with `/p2p/…` at its end: nowhere, if there is none.
    pub addresses: Vec<String>,
    pub is_kept: bool,
}

impl PeerStatus {
    /// Whether others may dial it, by its own word and by what was tried; none until it has said so.
    pub fn is_dialable(&self) -> Option<bool> {
        let is_dialled = self.links.iter().any(|link| link.is_outgoing);
        if is_dialled { Some(true) } else { self.agent.as_ref().map(|_| !self.addresses.is_empty()) }
    }

    /// Whether it is reached through relays alone.
    pub fn is_relayed(&self) -> bool {
        self.links.iter().all(|link| link.route == Route::Relayed)
    }
}

/// An address of the configuration at which another node answers than it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misled {
    pub address: String,
    /// Who answers, and the address if that one is meant.
    pub node: NodeId,
    pub instead: String,
}

/// The network as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub node: NodeId,
    /// Where it listens, each with `/p2p/…` at its end: a ticket's bootstrap addresses.
    pub listen: Vec<String>,
    /// Where others have reached it, or a relay does.
    pub external: Vec<String>,
    /// Whether others can reach it, once somebody has tried.
    pub is_reachable: Option<bool>,
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Nodes of which it has heard, the connected ones included.
    pub known: usize,
    /// Connected nodes that listen to announcements.
    pub listeners: usize,
    /// Nodes of the configuration in whose place others answer; at most as many as it names.
    pub misled: BTreeMap<NodeId, Misled>,
    /// Why the last attempt to connect failed.
    pub last_failure: Option<String>,
    /// Who did something wrong last, and what.
    pub last_fault: Option<(NodeId, Fault)>,
    pub counts: Counts,
}

impl Status {
    pub(super) fn new(node: NodeId) -> Self {
        Status {
            node,
            listen: Vec::new(),
            external: Vec::new(),
            is_reachable: None,
            peers: BTreeMap::new(),
            known: 0,
            listeners: 0,
            misled: BTreeMap::new(),
            last_failure: None,
            last_fault: None,
            counts: Counts::default(),
        }
    }

    /// The number of connected nodes that are reached through relays alone.
    pub fn relayed(&self) -> usize {
        self.peers.values().filter(|peer| peer.is_relayed()).count()
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0}")]
    Address(#[from] SwarmError),
    #[error("the network is busy; ask again in a moment")]
    Busy,
    #[error("the network has stopped; start the node again")]
    Stopped,
}

/// A way to the network; cheap to clone. It does not keep the network running.
#[derive(Clone, Debug)]
pub struct SwarmHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) counters: Arc<Counters>,
    pub(super) figures: Figures,
    pub(super) is_private: bool,
}

impl SwarmHandle {
    /// The network as it is now.
    pub fn status(&self) -> Status {
        // The counters while it is borrowed: strikes are counted in one with the last fault.
        let status = self.status.borrow();
        Status { counts: self.counters.read(), ..status.clone() }
    }

    /// Waits until the network is as wanted. Counters alone wake nobody, but for strikes and bans.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Status) -> bool) -> Result<Status, AskError> {
        let mut changes = self.status.clone();
        let counts = |status: &Status| Status { counts: self.counters.read(), ..status.clone() };
        let found =
            changes.wait_for(|status| wanted(&counts(status))).await.map_err(|_| AskError::Stopped)?;
        Ok(counts(&found))
    }

    /// What was counted since the start, for monitoring: a text in the format of OpenMetrics 1.0.
    pub fn metrics(&self) -> String {
        self.figures.text()
    }

    /// Connects to whoever is at an address; what comes of it shows in the status.
    pub fn dial(&self, address: &str) -> Result<(), AskError> {
        let address: Multiaddr = address::parse(address, self.is_private)?;
        self.ask(Command::Dial(address))
    }

    fn ask(&self, command: Command) -> Result<(), AskError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::Stopped,
        })
    }
}

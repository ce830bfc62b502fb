//! Keeps the file of whereabouts as the network is, while a node runs.
//!
//! Must never write where nothing has changed, nor more than once in a while, nor have the node's loop wait for the disk.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use forgemesh_protocol::id::NodeId;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::Whereabouts;
use crate::driver::Handle;
use crate::real::swarm::{PeerStatus, SwarmHandle};

/// How often it is looked whether members are found elsewhere.
const LOOK: Duration = Duration::from_secs(10);
/// How long a node that ends waits for the last look.
const LAST: Duration = Duration::from_secs(2);

/// What it keeps, and where.
pub struct Keeper {
    folder: PathBuf,
    known: Whereabouts,
    /// The file holds what is known.
    is_written: bool,
    network: SwarmHandle,
    node: Handle,
}

impl Keeper {
    /// Of a node that has begun with what the file in its folder says.
    pub fn new(folder: PathBuf, known: Whereabouts, network: SwarmHandle, node: Handle) -> Keeper {
        Keeper { folder, known, is_written: true, network, node }
    }

    /// Keeps it, as long as the node runs.
    pub async fn tend(&mut self) {
        loop {
            sleep(LOOK).await;
            self.look().await;
        }
    }

    /// The last look of a node that ends.
    pub async fn end(&mut self) {
        // A disk that takes longer keeps nobody waiting.
        drop(timeout(LAST, self.look()).await);
    }

    async fn look(&mut self) {
        let status = self.network.status();
        let found = |node: &NodeId| status.peers.get(node).map(addresses).unwrap_or_default();
        if self.known.learn(&self.members(status.node), found) {
            self.is_written = false;
        }
        if !self.is_written {
            let (folder, known) = (self.folder.clone(), self.known.clone());
            // What cannot be written now is tried again with the next look.
            self.is_written = matches!(spawn_blocking(move || known.write(&folder)).await, Ok(Ok(())));
        }
    }

    /// Who sits in the hub or stands by, but for this node.
    fn members(&self, own: NodeId) -> BTreeSet<NodeId> {
        let seated = self.node.seated();
        let admitted = seated.charters.current().admitted.iter().map(|member| member.key.id());
        seated.seating.seated.iter().copied().chain(admitted).filter(|node| *node != own).collect()
    }
}

/// Where a connected node is found: where it has shown its key, then where it says that it is.
fn addresses(peer: &PeerStatus) -> Vec<String> {
    let reached = peer.links.iter().filter(|link| link.is_outgoing).map(|link| link.address.clone());
    reached.chain(peer.addresses.iter().cloned()).collect()
}

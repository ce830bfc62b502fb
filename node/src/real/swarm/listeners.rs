//! Where the node is to listen: reports the start once it does, and listens again where it was interrupted.

use std::collections::HashSet;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;

use super::address;
use super::behaviour::Protocols;
use super::config::SwarmError;

/// What was closed is opened again after so long: a relay may be back by then.
const AGAIN: Duration = Duration::from_secs(2);
/// Who listens on every address of this machine hears of them one after the other, and nobody says which is the last:
/// after so many looks without a new one all are there.
const QUIET_LOOKS: u32 = 2;

/// Where the start is reported.
pub(super) type Ready = SyncSender<Result<(), SwarmError>>;

struct Listener {
    address: Multiaddr,
    /// None while it is closed.
    id: Option<ListenerId>,
    not_before: Instant,
}

/// All listeners.
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// Those whose address is not known yet, until all are.
    starting: HashSet<ListenerId>,
    /// Looks that must pass without a new address before the start is reported, and how many have.
    wanted_looks: u32,
    looks: u32,
    ready: Option<Ready>,
}

impl Listeners {
    /// Listens at all addresses. A circuit may come later: its relay must be reached first.
    pub fn open(
        swarm: &mut libp2p::Swarm<Protocols>,
        addresses: Vec<Multiaddr>,
        ready: Ready,
    ) -> Result<Self, SwarmError> {
        let (mut listeners, mut starting) = (Vec::new(), HashSet::new());
        let wanted_looks = if addresses.iter().any(address::is_unspecified) { QUIET_LOOKS } else { 0 };
        for address in addresses {
            let refused = |reason: String| SwarmError::Listen { address: address.to_string(), reason };
            let id = swarm.listen_on(address.clone()).map_err(|error| refused(error.to_string()))?;
            if !address::is_relayed(&address) {
                starting.insert(id);
            }
            listeners.push(Listener { address, id: Some(id), not_before: Instant::now() });
        }
        let mut all = Listeners { listeners, starting, wanted_looks, looks: 0, ready: Some(ready) };
        all.report();
        Ok(all)
    }

    /// Whether others may connect without a relay's help.
    pub fn are_direct(&self) -> bool {
        self.listeners.iter().any(|listener| !address::is_relayed(&listener.address))
    }

    /// A listener has an address.
    pub fn opened(&mut self, id: ListenerId) {
        self.starting.remove(&id);
        self.looks = 0;
        self.report();
    }

    /// A listener is closed.
    pub fn closed(&mut self, id: ListenerId, reason: String) {
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id == Some(id)) else {
            return;
        };
        listener.id = None;
        listener.not_before = Instant::now() + AGAIN;
        if self.starting.contains(&id)
            && let Some(ready) = self.ready.take()
        {
            let address = listener.address.to_string();
            // Who started it has given up waiting if this fails.
            let _ = ready.send(Err(SwarmError::Listen { address, reason }));
        }
    }

    /// Listens again where it is time to, and looks whether the start is over.
    pub fn tick(&mut self, swarm: &mut libp2p::Swarm<Protocols>, now: Instant) {
        self.looks = self.looks.saturating_add(1);
        self.report();
        for listener in self.listeners.iter_mut().filter(|listener| listener.id.is_none()) {
            if listener.not_before <= now {
                listener.not_before = now + AGAIN;
                listener.id = swarm.listen_on(listener.address.clone()).ok();
            }
        }
    }

    fn report(&mut self) {
        if self.starting.is_empty()
            && self.looks >= self.wanted_looks
            && let Some(ready) = self.ready.take()
        {
            // As above.
            let _ = ready.send(Ok(()));
        }
    }
}

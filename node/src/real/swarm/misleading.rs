//! Addresses that lead to somebody else than they are said to: they are not dialled again for a while.
//!
//! Two homes use the same private addresses, and so a node may be told to look for another where it is itself. Of all the
//! addresses of a peer that are tried at once the first to answer decides; one that misleads is the quickest, and must not
//! keep the others from being reached.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::{Multiaddr, PeerId, Transport};

/// After so long it is tried again: a node may have moved there.
const AGAIN: Duration = Duration::from_secs(60);
/// So many are remembered, no more.
const MOST: usize = 1_024;

/// The addresses, each with the peer at its end that was not there, and when that was found out.
#[derive(Clone, Debug, Default)]
pub(super) struct Misleading(Arc<Mutex<BTreeMap<Multiaddr, Instant>>>);

impl Misleading {
    /// Somebody else was there. The oldest makes room.
    pub fn note(&self, address: Multiaddr, now: Instant) {
        let mut found = self.found();
        found.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        if found.len() >= MOST
            && let Some(oldest) = found.iter().min_by_key(|(_, at)| **at).map(|(address, _)| address.clone())
        {
            found.remove(&oldest);
        }
        found.insert(address, now);
    }

    /// The same transport, which does not dial them.
    pub fn avoided_by(&self, inner: Boxed<Connection>) -> Boxed<Connection> {
        Avoiding { inner, misleading: self.clone() }.boxed()
    }

    fn misleads(&self, address: &Multiaddr, now: Instant) -> bool {
        self.found().get(address).is_some_and(|at| now.saturating_duration_since(*at) < AGAIN)
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<Multiaddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Connection = (PeerId, StreamMuxerBox);

struct Avoiding {
    inner: Boxed<Connection>,
    misleading: Misleading,
}

impl Transport for Avoiding {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<Connection> as Transport>::ListenerUpgrade;
    type Dial = <Boxed<Connection> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        if self.misleading.misleads(&address, Instant::now()) {
            let text = "somebody else was found there a moment ago";
            return Err(TransportError::Other(io::Error::other(text)));
        }
        self.inner.dial(address, options)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.get_mut().inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misled_is_tried_again_later_and_not_all_of_it_is_remembered() {
        let (misleading, now) = (Misleading::default(), Instant::now());
        let address = |port: usize| format!("/ip4/192.168.1.2/tcp/{port}").parse::<Multiaddr>().unwrap();
        misleading.note(address(1), now);
        assert!(misleading.misleads(&address(1), now) && !misleading.misleads(&address(2), now));
        assert!(!misleading.misleads(&address(1), now + AGAIN));
        for port in 2..MOST + 10 {
            misleading.note(address(port), now + Duration::from_millis(port as u64));
        }
        assert_eq!(misleading.found().len(), MOST);
        assert!(!misleading.misleads(&address(1), now));
    }
}

//! What peers did: their strikes, what they may still send, how many streams they have.
//!
//! It outlives a connection, so that who comes back does not begin anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forgemesh_protocol::limits;
use libp2p::PeerId;
use tokio::sync::Semaphore;

use super::budget::Budget;
use super::config::Limits;
use super::room::Share;

/// How long a peer without a strike is remembered.
const FORGET: Duration = Duration::from_secs(60);
const BAN: Duration = Duration::from_millis(limits::BAN_MS);

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it sent a frame that no message has")]
    Frame,
    #[error("it sent what is no message")]
    Message,
    #[error("it sent more than a peer may")]
    Flood,
    #[error("it sent too slowly")]
    Stall,
}

/// What all streams of one peer share.
#[derive(Debug)]
pub(super) struct Intake {
    /// Places in the node's inbox.
    pub share: Arc<Semaphore>,
    /// Room for large messages.
    pub room: Share,
    budget: Mutex<Budget>,
    /// When a byte came last, on whichever of its streams.
    heard: Mutex<Instant>,
    streams: AtomicUsize,
    limits: Limits,
}

impl Intake {
    /// Bytes have come.
    pub fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nothing has come at all.
    pub fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Counts a message of so many bytes; false if it was too much, after which the count begins anew.
    pub fn spend(&self, bytes: usize) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fits = budget.take(1, bytes as u64, now).is_ok();
        if !fits {
            *budget = Budget::of_peer(&self.limits, now);
        }
        fits
    }

    /// A place for one more stream, if there is one.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        (self.streams.fetch_add(1, Ordering::Relaxed) < limits::STREAMS_PER_PEER).then_some(place)
    }
}

/// One stream's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Intake>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Record {
    intake: Arc<Intake>,
    strikes: Vec<Instant>,
    seen: Instant,
}

/// All peers' conduct.
pub(super) struct Conduct {
    records: BTreeMap<PeerId, Record>,
    limits: Limits,
}

impl Conduct {
    pub fn new(limits: Limits) -> Self {
        Conduct { records: BTreeMap::new(), limits }
    }

    /// What this peer's streams share.
    pub fn intake(&mut self, peer: PeerId, now: Instant) -> Arc<Intake> {
        self.record(peer, now).intake.clone()
    }

    /// Notes a fault; true if it was one too many.
    pub fn strike(&mut self, peer: PeerId, now: Instant) -> bool {
        let record = self.record(peer, now);
        record.strikes.retain(|at| now.saturating_duration_since(*at) < BAN);
        record.strikes.push(now);
        let banned = record.strikes.len() as u32 >= limits::STRIKES;
        if banned {
            record.strikes.clear();
        }
        banned
    }

    /// Forgets who did nothing wrong and is gone.
    pub fn sweep(&mut self, now: Instant, is_connected: impl Fn(&PeerId) -> bool) {
        self.records.retain(|peer, record| {
            let keep = if record.strikes.is_empty() { FORGET } else { BAN };
            is_connected(peer) || now.saturating_duration_since(record.seen) < keep
        });
    }

    fn record(&mut self, peer: PeerId, now: Instant) -> &mut Record {
        if self.records.len() >= limits::CONDUCT && !self.records.contains_key(&peer) {
            let oldest = self.records.iter().min_by_key(|(_, record)| record.seen).map(|(peer, _)| *peer);
            oldest.map(|peer| self.records.remove(&peer));
        }
        let limits = self.limits;
        let record = self.records.entry(peer).or_insert_with(|| Record {
            intake: Arc::new(Intake {
                share: Arc::new(Semaphore::new(limits::MESH_INBOX_PER_PEER)),
                room: Share::default(),
                budget: Mutex::new(Budget::of_peer(&limits, now)),
                heard: Mutex::new(now),
                streams: AtomicUsize::new(0),
                limits,
            }),
            strikes: Vec::new(),
            seen: now,
        });
        record.seen = now;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strikes_within_ten_minutes_are_one_too_many() {
        let mut conduct = Conduct::new(Limits::default());
        let (peer, start) = (PeerId::random(), Instant::now());
        assert!(!conduct.strike(peer, start) && !conduct.strike(peer, start + BAN / 2));
        assert!(!conduct.strike(peer, start + BAN));
        assert!(conduct.strike(peer, start + BAN + BAN / 4));
        assert!(!conduct.strike(PeerId::random(), start));
    }

    #[test]
    fn who_comes_back_does_not_begin_anew_and_memory_is_bounded() {
        let mut conduct = Conduct::new(Limits { peer_messages_per_s: 1, ..Limits::default() });
        let (peer, start) = (PeerId::random(), Instant::now());
        let spent = conduct.intake(peer, start);
        while spent.spend(1) {}
        conduct.strike(peer, start);
        conduct.sweep(start + FORGET, |_| false);
        assert!(Arc::ptr_eq(&spent, &conduct.intake(peer, start + FORGET)));
        conduct.sweep(start + FORGET + BAN, |_| false);
        assert!(!Arc::ptr_eq(&spent, &conduct.intake(peer, start + FORGET + BAN)));
        for _ in 0..limits::CONDUCT + 10 {
            conduct.intake(PeerId::random(), start);
        }
        assert_eq!(conduct.records.len(), limits::CONDUCT);
    }

    #[test]
    fn streams_have_places() {
        let mut conduct = Conduct::new(Limits::default());
        let intake = conduct.intake(PeerId::random(), Instant::now());
        let mut places: Vec<Place> = (0..limits::STREAMS_PER_PEER).filter_map(|_| intake.enter()).collect();
        assert_eq!(places.len(), limits::STREAMS_PER_PEER);
        assert!(intake.enter().is_none());
        places.pop();
        assert!(intake.enter().is_some());
    }
}

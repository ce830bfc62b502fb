//! A member of the test's hub: a disk, a replica in some life, and a state made of all that it has applied.

use std::collections::VecDeque;
use std::sync::Arc;

use forgemesh_consensus::raft::{Committed, Head, Replica, Start, Timing};
use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_storage::testing::{Disk, Unsynced};
use forgemesh_storage::{Batch, Storage};

/// The digest of all entries up to one: a state that shows every difference of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub Hash);

impl Chain {
    pub fn start() -> Chain {
        Chain(Hash::ZERO)
    }

    pub fn then(self, entry: &Committed) -> Chain {
        let bytes = match entry {
            Committed::Entry(entry) => canon::to_bytes(entry),
            Committed::Other { index, term } => canon::to_bytes(&(index, term)),
        };
        Chain(Hash::blob(&[&self.0.0[..], &bytes].concat()))
    }
}

pub struct Member {
    pub id: NodeId,
    pub disk: Disk,
    /// How often it came to life.
    pub life: u64,
    pub replica: Option<Replica>,
    storage: Option<Arc<Storage>>,
    /// Batches given out and not durable; the first is being written.
    pub writes: VecDeque<(u64, Batch)>,
    /// Entries that were given out to be applied while they, or others before them, were not durable.
    pub ahead: Vec<Committed>,
    pub next: u64,
    pub chain: Chain,
    /// Entries that its newest snapshot includes.
    pub snapshot: u64,
    /// Restored states in this life.
    pub restored: u64,
    /// Whether it said that it leads.
    pub leads: bool,
}

impl Member {
    pub fn new(number: u64, seed: u64) -> Member {
        Member {
            id: NodeId(Hash::blob(format!("member {number}").as_bytes())),
            disk: Disk::new(seed),
            life: 0,
            replica: None,
            storage: None,
            writes: VecDeque::new(),
            ahead: Vec::new(),
            next: 0,
            chain: Chain::start(),
            snapshot: 0,
            restored: 0,
            leads: false,
        }
    }

    /// Opens the disk and starts a replica on what is there. False when the disk died meanwhile.
    pub async fn start(&mut self, voters: Vec<NodeId>, timing: Timing) -> bool {
        let storage = match Storage::with_backend(self.disk.clone()) {
            Err(_) if self.disk.is_dead() => return false,
            opened => Arc::new(opened.unwrap()),
        };
        (self.next, self.chain) = (0, Chain::start());
        if let Ok(Some((index, bytes))) = storage.snapshot() {
            let (head, state) = Head::split(&bytes).unwrap();
            assert_eq!(head.last.index, index);
            self.restore(index, state);
        }
        (self.snapshot, self.restored, self.leads) = (self.next, 0, false);
        self.life += 1;
        self.storage = Some(storage.clone());
        match Replica::start(Start { node: self.id, voters, storage, timing }).await {
            Err(_) if self.disk.is_dead() => return false,
            started => self.replica = Some(started.unwrap()),
        }
        true
    }

    /// The process dies and the power fails: what was not synced is lost or torn.
    pub fn crash(&mut self, way: Unsynced) {
        self.disk = self.disk.power_loss(way);
        (self.replica, self.storage, self.leads) = (None, None, false);
        self.writes.clear();
        self.ahead.clear();
    }

    /// Writes the first batch; the token, or nothing when the disk failed.
    pub fn commit(&mut self) -> Option<u64> {
        let (token, batch) = self.writes.pop_front().expect("a batch under way");
        self.storage.as_ref().expect("it lives").commit(&batch).ok().map(|()| token)
    }

    pub fn storage(&self) -> &Storage {
        self.storage.as_ref().expect("it lives")
    }

    pub fn apply(&mut self, entry: &Committed) {
        assert_eq!(entry.index(), self.next, "each entry once, in order");
        self.chain = self.chain.then(entry);
        self.next += 1;
    }

    /// The state as bytes, with so much behind it.
    pub fn state(&self, padding: usize) -> Vec<u8> {
        let mut state = self.chain.0.0.to_vec();
        state.resize(32 + padding, self.next as u8);
        state
    }

    pub fn restore(&mut self, index: u64, state: &[u8]) {
        self.chain = Chain(Hash(*state.first_chunk().expect("a state")));
        self.next = index + 1;
    }
}

//! Long pieces of artifacts beside the database: a file of slots, in each of which one piece lies as it is.
//!
//! Owns which slots are free. A row of the database says which piece lies where; a slot that no row names is free, so that a
//! crash needs no repair. Must never write into a slot that a row names, or named before the commit under way, nor say that
//! bytes are whole: that is for whoever knows their sum.
//!
//! In the engine a piece is copied and summed once more on its way in, and copied twice more on its way out: a sixth of the
//! time that an artifact takes to come (`BENCHMARKS.md`).

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::holes::Holes;
use crate::limits::MAX_PIECE_BYTES;

/// Bytes of a slot.
const SLOT: u64 = MAX_PIECE_BYTES as u64;

/// The slots. One transaction at a time writes, anybody reads.
#[derive(Debug)]
pub(crate) struct Slots {
    file: Box<dyn StorageBackend>,
    holes: Option<Holes>,
    state: Mutex<State>,
    /// How often slots have become free.
    turns: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// How many slots the file has.
    count: u64,
    /// Those of them in which nothing lies.
    free: BTreeSet<u64>,
    /// Filled by the transaction that is under way.
    filled: Vec<u64>,
    /// Emptied by it: others may still read them, and so does whoever opens after a crash, until it is committed.
    emptied: Vec<u64>,
}

impl Slots {
    /// The slots of this file, in `named` of which something lies. It is as long then as it need be.
    pub(crate) fn new(
        file: impl StorageBackend,
        holes: Option<Holes>,
        named: &BTreeSet<u64>,
    ) -> io::Result<Slots> {
        let count = named.last().map_or(0, |last| last + 1);
        if file.len()? != count * SLOT {
            // Longer: the last ones are free. Shorter: what was there is lost, and not what will be.
            file.set_len(count * SLOT)?;
        }
        let free = (0..count).filter(|slot| !named.contains(slot)).collect();
        let state = Mutex::new(State { count, free, ..State::default() });
        Ok(Slots { file: Box::new(file), holes, state, turns: AtomicU64::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked in between has ended the handle.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a piece into a slot and says which. It is durable after `sync`, and stays if the transaction does.
    pub(crate) fn fill(&self, piece: &[u8]) -> io::Result<u64> {
        let slot = {
            let mut state = self.state();
            let slot = state.free.pop_first().unwrap_or(state.count);
            state.filled.push(slot);
            if slot == state.count {
                self.file.set_len((slot + 1) * SLOT)?;
                state.count += 1;
            }
            slot
        };
        self.file.write(slot * SLOT, piece)?;
        Ok(slot)
    }

    /// Nothing lies in this slot any more once the transaction is committed.
    pub(crate) fn empty(&self, slot: u64) {
        self.state().emptied.push(slot);
    }

    /// What the transaction has put is durable when this returns; to be called before it is committed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.state().filled.is_empty() { Ok(()) } else { self.file.sync_data() }
    }

    /// The transaction has ended: it is committed, or nothing of it has happened.
    pub(crate) fn settle(&self, is_committed: bool) {
        let mut state = self.state();
        let (filled, emptied) = (std::mem::take(&mut state.filled), std::mem::take(&mut state.emptied));
        if is_committed && !emptied.is_empty() {
            // First of all: who has read a row that names one of them learns that it may have read another piece.
            self.turns.fetch_add(1, Ordering::SeqCst);
            let holes = self.holes.iter();
            holes.for_each(|holes| emptied.iter().for_each(|slot| holes.punch(slot * SLOT, SLOT)));
        }
        state.free.extend(if is_committed { emptied } else { filled });
    }

    /// Another number as soon as a slot may hold another piece than the one that a row names which was read before.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }

    /// The first bytes of a slot; none if there are not so many. By the time they are read another piece may lie there.
    pub(crate) fn read(&self, slot: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
        if slot >= self.state().count || length > MAX_PIECE_BYTES {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.file.read(slot * SLOT, &mut bytes)?;
        Ok(Some(bytes))
    }
}

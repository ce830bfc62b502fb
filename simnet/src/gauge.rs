//! How much waits inside one machine: read by the invariant that says how much may.

use std::cell::Cell;
use std::rc::Rc;

/// Shared by the ports of one life.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Rc<Cell<Waiting>>);

/// Lengths of the queues of one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Batches that wait for the disk.
    pub store: usize,
    /// Pieces of work that wait for the processor: shards, and all others.
    pub shards: usize,
    pub checks: usize,
    /// Cores of the processor.
    pub cores: usize,
}

impl Gauge {
    /// So many batches wait.
    pub fn store(&self, store: usize) {
        self.0.set(Waiting { store, ..self.0.get() });
    }

    /// So much work waits for so many cores.
    pub fn executor(&self, shards: usize, checks: usize, cores: usize) {
        self.0.set(Waiting { shards, checks, cores, ..self.0.get() });
    }

    /// All of it.
    pub fn read(&self) -> Waiting {
        self.0.get()
    }
}

//! What tells the witness of one machine's disk.

use forgemesh_storage::Batch;

use crate::witness::Witness;

/// Hears what becomes durable on one machine's disk.
#[derive(Clone)]
pub struct Observer {
    pub witness: Witness,
    pub machine: usize,
}

impl Observer {
    /// This batch is about to be written.
    pub fn attempted(&self, batch: &Batch) {
        self.witness.attempted(self.machine, batch);
    }

    /// This batch is durable.
    pub fn committed(&self, batch: &Batch) {
        self.witness.committed(self.machine, batch);
    }
}

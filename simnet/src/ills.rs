//! What is wrong with one machine until it shows: faults that were given to it and have not struck yet, an executor
//! that fails, blobs that will be lost.
//!
//! Must never count a fault as struck that the node had no part in: a fuse in a machine that is off anyway is none.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::id::NodeId;
use forgemesh_storage::{Batch, Storage, Write};

use crate::faults::Class;
use crate::witness::Witness;

/// Shared by a machine and the ports of all its lives.
#[derive(Clone)]
pub struct Ills(Rc<Inner>);

struct Inner {
    witness: Witness,
    node: NodeId,
    /// Given, and not struck yet.
    due: RefCell<BTreeSet<Class>>,
    /// Faults under which its executor fails now.
    failing: Cell<u32>,
    /// Accumulators that are spared still, and those that are lost after them.
    losing: Cell<(u64, u64)>,
}

impl Ills {
    /// A machine in good order.
    pub fn new(witness: Witness, node: NodeId) -> Ills {
        let (due, failing, losing) = Default::default();
        Ills(Rc::new(Inner { witness, node, due, failing, losing }))
    }

    /// A fault of this class will strike, or never.
    pub fn expect(&self, class: Class) {
        self.0.due.borrow_mut().insert(class);
    }

    /// It will not strike any more.
    pub fn forget(&self, class: Class) {
        self.0.due.borrow_mut().remove(&class);
    }

    /// It strikes, if it was to.
    pub fn strike(&self, class: Class) {
        if self.0.due.borrow_mut().remove(&class) {
            self.0.witness.struck(class);
        }
    }

    /// Shards fail until this is over as often as it began.
    pub fn begin_failing(&self) {
        self.expect(Class::Execution);
        self.0.failing.set(self.0.failing.get() + 1);
    }

    /// One reason less to fail.
    pub fn end_failing(&self) {
        self.0.failing.set(self.0.failing.get().saturating_sub(1));
        if self.0.failing.get() == 0 {
            self.forget(Class::Execution);
        }
    }

    /// Does this shard of a contract's stage fail?
    pub fn fails(&self, contract: &Contract, stage: u64, shard: u64) -> bool {
        let fails = self.0.failing.get() > 0;
        if fails {
            self.strike(Class::Execution);
            self.0.witness.failed_shard(contract.hash(), stage, shard);
        }
        fails
    }

    /// After so many accumulators that are stored, so many are lost.
    pub fn lose(&self, after: u64, blobs: u64) {
        self.expect(Class::BlobLoss);
        self.0.losing.set((after, blobs));
    }

    /// Nothing more is lost, nothing more fails.
    pub fn heal(&self) {
        self.0.losing.set((0, 0));
        self.0.failing.set(0);
        self.forget(Class::BlobLoss);
        self.forget(Class::Execution);
    }

    /// This batch is stored: some of its accumulators may be gone again.
    pub fn stored(&self, batch: &Batch, storage: &Storage) {
        let (mut after, mut blobs) = self.0.losing.get();
        if blobs == 0 {
            return;
        }
        let (mut gone, mut lost) = (Batch::new(), Vec::new());
        for write in batch.writes() {
            let Write::PutBlob { blob } = write else { continue };
            if blobs == 0 || !self.0.witness.is_accumulator(&blob.hash()) {
                continue;
            }
            if after > 0 {
                after -= 1;
                continue;
            }
            gone.delete_blob(blob.hash());
            lost.push(blob.hash());
            blobs -= 1;
        }
        self.0.losing.set((after, blobs));
        // A disk that fails meanwhile ends the life at its next batch.
        if !gone.writes().is_empty() && storage.commit(&gone).is_ok() {
            self.strike(Class::BlobLoss);
            lost.into_iter().for_each(|blob| self.0.witness.lost(self.0.node, blob));
        }
    }
}

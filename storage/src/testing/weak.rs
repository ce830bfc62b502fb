//! Commits that promise less than production's: planted bugs, by which a crash test shows that it can fail.

use redb::{Durability, SetDurabilityError, WriteTransaction};

use crate::batch::Batch;
use crate::engine::Storage;
use crate::error::CommitError;

/// What a commit leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// It returns before anything is durable.
    NotDurable,
    /// It trusts checksums instead of a second sync, and records no allocator state.
    OnePhase,
    /// It records no allocator state, so that opening after a crash reads the whole file.
    SlowRepair,
}

impl Weakness {
    fn promise(self, transaction: &mut WriteTransaction) -> Result<(), SetDurabilityError> {
        let durability = if self == Weakness::NotDurable { Durability::None } else { Durability::Immediate };
        transaction.set_durability(durability)?;
        transaction.set_two_phase_commit(self == Weakness::SlowRepair);
        Ok(())
    }
}

impl Storage {
    /// `commit` with a weakness.
    ///
    /// # Errors
    /// As for `commit`.
    pub fn commit_weakly(&self, batch: &Batch, weakness: Weakness) -> Result<(), CommitError> {
        batch.check()?;
        self.write_with(
            |transaction| weakness.promise(transaction),
            |transaction, slots| batch.apply(transaction, slots),
        )
    }
}

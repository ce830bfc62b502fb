//! Commits to a forged total over honest leaves: every leaf it opens is right, their sum is another shard's.

use std::sync::Arc;

use forgemesh_node::ports::{Done, Work};
use forgemesh_storage::Storage;

use super::{Conduct, Honest};

/// The agent.
pub struct ForgedTotal(Honest);

impl ForgedTotal {
    /// Honest but for the totals of every other shard.
    pub fn new(honest: Honest) -> ForgedTotal {
        ForgedTotal(honest)
    }
}

impl Conduct for ForgedTotal {
    fn perform(&mut self, work: Work, storage: &Arc<Storage>) -> Done {
        let other = match &work {
            // Another shard's sums: of as many paths, and well formed.
            Work::Run { contract, run, shard } if shard % 2 == 1 => {
                Work::Run { contract: contract.clone(), run: run.clone(), shard: shard - 1 }
            }
            _ => return self.0.perform(work, storage),
        };
        match (self.0.perform(work, storage), self.0.perform(other, storage)) {
            (Done::Ran { mut claim, paths, .. }, Done::Ran { claim: forged, accumulator, .. }) => {
                (claim.totals, claim.blob) = (forged.totals, forged.blob);
                Done::Ran { claim, accumulator, paths }
            }
            (honest, _) => honest,
        }
    }
}

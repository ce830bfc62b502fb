//! Commits to a wrong leaf in an otherwise perfect tree: the sums of the leaf beside it, in the right place.

use std::sync::Arc;

use forgemesh_node::ports::{Done, Work};
use forgemesh_storage::Storage;

use super::leaves::{Commitment, FalseTrees, range};
use super::{Conduct, Honest};

/// The agent.
pub struct WrongLeaf {
    honest: Honest,
    trees: FalseTrees,
}

impl WrongLeaf {
    /// Honest but for the first leaf of shard 1.
    pub fn new(honest: Honest) -> WrongLeaf {
        WrongLeaf { honest, trees: FalseTrees::default() }
    }
}

impl Conduct for WrongLeaf {
    fn perform(&mut self, work: Work, storage: &Arc<Storage>) -> Done {
        let false_one = match &work {
            Work::Run { contract, run, shard: 1 } => {
                let mut leaves: Vec<u64> = range(run, 1).collect();
                leaves[0] += 1;
                self.trees.commit(contract, run, &Commitment { shard: 1, place_of: 1, leaves })
            }
            Work::Open { contract, run, leaves } => {
                self.trees.open(contract, run, leaves).map(|openings| Done::Opened { openings })
            }
            _ => None,
        };
        false_one.unwrap_or_else(|| self.honest.perform(work, storage))
    }
}

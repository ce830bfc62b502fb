//! Passes the leaves of one shard off as another's: work done once, claimed twice.

use std::sync::Arc;

use forgemesh_node::ports::{Done, Work};
use forgemesh_storage::Storage;

use super::leaves::{Commitment, FalseTrees, range};
use super::{Conduct, Honest};

/// The agent.
pub struct SwappedLeaf {
    honest: Honest,
    trees: FalseTrees,
}

impl SwappedLeaf {
    /// Honest but for shard 1, for which it claims the leaves of shard 0.
    pub fn new(honest: Honest) -> SwappedLeaf {
        SwappedLeaf { honest, trees: FalseTrees::default() }
    }
}

impl Conduct for SwappedLeaf {
    fn perform(&mut self, work: Work, storage: &Arc<Storage>) -> Done {
        let false_one = match &work {
            Work::Run { contract, run, shard: 1 } => {
                let swapped = Commitment { shard: 1, place_of: 0, leaves: range(run, 0).collect() };
                self.trees.commit(contract, run, &swapped)
            }
            Work::Open { contract, run, leaves } => {
                self.trees.open(contract, run, leaves).map(|openings| Done::Opened { openings })
            }
            _ => None,
        };
        false_one.unwrap_or_else(|| self.honest.perform(work, storage))
    }
}

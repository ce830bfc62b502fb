//! Agents that do not do what they say, one a file; and the honest one they are measured against.
//!
//! An adversary has the node's key and speaks the protocol well: only what it commits to is false.

pub mod chain_gap;
pub mod forged_total;
pub mod leaves;
pub mod other_seed;
pub mod replayed_attestation;
pub mod rig;
pub mod swapped_leaf;
pub mod wrong_leaf;

use std::sync::Arc;

use forgemesh_kernel::backend::Isa;
use forgemesh_node::perform::Performer;
use forgemesh_node::ports::{Done, Work};
use forgemesh_storage::Storage;

use crate::memo;

/// What a machine does with a piece of work.
pub trait Conduct {
    /// Does it, or pretends to.
    fn perform(&mut self, work: Work, storage: &Arc<Storage>) -> Done;
}

/// What an agent may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// The totals of another shard.
    ForgedTotal,
    /// What was executed under another seed.
    OtherSeed,
    /// One shard's leaves for another's.
    SwappedLeaf,
    /// One leaf's sums for its neighbour's.
    WrongLeaf,
}

impl Misdeed {
    /// All of them.
    pub const ALL: [Misdeed; 4] =
        [Misdeed::ForgedTotal, Misdeed::OtherSeed, Misdeed::SwappedLeaf, Misdeed::WrongLeaf];
}

/// The conduct of an agent with this misdeed, or of an honest one.
pub fn conduct(misdeed: Option<Misdeed>) -> Box<dyn Conduct> {
    match misdeed {
        None => Box::<Honest>::default(),
        Some(Misdeed::ForgedTotal) => Box::new(forged_total::ForgedTotal::new(Honest::default())),
        Some(Misdeed::OtherSeed) => Box::new(other_seed::OtherSeed::new(Honest::default())),
        Some(Misdeed::SwappedLeaf) => Box::new(swapped_leaf::SwappedLeaf::new(Honest::default())),
        Some(Misdeed::WrongLeaf) => Box::new(wrong_leaf::WrongLeaf::new(Honest::default())),
    }
}

/// Computes as it should, for one life.
pub struct Honest {
    /// What it has merged for reductions goes with its life, as memory does.
    reducing: Performer,
}

impl Default for Honest {
    fn default() -> Honest {
        Honest { reducing: Performer::new(Isa::best()) }
    }
}

impl Conduct for Honest {
    fn perform(&mut self, work: Work, storage: &Arc<Storage>) -> Done {
        match work {
            Work::Reduce { .. } => self.reducing.perform(work, &**storage),
            work => memo::perform(work, storage),
        }
    }
}

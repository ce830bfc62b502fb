//! Executes nothing that was asked for: passes off what the same arguments gave under another seed, done once and sold
//! as often as anybody asks.

use std::sync::Arc;

use forgemesh_kernel::job::Job;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::envelope::SeedMode;
use forgemesh_storage::Storage;

use super::{Conduct, Honest};

/// The agent.
pub struct OtherSeed(Honest);

impl OtherSeed {
    /// Honest but for the seed.
    pub fn new(honest: Honest) -> OtherSeed {
        OtherSeed(honest)
    }
}

/// The same work under a seed of its own choice.
fn other(contract: &Contract) -> Contract {
    let mut other = contract.clone();
    (other.seed.mode, other.seed.value) = (SeedMode::Explicit, Some("sold before".to_owned()));
    other
}

impl Conduct for OtherSeed {
    fn perform(&mut self, work: Work, storage: &Arc<Storage>) -> Done {
        match work {
            Work::Run { contract, run, shard } => {
                let work = Work::Run { contract: other(&contract), run: run.clone(), shard };
                let mut done = self.0.perform(work, storage);
                let asked = Job::of_contract(contract).ok().and_then(|job| job.task(&run, shard).ok());
                if let (Done::Ran { claim, .. }, Some(task)) = (&mut done, asked) {
                    claim.task = task.hash();
                }
                done
            }
            Work::Open { contract, run, leaves } => {
                self.0.perform(Work::Open { contract: other(&contract), run, leaves }, storage)
            }
            work => self.0.perform(work, storage),
        }
    }
}

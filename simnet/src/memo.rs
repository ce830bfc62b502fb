//! The kernel as all machines of a thread share it: a shard or a leaf that one of them has executed is not executed
//! again for another, in this world or the next. Its results are pure functions of what they are kept under, which is
//! what the kernel's own tests establish; here it only saves time.

use std::cell::RefCell;
use std::collections::BTreeMap;

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_node::perform::Performer;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{LeafRef, Mismatch};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::plan::StageRun;
use forgemesh_storage::Storage;

use crate::limits;
use crate::trace::digest;

thread_local! {
    static MEMO: Memo = Memo { performer: Performer::new(Isa::best()), kept: RefCell::default() };
}

struct Memo {
    performer: Performer,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    runs: BTreeMap<Hash, Done>,
    bytes: usize,
    leaves: BTreeMap<Hash, Option<Mismatch>>,
    results: BTreeMap<Hash, Result<Hash, FailureCode>>,
    /// Estimates for one leaf of a contract, in nanoseconds.
    leaf_ns: BTreeMap<Hash, u64>,
}

/// Does a piece of work as an honest executor does it.
pub fn perform(work: Work, storage: &Storage) -> Done {
    MEMO.with(|memo| match work {
        Work::Run { contract, run, shard } => memo.run(contract, run, shard, storage),
        Work::Check { contract, run, claims, leaves, openings } if openings.len() == leaves.len() => {
            memo.check(&contract, &run, &claims, &leaves, &openings, storage)
        }
        // Nothing that was merged before counts: whoever reduces begins with what is stored.
        work @ Work::Reduce { .. } => Performer::new(Isa::best()).perform(work, storage),
        work => memo.performer.perform(work, storage),
    })
}

/// What one shard of a run takes, by the estimate of the plan: nanoseconds on one core.
pub fn shard_ns(contract: &Contract, run: &StageRun) -> u64 {
    let leaf_ns = MEMO.with(|memo| {
        let known = &mut memo.kept.borrow_mut().leaf_ns;
        *known
            .entry(contract.hash())
            .or_insert_with(|| Job::of_contract(contract.clone()).map_or(0, |job| job.plan().leaf_ns()))
    });
    leaf_ns * run.stage.leaves_per_shard
}

/// What a contract comes to, executed here and now by the kernel alone: the oracle. The error is a job that the kernel
/// itself fails, or says why it cannot be executed.
pub fn result(contract: &Contract) -> Result<Result<Hash, FailureCode>, String> {
    MEMO.with(|memo| {
        let key = contract.hash();
        if let Some(known) = memo.kept.borrow().results.get(&key) {
            return Ok(*known);
        }
        let result = execute(contract)?;
        memo.kept.borrow_mut().results.insert(key, result);
        Ok(result)
    })
}

fn execute(contract: &Contract) -> Result<Result<Hash, FailureCode>, String> {
    let job = Job::of_contract(contract.clone()).map_err(|error| error.to_string())?;
    let output = job.execute(|job, run| {
        let shards: Result<Vec<_>, _> =
            (0..run.stage.shards()).map(|shard| job.shard_totals(Isa::best(), run, shard)).collect();
        Ok(forgemesh_kernel::accumulator::Accumulator::merge_all(job.empty(run)?, shards?)?)
    });
    let output = output.map_err(|error| error.to_string())?;
    Ok(output.map(|output| output.body.hash()).map_err(|failure| failure.code))
}

impl Memo {
    fn run(&self, contract: Contract, run: StageRun, shard: u64, storage: &Storage) -> Done {
        let key = digest(&(contract.hash(), &run, shard));
        if let Some(done) = self.kept.borrow().runs.get(&key) {
            return done.clone();
        }
        let done = self.performer.perform(Work::Run { contract, run, shard }, storage);
        let mut kept = self.kept.borrow_mut();
        if let Done::Ran { accumulator, .. } = &done {
            if kept.bytes > limits::MEMO_BYTES {
                (kept.runs, kept.bytes) = (BTreeMap::new(), 0);
            }
            kept.bytes += accumulator.len() + size_of::<Claim>();
            kept.runs.insert(key, done.clone());
        }
        done
    }

    /// Leaf by leaf: what others were drawn with a leaf does not change what it comes to.
    fn check(
        &self,
        contract: &Contract,
        run: &StageRun,
        claims: &[Claim],
        leaves: &[LeafRef],
        openings: &[Bytes],
        storage: &Storage,
    ) -> Done {
        let stage = digest(&(contract.hash(), run));
        let mut mismatches = Vec::new();
        for (at, opening) in leaves.iter().zip(openings) {
            let claim = claims.iter().find(|claim| claim.shard == at.shard);
            let commitment = claim.map(|claim| (claim.task, claim.tree, claim.totals));
            let key = digest(&(stage, commitment, at, Hash::blob(&opening.0)));
            let known = self.kept.borrow().leaves.get(&key).cloned();
            let found = match known {
                Some(found) => found,
                None => {
                    let work = Work::Check {
                        contract: contract.clone(),
                        run: run.clone(),
                        claims: claim.cloned().into_iter().collect(),
                        leaves: vec![*at],
                        openings: vec![opening.clone()],
                    };
                    let found = match self.performer.perform(work, storage) {
                        Done::Checked { mismatches } => mismatches.first().cloned(),
                        other => return other,
                    };
                    let mut kept = self.kept.borrow_mut();
                    if kept.leaves.len() >= limits::MEMO_LEAVES {
                        kept.leaves.clear();
                    }
                    kept.leaves.insert(key, found.clone());
                    found
                }
            };
            mismatches.extend(found);
        }
        Done::Checked { mismatches }
    }
}

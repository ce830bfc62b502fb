//! What an adversary needs to commit to something false: the leaves one by one, and trees over whatever it likes.

use std::collections::BTreeMap;
use std::ops::Range;

use forgemesh_kernel::accumulator::{Accumulator, LeafAccumulator, Mode};
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::num::chacha::Key;
use forgemesh_kernel::registry;
use forgemesh_kernel::seeding::GeneratorKey;
use forgemesh_kernel::tree::{Place, Tree};
use forgemesh_node::ports::Done;
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::LeafRef;
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::plan::StageRun;

/// One leaf of a contract that keeps no order statistics, executed; none for another contract.
pub fn leaf(contract: &Contract, leaf: u64) -> Option<Accumulator> {
    let job = Job::of_contract(contract.clone()).ok()?;
    let prepared = registry::require(&contract.op).ok()?.decode(&contract.args.0).ok()?;
    if prepared.geometry().pilot_paths > 0 {
        return None;
    }
    let op = &contract.op;
    let generator = GeneratorKey::derive(&job.root_seed(), &op.name, op.version, &op.profile);
    let mut out = LeafAccumulator::new(&prepared.shape(), &Mode::Plain);
    let key = Key::from_bytes(&generator.0.0);
    prepared.run(Isa::best(), &key, job.plan().leaf_range(leaf), &mut out);
    Some(out.finish())
}

/// Trees that lie, by stage and shard, with the number their first leaf really has.
#[derive(Default)]
pub struct FalseTrees(BTreeMap<(Hash, u64, u64), (Tree, u64)>);

/// A shard as it is committed to.
pub struct Commitment {
    /// The shard that is claimed.
    pub shard: u64,
    /// The shard for whose task and leaves the tree is made.
    pub place_of: u64,
    /// For each leaf of that place, the leaf whose sums stand there.
    pub leaves: Vec<u64>,
}

impl FalseTrees {
    /// Builds the tree and claims it; none if the contract is not one it can forge.
    pub fn commit(&mut self, contract: &Contract, run: &StageRun, false_one: &Commitment) -> Option<Done> {
        let job = Job::of_contract(contract.clone()).ok()?;
        let (claimed, placed) =
            (job.task(run, false_one.shard).ok()?, job.task(run, false_one.place_of).ok()?);
        let plan = job.plan();
        let accumulators = false_one.leaves.iter().map(|&number| leaf(contract, number));
        let place = Place {
            task: placed.hash(),
            leaves: placed.leaves.clone(),
            leaf_paths: plan.leaf_paths,
            paths: plan.paths,
        };
        let tree = Tree::build(place, accumulators.collect::<Option<Vec<_>>>()?).ok()?;
        let accumulator = tree.totals().encode();
        let claim = Claim {
            shard: false_one.shard,
            task: claimed.hash(),
            tree: tree.root(),
            totals: tree.totals_digest(),
            blob: Hash::blob(&accumulator),
            wall_us: 0,
            cpu_us: 0,
        };
        let paths = claimed.paths.end - claimed.paths.start;
        let offset = claimed.leaves.start - placed.leaves.start;
        self.0.insert((plan.contract, run.number, false_one.shard), (tree, offset));
        Some(Done::Ran { claim, accumulator, paths })
    }

    /// Opens leaves of trees made here; none if one of them was not.
    pub fn open(&self, contract: &Contract, run: &StageRun, leaves: &[LeafRef]) -> Option<Vec<Bytes>> {
        let contract = contract.hash();
        let open = |at: &LeafRef| {
            let (tree, offset) = self.0.get(&(contract, run.number, at.shard))?;
            Some(Bytes(tree.open(at.leaf - offset).ok()?.encode()))
        };
        leaves.iter().map(open).collect()
    }
}

/// The leaves of a shard, as numbers within the job.
pub fn range(run: &StageRun, shard: u64) -> Range<u64> {
    run.stage.shard_leaves(shard)
}

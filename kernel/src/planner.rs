//! Cuts a job into leaves, shards and stages: a function of the contract alone.

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{Plan, Stage, StageKind};

use crate::profile::Geometry;

/// A shard is worth at least this much of one core, so that its signature and its transfer cost little.
const SHARD_NS: u64 = 10_000_000;

/// The plan of a contract whose profile asks for this geometry.
pub fn plan(contract: Hash, geometry: &Geometry) -> Plan {
    let Geometry { paths, leaf_paths, pilot_paths, path_cost } = *geometry;
    let leaves = paths.div_ceil(leaf_paths);
    let pilot_leaves = (pilot_paths / leaf_paths).min(leaves);
    let stage = |kind, first_leaf: u64, leaves: u64| Stage {
        kind,
        first_leaf,
        leaves,
        leaves_per_shard: leaves_per_shard(leaves, leaf_paths, path_cost),
    };
    let mut stages = Vec::new();
    if pilot_leaves > 0 {
        stages.push(stage(StageKind::Pilot, 0, pilot_leaves));
    }
    if leaves > pilot_leaves {
        stages.push(stage(StageKind::Main, pilot_leaves, leaves - pilot_leaves));
    }
    let estimate_ns = u128::from(paths) * u128::from(path_cost) / 1024;
    Plan { contract, paths, leaf_paths, stages, estimate_ns: u64::try_from(estimate_ns).unwrap_or(u64::MAX) }
}

/// All `leaves` of the job again, after `missed`: in shards of the same size, or larger if they would be too many.
pub fn repair(missed: &Stage, leaves: u64) -> Stage {
    let leaves_per_shard = missed.leaves_per_shard.max(leaves.div_ceil(limits::STAGE_SHARDS));
    Stage { kind: StageKind::Repair, first_leaf: 0, leaves, leaves_per_shard }
}

/// As many leaves as make a shard worth its while; more, if the stage would have too many shards.
fn leaves_per_shard(leaves: u64, leaf_paths: u64, path_cost: u64) -> u64 {
    let leaf_ns = (leaf_paths.saturating_mul(path_cost) / 1024).max(1);
    let worth = SHARD_NS.div_ceil(leaf_ns);
    let few_enough = leaves.div_ceil(limits::STAGE_SHARDS);
    worth.min(limits::SHARD_LEAVES).max(few_enough).max(1)
}

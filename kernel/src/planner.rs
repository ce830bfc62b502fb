//! Cuts a job into leaves, shards and stages: a function of the contract alone.

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{Plan, Stage, StageKind, StageRun};

use crate::profile::Geometry;

/// A shard is worth at least this much of one core, so that its signature and its transfer cost little.
const SHARD_NS: u64 = 10_000_000;
/// Leaves before the first look whether a job has converged.
const FIRST_LOOK: u64 = 8;

/// The plan of a contract whose profile asks for this geometry. A job that may stop early looks at no fewer paths than
/// `looks_from`.
pub fn plan(contract: Hash, geometry: &Geometry, looks_from: Option<u64>) -> Plan {
    let Geometry { paths, leaf_paths, pilot_paths, path_cost } = *geometry;
    let leaves = paths.div_ceil(leaf_paths);
    let pilot_leaves = (pilot_paths / leaf_paths).min(leaves);
    let first_look = looks_from.map(|paths| paths.div_ceil(leaf_paths).clamp(FIRST_LOOK.min(leaves), leaves));
    let ends = match first_look {
        Some(first) => checkpoints(first, pilot_leaves, leaves),
        None if 0 < pilot_leaves && pilot_leaves < leaves => vec![pilot_leaves, leaves],
        None => vec![leaves],
    };
    let stage = |(i, end): (usize, &u64)| {
        let first_leaf = if i == 0 { 0 } else { ends[i - 1] };
        let leaves = end - first_leaf;
        Stage {
            kind: if *end <= pilot_leaves { StageKind::Pilot } else { StageKind::Main },
            first_leaf,
            leaves,
            leaves_per_shard: leaves_per_shard(leaves, leaf_paths, path_cost),
        }
    };
    let estimate_ns = u128::from(paths) * u128::from(path_cost) / 1024;
    Plan {
        contract,
        paths,
        leaf_paths,
        stages: ends.iter().enumerate().map(stage).collect(),
        first_look: first_look.and_then(|first| ends.iter().copied().find(|end| *end >= first)),
        estimate_ns: u64::try_from(estimate_ns).unwrap_or(u64::MAX),
    }
}

/// Where the stages of a job end that may stop early: `convergence.v1.md` has the rule and its reasons.
fn checkpoints(first: u64, pilot_leaves: u64, leaves: u64) -> Vec<u64> {
    let step = |end: u64| end.div_ceil(4);
    let (mut ends, mut end) = (Vec::new(), 0);
    while end < leaves {
        let next = if end < first { first } else { end + step(end) };
        let border = if end < pilot_leaves { pilot_leaves } else { leaves };
        let is_short = |rest: u64| 2 * rest < step(next);
        end = if next > border || is_short(border - next) { border } else { next };
        ends.push(end);
    }
    ends
}

/// All leaves before `end` again, after `missed`: in shards of the same size, or larger if they would be too many.
pub fn repair(missed: &Stage, end: u64) -> Stage {
    let leaves_per_shard = missed.leaves_per_shard.max(end.div_ceil(limits::STAGE_SHARDS));
    Stage { kind: StageKind::Repair, first_leaf: 0, leaves: end, leaves_per_shard }
}

/// Whether `next` can be the stage after `before`, which is one of the plan, as far as that can be said without the sums
/// of either.
pub fn may_follow(plan: &Plan, before: &StageRun, next: &StageRun) -> bool {
    let number = before.number.saturating_add(1);
    let (stage, input) = match (before.stage.kind, next.stage.kind) {
        (StageKind::Main, StageKind::Repair) => {
            let end = before.stage.end();
            (plan.is_stop(end).then(|| repair(&before.stage, end)), next.input.is_some())
        }
        (StageKind::Repair, _) | (_, StageKind::Repair) => return false,
        // Every main stage counts against the brackets that the whole pilot gave.
        (StageKind::Main, _) => (plan.stages.get(number as usize).cloned(), next.input == before.input),
        (StageKind::Pilot, kind) => {
            let input = next.input.is_some() == (kind == StageKind::Main);
            (plan.stages.get(number as usize).cloned(), input)
        }
    };
    next.number == number && stage.as_ref() == Some(&next.stage) && input
}

/// Is this stage one of the plan, or the repair of one, as far as that can be said without the sums of those before it?
pub fn has(plan: &Plan, run: &StageRun) -> bool {
    let of_plan = |number: Option<u64>| {
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| plan.stages.get(number))
    };
    match run.stage.kind {
        StageKind::Pilot | StageKind::Main => of_plan(Some(run.number)) == Some(&run.stage),
        StageKind::Repair => of_plan(run.number.checked_sub(1)).is_some_and(|missed| {
            let end = missed.end();
            missed.kind == StageKind::Main && plan.is_stop(end) && run.stage == repair(missed, end)
        }),
    }
}

/// As many leaves as make a shard worth its while; more, if the stage would have too many shards.
fn leaves_per_shard(leaves: u64, leaf_paths: u64, path_cost: u64) -> u64 {
    let leaf_ns = (leaf_paths.saturating_mul(path_cost) / 1024).max(1);
    let worth = SHARD_NS.div_ceil(leaf_ns);
    let few_enough = leaves.div_ceil(limits::STAGE_SHARDS);
    worth.min(limits::SHARD_LEAVES).max(few_enough).max(1)
}

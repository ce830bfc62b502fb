//! How a contract is cut: leaves, shards, stages. A function of the contract alone; nothing about the live
//! mesh may move a boundary.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::canon::{self, Bytes};
use crate::hash::{Domain, Hash, Hasher};

/// The cut of a whole job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub contract: Hash,
    /// Paths of the job.
    pub paths: u64,
    /// Paths of every leaf but the last, which may be shorter.
    pub leaf_paths: u64,
    /// In order; a stage starts when the one before it is reduced.
    pub stages: Vec<Stage>,
    /// Present if the job may stop early: it looks whether it has converged after every stage that ends at this leaf or
    /// beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_look: Option<u64>,
    /// Static cost of one core's work, in nanoseconds: an estimate for scheduling and quotes, never settled.
    pub estimate_ns: u64,
}

impl Plan {
    /// Digest of the canonical bytes.
    pub fn hash(&self) -> Hash {
        Hash::of(Domain::PLAN, &canon::to_bytes(self))
    }

    /// Leaves of the whole job.
    pub fn leaves(&self) -> u64 {
        pieces(self.paths, self.leaf_paths)
    }

    /// The estimate for one leaf on one core, in nanoseconds.
    pub fn leaf_ns(&self) -> u64 {
        self.estimate_ns / self.leaves().max(1)
    }

    /// The paths of one leaf.
    pub fn leaf_range(&self, leaf: u64) -> Range<u64> {
        let first = self.paths_before(leaf);
        first..first.saturating_add(self.leaf_paths).min(self.paths)
    }

    /// Paths of the leaves before `leaf`.
    pub fn paths_before(&self, leaf: u64) -> u64 {
        leaf.saturating_mul(self.leaf_paths).min(self.paths)
    }

    /// Where the job looks whether it has converged, ascending: one past the last leaf that such a look is over.
    pub fn looks(&self) -> impl Iterator<Item = u64> {
        let first = self.first_look.unwrap_or(u64::MAX);
        self.stages.iter().map(Stage::end).filter(move |end| *end >= first)
    }

    /// Whether a job may end with `leaf` one past its last leaf: at the end of the plan, or where it looks.
    pub fn is_stop(&self, leaf: u64) -> bool {
        leaf == self.leaves() || self.looks().any(|end| end == leaf)
    }
}

/// How many pieces of a size there are; none of no size, which no plan has but somebody may send.
fn pieces(whole: u64, size: u64) -> u64 {
    if size == 0 { 0 } else { whole.div_ceil(size) }
}

/// What a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Keeps every value; the brackets of the order statistics come from it.
    Pilot,
    /// Counts against the pilot's brackets.
    Main,
    /// All leaves up to the stop again, against the bracket of a histogram bin, since the pilot's missed.
    Repair,
}

/// A run of leaves, cut into shards of equal size but the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub kind: StageKind,
    pub first_leaf: u64,
    pub leaves: u64,
    pub leaves_per_shard: u64,
}

impl Stage {
    /// One past its last leaf.
    pub fn end(&self) -> u64 {
        self.first_leaf.saturating_add(self.leaves)
    }

    /// How many shards there are.
    pub fn shards(&self) -> u64 {
        pieces(self.leaves, self.leaves_per_shard)
    }

    /// The leaves of one shard, as numbers within the job; empty for a shard that is not there.
    pub fn shard_leaves(&self, shard: u64) -> Range<u64> {
        let end = self.end();
        let first = shard.checked_mul(self.leaves_per_shard).and_then(|n| n.checked_add(self.first_leaf));
        let first = first.map_or(end, |first| first.min(end));
        first..first.saturating_add(self.leaves_per_shard).min(end)
    }
}

/// What a stage needs of the stages before it: opaque to everyone but the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageInput {
    /// Digest of the accumulator it was computed from.
    pub source: Hash,
    /// The kernel's encoding of the brackets.
    pub brackets: Bytes,
}

impl StageInput {
    /// Digest of the canonical bytes; every task of the stage carries it.
    pub fn hash(&self) -> Hash {
        Hash::of(Domain::STAGE_INPUT, &canon::to_bytes(self))
    }
}

/// A stage as it is executed: its number in the job, its cut, its input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRun {
    pub number: u64,
    pub stage: Stage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<StageInput>,
}

impl StageRun {
    /// Digest of its input, if it has one: what is done for one input does not count for another.
    pub fn input_hash(&self) -> Option<Hash> {
        self.input.as_ref().map(StageInput::hash)
    }
}

/// The work of one shard, self-contained together with the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardTask {
    pub contract: Hash,
    /// The stage's number in the job.
    pub stage: u64,
    pub shard: u64,
    /// As numbers within the job.
    pub leaves: Range<u64>,
    pub paths: Range<u64>,
    pub input: Option<Hash>,
}

impl ShardTask {
    /// The task of `shard` in `run`; none if there is no such shard.
    pub fn new(plan: &Plan, run: &StageRun, shard: u64) -> Option<ShardTask> {
        let leaves = run.stage.shard_leaves(shard);
        if leaves.is_empty() {
            return None;
        }
        let paths = plan.leaf_range(leaves.start).start..plan.leaf_range(leaves.end - 1).end;
        let input = run.input_hash();
        Some(ShardTask { contract: plan.contract, stage: run.number, shard, leaves, paths, input })
    }

    /// Binds every leaf of the shard to this contract, stage, place and input.
    pub fn hash(&self) -> Hash {
        Hasher::new(Domain::SHARD_TASK)
            .hash(&self.contract)
            .u64(self.stage)
            .u64(self.shard)
            .u64(self.leaves.start)
            .u64(self.leaves.end)
            .u64(self.paths.start)
            .u64(self.paths.end)
            .hash(&self.input.unwrap_or(Hash::ZERO))
            .finish()
    }
}

//! A hub member's word on what the shards of a stage reduce to. A majority of equal votes opens the next stage
//! or finalizes the job.

use serde::{Deserialize, Serialize};

use crate::canon;
use crate::contract::Work;
use crate::envelope::ArtifactKind;
use crate::failure::Failure;
use crate::hash::{Domain, Hash};
use crate::id::JobId;
use crate::keys::Signable;
use crate::plan::StageRun;

/// What one member got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReductionVote {
    pub job: JobId,
    /// The stage that was reduced.
    pub stage: u64,
    pub outcome: Outcome,
    /// How many batches of the job were set aside when it was reduced: a vote does not outlive what it was made from.
    #[serde(default, skip_serializing_if = "canon::is_zero")]
    pub set_aside: u64,
    /// How often those who sit in the hub had changed: nor does it outlive who was to vote.
    #[serde(default, skip_serializing_if = "canon::is_zero")]
    pub seating: u64,
}

impl Signable for ReductionVote {
    const DOMAIN: Domain = Domain::VOTE;
}

/// What follows from the reduction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// More has to be executed.
    Next(StageRun),
    /// Here is the result.
    Final(FinalResult),
    /// There is none.
    Failed(Failure),
}

/// A job's result and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalResult {
    /// One past the last leaf that counts.
    pub stop_leaf: u64,
    pub result_hash: Hash,
    pub work: Work,
    pub artifacts: Vec<Artifact>,
}

/// A rendering, by its digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    pub kind: ArtifactKind,
    pub bytes: u64,
    /// Its address: plain BLAKE3.
    pub blake3: Hash,
    pub sha256: Hash,
}

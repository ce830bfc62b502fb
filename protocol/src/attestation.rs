//! An agent's signed word that it did the work: one for each batch of shards, each naming the one before it.
//! Persisted before it is sent and resent byte for byte, so that a crash never forks an honest chain.

use serde::{Deserialize, Serialize};

use crate::canon::{self, CanonError};
use crate::hash::{Domain, Hash, Hasher};
use crate::id::{JobId, NodeId};
use crate::keys::{Signable, Signed};
use crate::lease::Lease;
use crate::limits;
use crate::shard_list::ShardList;

/// What enters the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    pub agent: NodeId,
    /// Counts from 1 over the agent's life in this mesh.
    pub seq: u64,
    /// Digest of the agent's attestation before this one; zero for the first.
    pub prev: Hash,
    pub job: JobId,
    /// The stage's number in the job.
    pub stage: u64,
    /// Ascending, each once.
    pub shards: ShardList,
    /// Address of the batch's [`Claim`]s, one for each shard in the same order: the batch root.
    pub members: Hash,
    /// The leases under which the shards were executed.
    pub leases: Vec<Signed<Lease>>,
    /// Paths executed.
    pub paths: u64,
    /// What executed them: `cpu/avx512` and the like.
    pub backend: String,
}

impl Attestation {
    /// Digest of the input of the stage that it was leased for, if that has one.
    pub fn input(&self) -> Option<Hash> {
        self.leases.first().and_then(|lease| lease.body.input)
    }
}

impl Signable for Attestation {
    const DOMAIN: Domain = Domain::ATTESTATION;
}

/// What an agent commits to for one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub shard: u64,
    /// Digest of the shard's task.
    pub task: Hash,
    /// Root of the leaf tree, which binds the totals of every subtree.
    pub tree: Hash,
    /// Digest of the shard's accumulator.
    pub totals: Hash,
    /// Address of the encoded accumulator.
    pub blob: Hash,
    /// Observed, not checked: microseconds on the clock and on the processor.
    pub wall_us: u64,
    pub cpu_us: u64,
}

impl Claim {
    /// The shard's digest, as `executions` reports it: what was computed, without the timings.
    pub fn shard_digest(&self) -> Hash {
        Hasher::new(Domain::SHARD).hash(&self.task).hash(&self.tree).hash(&self.totals).finish()
    }
}

/// Decodes a members blob.
pub fn decode_claims(bytes: &[u8]) -> Result<Vec<Claim>, CanonError> {
    let claims: Vec<Claim> = canon::from_bytes(bytes, limits::MEMBERS_BYTES)?;
    if claims.len() > limits::BATCH_SHARDS {
        return Err(CanonError::TooLong { length: claims.len(), limit: limits::BATCH_SHARDS });
    }
    Ok(claims)
}

//! What is known of a world beside what its nodes say.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};

/// What is known of the world beside its nodes.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Agents that do not do what they say.
    pub liars: BTreeSet<NodeId>,
    /// Jobs whose acceptance a client was told.
    pub acknowledged: BTreeSet<JobId>,
    /// Jobs that their submitters have asked to cancel.
    pub cancelled: BTreeSet<JobId>,
    /// Nodes whose disks have lost bits: evidence may be gone through nobody's fault.
    pub rotten: BTreeSet<NodeId>,
    /// Healthy shards that broken executors have failed, and how often: contract, stage, shard.
    pub failed_shards: BTreeMap<(Hash, u64, u64), usize>,
    /// Accumulators that a node's disk has lost, and how many entries its books had when it last did.
    pub lost: BTreeMap<(NodeId, Hash), u64>,
    /// The accumulators that batches claim, by their digest.
    pub claims: BTreeMap<Hash, BTreeSet<Hash>>,
}

impl Known {
    /// Is there work of a liar in a job's result?
    pub fn has_lied(&self, record: &JobRecord) -> bool {
        record.batches.iter().any(|batch| self.liars.contains(&batch.attestation.body.agent))
    }
}

/// What a read that begins now must show.
pub struct Floor {
    /// Log entries that some read has shown.
    pub log: u64,
    pub acknowledged: Vec<JobId>,
}

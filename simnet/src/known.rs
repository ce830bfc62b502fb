//! What is known of a world beside what its nodes say.

use std::collections::BTreeSet;

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
    /// A disk has lost bits: evidence may be gone through nobody's fault.
    pub rotten: bool,
    /// Contracts of which a broken executor has failed healthy shards.
    pub failed_shards: BTreeSet<Hash>,
    /// Accumulators that a disk has lost.
    pub lost: BTreeSet<Hash>,
}

/// What a read that begins now must show.
pub struct Floor {
    /// Log entries that some read has shown.
    pub log: u64,
    pub acknowledged: Vec<JobId>,
}

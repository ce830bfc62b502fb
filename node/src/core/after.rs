//! What goes on once something has ended: a batch is durable, a piece of work is done.

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::vote::ReductionVote;
use forgemesh_protocol::wire::Delivery;

use super::{Progress, Reduction, Reply, agent, artifacts};

/// What goes on once a batch is durable.
#[derive(Debug)]
pub(crate) enum AfterStore {
    /// The agent's attestation with its claims and accumulators, as the hub gets it.
    Outbox(Box<Delivery>),
    /// The artifacts of a reduction: now it may be voted for.
    Artifacts(Box<ReductionVote>),
    /// A final job is in the books, its receipt complete or not.
    Recorded(Option<Box<Progress>>),
    /// A receipt has the signatures that it needs.
    Signed(Box<Progress>),
    /// Part of an artifact.
    Artifact(artifacts::Written),
    /// What nothing needs is gone: a client is told.
    Collected { token: u64, reply: Box<Reply> },
    /// Nothing waits.
    Nothing,
}

impl AfterStore {
    /// Is it to be written at once? A record is written again as soon as its receipt has the signatures that it lacks; a piece
    /// of an artifact on its way waits a few milliseconds for others, for many together cost the disk less.
    pub fn is_urgent(&self) -> bool {
        match self {
            AfterStore::Recorded(None) => false,
            AfterStore::Artifact(written) => !written.may_wait(),
            _ => true,
        }
    }
}

/// What goes on once a piece of work ended.
#[derive(Debug)]
pub(crate) enum AfterWork {
    Shard(agent::Assignment),
    Opening {
        to: NodeId,
        job: JobId,
        attestation: Hash,
    },
    Check(Hash),
    Reduction(Reduction),
    Load {
        to: NodeId,
        blobs: Vec<Hash>,
    },
    /// The claims of a batch are looked for on this node's disk.
    Claims(Hash),
    /// Books are read for a node that lacks them.
    Books {
        to: NodeId,
    },
    /// A receipt is looked for, to be signed for another member.
    Signature {
        to: NodeId,
        job: JobId,
    },
    /// And then what they claim.
    Lookup(Hash),
    /// Something about an artifact.
    Artifact(artifacts::Step),
    Scrub,
    /// What the agent has vouched for is looked through.
    Spent,
    /// The books are looked through for evidence that is not here.
    Lacks,
}

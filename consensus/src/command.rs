//! What enters the log.

use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::challenge::Verdict;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, Withdrawal};
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::vote::ReductionVote;
use serde::{Deserialize, Serialize};

/// A place in the log and what stands there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counts from 0.
    pub index: u64,
    /// The proposing leader's term.
    pub term: u64,
    /// The leader's clock, milliseconds since 1970. Log time is the largest seen so far.
    pub at_ms: u64,
    pub command: Command,
}

/// A proposal. Everything in it was chosen by somebody; what follows from it is computed by `apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A job is asked for.
    Submit { submission: Signed<Submission> },
    /// The leader has lent the first shards of a job.
    Start { job: JobId },
    /// An agent attests a batch of shards.
    Attest { attestation: Signed<Attestation> },
    /// A hub member reveals its beacon's next link, for every batch that is logged before it and has none.
    Reveal { member: NodeId, value: Hash },
    /// The hub member whose link is due keeps it back: the turn goes to the next one.
    Pass { member: NodeId },
    /// A checker has executed the challenged leaves again.
    Judge { verdict: Signed<Verdict> },
    /// A hub member has reduced a stage.
    Vote { vote: Signed<ReductionVote> },
    /// The leader gives a batch up: its blobs are lost, so it can be neither reduced nor shown.
    Discard { job: JobId, attestation: Hash },
    /// The submitter takes a job back.
    Cancel { cancellation: Signed<Cancellation> },
    /// The leader gives a job up: its time is over, a shard failed on every attempt, or nobody is left to execute it.
    Fail { job: JobId, failure: Failure },
    /// A hub member invites whoever shows a secret.
    Invite { invitation: Signed<Invitation> },
    /// A hub member takes an invitation back.
    Withdraw { withdrawal: Signed<Withdrawal> },
    /// A node shows an invitation's secret.
    Enrol { join: Signed<Join> },
    /// A hub member removes a node.
    Expel { expulsion: Signed<Expulsion> },
    /// An admitted key wants this charter to be the next.
    Consent { charter: Signed<Charter> },
    /// The leader has others sit in the hub: by the charter in force, or by one that a quorum wants and that comes in force
    /// so.
    Seat { charter: Hash, seated: Vec<NodeId> },
}

impl Entry {
    /// The bytes in the log.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// Strictly.
    pub fn decode(bytes: &[u8]) -> Result<Entry, CanonError> {
        canon::from_bytes(bytes, limits::COMMAND_BYTES)
    }
}

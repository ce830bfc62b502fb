//! Permission to work: which agent, which run of shards, which attempt, until when. Signed by the leader; soft
//! state, issued anew after a failover.

use serde::{Deserialize, Serialize};

use crate::hash::{Domain, Hash};
use crate::id::{JobId, NodeId};
use crate::keys::Signable;
use crate::organization::Organization;

/// A run of shards of one stage, lent to one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    pub job: JobId,
    /// The stage's number in the job.
    pub stage: u64,
    pub first_shard: u64,
    pub shards: u64,
    pub agent: NodeId,
    /// Counts from 1; each failure of one of its shards makes it one more.
    pub attempt: u64,
    /// The leader's term.
    pub term: u64,
    /// Milliseconds of log time.
    pub expires_ms: u64,
    /// Digest of the stage's input, if it has one: a stage that is planned anew has another, and what was done for the
    /// first does not count for the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Hash>,
    /// To which the job's client belongs, for an agent that takes jobs by that. Whose key has signed a job an agent sees for
    /// itself; who belongs where only the hub's members know. So it takes the leader's word, and that is under the leader's
    /// signature and goes into the log with what is attested: a lie can be held against the log's own admissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

impl Lease {
    /// Does it cover `shard`?
    pub fn covers(&self, shard: u64) -> bool {
        shard.checked_sub(self.first_shard).is_some_and(|offset| offset < self.shards)
    }
}

impl Signable for Lease {
    const DOMAIN: Domain = Domain::LEASE;
}

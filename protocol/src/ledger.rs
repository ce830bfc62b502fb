//! What the books keep of a job, for ever: one entry, naming the digest of the entry before it.

use serde::{Deserialize, Serialize};

use crate::canon;
use crate::envelope::Billing;
use crate::failure::Failure;
use crate::hash::{Domain, Hash};
use crate::id::{JobId, NodeId};
use crate::op::Op;
use crate::state::State;

/// Version of the accounting scheme; old entries are read under the version they were made with.
pub const ACCOUNTING_VERSION: u64 = 1;

/// One settled, or failed, job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// Counts from 0.
    pub seq: u64,
    /// Digest of the entry before it; zero for the first.
    pub prev: Hash,
    /// Milliseconds of log time.
    pub at_ms: u64,
    pub accounting: u64,
    pub job: JobId,
    /// `finalized` or `failed`.
    pub state: State,
    /// The receipt's identity.
    pub receipt: Hash,
    pub contract: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_hash: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    pub op: Op,
    pub submitter: NodeId,
    pub billing: Billing,
    /// Who executed how many verified paths; empty if the job failed.
    pub providers: Vec<Provider>,
    /// What the submitter pays, in micro-credits: zero until there are prices.
    pub charge_ucredits: u64,
}

/// One agent's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    pub node: NodeId,
    pub verified_paths: u64,
    pub reward_ucredits: u64,
}

impl LedgerEntry {
    /// The entry's digest, which the next one names.
    pub fn hash(&self) -> Hash {
        Hash::of(Domain::LEDGER, &canon::to_bytes(self))
    }
}

//! What nodes say to each other about a job. The same messages pass between the roles of one node, so that an
//! embedded run takes the very path that a mesh takes.

use serde::{Deserialize, Serialize};

use crate::attestation::Attestation;
use crate::canon::Bytes;
use crate::challenge::{LeafRef, Verdict};
use crate::contract::Contract;
use crate::hash::Hash;
use crate::id::JobId;
use crate::keys::Signed;
use crate::lease::Lease;
use crate::plan::StageRun;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Hub to agent: execute these shards.
    Lease(Box<LeaseOffer>),
    /// Agent to hub: this shard could not be executed.
    ShardFailed { job: JobId, stage: u64, shard: u64, attempt: u64, detail: String },
    /// Agent to hub: a batch is done and committed to.
    Attest(Box<Attested>),
    /// Hub to agent: its chain is logged up to `seq`.
    Logged { seq: u64 },
    /// Hub to checker: execute these leaves again.
    Check(Box<Challenge>),
    /// Checker to agent: open these leaves of your batch.
    Open(Box<Challenge>),
    /// Agent to checker: a kernel opening for each leaf, in the order asked for; fewer if some can't be had.
    Opened { job: JobId, attestation: Hash, openings: Vec<Bytes> },
    /// Checker to hub.
    Judge(Box<Signed<Verdict>>),
}

/// A lease with all that its holder needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseOffer {
    pub lease: Signed<Lease>,
    pub contract: Contract,
    pub run: StageRun,
}

/// An attestation with its members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    pub attestation: Signed<Attestation>,
    /// The claims blob whose address the attestation names.
    pub members: Bytes,
}

/// A batch of which some leaves were drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    pub attestation: Signed<Attestation>,
    pub members: Bytes,
    pub contract: Contract,
    pub run: StageRun,
    pub leaves: Vec<LeafRef>,
}

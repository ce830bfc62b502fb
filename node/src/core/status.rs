//! How a node stands, as plain values: for its operator, never for a decision.

use std::collections::BTreeMap;

use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::region::Region;
use forgemesh_protocol::state::State;

use super::availability::Availability;

/// The whole node.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub node: NodeId,
    pub mesh: MeshId,
    /// The hub member that leads, as far as this node knows.
    pub leader: Option<NodeId>,
    pub up_ms: u64,
    /// The hub's last word of this node is that it does not belong to the mesh.
    pub expelled: bool,
    /// Entries of the ledger in this node's own books, or on their way to its disk.
    pub books: u64,
    pub own: OwnStatus,
    /// None in a node that is no hub member.
    pub hub: Option<HubStatus>,
}

/// The node as an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnStatus {
    /// Of the executor.
    pub threads: u64,
    /// Shards executed at once.
    pub capacity: u64,
    pub backend: String,
    pub available: Availability,
    /// Shards it would hold at most now; 0 while it takes no work.
    pub accepts: u64,
    /// Shards leased to it and not yet attested, and how many of them the executor has.
    pub held: u64,
    pub executing: u64,
    /// Shards it has executed since its start.
    pub executed: u64,
    /// Attestations that the hub has not logged yet, and the last link that it has.
    pub unlogged: u64,
    pub logged: Option<u64>,
    /// How long ago the hub's leader last answered; none if it never did.
    pub heard_ms_ago: Option<u64>,
    pub disk_low: bool,
}

/// A hub member's view of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct HubStatus {
    /// How many admitted keys want each charter that could be the next.
    pub consents: BTreeMap<Hash, u64>,
    pub term: u64,
    /// Does this member lead?
    pub leads: bool,
    /// Entries applied.
    pub log: u64,
    /// Jobs in the ledger.
    pub ledger: u64,
    /// How many of them this member has looked through for what their receipts stand on, since its start, and whether
    /// something of that was nowhere to be had; none in a hub that was never of several.
    pub evidence: Option<(u64, bool)>,
    /// Log time, milliseconds since 1970.
    pub log_ms: u64,
    /// To which this member's node belongs.
    pub organization: Option<Organization>,
    pub disk_low: bool,
    pub agents: Vec<AgentStatus>,
    pub jobs: Vec<OpenJob>,
}

/// An agent as the hub's leader knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentStatus {
    pub node: NodeId,
    pub capacity: u64,
    pub backend: String,
    pub accepts: u64,
    pub holds: u64,
    /// Time that its shards take over the time that is estimated, in parts per million.
    pub pace_ppm: u64,
    pub heard_ms_ago: u64,
    pub live: bool,
    pub ops: Vec<Op>,
    /// Its key and beacon chain, if it could sit in the hub and does not.
    pub candidacy: Option<HubMember>,
    pub region: Option<Region>,
    /// The billing modes that it takes; all, if there are none.
    pub billing: Vec<BillingMode>,
    /// Whose jobs it takes; none: everybody's.
    pub clients: Option<Vec<NodeId>>,
    /// Of which organizations' nodes it takes jobs beside those.
    pub organizations: Vec<Organization>,
}

/// A job that is not final.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenJob {
    pub job: JobId,
    pub client_job_id: Option<String>,
    pub op: Op,
    /// Digest of its contract.
    pub contract: Hash,
    pub state: State,
    pub accepted_ms: u64,
    pub stage: u64,
    pub attested: u64,
    pub lent: u64,
    pub shards: u64,
    /// Batches of the stage without a verdict.
    pub unverified: u64,
}

/// One thing that a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A word that programs may rely on.
    pub code: &'static str,
    /// The same with its counts, and what could be done.
    pub text: String,
}

impl Reason {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Reason {
        Reason { code, text: text.into() }
    }
}

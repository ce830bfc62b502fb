//! How much of itself a node lends to the mesh, and for whose work: its operator's word, which may change while it runs.
//!
//! The hub lends by it, and the node itself holds every lease against it: a cap does not hang on another's honesty. Must
//! never touch what a result's bits depend on.

use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::envelope::{BillingMode, Envelope};
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::json::Json;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::region::Region;
use forgemesh_protocol::submission::Submission;

/// Whether a node takes work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It takes what it is lent.
    #[default]
    Working,
    /// It finishes what it holds, and takes nothing new.
    Draining,
    /// It gives back what it has not begun, and takes nothing new.
    Paused,
    /// The same, for as long as others use its machine.
    Yielding,
}

impl Mode {
    /// Does it give back what it has not begun?
    pub fn gives_back(self) -> bool {
        matches!(self, Mode::Paused | Mode::Yielding)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Working => "working",
            Mode::Draining => "draining",
            Mode::Paused => "paused",
            Mode::Yielding => "yielding",
        }
    }
}

/// What a node's operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    pub mode: Mode,
    /// Shards executed at once; none: as many as the executor has threads.
    pub threads: Option<u64>,
    /// The operations that it executes; all, if there are none.
    pub ops: Vec<Op>,
    /// Where it stands.
    pub region: Option<Region>,
    /// The billing modes of the jobs that it takes; all, if there are none.
    pub billing: Vec<BillingMode>,
    /// Whose jobs a private node takes, by the ids of the keys that signed them; none: everybody's.
    pub clients: Option<Vec<NodeId>>,
    /// Of which organizations' nodes it takes jobs beside those, if it is private.
    pub organizations: Vec<Organization>,
}

impl Availability {
    /// Does it execute this operation?
    pub fn executes(&self, op: &Op) -> bool {
        self.ops.is_empty() || self.ops.contains(op)
    }

    /// May it be lent work of this job? Whose job it is, and how it is billed, it reads only off what the client has
    /// signed, and only if it takes not everybody's. To which organization that client belongs it cannot see for itself:
    /// there it takes the word that the leader has signed with the lease, of this very job, and nothing less.
    pub fn admits(
        &self,
        mesh: MeshId,
        lease: &Lease,
        contract: &Contract,
        submission: Option<&Signed<Submission>>,
    ) -> bool {
        if !self.executes(&contract.op) {
            return false;
        }
        if self.clients.is_none() && self.billing.is_empty() {
            return true;
        }
        let genuine =
            |signed: &&Signed<Submission>| signed.job_id(mesh) == lease.job && signed.verify(mesh).is_ok();
        let Some(submission) = submission.filter(genuine) else { return false };
        let known = self.clients.as_ref().is_none_or(|clients| {
            let named = |organization| self.organizations.contains(organization);
            clients.contains(&submission.key.id()) || lease.organization.as_ref().is_some_and(named)
        });
        known && (self.billing.is_empty() || self.is_billed_so(&submission.body, contract))
    }

    fn is_billed_so(&self, submission: &Submission, contract: &Contract) -> bool {
        let envelope = Json::parse(&submission.envelope.0).and_then(Envelope::read);
        let Ok(envelope) = envelope else { return false };
        envelope.op == contract.op && self.billing.contains(&envelope.terms.ctx.billing.mode)
    }
}

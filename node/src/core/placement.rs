//! Who may execute a job: every constraint that a node must meet, the same for the scheduler, for whoever asks what a job
//! waits for, and for an embedded node before it takes one.

use forgemesh_consensus::job::{JobRecord, Reason, SetAside};
use forgemesh_consensus::machine::Hub;
use forgemesh_protocol::envelope::{Policy, Target};
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::{ProblemCode, Problems};
use forgemesh_protocol::region::Regions;

use super::roster::Agent;

/// How many batches of this job has the agent left unopened, or without their blobs?
pub(crate) fn left(job: &JobRecord, agent: &NodeId) -> usize {
    let of_agent = job.set_aside.iter().filter(|aside| aside.batch.attestation.body.agent == *agent);
    of_agent.filter(|aside| is_left(aside)).count()
}

/// Is this one of those?
pub(crate) fn is_left(aside: &SetAside) -> bool {
    matches!(aside.reason, Reason::Unopened | Reason::Lost)
}

/// The static estimate of one shard of the job's current stage on one thread, in nanoseconds.
pub(crate) fn shard_ns(job: &JobRecord) -> u64 {
    job.plan.leaf_ns().saturating_mul(job.run().stage.leaves_per_shard).max(1)
}

/// Something that keeps an agent from a job, whether or not it has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constraint {
    Silent,
    Target,
    Profile,
    Region,
    Client,
    Billing,
    Convicted,
}

impl Constraint {
    /// All of them, in the order in which they are told.
    pub const ALL: [Constraint; 7] = [
        Constraint::Silent,
        Constraint::Target,
        Constraint::Profile,
        Constraint::Region,
        Constraint::Client,
        Constraint::Billing,
        Constraint::Convicted,
    ];

    /// Does this agent meet it, by what `hub` says of who belongs where?
    pub fn is_met(self, job: &JobRecord, node: &NodeId, agent: &Agent, hub: &Hub, up_ms: u64) -> bool {
        match self {
            Constraint::Silent => agent.is_live(up_ms),
            Constraint::Target => agent.serves(job.terms.policy.target),
            Constraint::Profile => agent.executes(&job.contract.op),
            Constraint::Region => job.submission.body.offer.regions.hold(agent.region.as_ref()),
            Constraint::Client => agent.works_for(&job.submission.key, hub),
            Constraint::Billing => agent.takes(job.terms.ctx.billing.mode),
            Constraint::Convicted => !job.convicted.contains(node),
        }
    }

    /// The word that programs may rely on.
    pub fn code(self) -> &'static str {
        match self {
            Constraint::Silent => "silent",
            Constraint::Target => "target",
            Constraint::Profile => "profile",
            Constraint::Region => "region",
            Constraint::Client => "private",
            Constraint::Billing => "billing",
            Constraint::Convicted => "convicted",
        }
    }

    /// What is the matter with agents that do not meet it, and what could be done.
    pub fn why(self, job: &JobRecord, hub: &Hub) -> String {
        match self {
            Constraint::Silent => {
                format!("are gone, or were not heard for {} s: see to them", limits::SILENCE_MS / 1_000)
            }
            Constraint::Target => match job.terms.policy.target {
                Target::Gpu => "have no GPU: \"any\" gives the same bits".to_owned(),
                Target::Cpu | Target::Any => "compute on no CPU: \"any\" gives the same bits".to_owned(),
            },
            Constraint::Profile => format!("do not execute {}: allow it there", job.contract.op),
            Constraint::Region => {
                format!(
                    "do not say that they are in {}: ask for more regions",
                    job.submission.body.offer.regions
                )
            }
            Constraint::Client => {
                let client = job.submission.key.id();
                let (short, cure) = (client.0.short(), "name it under clients there");
                match hub.organization(&client) {
                    Some(of) => format!(
                        "are private and not for client {short} of {of}: {cure}, or {of} under organizations"
                    ),
                    None => format!(
                        "are private and not for client {short}, which belongs to no organization: {cure}, or \
                         invite it anew, to one that is under organizations there"
                    ),
                }
            }
            Constraint::Billing => {
                let mode = job.terms.ctx.billing.mode.as_str();
                format!("take no {mode} jobs: allow them there under billing")
            }
            Constraint::Convicted => "were convicted in this job".to_owned(),
        }
    }
}

/// May this agent work on the job, whether or not it has room?
pub(crate) fn may_execute(job: &JobRecord, node: &NodeId, agent: &Agent, hub: &Hub, up_ms: u64) -> bool {
    Constraint::ALL.iter().all(|constraint| constraint.is_met(job, node, agent, hub, up_ms))
}

/// The nodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub agents: u64,
    pub gpus: u64,
}

impl Capabilities {
    /// An embedded node: itself, computing on its processor.
    pub const EMBEDDED: Capabilities = Capabilities { agents: 1, gpus: 0 };
}

/// Every constraint of a job that these nodes do not meet, with the counts and the cure. They are in no region: an
/// embedded node has nobody who could choose it for where it stands.
pub fn check(policy: &Policy, regions: &Regions, nodes: &Capabilities) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let code = ProblemCode::PolicyUnsatisfiable;
    if policy.target == Target::Gpu && nodes.gpus == 0 {
        let message = format!("0 of {} nodes have a GPU", nodes.agents);
        problems.add(
            code,
            "$.policy.target",
            message,
            "use \"any\" or \"cpu\": the result has the same bits",
        );
    }
    if policy.min_agents > nodes.agents {
        let message = format!("{} agents are asked for, {} are here", policy.min_agents, nodes.agents);
        let cure = format!("lower it to {} or 0, or run the job on a larger mesh", nodes.agents);
        problems.add(code, "$.policy.min_agents", message, cure);
    }
    if !regions.is_anywhere() {
        let message = format!("0 of {} nodes say that they are in {regions}", nodes.agents);
        let cure = "leave the regions out: it is executed on this machine alone; or start its node with `forgemesh up`";
        problems.add(code, "$.offer.regions", message, cure);
    }
    problems.into_result(())
}

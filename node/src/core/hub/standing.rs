//! What a hub member can say of the mesh: its agents, its open jobs, and what a job waits for.

use std::collections::BTreeMap;

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::state::State;

use super::HubRole;
use crate::core::Now;
use crate::core::placement::{Constraint, may_execute};
use crate::core::roster::Agent;
use crate::core::status::{AgentStatus, HubStatus, OpenJob, Reason};

impl HubRole {
    /// How the mesh stands.
    pub fn standing(&self, now: Now) -> HubStatus {
        let state = self.machine.state();
        let agents = self.scheduler.roster().map(|(node, agent, holds)| AgentStatus {
            node: *node,
            capacity: agent.capacity,
            backend: agent.backend.clone(),
            accepts: agent.accepts,
            holds,
            pace_ppm: agent.pace_ppm,
            heard_ms_ago: now.up_ms.saturating_sub(agent.heard_ms),
            live: agent.is_live(now.up_ms) && self.machine.admits(node),
            ops: agent.ops.clone(),
            candidacy: agent.candidacy.clone(),
            region: agent.region.clone(),
            billing: agent.billing.clone(),
            clients: agent.clients.clone(),
            organizations: agent.organizations.clone(),
        });
        let mut consents = BTreeMap::new();
        for signed in state.consents.values() {
            *consents.entry(signed.body.digest()).or_insert(0) += 1;
        }
        HubStatus {
            consents,
            term: state.term,
            leads: self.leads(),
            log: state.next,
            ledger: state.ledger_len,
            evidence: self.evidence_standing(),
            log_ms: state.now_ms,
            organization: self.machine.organization(&self.node).cloned(),
            disk_low: self.disk_low,
            agents: agents.collect(),
            jobs: state.open.values().map(|job| self.open_job(job)).collect(),
        }
    }

    /// The agents that said hello, and when they were heard last.
    pub fn agents(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.scheduler.roster().map(|(node, agent, _)| (*node, agent.heard_ms))
    }

    fn open_job(&self, job: &JobRecord) -> OpenJob {
        OpenJob {
            job: job.id,
            client_job_id: job.terms.ctx.job_id.clone(),
            op: job.contract.op.clone(),
            contract: job.plan.contract,
            state: job.state,
            accepted_ms: job.accepted_ms,
            stage: job.run().number,
            attested: job.attested.len(),
            lent: self.scheduler.lent(&job.id),
            shards: job.run().stage.shards(),
            unverified: job.current_batches().filter(|batch| !job.is_settled(batch)).count() as u64,
        }
    }

    /// What an open job waits for, the nearest cause first; none if it is not open.
    pub fn pending(&self, id: &JobId, now: Now) -> Option<Vec<Reason>> {
        let job = self.machine.job(id)?;
        let (attested, all) = (job.attested.len(), job.run().stage.shards());
        let mut reasons = Vec::new();
        if matches!(job.state, State::Planned | State::Running) {
            if self.lead.as_ref().is_some_and(|lead| lead.settling.contains(id)) {
                let text = "the hub has just started: its agents say first what they hold";
                reasons.push(Reason::new("settling", text));
            }
            let lent = self.scheduler.lent(id);
            if lent > 0 {
                let text = format!("{attested} of {all} shards are attested, {lent} are being executed");
                reasons.push(Reason::new("executing", text));
            }
            if attested + lent < all {
                reasons.extend(self.unlent(job, all - attested - lent, now));
            }
        }
        let undrawn = job.current_batches().filter(|batch| !job.is_settled(batch) && batch.reveal.is_none());
        let unjudged = job.current_batches().filter(|batch| !job.is_settled(batch) && batch.reveal.is_some());
        for (code, count, what) in [
            ("beacon", undrawn.count(), "wait for their leaves to be drawn"),
            ("verdict", unjudged.count(), "wait for their leaves to be executed again"),
        ] {
            if count > 0 {
                reasons.push(Reason::new(code, format!("{count} attested batches {what}")));
            }
        }
        if job.state == State::Aggregating {
            let (votes, needed) = (self.votes(job), self.machine.charters().current().quorum());
            let text = format!("the stage is being reduced: {votes} of {needed} equal votes are in");
            reasons.push(Reason::new("votes", text));
        }
        Some(reasons)
    }

    fn votes(&self, job: &JobRecord) -> usize {
        let now = (job.run().number, job.set_aside.len() as u64, self.machine.state().seating.number);
        let of = |vote: &forgemesh_protocol::vote::ReductionVote| (vote.stage, vote.set_aside, vote.seating);
        job.votes.iter().filter(|vote| of(&vote.body) == now).count()
    }

    /// Why shards are lent to nobody: every constraint, with the number of agents that fail it. An agent that fails several
    /// is counted at each of them, for mending one would not be enough. One that was expelled is not counted.
    fn unlent(&self, job: &JobRecord, shards: u64, now: Now) -> Vec<Reason> {
        let admitted = |(node, ..): &Seen<'_>| self.machine.admits(node);
        let agents: Vec<Seen<'_>> = self.scheduler.roster().filter(admitted).collect();
        let mut reasons = Vec::new();
        let mut tell = |code: &'static str, count: usize, why: &str| {
            if count > 0 {
                reasons.push(Reason::new(code, format!("{count} of {} agents {why}", agents.len())));
            }
        };
        for constraint in Constraint::ALL {
            let fails =
                |(node, agent, _): &&Seen<'_>| !constraint.is_met(job, node, agent, &self.machine, now.up_ms);
            tell(constraint.code(), agents.iter().filter(fails).count(), &constraint.why(job, &self.machine));
        }
        let may = |(node, agent, _): &&Seen<'_>| may_execute(job, node, agent, &self.machine, now.up_ms);
        let eligible: Vec<&Seen<'_>> = agents.iter().filter(may).collect();
        let takes = |(_, agent, _): &&Seen<'_>| agent.accepts > 0;
        let willing: Vec<&Seen<'_>> = eligible.iter().copied().filter(takes).collect();
        let why = "take no work now: they are paused, draining, in use by others, or their disk is full";
        let unwilling = |(_, agent, _): &&Seen<'_>| agent.is_live(now.up_ms) && agent.accepts == 0;
        tell("unwilling", agents.iter().filter(unwilling).count(), why);
        let unreliable = |(node, ..): &&Seen<'_>| !self.scheduler.is_reliable(job, node);
        let why = "left batches of this job unopened, or lost them: they come after all others";
        tell("unreliable", agents.iter().filter(unreliable).count(), why);
        let min = job.terms.policy.min_agents;
        let first = if (eligible.len() as u64) < min {
            let text = format!("min_agents is {min}, {} agents may execute it: lower it", eligible.len());
            Reason::new("min_agents", text)
        } else if willing.is_empty() {
            Reason::new("no_agent", format!("{shards} shards wait, and no agent takes them"))
        } else {
            let held: u64 = willing.iter().map(|(.., holds)| holds).sum();
            let jobs = self.machine.state().open.len();
            let text = format!(
                "{shards} shards wait until one of {} agents has room: they hold {held} shards, of {jobs} open jobs",
                willing.len()
            );
            Reason::new("busy", text)
        };
        reasons.insert(0, first);
        reasons
    }
}

/// An agent, and the number of shards that it holds.
type Seen<'a> = (&'a NodeId, &'a Agent, u64);

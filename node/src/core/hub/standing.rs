//! What a hub member can say of the mesh: its agents, its open jobs, and what a job waits for.

use std::collections::BTreeMap;

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::envelope::Target;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;

use super::HubRole;
use crate::core::Now;
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
            live: agent.is_live(now.up_ms),
            ops: agent.ops.clone(),
            candidacy: agent.candidacy.clone(),
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
            log_ms: state.now_ms,
            disk_low: self.disk_low,
            agents: agents.collect(),
            jobs: state.open.values().map(|job| self.open_job(job)).collect(),
        }
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

    /// Why shards are lent to nobody: every constraint, with the number of agents that fail it.
    fn unlent(&self, job: &JobRecord, shards: u64, now: Now) -> Vec<Reason> {
        let (policy, op) = (&job.terms.policy, &job.contract.op);
        let left: Vec<Seen<'_>> = self.scheduler.roster().map(|(node, agent, _)| (node, agent)).collect();
        let mut sieve = Sieve { all: left.len(), left, reasons: Vec::new() };
        let silence = limits::SILENCE_MS / 1_000;
        sieve.keep("silent", &format!("were not heard for {silence} s: see to them"), |(_, agent)| {
            agent.is_live(now.up_ms)
        });
        let target = match policy.target {
            Target::Gpu => "have no GPU: \"any\" gives the same bits",
            Target::Cpu | Target::Any => "compute on no CPU: \"any\" gives the same bits",
        };
        sieve.keep("target", target, |(_, agent)| agent.serves(policy.target));
        sieve.keep("profile", &format!("do not execute {op}: allow it there"), |(_, agent)| {
            agent.executes(op)
        });
        sieve.keep("convicted", "were convicted in this job", |(node, _)| !job.convicted.contains(node));
        let eligible = sieve.left.len() as u64;
        sieve.keep(
            "unwilling",
            "take no work now: they are paused, draining or their disk is full",
            |(_, agent)| agent.accepts > 0,
        );
        let Sieve { left, mut reasons, .. } = sieve;
        if eligible < policy.min_agents {
            let text =
                format!("min_agents is {}, {eligible} agents may execute it: lower it", policy.min_agents);
            reasons.insert(0, Reason::new("min_agents", text));
        } else if left.is_empty() {
            reasons
                .insert(0, Reason::new("no_agent", format!("{shards} shards wait, and no agent takes them")));
        } else {
            let text = format!("{shards} shards wait until one of {} agents has room", left.len());
            reasons.insert(0, Reason::new("busy", text));
        }
        reasons
    }
}

type Seen<'a> = (&'a NodeId, &'a Agent);

/// Agents that meet every constraint so far, and how many failed each.
struct Sieve<'a> {
    all: usize,
    left: Vec<Seen<'a>>,
    reasons: Vec<Reason>,
}

impl<'a> Sieve<'a> {
    fn keep(&mut self, code: &'static str, why: &str, keeps: impl Fn(&Seen<'a>) -> bool) {
        let before = self.left.len();
        self.left.retain(keeps);
        if self.left.len() < before {
            let text = format!("{} of {} agents {why}", before - self.left.len(), self.all);
            self.reasons.push(Reason::new(code, text));
        }
    }
}

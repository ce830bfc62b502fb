//! Who gets which shards: a pure part of the core, over what agents said of themselves and what is lent.
//!
//! Soft state alone: losing it costs time, never a result. Must never decide anything that a result's bits depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use forgemesh_consensus::job::{JobRecord, Reason};
use forgemesh_consensus::machine::Hub;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Hello, Holding};

use super::Now;
use super::leases::{Lending, Lent, held};
use super::placement::{is_left, left, may_execute, shard_ns};
use super::roster::{Agent, Roster};

/// How many times slower than expected an agent may be and still keep its lease.
const SLOWNESS: u64 = 30;
/// How soon to look again for work to move, while an agent has nothing to do.
const LOOK_MS: u64 = 250;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Lend(Lend),
    Recall { agent: NodeId, holding: Holding },
    GiveUp { job: JobId, failure: Failure },
}

/// A lease to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lend {
    pub job: JobId,
    pub agent: NodeId,
    pub shards: Range<u64>,
    pub attempt: u64,
    pub expires_ms: u64,
}

/// Agents and what they hold.
#[derive(Default)]
pub(crate) struct Scheduler {
    roster: Roster,
    jobs: BTreeMap<JobId, Lent>,
    /// Something changed since the last decision.
    dirty: bool,
    look_ms: Option<u64>,
    /// Since when this node has led.
    since_ms: u64,
}

impl Scheduler {
    /// Something that matters happened to a job.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// This node leads from now on: whom it knows it knows still, what is lent to them it will hear.
    pub fn begin(&mut self, now: Now) {
        self.jobs.clear();
        self.look_ms = None;
        self.since_ms = now.up_ms;
        self.dirty = true;
    }

    /// An agent said hello to a node that does not lead.
    pub fn met(&mut self, node: NodeId, hello: &Hello, up_ms: u64) {
        self.roster.heard(node, hello, up_ms);
    }

    /// Agents that were heard lately.
    pub fn live(&self, up_ms: u64) -> BTreeSet<NodeId> {
        self.roster.iter().filter(|(_, agent)| agent.is_live(up_ms)).map(|(node, _)| *node).collect()
    }

    /// What an agent said last.
    pub fn agent(&self, node: &NodeId) -> Option<&Agent> {
        self.roster.get(node)
    }

    /// How many agents there are.
    pub fn agents(&self) -> usize {
        self.roster.len()
    }

    /// All agents, in the order of their ids, with the number of shards that each holds.
    pub fn roster(&self) -> impl Iterator<Item = (&NodeId, &Agent, u64)> {
        self.roster.iter().map(|(node, agent)| (node, agent, self.outstanding(node)))
    }

    /// Shards of a job that are lent.
    pub fn lent(&self, job: &JobId) -> u64 {
        self.jobs.get(job).map_or(0, |lent| lent.shards.len())
    }

    /// Was this agent heard lately?
    pub fn is_live(&self, node: &NodeId, up_ms: u64) -> bool {
        self.roster.get(node).is_some_and(|agent| agent.is_live(up_ms))
    }

    /// Who has worked on a job.
    pub fn engaged(&self, job: &JobId) -> Vec<NodeId> {
        self.jobs.get(job).map(|lent| lent.engaged.iter().copied().collect()).unwrap_or_default()
    }

    /// An agent said hello: what it does not hold is taken back, what it holds unknown to the hub is noted.
    pub fn heard(
        &mut self,
        node: NodeId,
        hello: &Hello,
        open: &BTreeMap<JobId, JobRecord>,
        now: Now,
        log_ms: u64,
    ) {
        self.dirty |= self.roster.heard(node, hello, now.up_ms);
        let ranges = hello.holds.iter().map(|holding| holding.shards.len()).fold(0, usize::saturating_add);
        if hello.holds.len() > limits::HOLDINGS || ranges > limits::HOLDINGS {
            return;
        }
        let accepts = self.roster.get(&node).map_or(0, |agent| agent.accepts);
        for (id, record) in open {
            let run = record.run();
            let lent = self.jobs.entry(*id).or_default();
            lent.begin(run);
            let mut named = hello
                .holds
                .iter()
                .filter(|holding| holding.job == *id && lent.is_of(holding.stage, holding.input));
            let set = match named.next() {
                Some(holding) => held(holding, run.stage.shards()),
                None => Some(ShardSet::default()),
            };
            // What is no set of this stage's shards says nothing.
            let Some(set) = set else { continue };
            self.dirty |= lent.compare(&node, &set, now.up_ms);
            // Only who has just begun to lead does not know something.
            if now.up_ms < self.since_ms + limits::SILENCE_MS && !record.convicted.contains(&node) {
                lent.adopt(record, node, &set, accepts, now, log_ms);
            }
        }
    }

    /// An agent gave a sign of life.
    pub fn seen(&mut self, node: &NodeId, up_ms: u64) {
        self.roster.seen(node, up_ms);
    }

    /// An agent's connection has been away for long, or is there again.
    pub fn reached(&mut self, node: &NodeId, is_there: bool, up_ms: u64) {
        self.dirty |= self.roster.reached(node, is_there, up_ms);
    }

    /// An agent's shards took so long where so much was estimated.
    pub fn paced(&mut self, node: &NodeId, wall_us: u64, estimate_ns: u64) {
        self.roster.paced(node, wall_us, estimate_ns);
    }

    /// An attestation is logged: its shards are no longer lent, whether or not they counted.
    pub fn settled(&mut self, attestation: &Attestation, up_ms: u64) -> Vec<Decision> {
        self.dirty = true;
        let Some(lent) = self.jobs.get_mut(&attestation.job) else { return Vec::new() };
        let input = attestation.input();
        if !lent.is_of(attestation.stage, input) {
            return Vec::new();
        }
        let shards: Vec<u64> = attestation.shards.iter().collect();
        let others = lent.settled(&attestation.agent, &shards, up_ms);
        let (job, stage) = (attestation.job, attestation.stage);
        let recall = |(agent, shards): (NodeId, ShardSet)| {
            let holding = Holding { job, stage, input, shards: shards.ranges().to_vec() };
            Decision::Recall { agent, holding }
        };
        others.into_iter().map(recall).collect()
    }

    /// An agent failed at a shard; the end of the job, if that was once too often.
    pub fn failed(
        &mut self,
        hub: &Hub,
        job: &JobRecord,
        agent: NodeId,
        shard: u64,
        detail: String,
        up_ms: u64,
    ) -> Option<Decision> {
        self.dirty = true;
        self.jobs.get_mut(&job.id)?.failed(agent, shard, detail);
        self.exhausted(hub, job, shard, up_ms)
    }

    /// So many more batches no longer count: the shards of `agent` among them go to somebody else, if there is anybody.
    pub fn set_aside(
        &mut self,
        hub: &Hub,
        job: &JobRecord,
        agent: NodeId,
        batches: u64,
        up_ms: u64,
    ) -> Option<Decision> {
        self.dirty = true;
        let stage = job.run().number;
        let lent = self.jobs.entry(job.id).or_default();
        lent.begin(job.run());
        if job.convicted.contains(&agent) {
            lent.abandoned(&agent);
        }
        let new = job.set_aside.iter().rev().take(batches as usize);
        let of_agent = new.filter(|aside| {
            let body = &aside.batch.attestation.body;
            body.agent == agent && body.stage == stage && aside.reason != Reason::Superseded
        });
        let of_agent: Vec<_> = of_agent.map(|aside| (&aside.batch.credited, is_left(aside))).collect();
        let batches = of_agent.iter().filter(|(_, is_left)| *is_left).count();
        let shards: Vec<u64> = of_agent.iter().flat_map(|(credited, _)| credited.iter()).collect();
        // Who was gone has not failed at them, and may have them again.
        let absence = self.roster.get(&agent).and_then(|agent| agent.absence(up_ms));
        if !job.convicted.contains(&agent)
            && absence.is_some_and(|absence| lent.excuse(agent, absence, batches))
        {
            return None;
        }
        shards.iter().for_each(|&shard| lent.refuse(agent, shard));
        lent.detail = "its batches were set aside again and again".to_owned();
        shards.into_iter().find_map(|shard| self.exhausted(hub, job, shard, up_ms))
    }

    /// Has the agent left few enough batches of this job unopened, or without their blobs, while it was there?
    pub fn is_reliable(&self, job: &JobRecord, agent: &NodeId) -> bool {
        let excused = self.jobs.get(&job.id).map_or(0, |lent| lent.excused(agent));
        left(job, agent).saturating_sub(excused) < limits::UNRELIABLE
    }

    /// Has everyone who could execute the shard failed at it, and that too often?
    fn exhausted(&self, hub: &Hub, job: &JobRecord, shard: u64, up_ms: u64) -> Option<Decision> {
        let lent = self.jobs.get(&job.id)?;
        let mut others = self.eligible(hub, job, up_ms).filter(|(node, _)| !lent.has_failed(node, shard));
        // Who takes no work now is waited for, but not for ever.
        let another = match lent.attempts(shard) {
            few if few < limits::SHARD_ATTEMPTS => true,
            many if many < limits::SHARD_ATTEMPTS_MOST => others.next().is_some(),
            _ => others.any(|(_, agent)| agent.accepts > 0),
        };
        if another {
            return None;
        }
        let detail = format!("shard {shard} of stage {}: {}", job.run().number, lent.detail);
        Some(Decision::GiveUp { job: job.id, failure: Failure::new(FailureCode::AttemptsExhausted, detail) })
    }

    /// The job is final.
    pub fn forget(&mut self, job: &JobId) {
        self.dirty = true;
        self.jobs.remove(job);
    }

    /// Takes back what silent agents hold, and what was lent too long.
    pub fn tick(&mut self, now: Now, log_ms: u64) {
        let roster = &self.roster;
        let is_gone = |node: &NodeId| roster.get(node).is_none_or(|agent| !agent.is_live(now.up_ms));
        for lent in self.jobs.values_mut() {
            let gone: Vec<NodeId> = lent.engaged.iter().copied().filter(is_gone).collect();
            for node in gone {
                self.dirty |= lent.abandoned(&node);
            }
            self.dirty |= lent.expire(log_ms);
        }
        self.dirty |= self.roster.forget(now.up_ms);
    }

    /// What is to be done now for `jobs`: those that have shards to execute, the oldest first. `alone`: no other node
    /// than the hub's own has ever worked in this mesh; `hub` says who belongs where.
    pub fn decide(
        &mut self,
        hub: &Hub,
        jobs: &[&JobRecord],
        alone: bool,
        now: Now,
        log_ms: u64,
    ) -> Vec<Decision> {
        if !self.dirty && self.look_ms.is_none_or(|look_ms| now.up_ms < look_ms) {
            return Vec::new();
        }
        self.dirty = false;
        for job in jobs {
            self.jobs.entry(job.id).or_default().begin(job.run());
        }
        // Others have had time to say hello.
        let settled = alone || now.up_ms >= self.since_ms + limits::SILENCE_MS;
        let mut out: Vec<Decision> = Vec::new();
        if settled {
            out.extend(jobs.iter().filter_map(|job| self.hopeless(job)));
        }
        let mut went_on = true;
        while went_on {
            went_on = false;
            for job in jobs {
                if let Some(lend) = self.lend(hub, job, jobs, now, log_ms) {
                    self.note(&lend, now.up_ms, false);
                    out.push(Decision::Lend(lend));
                    went_on = true;
                }
            }
        }
        let idle: Vec<NodeId> = self.idle(jobs, now.up_ms);
        let busy = self.jobs.values().any(|lent| !lent.lendings.is_empty());
        let look_ms = (busy && !idle.is_empty()).then_some(now.up_ms + LOOK_MS);
        let settling = !settled && jobs.iter().any(|job| !job.convicted.is_empty());
        self.look_ms = look_ms.or(settling.then_some(self.since_ms + limits::SILENCE_MS));
        for node in idle {
            out.extend(self.spare(hub, node, jobs, now, log_ms).or_else(|| self.steal(hub, node, jobs, now)));
        }
        out
    }

    /// In how many milliseconds something may change by itself.
    pub fn next_deadline(&self, now: Now, log_ms: u64) -> u64 {
        let lendings = self.jobs.values().flat_map(|lent| &lent.lendings);
        let expiry = lendings.clone().map(|lending| (lending.expires_ms + 1).saturating_sub(log_ms)).min();
        let silent_at = |lending: &Lending| {
            let agent = self.roster.get(&lending.agent)?;
            Some((agent.heard_ms + limits::SILENCE_MS).saturating_sub(now.up_ms))
        };
        let silence = lendings.filter_map(silent_at).filter(|left_ms| *left_ms > 0).min();
        let look = self.look_ms.map(|look_ms| look_ms.saturating_sub(now.up_ms));
        [expiry, silence, look].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Nobody is left who may execute the job: everyone known was convicted in it.
    fn hopeless(&self, job: &JobRecord) -> Option<Decision> {
        let all = self.roster.iter().all(|(node, _)| job.convicted.contains(node));
        if job.convicted.is_empty() || !all {
            return None;
        }
        let found = job.set_aside.iter().find(|aside| aside.reason == Reason::False)?;
        let mismatch = found.batch.verdict.as_ref()?.body.mismatches.first()?;
        let detail = format!(
            "leaf {} of shard {} by node {}: {:?}",
            mismatch.at.leaf, mismatch.at.shard, found.batch.attestation.body.agent, mismatch.kind
        );
        Some(Decision::GiveUp {
            job: job.id,
            failure: Failure::new(FailureCode::VerificationMismatch, detail),
        })
    }

    /// The agents that may work on a job now, whether or not they have room.
    fn eligible<'a>(
        &'a self,
        hub: &'a Hub,
        job: &'a JobRecord,
        up_ms: u64,
    ) -> impl Iterator<Item = (NodeId, &'a Agent)> {
        self.roster
            .iter()
            .filter(move |(node, agent)| may_execute(job, node, agent, hub, up_ms))
            .map(|(node, agent)| (*node, agent))
    }

    /// Nanoseconds of work that an agent has before it, for each of its threads.
    fn backlog_ns(&self, node: &NodeId, agent: &Agent, jobs: &[&JobRecord]) -> u64 {
        let of = |job: &&JobRecord| {
            let held = self.jobs.get(&job.id).map_or(0, |lent| lent.held_by(node));
            held.saturating_mul(agent.cost_ns(shard_ns(job)))
        };
        jobs.iter().map(of).fold(0, u64::saturating_add) / agent.capacity
    }

    fn outstanding(&self, node: &NodeId) -> u64 {
        self.jobs.values().map(|lent| lent.held_by(node)).sum()
    }

    /// The next lease of `job`: to the agent with the least to do.
    fn lend(&self, hub: &Hub, job: &JobRecord, jobs: &[&JobRecord], now: Now, log_ms: u64) -> Option<Lend> {
        let lent = self.jobs.get(&job.id)?;
        let policy = &job.terms.policy;
        let agents: Vec<(NodeId, &Agent)> = self.eligible(hub, job, now.up_ms).collect();
        if lent.engaged.is_empty() && (agents.len() as u64) < policy.min_agents {
            return None;
        }
        let full = policy.max_agents != 0 && lent.engaged.len() as u64 >= policy.max_agents;
        let engaged: Vec<(NodeId, &Agent)> =
            agents.iter().copied().filter(|(node, _)| !full || lent.engaged.contains(node)).collect();
        // While they hold something, those that are engaged are all there are. When they do not, and have failed at what
        // is left, others may take their place.
        let free = !full || lent.lendings.is_empty();
        let pool = if free { &agents } else { &engaged };
        let lend = self.lend_to(&engaged, pool, job, jobs, log_ms);
        lend.or_else(|| if full && free { self.lend_to(&agents, pool, job, jobs, log_ms) } else { None })
    }

    /// The next lease of `job` to one of these; `pool`: all that come into question. Who has left too much unopened comes
    /// into question only when there is nobody else: nobody at all, or for a shard at which all the others have failed.
    fn lend_to(
        &self,
        agents: &[(NodeId, &Agent)],
        pool: &[(NodeId, &Agent)],
        job: &JobRecord,
        jobs: &[&JobRecord],
        log_ms: u64,
    ) -> Option<Lend> {
        let reliable =
            |of: &[_]| of.iter().copied().filter(|(node, _)| self.is_reliable(job, node)).collect();
        let first: Vec<(NodeId, &Agent)> = reliable(agents);
        if first.is_empty() || first.len() == agents.len() {
            return self.lend_among(agents, pool, &[], job, jobs, log_ms);
        }
        let before: Vec<(NodeId, &Agent)> = reliable(pool);
        let lend = self.lend_among(&first, pool, &[], job, jobs, log_ms);
        lend.or_else(|| self.lend_among(agents, pool, &before, job, jobs, log_ms))
    }

    /// The next lease of `job` to the one of these with the least to do, after those that come `before` them.
    fn lend_among(
        &self,
        agents: &[(NodeId, &Agent)],
        pool: &[(NodeId, &Agent)],
        before: &[(NodeId, &Agent)],
        job: &JobRecord,
        jobs: &[&JobRecord],
        log_ms: u64,
    ) -> Option<Lend> {
        let lent = self.jobs.get(&job.id)?;
        let threads: u64 = agents.iter().map(|(_, agent)| agent.capacity).sum();
        let mut candidates: Vec<(u64, NodeId, &Agent)> =
            agents.iter().map(|(node, agent)| (self.backlog_ns(node, agent, jobs), *node, *agent)).collect();
        candidates.sort_by_key(|(backlog_ns, node, _)| (*backlog_ns, *node));
        for (backlog_ns, node, agent) in candidates {
            let most = self.room(&node, agent, backlog_ns, job, jobs.len() as u64);
            // Guided self-scheduling (Polychronopoulos & Kuck 1987): large pieces first, small ones at the end.
            let left = job.run().stage.shards().saturating_sub(job.attested.len() + lent.shards.len());
            let alone = agents.len() == 1;
            let share = if alone { left } else { (left * agent.capacity).div_ceil(2 * threads) };
            let most = most.min(share.max(1)).min(limits::LEASE_SHARDS);
            let Some(gap) = self.gap(job, &node, pool, before, most) else { continue };
            let attempt = gap.clone().map(|shard| lent.attempts(shard)).max();
            let shards = gap.end - gap.start;
            let cost_ms = agent.cost_ns(shard_ns(job)).saturating_mul(shards.max(agent.capacity)) / 1_000_000;
            let grace_ms = SLOWNESS.saturating_mul(cost_ms + backlog_ns / 1_000_000).min(limits::TIMEOUT_MS);
            let expires_ms = log_ms + limits::LEASE_MS + grace_ms;
            let attempt = u64::from(attempt.unwrap_or(0)) + 1;
            return Some(Lend { job: job.id, agent: node, shards: gap, attempt, expires_ms });
        }
        None
    }

    fn note(&mut self, lend: &Lend, up_ms: u64, spare: bool) {
        let mut shards = ShardSet::default();
        lend.shards.clone().for_each(|shard| {
            shards.insert(shard);
        });
        let (agent, expires_ms) = (lend.agent, lend.expires_ms);
        let (lent_ms, fresh_ms) = (up_ms, up_ms);
        let lending = Lending { agent, shards, lent_ms, fresh_ms, expires_ms, spare, recalled_ms: None };
        self.jobs.entry(lend.job).or_default().lend(lending);
    }

    /// How many more shards of `job` the agent may have: enough that it does not run dry, no more than its share.
    fn room(&self, node: &NodeId, agent: &Agent, backlog_ns: u64, job: &JobRecord, jobs: u64) -> u64 {
        let (all, own) =
            (self.outstanding(node), self.jobs.get(&job.id).map_or(0, |lent| lent.held_by(node)));
        let most = agent.accepts.min(agent.capacity * limits::SHARDS_PER_THREAD).saturating_sub(all);
        let cost_ns = agent.cost_ns(shard_ns(job));
        let backlog = limits::BACKLOG_MS * 1_000_000;
        let own_ns = own.saturating_mul(cost_ns) / agent.capacity;
        let left_ns = backlog.saturating_sub(backlog_ns).min((backlog / jobs.max(1)).saturating_sub(own_ns));
        let worth = u128::from(left_ns) * u128::from(agent.capacity) / u128::from(cost_ns);
        let few = (2 * agent.capacity).saturating_sub(all);
        u64::try_from(worth).unwrap_or(u64::MAX).max(few).min(most)
    }

    /// Shards of `job` that nobody has and that `node` has not failed at, unless all the others that take work have, too; if others come
    /// `before` it, only one at which they all have failed.
    fn gap(
        &self,
        job: &JobRecord,
        node: &NodeId,
        agents: &[(NodeId, &Agent)],
        before: &[(NodeId, &Agent)],
        most: u64,
    ) -> Option<Range<u64>> {
        if most == 0 {
            return None;
        }
        let lent = self.jobs.get(&job.id)?;
        let failed = |by: &BTreeMap<NodeId, u32>| {
            let takes = |(other, agent): &(NodeId, &Agent)| agent.accepts > 0 && !by.contains_key(other);
            by.contains_key(node) && agents.iter().any(takes)
        };
        if !before.is_empty() {
            let left = |shard| !lent.shards.contains(shard) && !job.attested.contains(shard);
            let given_up =
                |by: &BTreeMap<NodeId, u32>| before.iter().all(|(other, _)| by.contains_key(other));
            let mut found = lent.failures.iter().filter(|(_, by)| given_up(by) && !failed(by));
            return found.find(|(shard, _)| left(**shard)).map(|(&shard, _)| shard..shard + 1);
        }
        let mut taken = None;
        for (&shard, _) in lent.failures.iter().filter(|(_, by)| failed(by)) {
            taken.get_or_insert_with(|| lent.shards.clone()).insert(shard);
        }
        let taken = taken.as_ref().unwrap_or(&lent.shards);
        job.attested.first_gap(taken, job.run().stage.shards(), most)
    }

    /// Agents that would take work and have none.
    fn idle(&self, jobs: &[&JobRecord], up_ms: u64) -> Vec<NodeId> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let free = |(node, agent): &(&NodeId, &Agent)| {
            agent.is_live(up_ms) && agent.accepts > 0 && self.outstanding(node) == 0
        };
        self.roster.iter().filter(free).map(|(node, _)| *node).collect()
    }

    /// Whose work `node` might take over, with the job.
    fn late<'a>(
        &'a self,
        hub: &'a Hub,
        node: NodeId,
        jobs: &'a [&JobRecord],
        up_ms: u64,
    ) -> impl Iterator<Item = (&'a JobRecord, usize, &'a Lending, &'a Agent)> {
        let of_job = move |job: &'a &JobRecord| {
            let may = self.roster.get(&node).is_some_and(|agent| may_execute(job, &node, agent, hub, up_ms));
            let lent = self.jobs.get(&job.id).filter(|lent| {
                let max = job.terms.policy.max_agents;
                may && (max == 0 || (lent.engaged.len() as u64) < max || lent.engaged.contains(&node))
            });
            let lendings = lent.into_iter().flat_map(|lent| lent.lendings.iter().enumerate());
            lendings.filter_map(move |(i, lending)| {
                let agent = self.roster.get(&lending.agent)?;
                (lending.agent != node && !lending.spare).then_some((*job, i, lending, agent))
            })
        };
        jobs.iter().flat_map(of_job)
    }

    /// Has the agent with the most to do leave half of a lease, so that `node` can have it.
    fn steal(&mut self, hub: &Hub, node: NodeId, jobs: &[&JobRecord], now: Now) -> Option<Decision> {
        let worth = |(job, i, lending, agent): (&JobRecord, usize, &Lending, &Agent)| {
            let waiting = lending.recalled_ms.is_some_and(|at_ms| now.up_ms < at_ms + limits::RETRY_MS);
            let left_ms = self.backlog_ns(&lending.agent, agent, jobs) / 1_000_000;
            let movable = lending.shards.len() > agent.capacity && left_ms > limits::STEAL_MS;
            (movable && !waiting).then_some((left_ms, job.id, i))
        };
        let (_, job, i) = self.late(hub, node, jobs, now.up_ms).filter_map(worth).max()?;
        let stage = jobs.iter().find(|record| record.id == job)?.run().number;
        let lent = self.jobs.get_mut(&job)?;
        let input = lent.input;
        let lending = lent.lendings.get_mut(i)?;
        lending.recalled_ms = Some(now.up_ms);
        let mut half = ShardSet::default();
        for shard in lending.shards.iter().rev().take((lending.shards.len() / 2) as usize) {
            half.insert(shard);
        }
        let holding = Holding { job, stage, input, shards: half.ranges().to_vec() };
        Some(Decision::Recall { agent: lending.agent, holding })
    }

    /// Lends to `node` what another agent has had for too long without a sign.
    fn spare(
        &mut self,
        hub: &Hub,
        node: NodeId,
        jobs: &[&JobRecord],
        now: Now,
        log_ms: u64,
    ) -> Option<Decision> {
        let late = |(job, _, lending, agent): (&'_ JobRecord, usize, &'_ Lending, &'_ Agent)| {
            let expected_ms = 3 * agent.cost_ns(shard_ns(job)) / 1_000_000;
            let since_ms = now.up_ms.saturating_sub(lending.fresh_ms);
            let lent = self.jobs.get(&job.id)?;
            let failed = |shard: u64| lent.has_failed(&node, shard);
            let doubled =
                |shard: u64| lent.lendings.iter().any(|other| other.spare && other.shards.contains(shard));
            let first = lending.shards.iter().find(|&shard| !doubled(shard) && !failed(shard))?;
            let overdue_ms = since_ms.checked_sub(limits::STRAGGLE_MS.saturating_add(expected_ms))?;
            let end = (first + 1..first + limits::LEASE_SHARDS)
                .find(|&shard| !lending.shards.contains(shard) || doubled(shard) || failed(shard));
            Some((overdue_ms, job.id, first, end.unwrap_or(first + limits::LEASE_SHARDS)))
        };
        let (_, job, first, end) = self.late(hub, node, jobs, now.up_ms).filter_map(late).max()?;
        let agent = self.roster.get(&node)?;
        let shards = first..end.min(first + 2 * agent.capacity);
        let record = jobs.iter().find(|record| record.id == job)?;
        let cost_ms = agent.cost_ns(shard_ns(record)).saturating_mul(shards.end - shards.start) / 1_000_000;
        let expires_ms = log_ms + limits::LEASE_MS + SLOWNESS.saturating_mul(cost_ms).min(limits::TIMEOUT_MS);
        let lend = Lend { job, agent: node, shards, attempt: 1, expires_ms };
        self.note(&lend, now.up_ms, true);
        Some(Decision::Lend(lend))
    }
}

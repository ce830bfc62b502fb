//! What only the leader does: lends shards, has batches checked, keeps the clock, gives jobs up.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::command::Command;
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Applied, Hub, Rejected, VoteRefused};
use forgemesh_protocol::challenge::LeafRef;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::{Challenge, LeaseOffer, Message};

use super::HubRole;
use super::ballots::Ballots;
use super::requests::Requests;
use super::seating::Reseating;
use crate::core::gateway::Matter;
use crate::core::intake::Intake;
use crate::core::roster::Agent;
use crate::core::scheduler::{Decision, Lend};
use crate::core::{Context, Now, Output};

/// How often a member is asked for a check in vain before it is another's turn.
const CHECK_ASKS: usize = 3;

/// The leader's soft state; another leader begins with none of it.
pub(super) struct Lead {
    term: u64,
    pub since_ms: u64,
    pub intake: Intake,
    /// Batches that somebody has been asked to check, by their digest.
    pub checking: BTreeMap<Hash, Checking>,
    /// Requests of nodes' clients that are proposed.
    pub requests: Requests,
    /// Jobs that are lent and still count as planned, and when the log is to hear of it; never again once it was
    /// proposed.
    starting: BTreeMap<JobId, u64>,
    /// A beacon link, or its member's being passed over, is proposed.
    revealing: bool,
    /// Rejected steps of each open job.
    rejections: BTreeMap<JobId, u32>,
    /// Jobs whose end is proposed.
    failing: BTreeSet<JobId>,
    /// Batches whose discarding is proposed.
    discarding: BTreeSet<Hash>,
    /// Votes that are not logged.
    pub ballots: Ballots,
    /// Jobs that were running when this member began to lead: their agents say first what they hold.
    pub settling: BTreeSet<JobId>,
    /// How many entries of the books the agents were told of, and when.
    announced: (u64, u64),
    /// Agents that were known then and have not said it yet.
    unheard: BTreeSet<NodeId>,
    /// Who sits, and who should.
    pub reseating: Reseating,
}

/// A check that somebody has been asked for.
pub(super) struct Checking {
    job: JobId,
    leaves: Vec<LeafRef>,
    /// The members other than the agent itself take turns.
    turn: usize,
    checker: NodeId,
    /// Questions that were not answered.
    asks: usize,
    /// When to ask again.
    due_ms: u64,
}

impl HubRole {
    /// Who leads is known, or no longer.
    pub fn led(&mut self, cx: &mut Context<'_>, term: u64, leader: Option<NodeId>) {
        self.offered_ms = None;
        self.votes_to_new_leader();
        self.joining.clear();
        if leader != Some(self.node) {
            self.lead = None;
            return;
        }
        self.scheduler.begin(cx.now);
        let books = self.machine.state().ledger_len;
        let unheard = self.agents_heard(cx.now.up_ms);
        for agent in unheard.iter().filter(|agent| **agent != self.node) {
            cx.send(*agent, Message::Led { term, books });
        }
        self.lead = Some(Lead {
            term,
            since_ms: cx.now.up_ms,
            intake: Intake::default(),
            checking: BTreeMap::new(),
            requests: Requests::default(),
            starting: BTreeMap::new(),
            revealing: false,
            rejections: BTreeMap::new(),
            failing: BTreeSet::new(),
            discarding: BTreeSet::new(),
            ballots: Ballots::default(),
            settling: others_at_work(&self.machine, self.node),
            announced: (books, cx.now.up_ms),
            unheard,
            reseating: Reseating::new(),
        });
        self.touched.extend(self.machine.state().open.keys());
        self.set_aside_unfit(cx);
        self.copy_all(cx);
    }

    /// A node has a request for the log. The same one twice is proposed once, as long as it is not settled.
    pub fn asked(&mut self, cx: &mut Context<'_>, from: NodeId, matter: Matter, command: Command) {
        let Some(lead) = &mut self.lead else { return };
        if lead.requests.enter(from, matter, &command) {
            self.propose(cx, command);
        }
    }

    /// A node says that a client of its own has a job: a leader that has not seen it has it brought. The node says so
    /// again, as long as it has no answer.
    pub fn announced(&mut self, cx: &mut Context<'_>, from: NodeId, job: JobId) {
        let Some(lead) = &self.lead else { return };
        let state = self.machine.state();
        let proposed = lead.requests.contains(&Matter::Submission(job));
        if !proposed && !state.open.contains_key(&job) && !state.seen.contains_key(&job) {
            cx.send(from, Message::Bring { job });
        }
    }

    /// The term in which this member leads.
    pub(super) fn leads_in(&self) -> Option<u64> {
        self.lead.as_ref().map(|lead| lead.term)
    }

    /// Proposes a command, if this member leads.
    pub fn propose(&mut self, cx: &mut Context<'_>, command: Command) {
        if self.lead.is_some() {
            cx.out.push(Output::Propose(command));
        }
    }

    /// What follows from an applied entry for the leader alone.
    pub(super) fn lead_on(
        &mut self,
        cx: &mut Context<'_>,
        command: &Command,
        applied: &Result<Applied, Rejected>,
    ) {
        let Some(lead) = &mut self.lead else { return };
        match (command, applied) {
            (Command::Attest { attestation }, Ok(_)) => {
                let body = &attestation.body;
                lead.intake.logged(&body.agent, body.seq);
                let recalls = self.scheduler.settled(body, cx.now.up_ms);
                recalls.into_iter().for_each(|recall| self.carry_out(cx, recall));
                self.answer(cx, body.agent);
            }
            (Command::Attest { attestation }, Err(_)) => {
                // What hangs on it can't be logged either.
                lead.intake.forget(&attestation.body.agent);
                self.answer(cx, attestation.body.agent);
            }
            (Command::Discard { attestation, .. }, _) => drop(lead.discarding.remove(attestation)),
            (Command::Reveal { .. } | Command::Pass { .. }, applied) => {
                lead.revealing = false;
                if let (Command::Reveal { .. }, Err(reason)) = (command, applied) {
                    let waiting: Vec<JobId> = self.machine.state().open.keys().copied().collect();
                    waiting.into_iter().for_each(|job| self.rejected(cx, job, reason));
                }
            }
            (Command::Judge { verdict }, _) => drop(lead.checking.remove(&verdict.body.attestation)),
            (Command::Seat { .. }, _) => {
                lead.revealing = false;
                lead.reseating.seated();
            }
            (Command::Vote { vote }, _) => lead.ballots.logged(vote),
            (Command::Fail { job, .. }, _) => drop(lead.failing.remove(job)),
            _ => {}
        }
        if let Err(reason) = applied
            && let Some(job) = self.still_waits(command, reason)
        {
            self.touched.insert(job);
            self.rejected(cx, job, reason);
        }
        if let Some(finished) = applied.as_ref().ok().and_then(Applied::finished)
            && let Some(lead) = &mut self.lead
        {
            let id = finished.record.id;
            lead.starting.remove(&id);
            lead.ballots.forget(&id);
            lead.rejections.remove(&id);
            lead.checking.retain(|_, checking| checking.job != id);
        }
    }

    /// The job that waits for this very step all the same; none if it has become pointless meanwhile.
    fn still_waits(&self, command: &Command, reason: &Rejected) -> Option<JobId> {
        match command {
            Command::Judge { verdict: Signed { body, .. } } => {
                self.machine.job(&body.job)?.awaits_verdict(&body.attestation).then_some(body.job)
            }
            Command::Vote { vote: Signed { body, .. } } => {
                let twice = matches!(reason, Rejected::Vote(VoteRefused::Twice));
                let job = self.machine.job(&body.job)?;
                let awaited = job.state == State::Aggregating && self.machine.may_count(job, body);
                (awaited && !twice).then_some(body.job)
            }
            _ => None,
        }
    }

    /// A step of the hub's own was rejected: it is taken up again, but not for ever.
    fn rejected(&mut self, cx: &mut Context<'_>, job: JobId, reason: &Rejected) {
        let Some(lead) = &mut self.lead else { return };
        let count = lead.rejections.entry(job).or_default();
        *count += 1;
        if *count >= limits::SHARD_ATTEMPTS && self.machine.job(&job).is_some() {
            self.give_up(cx, job, Failure::new(FailureCode::Internal, format!("rejected: {reason}")));
        }
    }

    /// Batches no longer count: their shards go to somebody else.
    pub(super) fn lent_in_vain(&mut self, cx: &mut Context<'_>, job: &JobId, agent: NodeId, batches: u64) {
        let (Some(record), true) = (self.machine.job(job), self.lead.is_some()) else { return };
        if let Some(decision) = self.scheduler.set_aside(&self.machine, record, agent, batches, cx.now.up_ms)
        {
            self.carry_out(cx, decision);
        }
    }

    pub(super) fn carry_out(&mut self, cx: &mut Context<'_>, decision: Decision) {
        match decision {
            Decision::Lend(lend) => self.lend_out(cx, lend),
            Decision::Recall { agent, holding } => cx.send(agent, Message::Recall(holding)),
            Decision::GiveUp { job, failure } => self.give_up(cx, job, failure),
        }
    }

    fn lend_out(&mut self, cx: &mut Context<'_>, lend: Lend) {
        let Lend { job, agent, shards, attempt, expires_ms } = lend;
        let (Some(record), Some(lead)) = (self.machine.job(&job), &mut self.lead) else { return };
        let holder = self.scheduler.agent(&agent);
        // Who takes jobs by it has to be told so under this member's signature; nobody else is told.
        let organization =
            holder.and_then(|holder| holder.word_for(&record.submission.key.id(), &self.machine)).cloned();
        let lease = Lease {
            job,
            stage: record.run().number,
            first_shard: shards.start,
            shards: shards.end - shards.start,
            agent,
            attempt,
            term: lead.term,
            expires_ms,
            input: record.run().input_hash(),
            organization,
        };
        let lease = Signed::new(lease, cx.identity.mesh, &cx.identity.secret);
        let choosy = holder.is_some_and(Agent::is_choosy);
        let submission = choosy.then(|| Box::new(record.submission.clone()));
        let (contract, run) = (record.contract.clone(), record.run().clone());
        let offer = LeaseOffer { lease, contract, run, submission };
        if record.state == State::Planned {
            lead.starting.entry(job).or_insert(cx.now.up_ms + limits::START_MS);
        }
        cx.send(agent, Message::Lease(Box::new(offer)));
    }

    /// Has the log say which jobs run. The first attestation says it too, and of a short job nothing else must.
    fn start(&mut self, cx: &mut Context<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let machine = &self.machine;
        lead.starting.retain(|id, _| machine.job(id).is_some_and(|job| job.state == State::Planned));
        for (job, due_ms) in lead.starting.iter_mut().filter(|(_, due_ms)| **due_ms <= cx.now.up_ms) {
            *due_ms = u64::MAX;
            cx.out.push(Output::Propose(Command::Start { job: *job }));
        }
    }

    /// Has a job end without a result.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>, job: JobId, failure: Failure) {
        if self.lead.as_mut().is_some_and(|lead| lead.failing.insert(job)) {
            self.propose(cx, Command::Fail { job, failure });
        }
    }

    /// What batches claim cannot be had anywhere, or is not what they claim: they are given up, their shards executed again. Who does not lead
    /// asks anew.
    pub(super) fn lost(&mut self, cx: &mut Context<'_>, job: JobId, batches: &[Hash], detail: String) {
        let Some(lead) = &mut self.lead else { return self.reduce_again(&job) };
        let Some(record) = self.machine.job(&job) else { return };
        if batches.is_empty() {
            return self.give_up(cx, job, Failure::new(FailureCode::EvidenceLost, detail));
        }
        let counts = |digest: &&Hash| record.batches.iter().any(|batch| batch.digest == **digest);
        let known: Vec<Hash> = batches.iter().filter(counts).copied().collect();
        if known.is_empty() {
            // They were set aside while the others were asked: what counts now is another reduction's.
            return self.reduce_again(&job);
        }
        for attestation in known {
            if lead.discarding.insert(attestation) {
                cx.out.push(Output::Propose(Command::Discard { job, attestation }));
            }
        }
    }

    /// This member's beacon chain is at its end: what waits for a link of it waits in vain.
    pub(super) fn without_links(&mut self, cx: &mut Context<'_>) {
        let checked = |job: &&JobRecord| job.terms.policy.verify != Verify::None;
        let waiting: Vec<_> = self.machine.state().open.values().filter(checked).map(|job| job.id).collect();
        for job in waiting {
            let detail = "every link of this hub member's beacon chain is revealed";
            self.give_up(cx, job, Failure::new(FailureCode::BeaconExhausted, detail));
        }
    }

    /// Has a batch checked; false if it has to wait.
    pub(super) fn check(
        &mut self,
        cx: &mut Context<'_>,
        job: JobId,
        attestation: Hash,
        leaves: Vec<LeafRef>,
    ) -> bool {
        let Some(lead) = &mut self.lead else { return true };
        if lead.checking.contains_key(&attestation) {
            return true;
        }
        if lead.checking.len() >= limits::CHECKS || !self.members.contains_key(&attestation) {
            // Its claims are on their way, or will be found to be lost.
            return !self.members.contains_key(&attestation);
        }
        lead.checking
            .insert(attestation, Checking { job, leaves, turn: 0, checker: self.node, asks: 0, due_ms: 0 });
        self.ask_checker(cx, attestation);
        true
    }

    /// Asks a member for a check: this one, unless it is its own batch; then the others in turn, and itself only when
    /// there is nobody else or nobody answers. The record says who it was.
    fn ask_checker(&mut self, cx: &mut Context<'_>, attestation: Hash) {
        let Some(checking) = self.lead.as_mut().and_then(|lead| lead.checking.get_mut(&attestation)) else {
            return;
        };
        if checking.asks == CHECK_ASKS {
            (checking.asks, checking.turn) = (0, checking.turn + 1);
        }
        (checking.asks, checking.due_ms) = (checking.asks + 1, cx.now.up_ms + limits::RETRY_MS);
        let record = self.machine.job(&checking.job);
        let found = record.and_then(|job| {
            let batch = job.batches.iter().find(|batch| batch.digest == attestation)?;
            Some((batch, job.stage_run(batch.attestation.body.stage)?, job))
        });
        let (Some((batch, run, job)), Some(members)) = (found, self.members.get(&attestation)) else {
            return;
        };
        let agent = batch.attestation.body.agent;
        let own = self.node;
        let others = cx.members.iter().copied().filter(|member| *member != own && *member != agent);
        let mut checkers: Vec<NodeId> = others.filter(|member| !cx.reach.is_gone(member)).collect();
        if agent == own {
            checkers.push(own);
        } else {
            checkers.insert(0, own);
        }
        checking.checker = checkers[checking.turn % checkers.len()];
        let checker = checking.checker;
        let challenge = Challenge {
            attestation: batch.attestation.clone(),
            members: members.clone(),
            contract: job.contract.clone(),
            run: run.clone(),
            leaves: checking.leaves.clone(),
        };
        cx.send(checker, Message::Check(Box::new(challenge)));
    }

    /// A checker is at it, or has it before it.
    pub fn being_checked(&mut self, cx: &mut Context<'_>, checker: NodeId, attestation: &Hash) {
        let checking = self.lead.as_mut().and_then(|lead| lead.checking.get_mut(attestation));
        if let Some(checking) = checking.filter(|checking| checking.checker == checker) {
            (checking.asks, checking.due_ms) = (0, cx.now.up_ms + limits::CHECK_RETRY_MS);
        }
    }

    /// Asks again for the checks of which nothing was heard.
    fn check_again(&mut self, cx: &mut Context<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let due = |(batch, checking): (&Hash, &Checking)| {
            let is_gone = cx.reach.is_gone(&checking.checker);
            (is_gone || cx.now.up_ms >= checking.due_ms).then_some(*batch)
        };
        let machine = &self.machine;
        lead.checking.retain(|batch, checking| {
            machine.job(&checking.job).is_some_and(|job| job.awaits_verdict(batch))
        });
        let due: Vec<Hash> = lead.checking.iter().filter_map(due).collect();
        due.into_iter().for_each(|batch| self.ask_checker(cx, batch));
    }

    /// The leader's duties that come before the outstanding steps.
    pub(super) fn lead_before(&mut self, cx: &mut Context<'_>) {
        if self.lead.is_some() {
            self.time_out(cx);
            let log_ms = self.log_time(cx);
            self.scheduler.tick(cx.now, log_ms);
            self.take_in(cx);
        }
    }

    /// And those that come after them.
    pub(super) fn lead_after(&mut self, cx: &mut Context<'_>) {
        if self.lead.is_some() {
            self.pass_over(cx);
            self.check_again(cx);
            self.lend(cx);
            self.start(cx);
            self.announce(cx);
            self.reseat(cx);
        }
    }

    /// Tells the agents of new entries in the books: they fetch them at once instead of after their next hello.
    fn announce(&mut self, cx: &mut Context<'_>) {
        let books = self.machine.state().ledger_len;
        let up_ms = cx.now.up_ms;
        let Some(lead) = &mut self.lead else { return };
        if books == lead.announced.0 || up_ms < lead.announced.1 + limits::ANNOUNCE_MS {
            return;
        }
        lead.announced = (books, up_ms);
        let term = lead.term;
        for agent in self.agents_heard(up_ms).into_iter().filter(|agent| *agent != self.node) {
            cx.send(agent, Message::Led { term, books });
        }
    }

    /// Agents that were heard lately, but for those that were expelled since.
    pub fn agents_heard(&self, up_ms: u64) -> BTreeSet<NodeId> {
        let mut agents = self.scheduler.live(up_ms);
        agents.retain(|agent| self.machine.admits(agent));
        agents
    }

    /// Passes over a member that keeps its beacon link back.
    fn pass_over(&mut self, cx: &mut Context<'_>) {
        let member = self.machine.beacon_member();
        let log_ms = self.log_time(cx);
        let Some(lead) = &mut self.lead else { return };
        let since_ms = self.machine.state().waiting_since_ms;
        let late = since_ms.is_some_and(|since_ms| log_ms >= since_ms.saturating_add(limits::PASS_MS));
        if late && !lead.revealing && member != self.node && self.machine.awaits_reveal() {
            lead.revealing = true;
            self.propose(cx, Command::Pass { member });
        }
    }

    /// A member offers its beacon's next link.
    pub fn revealed(&mut self, cx: &mut Context<'_>, member: NodeId, value: Hash) {
        let due = member == self.machine.beacon_member() && self.machine.awaits_reveal();
        let Some(lead) = self.lead.as_mut().filter(|lead| due && !lead.revealing) else { return };
        lead.revealing = true;
        self.propose(cx, Command::Reveal { member, value });
    }

    /// What a lease's expiry is held against: the clock, unless it was set back since the newest entry.
    pub(super) fn log_time(&self, cx: &Context<'_>) -> u64 {
        cx.now.wall_ms.max(self.machine.state().now_ms)
    }

    fn time_out(&mut self, cx: &mut Context<'_>) {
        let over = |job: &&JobRecord| {
            let timeout_ms = job.terms.policy.timeout_ms;
            timeout_ms != 0 && cx.now.wall_ms >= job.accepted_ms.saturating_add(timeout_ms)
        };
        let late: Vec<_> = self.machine.state().open.values().filter(over).map(|job| job.id).collect();
        for job in late {
            let detail = "policy.timeout_ms passed before the job was final";
            self.give_up(cx, job, Failure::new(FailureCode::TimedOut, detail));
        }
    }

    /// An agent has said what it holds.
    pub(super) fn agent_spoke(&mut self, agent: &NodeId) {
        if let Some(lead) = &mut self.lead {
            lead.unheard.remove(agent);
        }
    }

    /// Lends shards to the agents, and has them give some back.
    fn lend(&mut self, cx: &mut Context<'_>) {
        let log_ms = self.log_time(cx);
        let Some(lead) = &mut self.lead else { return };
        let waited = cx.now.up_ms >= lead.since_ms + limits::SETTLE_MS;
        lead.unheard.retain(|agent| !cx.reach.is_gone(agent));
        // Who was known before this member led has spoken; who was not, as after a restart, may still come.
        let all_spoke = lead.unheard.is_empty() && self.scheduler.agents() > 1;
        if (waited || all_spoke) && !lead.settling.is_empty() {
            lead.settling.clear();
            self.scheduler.touch();
        }
        let state = self.machine.state();
        let mut ready: Vec<&JobRecord> = state
            .open
            .values()
            .filter(|job| matches!(job.state, State::Planned | State::Running))
            .filter(|job| !lead.failing.contains(&job.id))
            .filter(|job| !lead.settling.contains(&job.id))
            .collect();
        ready.sort_by_key(|job| (job.accepted_ms, job.id));
        let alone = state.chains.keys().all(|agent| *agent == self.node);
        let decisions = self.scheduler.decide(&self.machine, &ready, alone, cx.now, log_ms);
        decisions.into_iter().for_each(|decision| self.carry_out(cx, decision));
    }

    /// In how many milliseconds a duty of the leader is due.
    pub(super) fn lead_deadline(&self, now: Now) -> u64 {
        let Some(lead) = &self.lead else { return u64::MAX };
        let timeout = |job: &JobRecord| {
            let timeout_ms = job.terms.policy.timeout_ms;
            (timeout_ms != 0 && !lead.failing.contains(&job.id))
                .then(|| job.accepted_ms.saturating_add(timeout_ms))
        };
        let timeouts = self.machine.state().open.values().filter_map(timeout).min();
        let timeout = timeouts.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.wall_ms));
        let log_ms = now.wall_ms.max(self.machine.state().now_ms);
        let settled = (!lead.settling.is_empty())
            .then(|| (lead.since_ms + limits::SETTLE_MS).saturating_sub(now.up_ms));
        let others = !lead.revealing && self.machine.beacon_member() != self.node;
        let passing =
            self.machine.state().waiting_since_ms.filter(|_| others && self.machine.awaits_reveal());
        let pass = passing.map(|since_ms| since_ms.saturating_add(limits::PASS_MS).saturating_sub(log_ms));
        let announce = (self.machine.state().ledger_len != lead.announced.0)
            .then(|| (lead.announced.1 + limits::ANNOUNCE_MS).saturating_sub(now.up_ms));
        let checks = lead.checking.values().map(|checking| checking.due_ms).min();
        let start = lead.starting.values().min().map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.up_ms));
        timeout
            .min(start)
            .min(self.scheduler.next_deadline(now, log_ms))
            .min(lead.intake.next_deadline(now.up_ms))
            .min(self.reseat_deadline(now.up_ms))
            .min(settled.unwrap_or(u64::MAX))
            .min(pass.unwrap_or(u64::MAX))
            .min(announce.unwrap_or(u64::MAX))
            .min(checks.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.up_ms)))
    }
}

/// The jobs at which other agents than this node may be at work.
fn others_at_work(machine: &Hub, node: NodeId) -> BTreeSet<JobId> {
    let state = machine.state();
    let running = state.open.values().filter(|job| job.state == State::Running);
    let others = state.chains.keys().any(|agent| *agent != node);
    running.filter(|_| others).map(|job| job.id).collect()
}

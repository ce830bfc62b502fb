//! The hub role: proposes commands, applies what is committed, and does what the record says is outstanding.
//!
//! It keeps only soft state beside the replicated machine: leases, attempts, what it has asked for and not yet
//! heard. Losing all of it costs time, never a result.

mod arrivals;
mod joining;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Applied, Event, Hub, Rejected};
use forgemesh_consensus::quorum::{Quorum, Solo};
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_consensus::todo::{self, Todo};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::ReductionVote;
use forgemesh_protocol::wire::{Challenge, LeaseOffer, Message};
use forgemesh_storage::Batch;

use super::beacon::BeaconChain;
use super::books::books;
use super::gateway::Settled;
use super::intake::Intake;
use super::keeper::quarantine;
use super::scheduler::{Decision, Lend, Scheduler};
use super::{AfterStore, AfterWork, Context, Now, Output, Progress, Queue, Reduction};
use crate::ports::{Done, Work};
use joining::refused;

/// What the hub finds on its disk beside the log.
pub struct Found {
    /// Entries below this index are in a snapshot.
    pub compacted: u64,
    /// Claims of the batches that still have to be checked, by their attestation's digest.
    pub members: BTreeMap<Hash, Bytes>,
    pub beacon: BeaconChain,
}

/// The leader of a quorum.
pub(crate) struct HubRole {
    machine: Hub,
    quorum: Solo,
    beacon: BeaconChain,
    scheduler: Scheduler,
    intake: Intake,
    /// Steps that were taken up and have not shown in the log yet.
    under_way: BTreeSet<Todo>,
    /// Jobs whose `Start` is proposed.
    started: BTreeSet<JobId>,
    /// A beacon link is proposed.
    revealing: bool,
    /// Rejected steps of each open job.
    rejections: BTreeMap<JobId, u32>,
    /// Jobs whose end is proposed.
    failing: BTreeSet<JobId>,
    /// Failed reductions of each open job that named no evidence.
    unreduced: BTreeMap<JobId, u32>,
    /// Batches whose discarding is proposed.
    discarding: BTreeSet<Hash>,
    /// Jobs whose outstanding steps may have changed.
    touched: BTreeSet<JobId>,
    disk_low: bool,
    /// Jobs that were running when this node was started: their agents say first what they hold.
    settling: BTreeSet<JobId>,
    /// Claims of attested batches, until their job is final.
    members: BTreeMap<Hash, Bytes>,
    /// Entries below this index are in a snapshot.
    compacted: u64,
    /// Final jobs whose record is not durable yet.
    unrecorded: u64,
    /// Nodes whose admission is proposed.
    joining: BTreeSet<NodeId>,
}

impl HubRole {
    pub fn new(machine: Hub, found: Found, node: NodeId) -> Self {
        let Found { compacted, members, beacon } = found;
        let quorum = Solo::new(machine.state().term.max(1), machine.state().next);
        HubRole {
            quorum,
            beacon,
            scheduler: Scheduler::default(),
            intake: Intake::default(),
            under_way: BTreeSet::new(),
            started: BTreeSet::new(),
            revealing: false,
            rejections: BTreeMap::new(),
            failing: BTreeSet::new(),
            unreduced: BTreeMap::new(),
            discarding: BTreeSet::new(),
            touched: machine.state().open.keys().copied().collect(),
            disk_low: false,
            settling: others_at_work(&machine, node),
            members,
            compacted,
            unrecorded: 0,
            joining: BTreeSet::new(),
            machine,
        }
    }

    /// The replicated machine.
    pub fn machine(&self) -> &Hub {
        &self.machine
    }

    /// Proposes a command; the index at which it will be applied.
    pub fn propose(&mut self, cx: &mut Context<'_>, command: Command) -> u64 {
        let entries = self.quorum.propose(command, cx.now.wall_ms);
        let last = entries.last().map_or(0, |entry| entry.index);
        let mut batch = Batch::new();
        for entry in &entries {
            batch.append_log(entry.index, entry.encode());
        }
        cx.store(batch, AfterStore::Log(last));
        last
    }

    /// The log is durable up to `index`: what is thereby committed is applied.
    pub fn durable(&mut self, cx: &mut Context<'_>, index: u64) {
        for entry in self.quorum.durable(index) {
            let applied = self.machine.apply(&entry);
            self.applied(cx, &entry, applied);
        }
    }

    fn applied(&mut self, cx: &mut Context<'_>, entry: &Entry, applied: Result<Applied, Rejected>) {
        match (&entry.command, &applied) {
            (Command::Submit { submission }, applied) => {
                let job = submission.job_id(cx.identity.mesh);
                let outcome = applied.as_ref().map(|_| Some(job)).map_err(Clone::clone);
                cx.replies.push_back(Settled { index: entry.index, outcome });
            }
            (Command::Cancel { cancellation }, applied) => {
                let job = cancellation.body.job;
                let outcome = applied.as_ref().map(|_| Some(job)).map_err(Clone::clone);
                cx.replies.push_back(Settled { index: entry.index, outcome });
            }
            (Command::Attest { attestation }, Ok(_)) => {
                let body = &attestation.body;
                self.intake.logged(&body.agent, body.seq);
                if matches!(applied, Ok(Applied { event: Event::Attested { credited: 0, .. }, .. })) {
                    self.members.remove(&body.digest());
                }
                let recalls = self.scheduler.settled(body, cx.now.up_ms);
                recalls.into_iter().for_each(|recall| self.carry_out(cx, recall));
                self.answer(cx, body.agent);
            }
            (Command::Attest { attestation }, Err(_)) => {
                // What hangs on it can't be logged either.
                self.members.remove(&attestation.body.digest());
                self.intake.forget(&attestation.body.agent);
                self.answer(cx, attestation.body.agent);
            }
            (Command::Discard { attestation, .. }, _) => {
                self.discarding.remove(attestation);
            }
            (Command::Reveal { .. }, applied) => {
                self.revealing = false;
                if let Err(reason) = applied {
                    let waiting: Vec<JobId> = self.machine.state().open.keys().copied().collect();
                    waiting.into_iter().for_each(|job| self.rejected(cx, job, reason));
                }
            }
            (Command::Judge { verdict }, _) => {
                self.check_ended(&verdict.body.attestation);
            }
            (Command::Vote { vote }, _) => {
                let (job, stage) = (vote.body.job, vote.body.stage);
                self.under_way.remove(&Todo::Reduce { job, stage });
            }
            (Command::Fail { job, .. }, _) => {
                self.failing.remove(job);
            }
            (Command::Start { .. }, _) => {}
            (Command::Enrol { join }, applied) => {
                self.joining.remove(&join.key.id());
                let answer = match applied {
                    Ok(_) => Message::Joined { join: join.body.digest() },
                    Err(reason) => refused(join, &reason.to_string()),
                };
                cx.send(join.key.id(), answer);
            }
            (Command::Invite { .. } | Command::Withdraw { .. } | Command::Expel { .. }, applied) => {
                let outcome = applied.as_ref().map(|_| None).map_err(Clone::clone);
                cx.replies.push_back(Settled { index: entry.index, outcome });
            }
        }
        if let Err(reason) = &applied
            && let Some(job) = self.still_waits(&entry.command)
        {
            self.touched.insert(job);
            self.rejected(cx, job, reason);
        }
        let Ok(applied) = applied else { return };
        self.follow(cx, &applied.event);
        match applied.finished {
            Some(finished) => self.record(cx, &finished),
            None => applied.event.job().into_iter().for_each(|job| self.report(cx, job)),
        }
    }

    /// A batch is no longer being checked, whatever came of it.
    fn check_ended(&mut self, batch: &Hash) {
        self.under_way
            .retain(|todo| !matches!(todo, Todo::Check { attestation, .. } if attestation == batch));
    }

    /// The job that waits for this very step all the same; none if it has become pointless meanwhile.
    fn still_waits(&self, command: &Command) -> Option<JobId> {
        match command {
            Command::Judge { verdict: Signed { body, .. } } => {
                self.machine.job(&body.job)?.awaits_verdict(&body.attestation).then_some(body.job)
            }
            Command::Vote { vote: Signed { body, .. } } => {
                let job = self.machine.job(&body.job)?;
                let current = (job.run().number, job.set_aside.len() as u64) == (body.stage, body.set_aside);
                (current && job.state == State::Aggregating).then_some(body.job)
            }
            _ => None,
        }
    }

    /// Notes what an event changes in the soft state.
    fn follow(&mut self, cx: &mut Context<'_>, event: &Event) {
        self.scheduler.touch();
        match event.job() {
            Some(job) => drop(self.touched.insert(job)),
            None => self.touched.extend(self.machine.state().open.keys()),
        }
        if let Event::SetAside { job, agent, batches } = event
            && let Some(record) = self.machine.job(job)
        {
            let (id, stage) = (record.id, record.run().number);
            // Later stages are planned anew: what was under way for them is void.
            self.under_way.retain(
                |todo| !matches!(todo, Todo::Reduce { job, stage: of } if *job == id && *of >= stage),
            );
            if let Some(decision) = self.scheduler.set_aside(record, *agent, *batches, cx.now.up_ms) {
                self.carry_out(cx, decision);
            }
        }
    }

    /// A step of this hub's own was rejected: it is taken up again, but not for ever.
    fn rejected(&mut self, cx: &mut Context<'_>, job: JobId, reason: &Rejected) {
        let count = self.rejections.entry(job).or_default();
        *count += 1;
        if *count >= limits::SHARD_ATTEMPTS && self.machine.job(&job).is_some() {
            self.give_up(cx, job, Failure::new(FailureCode::Internal, format!("rejected: {reason}")));
        }
    }

    fn report(&self, cx: &mut Context<'_>, id: JobId) {
        let Some(job) = self.machine.job(&id) else { return };
        let run = job.run();
        let done = job.attested.len() * run.stage.leaves_per_shard;
        let before = if job.runs.len() > 1 { run.stage.first_leaf } else { 0 };
        cx.out.push(Output::Progress(Progress {
            job: id,
            state: job.state,
            stage: run.number,
            done_leaves: before + done.min(run.stage.leaves),
            leaves: job.plan.leaves(),
            unverified: job.current_batches().filter(|batch| !job.is_settled(batch)).count() as u64,
            recorded: false,
        }));
    }

    /// Writes a final job into the books: record with receipt, ledger entry, pointers.
    fn record(&mut self, cx: &mut Context<'_>, finished: &FinishedJob) {
        let (id, state) = (finished.record.id, finished.record.state);
        // Those that only held some of it hear of it when they attest it.
        for agent in self.scheduler.engaged(&id) {
            cx.send(agent, Message::Over { job: id });
        }
        self.scheduler.forget(&id);
        self.unreduced.remove(&id);
        self.started.remove(&id);
        self.rejections.remove(&id);
        self.under_way.retain(|todo| todo.job() != id);
        let set_aside = finished.record.set_aside.iter().map(|set_aside| &set_aside.batch);
        for attested in finished.record.batches.iter().chain(set_aside) {
            self.members.remove(&attested.digest);
        }
        let batch = books(finished, self.machine.genesis(), &cx.identity.secret);
        self.unrecorded += 1;
        let progress = Progress {
            job: id,
            state,
            stage: finished.record.run().number,
            done_leaves: finished.result.as_ref().map_or(finished.record.plan.leaves(), |r| r.stop_leaf),
            leaves: finished.record.plan.leaves(),
            unverified: 0,
            recorded: true,
        };
        cx.out.push(Output::Progress(Progress { recorded: false, ..progress.clone() }));
        cx.store(batch, AfterStore::Recorded(Box::new(progress)));
    }

    /// A final job is in the books.
    pub fn recorded(&mut self, cx: &mut Context<'_>, progress: Progress) {
        self.unrecorded -= 1;
        cx.out.push(Output::Progress(progress));
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, decision: Decision) {
        match decision {
            Decision::Lend(Lend { job, agent, shards, attempt, expires_ms }) => {
                let Some(record) = self.machine.job(&job) else { return };
                let lease = Lease {
                    job,
                    stage: record.run().number,
                    first_shard: shards.start,
                    shards: shards.end - shards.start,
                    agent,
                    attempt,
                    term: self.quorum.term(),
                    expires_ms,
                    input: record.run().input_hash(),
                };
                let lease = Signed::new(lease, cx.identity.mesh, &cx.identity.secret);
                let offer =
                    LeaseOffer { lease, contract: record.contract.clone(), run: record.run().clone() };
                let planned = record.state == State::Planned;
                cx.send(agent, Message::Lease(Box::new(offer)));
                if planned && self.started.insert(job) {
                    self.propose(cx, Command::Start { job });
                }
            }
            Decision::Recall { agent, holding } => cx.send(agent, Message::Recall(holding)),
            Decision::GiveUp { job, failure } => self.give_up(cx, job, failure),
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, job: JobId, failure: Failure) {
        if self.failing.insert(job) {
            self.propose(cx, Command::Fail { job, failure });
        }
    }

    /// This member's reduction of a stage is done: artifacts first, then the vote.
    pub fn reduced(&mut self, cx: &mut Context<'_>, reduction: Reduction, done: Done) {
        let Reduction { job, stage, set_aside } = reduction;
        let now = self.machine.job(&job).map(|record| (record.run().number, record.set_aside.len() as u64));
        if now != Some((stage, set_aside)) {
            // What it was made from no longer counts.
            return;
        }
        let (outcome, artifacts) = match done {
            Done::Reduced { outcome, artifacts } => (outcome, artifacts),
            Done::Lacking { batches, blobs, detail } => {
                quarantine(cx, &blobs);
                return self.lacking(cx, job, &batches, detail);
            }
            // A fault of this node's: it tries again, but not for ever.
            Done::Failed { detail } => {
                let attempts = self.unreduced.entry(job).or_default();
                *attempts += 1;
                if *attempts >= limits::REDUCE_ATTEMPTS {
                    self.give_up(cx, job, Failure::new(FailureCode::EvidenceLost, detail));
                } else {
                    self.under_way.remove(&Todo::Reduce { job, stage });
                    self.touched.insert(job);
                }
                return;
            }
            _ => return,
        };
        let vote = ReductionVote { job, stage, outcome, set_aside };
        let mut batch = Batch::new();
        for bytes in artifacts {
            batch.put_blob(bytes);
        }
        cx.store(batch, AfterStore::Artifacts(Box::new(vote)));
    }

    /// Batches cannot be reduced for want of what they claim: they are given up, their shards executed again.
    fn lacking(&mut self, cx: &mut Context<'_>, job: JobId, batches: &[Hash], detail: String) {
        let known = self.machine.job(&job).is_some_and(|record| {
            batches.iter().all(|digest| record.batches.iter().any(|batch| batch.digest == *digest))
        });
        if !known || batches.is_empty() {
            return self.give_up(cx, job, Failure::new(FailureCode::EvidenceLost, detail));
        }
        for &attestation in batches {
            if self.discarding.insert(attestation) {
                self.propose(cx, Command::Discard { job, attestation });
            }
        }
    }

    /// The artifacts are durable: the vote may name them.
    pub fn vote(&mut self, cx: &mut Context<'_>, vote: ReductionVote) {
        let vote = Signed::new(vote, cx.identity.mesh, &cx.identity.secret);
        self.propose(cx, Command::Vote { vote });
    }

    /// Takes up whatever is outstanding and not under way.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        self.time_out(cx);
        let log_ms = self.log_time(cx);
        self.scheduler.tick(cx.now, log_ms);
        self.take_in(cx);
        let ppm = self.machine.genesis().parameters.spotcheck_ppm;
        for id in std::mem::take(&mut self.touched) {
            let todos = self.machine.job(&id).map(|job| todo::outstanding(job, ppm)).unwrap_or_default();
            for todo in todos {
                if !self.under_way.contains(&todo) {
                    if self.take_up(cx, &todo) {
                        self.under_way.insert(todo);
                    } else {
                        self.touched.insert(id);
                    }
                }
            }
        }
        self.reveal(cx);
        self.lend(cx);
        self.compact(cx);
    }

    /// Proposes this member's next beacon link, if it is due and a batch waits for it.
    fn reveal(&mut self, cx: &mut Context<'_>) {
        let member = self.machine.beacon_member();
        if self.revealing || member != cx.identity.node || !self.machine.awaits_reveal() {
            return;
        }
        let revealed = self.machine.state().beacons.get(&member).map_or(0, |beacon| beacon.revealed);
        if let Some(value) = self.beacon.next(revealed) {
            self.revealing = true;
            self.propose(cx, Command::Reveal { member, value });
            return;
        }
        let checked = |job: &&JobRecord| job.terms.policy.verify != Verify::None;
        let waiting: Vec<_> = self.machine.state().open.values().filter(checked).map(|job| job.id).collect();
        for job in waiting {
            let detail = "every link of this hub member's beacon chain is revealed";
            self.give_up(cx, job, Failure::new(FailureCode::BeaconExhausted, detail));
        }
    }

    /// Starts one step; false if it has to wait.
    fn take_up(&mut self, cx: &mut Context<'_>, todo: &Todo) -> bool {
        match todo {
            Todo::Check { .. } if self.checks() >= limits::CHECKS => false,
            Todo::Check { job, attestation, leaves, .. } => {
                let Some(record) = self.machine.job(job) else { return false };
                let Some(batch) = record.batches.iter().find(|batch| batch.digest == *attestation) else {
                    return false;
                };
                let stage = batch.attestation.body.stage;
                let Some(run) = record.stage_run(stage) else { return false };
                let Some(members) = self.members.get(attestation) else {
                    // Its claims were lost with a blob: without them it can't be checked, ever.
                    let (job, attestation) = (*job, *attestation);
                    self.lacking(cx, job, &[attestation], "a batch's claims are lost".to_owned());
                    return false;
                };
                let challenge = Challenge {
                    attestation: batch.attestation.clone(),
                    members: members.clone(),
                    contract: record.contract.clone(),
                    run: run.clone(),
                    leaves: leaves.clone(),
                };
                // A quorum of one has no one else to ask; the record says so.
                cx.send(cx.identity.node, Message::Check(Box::new(challenge)));
                true
            }
            Todo::Reduce { job, stage } => {
                let Some(record) = self.machine.job(job) else { return false };
                let work = Work::Reduce { job: Box::new(record.clone()) };
                let set_aside = record.set_aside.len() as u64;
                cx.work(work, AfterWork::Reduction(Reduction { job: *job, stage: *stage, set_aside }));
                true
            }
        }
    }

    /// What a lease's expiry is held against: the clock, unless it was set back since the newest entry.
    fn log_time(&self, cx: &Context<'_>) -> u64 {
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

    /// Lends shards to the agents, and has them give some back.
    fn lend(&mut self, cx: &mut Context<'_>) {
        if cx.now.up_ms >= limits::SETTLE_MS && !self.settling.is_empty() {
            self.settling.clear();
            self.scheduler.touch();
        }
        let state = self.machine.state();
        let mut ready: Vec<&JobRecord> = state
            .open
            .values()
            .filter(|job| matches!(job.state, State::Planned | State::Running))
            .filter(|job| !self.failing.contains(&job.id))
            .filter(|job| !self.settling.contains(&job.id))
            .collect();
        ready.sort_by_key(|job| (job.accepted_ms, job.id));
        let log_ms = self.log_time(cx);
        let alone = state.chains.keys().all(|agent| *agent == cx.identity.node);
        let decisions = self.scheduler.decide(&ready, alone, cx.now, log_ms);
        decisions.into_iter().for_each(|decision| self.carry_out(cx, decision));
    }

    fn checks(&self) -> usize {
        self.under_way.iter().filter(|todo| matches!(todo, Todo::Check { .. })).count()
    }

    /// The disk has too little room for new work, or has room again.
    pub fn disk_low(&mut self, low: bool) {
        self.disk_low = low;
    }

    /// Is there too little room for new work?
    pub fn is_disk_low(&self) -> bool {
        self.disk_low
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        let state = self.machine.state();
        let agents = self.scheduler.agents() as u64;
        let pending = limits::PENDING_BATCHES as u64;
        vec![
            Queue::new("hub: open jobs", state.open.len() as u64, limits::OPEN_JOBS as u64),
            Queue::new("hub: agents", agents, limits::AGENTS as u64),
            Queue::new("hub: attestations not logged", self.intake.len() as u64, (agents + 1) * pending),
            Queue::new("hub: checks", self.checks() as u64, limits::CHECKS as u64),
        ]
    }

    /// Replaces a long log by a snapshot, once everything that follows from it is in the books.
    fn compact(&mut self, cx: &mut Context<'_>) {
        let next = self.machine.state().next;
        let due = next - self.compacted >= limits::LOG_ENTRIES;
        if due && self.unrecorded == 0 {
            self.compacted = next;
            let mut batch = Batch::new();
            batch.put_snapshot(next - 1, self.machine.snapshot());
            cx.store(batch, AfterStore::Nothing);
        }
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let timeout = |job: &JobRecord| {
            let timeout_ms = job.terms.policy.timeout_ms;
            (timeout_ms != 0 && !self.failing.contains(&job.id))
                .then(|| job.accepted_ms.saturating_add(timeout_ms))
        };
        let timeouts = self.machine.state().open.values().filter_map(timeout).min();
        let timeout = timeouts.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.wall_ms));
        let log_ms = now.wall_ms.max(self.machine.state().now_ms);
        let settled = (!self.settling.is_empty()).then(|| limits::SETTLE_MS.saturating_sub(now.up_ms));
        timeout
            .min(self.scheduler.next_deadline(now, log_ms))
            .min(self.intake.next_deadline(now.up_ms))
            .min(settled.unwrap_or(u64::MAX))
    }
}

/// The jobs at which other agents than this node may be at work.
fn others_at_work(machine: &Hub, node: NodeId) -> BTreeSet<JobId> {
    let state = machine.state();
    let running = state.open.values().filter(|job| job.state == State::Running);
    let others = state.chains.keys().any(|agent| *agent != node);
    running.filter(|_| others).map(|job| job.id).collect()
}

//! The hub role: proposes commands, applies what is committed, and does what the record says is outstanding.
//!
//! It keeps only soft state beside the replicated machine: leases, attempts, what it has asked for and not yet
//! heard. Losing all of it costs time, never a result.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Applied, Hub, Rejected};
use forgemesh_consensus::quorum::{Quorum, Solo};
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_consensus::todo::{self, Todo};
use forgemesh_protocol::attestation::decode_claims;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::Verdict;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::{Outcome, ReductionVote};
use forgemesh_protocol::wire::{Attested, Challenge, Message};
use forgemesh_storage::Batch;

use super::beacon::BeaconChain;
use super::gateway::Settled;
use super::{AfterStore, AfterWork, Context, Now, Output, Progress};
use crate::core::leases::Leases;
use crate::job_file::{JobFile, SWEEP_NAMESPACE, pointer_key};
use crate::ports::{Done, Work};

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
    leases: Leases,
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
    /// Claims of attested batches, until their job is final.
    members: BTreeMap<Hash, Bytes>,
    /// Entries below this index are in a snapshot.
    compacted: u64,
    /// Final jobs whose record is not durable yet.
    unrecorded: u64,
}

impl HubRole {
    pub fn new(machine: Hub, found: Found, capacity: u64) -> Self {
        let Found { compacted, members, beacon } = found;
        let quorum = Solo::new(machine.state().term.max(1), machine.state().next);
        HubRole {
            quorum,
            beacon,
            leases: Leases::new(capacity),
            under_way: BTreeSet::new(),
            started: BTreeSet::new(),
            revealing: false,
            rejections: BTreeMap::new(),
            failing: BTreeSet::new(),
            members,
            compacted,
            unrecorded: 0,
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
                let outcome = applied.as_ref().map(|_| job).map_err(Clone::clone);
                cx.replies.push_back(Settled { index: entry.index, outcome });
            }
            (Command::Attest { attestation }, Ok(_)) => {
                let seq = attestation.body.seq;
                self.leases.settled(&attestation.body);
                cx.send(attestation.body.agent, Message::Logged { seq });
            }
            (Command::Reveal { .. }, applied) => {
                self.revealing = false;
                if let Err(reason) = applied {
                    let waiting: Vec<JobId> = self.machine.state().open.keys().copied().collect();
                    waiting.into_iter().for_each(|job| self.rejected(cx, job, reason));
                }
            }
            (Command::Judge { verdict }, _) => {
                let body = &verdict.body;
                self.under_way.retain(|todo| {
                    !matches!(todo, Todo::Check { attestation, .. } if *attestation == body.attestation)
                });
            }
            (Command::Vote { vote }, _) => {
                let (job, stage) = (vote.body.job, vote.body.stage);
                self.under_way.remove(&Todo::Reduce { job, stage });
            }
            (Command::Fail { job, .. }, _) => {
                self.failing.remove(job);
            }
            (Command::Start { .. } | Command::Attest { .. }, _) => {}
        }
        if let (Command::Judge { verdict: Signed { body: Verdict { job, .. }, .. } }, Err(reason)) =
            (&entry.command, &applied)
        {
            self.rejected(cx, *job, reason);
        }
        if let (Command::Vote { vote }, Err(reason)) = (&entry.command, &applied) {
            self.rejected(cx, vote.body.job, reason);
        }
        let Ok(applied) = applied else { return };
        match applied.finished {
            Some(finished) => self.record(cx, &finished),
            None => applied.event.job().into_iter().for_each(|job| self.report(cx, job)),
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
        self.leases.forget(&id);
        self.started.remove(&id);
        self.rejections.remove(&id);
        self.under_way.retain(|todo| todo.job() != id);
        for attested in finished.record.batches.iter() {
            self.members.remove(&attested.digest);
        }
        let batch = books(finished, self.machine.genesis(), &cx.identity.secret);
        self.unrecorded += 1;
        let progress = Progress {
            job: id,
            state,
            stage: finished.record.run().number,
            done_leaves: finished.record.plan.leaves(),
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

    /// A batch of claims arrived with its attestation.
    pub fn attested(&mut self, cx: &mut Context<'_>, attested: Attested) {
        let Attested { attestation, members } = attested;
        let shards = decode_claims(&members.0)
            .map(|claims| claims.iter().map(|claim| claim.shard).collect::<Vec<_>>());
        // Without its claims a batch could be neither checked nor reduced: it is as if it had not come.
        if Hash::blob(&members.0) != attestation.body.members
            || shards.as_ref() != Ok(&attestation.body.shards)
        {
            return;
        }
        self.members.insert(forgemesh_protocol::keys::Signable::digest(&attestation.body), members);
        self.propose(cx, Command::Attest { attestation });
    }

    /// A checker's verdict arrived.
    pub fn judged(&mut self, cx: &mut Context<'_>, verdict: Signed<Verdict>) {
        self.propose(cx, Command::Judge { verdict });
    }

    /// An agent could not execute a shard: another attempt, or the end of the job.
    pub fn shard_failed(
        &mut self,
        cx: &mut Context<'_>,
        job: JobId,
        stage: u64,
        shard: u64,
        attempt: u64,
        detail: String,
    ) {
        let current = self.machine.job(&job).is_some_and(|record| record.run().number == stage);
        if current && self.leases.failed(&job, shard, attempt) >= limits::SHARD_ATTEMPTS {
            let detail = format!("shard {shard} of stage {stage}: {detail}");
            self.give_up(cx, job, Failure::new(FailureCode::AttemptsExhausted, detail));
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>, job: JobId, failure: Failure) {
        if self.failing.insert(job) {
            self.propose(cx, Command::Fail { job, failure });
        }
    }

    /// This member's reduction of a stage is done: artifacts first, then the vote.
    pub fn reduced(&mut self, cx: &mut Context<'_>, job: JobId, stage: u64, done: Done) {
        let (outcome, artifacts) = match done {
            Done::Reduced { outcome, artifacts } => (outcome, artifacts),
            Done::Failed { detail } => {
                (Outcome::Failed(Failure::new(FailureCode::EvidenceLost, detail)), Vec::new())
            }
            Done::Ran { .. } | Done::Opened { .. } | Done::Checked { .. } => return,
        };
        let vote = ReductionVote { job, stage, outcome };
        let mut batch = Batch::new();
        for bytes in artifacts {
            batch.put_blob(bytes);
        }
        cx.store(batch, AfterStore::Artifacts(Box::new(vote)));
    }

    /// The artifacts are durable: the vote may name them.
    pub fn vote(&mut self, cx: &mut Context<'_>, vote: ReductionVote) {
        let vote = Signed::new(vote, cx.identity.mesh, &cx.identity.secret);
        self.propose(cx, Command::Vote { vote });
    }

    /// Takes up whatever is outstanding and not under way.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        self.time_out(cx);
        self.leases.expire(self.log_time(cx));
        let ppm = self.machine.genesis().parameters.spotcheck_ppm;
        let todos: Vec<Todo> =
            self.machine.state().open.values().flat_map(|job| todo::outstanding(job, ppm)).collect();
        for todo in todos {
            if !self.under_way.contains(&todo) && self.take_up(cx, &todo) {
                self.under_way.insert(todo);
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
            Todo::Check { job, attestation, leaves, .. } => {
                let Some(record) = self.machine.job(job) else { return false };
                let Some(batch) = record.batches.iter().find(|batch| batch.digest == *attestation) else {
                    return false;
                };
                let stage = batch.attestation.body.stage;
                let (Some(run), Some(members)) = (record.stage_run(stage), self.members.get(attestation))
                else {
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
                cx.work(work, AfterWork::Reduction { job: *job, stage: *stage });
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

    /// Lends shards to the agent, the oldest job first, as long as it has room.
    fn lend(&mut self, cx: &mut Context<'_>) {
        let mut open: Vec<_> = self.machine.state().open.values().collect();
        open.sort_by_key(|job| (job.accepted_ms, job.id));
        let ready = |state| matches!(state, State::Planned | State::Running);
        let mut starting = Vec::new();
        let now_ms = self.log_time(cx);
        open.retain(|job| ready(job.state) && !self.failing.contains(&job.id));
        let jobs = open.len() as u64;
        for job in open {
            while let Some(offer) = self.leases.lend(job, jobs, cx.identity, self.quorum.term(), now_ms) {
                if self.started.insert(job.id) && job.state == State::Planned {
                    starting.push(job.id);
                }
                cx.send(offer.lease.body.agent, Message::Lease(Box::new(offer)));
            }
        }
        for job in starting {
            self.propose(cx, Command::Start { job });
        }
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

    /// When a lease or a job's time runs out.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let timeout = |job: &JobRecord| {
            let timeout_ms = job.terms.policy.timeout_ms;
            (timeout_ms != 0 && !self.failing.contains(&job.id))
                .then(|| job.accepted_ms.saturating_add(timeout_ms))
        };
        let timeouts = self.machine.state().open.values().filter_map(timeout).min();
        let next = [timeouts, self.leases.next_expiry()].into_iter().flatten().min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.wall_ms))
    }
}

/// What a final job adds to the books: its record with the receipt, its ledger entry, the pointers to its artifacts.
pub(crate) fn books(finished: &FinishedJob, genesis: &Genesis, secret: &SecretKey) -> Batch {
    let id = finished.record.id;
    let artifacts = &finished.record.terms.artifacts;
    let receipt = finished.statement(genesis).sign(secret);
    let mut batch = Batch::new();
    batch.append_ledger(finished.entry.seq, forgemesh_protocol::canon::to_bytes(&finished.entry));
    for artifact in finished.result.iter().flat_map(|result| &result.artifacts) {
        if artifacts.persist {
            let key = pointer_key(&id, artifact.kind);
            batch.put_kv(&artifacts.kv_namespace, &key, artifact.blake3.to_string().into_bytes());
        }
    }
    if !artifacts.persist {
        // Its client may still be reading; the blobs go at the next start.
        batch.put_kv(SWEEP_NAMESPACE, &id.to_string(), Vec::new());
    }
    let file = JobFile { finished: finished.clone(), receipt };
    batch.put_job(id.0, file.encode());
    batch
}

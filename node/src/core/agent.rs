//! The agent role: executes leased shards, commits to them in batches, opens what is challenged.
//!
//! An attestation is persisted before it leaves the node and resent byte for byte: a crash must never fork the chain.

mod attesting;
mod letting_go;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::wire::{Attested, Challenge, Delivery, Hello, Holding, LeaseOffer, Message};
use forgemesh_storage::Batch;

use super::availability::{Availability, Mode};
use super::keeper::quarantine;
use super::status::OwnStatus;
use super::{AfterStore, AfterWork, Context, Now, Queue};
use crate::ports::{Done, Work};
use attesting::DoneShard;
use letting_go::LettingGo;

/// Shards handed to the executor for each of its threads; the others wait here, where they can be recalled.
const FED_PER_THREAD: u64 = 4;
/// Unlogged attestations that are sent again at a time.
const RESENT: usize = 8;

/// A shard this agent executes, and under which lease.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub shard: u64,
    pub lease: Signed<Lease>,
    task: Arc<(Contract, StageRun)>,
}

impl Assignment {
    fn stage(&self) -> Stage {
        (self.lease.body.job, self.lease.body.stage)
    }

    fn key(&self) -> (JobId, u64, u64) {
        (self.lease.body.job, self.lease.body.stage, self.shard)
    }
}

/// A job and the number of one of its stages.
type Stage = (JobId, u64);

/// What the agent is doing.
pub(crate) struct AgentRole {
    /// Threads of the executor; 0 in a node that is no agent.
    threads: u64,
    /// Shards executed at once: no more than there are threads, and than its operator allows.
    capacity: u64,
    available: Availability,
    /// When the hub last said how far it has logged this agent's chain.
    heard_ms: Option<u64>,
    backend: String,
    /// The newest link of this agent's own chain, persisted or about to be. None before the hub has said what it has
    /// logged: a lost disk must not fork the chain.
    head: Option<ChainHead>,
    /// Persisted attestations that are not known to be logged, oldest first.
    unlogged: VecDeque<Attested>,
    resent_ms: Option<u64>,
    /// Everything leased and not yet attested: waiting, running or done.
    held: BTreeSet<(JobId, u64, u64)>,
    /// The input of each stage of which something is held: of a stage that was planned anew, the newest.
    inputs: BTreeMap<Stage, Option<Hash>>,
    waiting: VecDeque<Assignment>,
    running: u64,
    /// Shards that came to an end since the start.
    executed: u64,
    done: BTreeMap<Stage, Vec<DoneShard>>,
    /// Attested and not yet durable: number and shards.
    storing: BTreeMap<u64, Holding>,
    /// Shards attested of each stage that is being executed.
    attested: BTreeMap<Stage, u64>,
    /// Batches whose openings are being made.
    opening: BTreeSet<Hash>,
    /// When the oldest done shard was done.
    oldest_done_ms: Option<u64>,
    /// When to say hello next.
    hello_ms: u64,
    /// How far its books were at the last hello, and when that was.
    said: (u64, u64),
    /// The last term whose leader has spoken itself.
    greeted: u64,
    disk_low: bool,
    letting_go: LettingGo,
}

impl AgentRole {
    /// Goes on after whichever is newer: the log's head of its chain, if it is known here, or its own outbox.
    pub fn new(logged: Option<ChainHead>, outbox: Vec<Attested>, capacity: u64, backend: String) -> Self {
        let newest = outbox.last().map(|attested| &attested.attestation.body);
        let own = newest.map(|attestation| ChainHead { seq: attestation.seq, digest: attestation.digest() });
        let head = own.filter(|own| logged.is_none_or(|logged| own.seq > logged.seq)).or(logged);
        let logged_seq = logged.map_or(0, |logged| logged.seq);
        let is_unlogged = |attested: &Attested| attested.attestation.body.seq > logged_seq;
        AgentRole {
            threads: capacity,
            capacity,
            available: Availability::default(),
            heard_ms: None,
            backend,
            head,
            unlogged: outbox.into_iter().filter(is_unlogged).collect(),
            resent_ms: None,
            held: BTreeSet::new(),
            inputs: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: 0,
            executed: 0,
            done: BTreeMap::new(),
            storing: BTreeMap::new(),
            attested: BTreeMap::new(),
            opening: BTreeSet::new(),
            oldest_done_ms: None,
            hello_ms: 0,
            said: (0, 0),
            greeted: 0,
            disk_low: false,
            letting_go: LettingGo::default(),
        }
    }

    /// Somebody else leads the hub: it hears at once what is held here, and what is not logged.
    pub fn led(&mut self) {
        self.hello_ms = 0;
        self.resent_ms = None;
    }

    /// Whoever leads says so itself, not the log, and so knows it, which it may not have when it was known here.
    pub fn led_by(&mut self, term: u64) {
        if self.greeted < term {
            self.greeted = term;
            self.led();
        }
    }

    /// Takes up the shards of a lease that it does not have already.
    pub fn leased(&mut self, cx: &mut Context<'_>, offer: LeaseOffer) {
        let LeaseOffer { lease, contract, run, submission } = offer;
        let body = &lease.body;
        let input = run.input_hash();
        if body.agent != cx.identity.node
            || (body.stage, body.input) != (run.number, input)
            || Some(lease.key.id()) != cx.leader
            || lease.verify(cx.identity.mesh).is_err()
        {
            return;
        }
        if !self.available.admits(cx.identity.mesh, body, &contract, submission.as_deref()) {
            return;
        }
        let stage = (body.job, body.stage);
        if self.inputs.insert(stage, input).is_some_and(|old| old != input) {
            // The stage was planned anew: what was held of it is of no use, and must not be mixed with this.
            self.drop_all(|of| *of == stage);
            self.inputs.insert(stage, input);
        }
        let end =
            body.first_shard.saturating_add(body.shards.min(limits::LEASE_SHARDS)).min(run.stage.shards());
        let task = Arc::new((contract, run));
        let room = self.accepts().saturating_sub(self.held.len() as u64);
        for shard in (body.first_shard..end).take(room as usize) {
            let assignment = Assignment { shard, lease: lease.clone(), task: Arc::clone(&task) };
            if self.held.insert(assignment.key()) {
                self.waiting.push_back(assignment);
            }
        }
    }

    /// The hub wants some shards back: those that have not begun.
    pub fn recalled(&mut self, holding: &Holding) {
        if self.inputs.get(&(holding.job, holding.stage)) != Some(&holding.input) {
            return;
        }
        let named = |(job, stage, shard): (JobId, u64, u64)| {
            job == holding.job
                && stage == holding.stage
                && holding.shards.iter().any(|range| range.contains(&shard))
        };
        self.drop_waiting(|assignment| named(assignment.key()));
        // The hub lends them to others once it hears that they are not held here.
        self.hello_ms = 0;
    }

    /// A job is final: whatever is held of it is dropped.
    pub fn over(&mut self, job: &JobId) {
        self.drop_all(|(of, _)| of == job);
    }

    /// Drops all that is held of some stages; what is running of them is forgotten.
    fn drop_all(&mut self, which: impl Fn(&Stage) -> bool) {
        self.waiting.retain(|assignment| !which(&assignment.stage()));
        self.done.retain(|stage, _| !which(stage));
        self.held.retain(|(job, stage, _)| !which(&(*job, *stage)));
        self.inputs.retain(|stage, _| !which(stage));
        if self.done.is_empty() {
            self.oldest_done_ms = None;
        }
    }

    fn drop_waiting(&mut self, which: impl Fn(&Assignment) -> bool) {
        let held = &mut self.held;
        self.waiting.retain(|assignment| {
            let drop = which(assignment);
            if drop {
                held.remove(&assignment.key());
            }
            !drop
        });
    }

    /// A shard ended: it joins the next batch, or the hub hears that it failed.
    pub fn ran(&mut self, cx: &mut Context<'_>, assignment: Assignment, done: Done) {
        self.running = self.running.saturating_sub(1);
        self.executed += u64::from(matches!(done, Done::Ran { .. }));
        let key = assignment.key();
        let Assignment { shard, lease, .. } = assignment;
        let (job, stage, _) = key;
        // The stage was planned anew meanwhile, or the job is over.
        if self.inputs.get(&(job, stage)) != Some(&lease.body.input) {
            return;
        }
        match done {
            Done::Ran { claim, accumulator, paths } if self.held.contains(&key) => {
                let batch = self.done.entry((job, stage)).or_default();
                batch.push(DoneShard { claim, accumulator, paths, lease });
                self.oldest_done_ms.get_or_insert(cx.now.up_ms);
            }
            Done::Failed { detail } if self.held.remove(&key) => {
                let attempt = lease.body.attempt;
                cx.send_leader(Message::ShardFailed { job, stage, shard, attempt, detail });
            }
            // Recalled meanwhile.
            _ => {}
        }
    }

    /// Starts what can be started, attests what is done, says again what nobody has answered. `books` says how far
    /// they go, receipts and all.
    pub fn advance(&mut self, cx: &mut Context<'_>, books: impl Fn() -> u64) {
        // Fewer threads than there are: the executor would give all of its own to what it is fed.
        let fed = if self.capacity < self.threads { 1 } else { FED_PER_THREAD };
        while self.running < self.capacity * fed
            && let Some(assignment) = self.waiting.pop_front()
        {
            let (contract, run) = (*assignment.task).clone();
            let work = Work::Run { contract, run, shard: assignment.shard };
            cx.work(work, AfterWork::Shard(assignment));
            self.running += 1;
        }
        self.flush(cx);
        self.letting_go.advance(cx, self.first_unlogged());
        let now_ms = cx.now.up_ms;
        let due = self.resent_ms.is_none_or(|resent_ms| now_ms >= resent_ms + limits::RETRY_MS);
        if due && !self.unlogged.is_empty() {
            self.resent_ms = Some(now_ms);
            for attested in self.unlogged.iter().take(RESENT) {
                cx.send_leader(Message::Attest(Box::new(attested.clone())));
            }
        }
        // A node that executes nothing is no agent.
        let wanted = self.capacity > 0 || cx.candidacy.is_some();
        if cx.candidacy.is_some() && books() > self.said.0 {
            // Its seat may wait for this.
            self.hello_ms = self.hello_ms.min(self.said.1 + limits::HELLO_BUSY_MS);
        }
        if wanted && now_ms >= self.hello_ms {
            let books = cx.candidacy.as_ref().map_or(0, |_| books());
            let hello = Hello { seating: cx.seating, candidacy: cx.candidacy.clone(), books, ..self.hello() };
            self.said = (books, now_ms);
            let busy = !hello.holds.is_empty();
            self.hello_ms = now_ms + if busy { limits::HELLO_BUSY_MS } else { limits::HELLO_IDLE_MS };
            // All members, so that whoever leads next knows at once who holds what.
            for &member in Arc::clone(&cx.members).iter() {
                cx.send(member, Message::Hello(Box::new(hello.clone())));
            }
        }
    }

    /// The first link that is not known to be logged; 0 before the hub has said what it has logged.
    fn first_unlogged(&self) -> u64 {
        let waiting = self.unlogged.front().map(|attested| attested.attestation.body.seq);
        let next = || self.storing.keys().next().copied().or(self.head.map(|head| head.seq + 1));
        waiting.or_else(next).unwrap_or(0)
    }

    fn accepts(&self) -> u64 {
        let backed_up = self.unlogged.len() + self.storing.len() >= limits::OUTBOX_LINKS;
        let willing = self.available.mode == Mode::Working && !self.disk_low;
        if !willing || backed_up { 0 } else { self.capacity * limits::SHARDS_PER_THREAD }
    }

    fn hello(&self) -> Hello {
        let mut sets: BTreeMap<(Stage, Option<Hash>), ShardSet> = BTreeMap::new();
        for &(job, stage, shard) in &self.held {
            let input = self.inputs.get(&(job, stage)).copied().flatten();
            sets.entry(((job, stage), input)).or_default().insert(shard);
        }
        for attested in &self.unlogged {
            let body = &attested.attestation.body;
            let set = sets.entry(((body.job, body.stage), body.input())).or_default();
            body.shards.iter().for_each(|shard| {
                set.insert(shard);
            });
        }
        for holding in self.storing.values() {
            let set = sets.entry(((holding.job, holding.stage), holding.input)).or_default();
            holding.shards.iter().cloned().flatten().for_each(|shard| {
                set.insert(shard);
            });
        }
        let holding = |(((job, stage), input), set): ((Stage, Option<Hash>), ShardSet)| Holding {
            job,
            stage,
            input,
            shards: set.ranges().to_vec(),
        };
        Hello {
            capacity: self.capacity,
            backend: self.backend.clone(),
            accepts: self.accepts(),
            holds: sets.into_iter().map(holding).take(limits::HOLDINGS).collect(),
            ops: self.available.ops.clone(),
            seating: 0,
            candidacy: None,
            books: 0,
            region: self.available.region.clone(),
            billing: self.available.billing.clone(),
            clients: self.available.clients.clone(),
            organizations: self.available.organizations.clone(),
        }
    }

    /// The attestation is durable: only now may it be seen. Without blobs, they are too many to be sent along.
    pub fn stored(&mut self, cx: &mut Context<'_>, delivery: Delivery) {
        let attested = delivery.attested.clone();
        self.storing.remove(&attested.attestation.body.seq);
        self.unlogged.push_back(attested.clone());
        self.resent_ms.get_or_insert(cx.now.up_ms);
        if delivery.blobs.is_empty() {
            return cx.send_leader(Message::Attest(Box::new(attested)));
        }
        for &member in Arc::clone(&cx.members).iter() {
            cx.send(member, Message::Deliver(Box::new(delivery.clone())));
        }
    }

    /// The hub has the chain up to this link. The newest link stays in the outbox: the next one must name it.
    pub fn logged(&mut self, cx: &mut Context<'_>, logged: ChainHead) {
        self.heard_ms = Some(cx.now.up_ms);
        let Some(head) = self.head else {
            self.head = Some(logged);
            return;
        };
        let of_seq = |attested: &&Attested| attested.attestation.body.seq == logged.seq;
        let own = match self.unlogged.iter().find(of_seq) {
            Some(attested) => Some(attested.attestation.body.digest()),
            None => (head.seq == logged.seq).then_some(head.digest),
        };
        if logged.seq > head.seq || own.is_some_and(|own| own != logged.digest) {
            // This disk has lost links that the log has. What hung on the lost ones is executed again.
            let mut batch = Batch::new();
            batch.delete_outbox(head.seq.max(logged.seq));
            cx.store(batch, AfterStore::Nothing);
            self.unlogged.clear();
            self.head = Some(logged);
            return;
        }
        if self.unlogged.front().is_none_or(|oldest| oldest.attestation.body.seq > logged.seq) {
            return;
        }
        while self.unlogged.front().is_some_and(|oldest| oldest.attestation.body.seq <= logged.seq) {
            self.unlogged.pop_front();
        }
        self.resent_ms = Some(cx.now.up_ms);
        if let Some(through) = logged.seq.checked_sub(1).filter(|&through| through > 0) {
            let mut batch = Batch::new();
            batch.delete_outbox(through);
            cx.store_later(batch);
        }
    }

    /// It is known what of all that this agent has vouched for nothing needs any more.
    pub fn let_go(&mut self, cx: &mut Context<'_>, done: Done) {
        self.letting_go.found(cx, done);
    }

    /// A member of the hub lacks blobs that this node may have.
    pub fn fetch(&mut self, cx: &mut Context<'_>, to: NodeId, blobs: Vec<Hash>) {
        if blobs.len() <= limits::BATCH_SHARDS {
            cx.work(Work::Load { blobs: blobs.clone() }, AfterWork::Load { to, blobs });
        }
    }

    /// The blobs are read.
    pub fn loaded(&mut self, cx: &mut Context<'_>, to: NodeId, asked: Vec<Hash>, done: Done) {
        let Done::Loaded { blobs } = done else { return };
        let mut gone = Vec::new();
        for (blob, bytes) in asked.into_iter().zip(blobs) {
            let message = match bytes {
                Some(bytes) => Message::Blob { bytes },
                None => {
                    gone.push(blob);
                    Message::NoBlob { blob }
                }
            };
            cx.send(to, message);
        }
        quarantine(cx, &gone);
    }

    /// A checker wants leaves of one of this agent's batches opened.
    pub fn open(&mut self, cx: &mut Context<'_>, from: NodeId, challenge: Challenge) {
        let Challenge { attestation, contract, run, leaves, .. } = challenge;
        let (job, digest) = (attestation.body.job, attestation.body.digest());
        let own = attestation.body.agent == cx.identity.node && attestation.key.id() == cx.identity.node;
        if !own || attestation.verify(cx.identity.mesh).is_err() {
            return;
        }
        let shards: BTreeSet<u64> = attestation.body.shards.iter().collect();
        let within = leaves.len() <= limits::BATCH_SHARDS * limits::SHARD_LEAVES as usize
            && leaves.iter().all(|at| shards.contains(&at.shard));
        if !within {
            return;
        }
        // Asked again while it is being opened: one answer is enough.
        let under_way = self.opening.contains(&digest);
        if !under_way && self.opening.len() >= limits::CHECKS {
            return;
        }
        cx.send(from, Message::Opening { attestation: digest });
        if under_way {
            return;
        }
        self.opening.insert(digest);
        cx.work(
            Work::Open { contract, run, leaves },
            AfterWork::Opening { to: from, job, attestation: digest },
        );
    }

    /// The openings are made.
    pub fn opened(&mut self, cx: &mut Context<'_>, to: NodeId, job: JobId, attestation: Hash, done: Done) {
        self.opening.remove(&attestation);
        let openings = match done {
            Done::Opened { openings } => openings,
            // The checker need not wait any longer.
            _ => Vec::new(),
        };
        cx.send(to, Message::Opened { job, attestation, openings });
    }

    /// The disk has too little room for new work, or has room again.
    pub fn disk_low(&mut self, low: bool) {
        self.disk_low = low;
        self.hello_ms = 0;
    }

    /// Its operator allows so much from now on.
    pub fn make_available(&mut self, available: Availability) {
        let asked = available.threads.unwrap_or(self.threads);
        self.capacity = if asked < self.threads { asked.max(1) } else { self.threads };
        let all = available.mode.gives_back();
        self.drop_waiting(|assignment| all || !available.executes(&assignment.task.0.op));
        self.available = available;
        self.hello_ms = 0;
    }

    /// How this agent stands.
    pub fn standing(&self, now: Now) -> OwnStatus {
        let link = self.unlogged.front().map(|attested| attested.attestation.body.seq - 1);
        OwnStatus {
            threads: self.threads,
            capacity: self.capacity,
            backend: self.backend.clone(),
            available: self.available.clone(),
            accepts: self.accepts(),
            held: self.held.len() as u64,
            executing: self.running,
            executed: self.executed,
            unlogged: (self.unlogged.len() + self.storing.len()) as u64,
            logged: link.or(self.head.map(|head| head.seq)),
            heard_ms_ago: self.heard_ms.map(|heard_ms| now.up_ms.saturating_sub(heard_ms)),
            disk_low: self.disk_low,
        }
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let full = self.done.iter().any(|(stage, batch)| batch.len() as u64 >= self.batch_size(stage));
        let delay_ms = if full { limits::BATCH_DELAY_MS } else { limits::BATCH_DELAY_MOST_MS };
        let flush = self.oldest_done_ms.filter(|_| self.head.is_some()).map(|oldest_ms| oldest_ms + delay_ms);
        let resend =
            self.resent_ms.filter(|_| !self.unlogged.is_empty()).map(|at_ms| at_ms + limits::RETRY_MS);
        let hello = (self.capacity > 0).then_some(self.hello_ms);
        let due = [flush, resend, hello].into_iter().flatten().min();
        due.unwrap_or(u64::MAX).saturating_sub(now.up_ms).min(self.letting_go.next_deadline(now))
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        let threads = self.capacity;
        vec![
            Queue::new("agent: shards held", self.held.len() as u64, threads * limits::SHARDS_PER_THREAD),
            Queue::new("agent: shards executing", self.running, threads * FED_PER_THREAD),
            Queue::new(
                "agent: attestations not logged",
                (self.unlogged.len() + self.storing.len()) as u64,
                limits::OUTBOX_LINKS as u64 + threads * limits::SHARDS_PER_THREAD,
            ),
        ]
    }
}

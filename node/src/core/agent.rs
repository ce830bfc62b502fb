//! The agent role: executes leased shards, commits to them in batches, opens what is challenged.
//!
//! An attestation is persisted before it is sent and resent byte for byte: a crash must never fork the chain.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_protocol::attestation::{Attestation, Claim};
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Attested, Challenge, LeaseOffer, Message};
use forgemesh_storage::Batch;

use super::{AfterStore, AfterWork, Context, Now};
use crate::ports::{Done, Work};

/// A shard this agent executes, and under which lease.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub shard: u64,
    pub lease: Signed<Lease>,
}

/// A shard that is done and not yet attested.
struct DoneShard {
    claim: Claim,
    accumulator: Vec<u8>,
    paths: u64,
    lease: Signed<Lease>,
}

/// What the agent is doing.
pub(crate) struct AgentRole {
    /// The newest link of this agent's own chain, persisted or about to be.
    head: ChainHead,
    /// Persisted attestations that the hub may not have.
    resend: Vec<Attested>,
    backend: String,
    running: BTreeSet<(JobId, u64, u64)>,
    done: BTreeMap<(JobId, u64), Vec<DoneShard>>,
    /// Shards attested of each stage that is being executed.
    attested: BTreeMap<(JobId, u64), u64>,
    /// When the oldest done shard was done.
    oldest_done_ms: Option<u64>,
}

impl AgentRole {
    /// Goes on after whichever is newer: the log's head of its chain, or its own outbox.
    pub fn new(logged: ChainHead, outbox: Vec<Attested>, backend: String) -> Self {
        let newest = outbox.last().map(|attested| &attested.attestation.body);
        let own = newest.map(|attestation| ChainHead { seq: attestation.seq, digest: attestation.digest() });
        let head = own.filter(|own| own.seq > logged.seq).unwrap_or(logged);
        let resend =
            outbox.into_iter().filter(|attested| attested.attestation.body.seq > logged.seq).collect();
        let (running, done, attested) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        AgentRole { head, resend, backend, running, done, attested, oldest_done_ms: None }
    }

    /// Starts the shards of a lease that are not being executed already.
    pub fn leased(&mut self, cx: &mut Context<'_>, offer: LeaseOffer) {
        let LeaseOffer { lease, contract, run } = offer;
        let body = &lease.body;
        if body.agent != cx.identity.node
            || body.stage != run.number
            || lease.verify(cx.identity.mesh).is_err()
        {
            return;
        }
        let end =
            body.first_shard.saturating_add(body.shards.min(limits::LEASE_SHARDS)).min(run.stage.shards());
        for shard in body.first_shard..end {
            if self.running.insert((body.job, body.stage, shard)) {
                let work = Work::Run { contract: contract.clone(), run: run.clone(), shard };
                cx.work(work, AfterWork::Shard(Assignment { shard, lease: lease.clone() }));
            }
        }
    }

    /// A shard ended: it joins the next batch, or the hub hears that it failed.
    pub fn ran(&mut self, cx: &mut Context<'_>, assignment: Assignment, done: Done) {
        let Assignment { shard, lease } = assignment;
        let (job, stage) = (lease.body.job, lease.body.stage);
        self.running.remove(&(job, stage, shard));
        match done {
            Done::Ran { claim, accumulator, paths } => {
                let batch = self.done.entry((job, stage)).or_default();
                batch.push(DoneShard { claim, accumulator, paths, lease });
                self.oldest_done_ms.get_or_insert(cx.now.up_ms);
            }
            Done::Failed { detail } => {
                let attempt = lease.body.attempt;
                cx.send(lease.key.id(), Message::ShardFailed { job, stage, shard, attempt, detail });
            }
            Done::Opened { .. } | Done::Checked { .. } | Done::Reduced { .. } => {}
        }
    }

    /// Attests what is done, once the batch is full, old enough, or nothing else is on its way. Resends first what a
    /// crash may have kept from the hub.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        for attested in self.resend.drain(..) {
            cx.send(cx.leader, Message::Attest(Box::new(attested)));
        }
        let Some(oldest_ms) = self.oldest_done_ms else { return };
        let idle = self.running.is_empty();
        let age_ms = cx.now.up_ms.saturating_sub(oldest_ms);
        let full = self.done.iter().any(|(stage, batch)| batch.len() as u64 >= self.batch_size(stage));
        let due = idle || age_ms >= limits::BATCH_DELAY_MOST_MS || (full && age_ms >= limits::BATCH_DELAY_MS);
        if !due && !self.done.values().any(|batch| batch.len() >= limits::BATCH_SHARDS) {
            return;
        }
        self.oldest_done_ms = None;
        // Of stages that are over, nothing more will come.
        let running = &self.running;
        self.attested.retain(|(job, stage), _| running.iter().any(|(j, s, _)| (j, s) == (job, stage)));
        for ((job, stage), mut shards) in std::mem::take(&mut self.done) {
            *self.attested.entry((job, stage)).or_default() += shards.len() as u64;
            shards.sort_by_key(|shard| shard.claim.shard);
            while !shards.is_empty() {
                let rest = shards.split_off(batch_end(&shards));
                self.attest(cx, job, stage, std::mem::replace(&mut shards, rest));
            }
        }
    }

    /// How many shards make a batch of this stage by now.
    fn batch_size(&self, stage: &(JobId, u64)) -> u64 {
        let attested = self.attested.get(stage).copied().unwrap_or(0);
        (attested / limits::BATCH_GROWTH).clamp(1, limits::BATCH_SHARDS as u64)
    }

    fn attest(&mut self, cx: &mut Context<'_>, job: JobId, stage: u64, shards: Vec<DoneShard>) {
        let mut leases: Vec<Signed<Lease>> = Vec::new();
        let (mut claims, mut paths, mut batch) = (Vec::new(), 0u64, Batch::new());
        for shard in shards {
            if !leases.contains(&shard.lease) {
                leases.push(shard.lease);
            }
            paths += shard.paths;
            claims.push(shard.claim);
            batch.put_blob(shard.accumulator);
        }
        let members = canon::to_bytes(&claims);
        let attestation = Attestation {
            agent: cx.identity.node,
            seq: self.head.seq + 1,
            prev: self.head.digest,
            job,
            stage,
            shards: claims.iter().map(|claim| claim.shard).collect(),
            members: Hash::blob(&members),
            leases,
            paths,
            backend: self.backend.clone(),
        };
        self.head = ChainHead { seq: attestation.seq, digest: attestation.digest() };
        let attestation = Signed::new(attestation, cx.identity.mesh, &cx.identity.secret);
        let attested = Attested { attestation, members: Bytes(members) };
        batch.put_blob(attested.members.0.clone());
        batch.put_outbox(self.head.seq, canon::to_bytes(&attested));
        cx.store(batch, AfterStore::Outbox(Box::new(attested)));
    }

    /// The attestation is durable: only now may it be seen.
    pub fn stored(&mut self, cx: &mut Context<'_>, attested: Attested) {
        cx.send(cx.leader, Message::Attest(Box::new(attested)));
    }

    /// The hub has the chain up to `seq`. The newest link stays: the next one must name it.
    pub fn logged(&mut self, cx: &mut Context<'_>, seq: u64) {
        if let Some(through) = seq.min(self.head.seq).checked_sub(1).filter(|&through| through > 0) {
            let mut batch = Batch::new();
            batch.delete_outbox(through);
            cx.store(batch, AfterStore::Nothing);
        }
    }

    /// A checker wants leaves of one of this agent's batches opened.
    pub fn open(&mut self, cx: &mut Context<'_>, from: NodeId, challenge: Challenge) {
        let Challenge { attestation, contract, run, leaves, .. } = challenge;
        let (job, digest) = (attestation.body.job, attestation.body.digest());
        if attestation.body.agent != cx.identity.node
            || leaves.len() > limits::BATCH_SHARDS * limits::SHARD_LEAVES as usize
        {
            return;
        }
        cx.work(
            Work::Open { contract, run, leaves },
            AfterWork::Opening { to: from, job, attestation: digest },
        );
    }

    /// The openings are made.
    pub fn opened(&mut self, cx: &mut Context<'_>, to: NodeId, job: JobId, attestation: Hash, done: Done) {
        let openings = match done {
            Done::Opened { openings } => openings,
            // Without an opening the checker says so in its verdict; silence would only delay it.
            _ => Vec::new(),
        };
        cx.send(to, Message::Opened { job, attestation, openings });
    }

    /// When the oldest done shard must be attested.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let full = self.done.iter().any(|(stage, batch)| batch.len() as u64 >= self.batch_size(stage));
        let delay_ms = if full { limits::BATCH_DELAY_MS } else { limits::BATCH_DELAY_MOST_MS };
        self.oldest_done_ms.map_or(u64::MAX, |oldest_ms| (oldest_ms + delay_ms).saturating_sub(now.up_ms))
    }
}

/// How many of the sorted shards fit one attestation: as many shards and leases as it may name, each shard once.
fn batch_end(shards: &[DoneShard]) -> usize {
    let mut leases: Vec<&Signed<Lease>> = Vec::new();
    for (i, shard) in shards.iter().enumerate() {
        if !leases.contains(&&shard.lease) {
            leases.push(&shard.lease);
        }
        let repeated = i > 0 && shards[i - 1].claim.shard == shard.claim.shard;
        if i == limits::BATCH_SHARDS || leases.len() > limits::BATCH_LEASES || repeated {
            return i;
        }
    }
    shards.len()
}

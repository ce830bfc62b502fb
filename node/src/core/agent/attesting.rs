//! How an agent attests: what is done joins a batch, and each batch is a link of the agent's chain.
//!
//! Must never let a link be seen before it is durable.

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_protocol::attestation::{Attestation, Claim};
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Attested, Delivery, Holding};
use forgemesh_storage::Batch;

use super::{AgentRole, Stage};
use crate::core::{AfterStore, Context};

/// A shard that is done and not yet attested.
pub(super) struct DoneShard {
    pub claim: Claim,
    pub accumulator: Vec<u8>,
    pub paths: u64,
    pub lease: Signed<Lease>,
}

impl AgentRole {
    /// Attests what is done, once the batch is full, old enough, or nothing else is on its way.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        let (Some(oldest_ms), Some(mut head)) = (self.oldest_done_ms, self.head) else { return };
        let idle = self.running == 0;
        let age_ms = cx.now.up_ms.saturating_sub(oldest_ms);
        let full = self.done.iter().any(|(stage, batch)| batch.len() as u64 >= self.batch_size(stage));
        let due = idle || age_ms >= limits::BATCH_DELAY_MOST_MS || (full && age_ms >= limits::BATCH_DELAY_MS);
        if !due && !self.done.values().any(|batch| batch.len() >= limits::BATCH_SHARDS) {
            return;
        }
        self.oldest_done_ms = None;
        // Of stages that are over, nothing more will come.
        let held = &self.held;
        let is_held =
            |&(job, stage): &Stage| held.range((job, stage, 0)..=(job, stage, u64::MAX)).next().is_some();
        self.inputs.retain(|stage, _| is_held(stage));
        self.attested.retain(|stage, _| is_held(stage));
        for ((job, stage), mut shards) in std::mem::take(&mut self.done) {
            *self.attested.entry((job, stage)).or_default() += shards.len() as u64;
            shards.sort_by_key(|shard| shard.claim.shard);
            while !shards.is_empty() {
                let rest = shards.split_off(batch_end(&shards));
                head = self.attest(cx, head, job, stage, std::mem::replace(&mut shards, rest));
            }
        }
        self.head = Some(head);
    }

    /// How many shards make a batch of this stage by now.
    pub(super) fn batch_size(&self, stage: &Stage) -> u64 {
        let attested = self.attested.get(stage).copied().unwrap_or(0);
        (attested / limits::BATCH_GROWTH).clamp(1, limits::BATCH_SHARDS as u64)
    }

    /// Signs the link after `head` and makes it durable; the new head.
    fn attest(
        &mut self,
        cx: &mut Context<'_>,
        head: ChainHead,
        job: JobId,
        stage: u64,
        shards: Vec<DoneShard>,
    ) -> ChainHead {
        let mut leases: Vec<Signed<Lease>> = Vec::new();
        let (mut claims, mut paths, mut batch) = (Vec::new(), 0u64, Batch::new());
        let few = shards.iter().map(|shard| shard.accumulator.len()).sum::<usize>() <= limits::DELIVERY_BYTES;
        let mut blobs = Vec::new();
        let mut set = ShardSet::default();
        for shard in shards {
            if !leases.contains(&shard.lease) {
                leases.push(shard.lease);
            }
            paths += shard.paths;
            set.insert(shard.claim.shard);
            self.held.remove(&(job, stage, shard.claim.shard));
            claims.push(shard.claim);
            if few {
                blobs.push(Bytes(shard.accumulator.clone()));
            }
            batch.put_blob(shard.accumulator);
        }
        let members = canon::to_bytes(&claims);
        let address = Hash::blob(&members);
        self.letting_go.note(cx, &mut batch, (&job, head.seq + 1), &claims, address);
        let attestation = Attestation {
            agent: cx.identity.node,
            seq: head.seq + 1,
            prev: head.digest,
            job,
            stage,
            shards: claims.iter().map(|claim| claim.shard).collect(),
            members: address,
            leases,
            paths,
            backend: self.backend.clone(),
        };
        let head = ChainHead { seq: attestation.seq, digest: attestation.digest() };
        let input = attestation.input();
        let attestation = Signed::new(attestation, cx.identity.mesh, &cx.identity.secret);
        let attested = Attested { attestation, members: Bytes(members) };
        batch.put_blob(attested.members.0.clone());
        batch.put_outbox(head.seq, canon::to_bytes(&attested));
        self.storing.insert(head.seq, Holding { job, stage, input, shards: set.ranges().to_vec() });
        let mut delivery = Delivery { attested, blobs };
        if delivery.bytes() > limits::DELIVERY_BYTES {
            delivery.blobs.clear();
        }
        cx.store(batch, AfterStore::Outbox(Box::new(delivery)));
        head
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

//! The leader's soft state: which shards are lent to whom until when, and how often each failed.

use std::collections::BTreeMap;

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::LeaseOffer;

use super::Identity;

/// Shards lent for each executor thread: enough that it never runs dry while the largest batch is collected.
const SHARDS_PER_THREAD: u64 = 256;

/// How many times slower than the static estimate an agent may be and still keep its lease.
const SLOWNESS: u64 = 30;

/// What is lent of one job's current stage.
#[derive(Default)]
struct Lent {
    stage: u64,
    shards: ShardSet,
    leases: Vec<Lease>,
    failures: BTreeMap<u64, u32>,
}

/// All that is lent.
pub(crate) struct Leases {
    capacity: u64,
    jobs: BTreeMap<JobId, Lent>,
}

impl Leases {
    /// For an agent with `capacity` threads.
    pub fn new(capacity: u64) -> Self {
        Leases { capacity: capacity.max(1), jobs: BTreeMap::new() }
    }

    /// The next lease of `job`, one of `jobs`, if it has shards to lend and the agent has room.
    pub fn lend(
        &mut self,
        job: &JobRecord,
        jobs: u64,
        identity: &Identity,
        term: u64,
        now_ms: u64,
    ) -> Option<LeaseOffer> {
        let lent_now: u64 = self.jobs.values().map(|lent| lent.shards.len()).sum();
        let all = self.capacity * SHARDS_PER_THREAD;
        let lent = self.jobs.entry(job.id).or_default();
        // No job has more than its share, so that a small one does not wait for a large one to end.
        let room = all.saturating_sub(lent_now).min((all / jobs.max(1)).saturating_sub(lent.shards.len()));
        if lent.stage != job.run().number {
            *lent = Lent { stage: job.run().number, ..Lent::default() };
        }
        let most = room.min(limits::LEASE_SHARDS);
        let shard_ns = job.plan.estimate_ns / job.plan.leaves().max(1) * job.run().stage.leaves_per_shard;
        let grace_ms = SLOWNESS * (all / self.capacity) * (shard_ns / 1_000_000);
        let gap = job.attested.first_gap(&lent.shards, job.run().stage.shards(), most)?;
        let failures = gap.clone().filter_map(|shard| lent.failures.get(&shard)).max().copied().unwrap_or(0);
        let lease = Lease {
            job: job.id,
            stage: lent.stage,
            first_shard: gap.start,
            shards: gap.end - gap.start,
            agent: identity.node,
            attempt: u64::from(failures) + 1,
            term,
            expires_ms: now_ms + limits::LEASE_MS + grace_ms,
        };
        gap.for_each(|shard| {
            lent.shards.insert(shard);
        });
        lent.leases.push(lease.clone());
        let lease = Signed::new(lease, identity.mesh, &identity.secret);
        Some(LeaseOffer { lease, contract: job.contract.clone(), run: job.run().clone() })
    }

    /// An attestation is logged: its shards are no longer lent, whether or not they counted.
    pub fn settled(&mut self, attestation: &Attestation) {
        let Some(lent) = self.jobs.get_mut(&attestation.job) else { return };
        if lent.stage == attestation.stage {
            attestation.shards.iter().for_each(|&shard| lent.shards.remove(shard));
            let shards = &lent.shards;
            lent.leases.retain(|lease| (0..lease.shards).any(|i| shards.contains(lease.first_shard + i)));
        }
    }

    /// A shard failed; how often it has now.
    pub fn failed(&mut self, job: &JobId, shard: u64, attempt: u64) -> u32 {
        let Some(lent) = self.jobs.get_mut(job) else { return 0 };
        lent.shards.remove(shard);
        let failures = lent.failures.entry(shard).or_default();
        // A repeated message about one attempt is one failure.
        *failures = (*failures).max(u32::try_from(attempt).unwrap_or(u32::MAX));
        *failures
    }

    /// Takes back what was lent too long.
    pub fn expire(&mut self, now_ms: u64) {
        for lent in self.jobs.values_mut() {
            for lease in lent.leases.extract_if(.., |lease| lease.expires_ms < now_ms) {
                (0..lease.shards).for_each(|i| lent.shards.remove(lease.first_shard + i));
            }
        }
    }

    /// The job is final.
    pub fn forget(&mut self, job: &JobId) {
        self.jobs.remove(job);
    }

    /// When the next lease runs out.
    pub fn next_expiry(&self) -> Option<u64> {
        self.jobs.values().flat_map(|lent| &lent.leases).map(|lease| lease.expires_ms + 1).min()
    }
}

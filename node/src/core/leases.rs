//! What is lent of one job's current stage: to whom, since when, until when, and what failed where.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Holding;

use super::Now;

/// One lease, as far as it is not done.
#[derive(Clone, Debug)]
pub(crate) struct Lending {
    pub agent: NodeId,
    /// Not yet attested.
    pub shards: ShardSet,
    pub lent_ms: u64,
    /// When its agent last attested something of it, or got it.
    pub fresh_ms: u64,
    /// In log time.
    pub expires_ms: u64,
    /// Lent to another agent too, which is late.
    pub spare: bool,
    /// When its agent was last asked to leave some of it.
    pub recalled_ms: Option<u64>,
}

/// All leases of a stage.
#[derive(Default)]
pub(crate) struct Lent {
    run: Option<StageRun>,
    /// Digest of the stage's input.
    pub input: Option<Hash>,
    /// Every shard that somebody has.
    pub shards: ShardSet,
    pub lendings: Vec<Lending>,
    /// Who failed at which shard, and how often.
    pub failures: BTreeMap<u64, BTreeMap<NodeId, u32>>,
    /// The detail of the last failure.
    pub detail: String,
    /// Agents that have worked on the stage and are not gone.
    pub engaged: BTreeSet<NodeId>,
    /// What of each agent's, of any stage, was set aside because it was gone.
    excused: BTreeMap<NodeId, Excused>,
}

/// For what an agent's absences account in a job.
#[derive(Clone, Copy, Debug, Default)]
struct Excused {
    /// The newest, and how many.
    last: u64,
    absences: u64,
    batches: usize,
}

impl Lent {
    /// Begins anew, if this is another stage than the one so far, or the same planned anew.
    pub fn begin(&mut self, run: &StageRun) {
        if self.run.as_ref() != Some(run) {
            let input = run.input_hash();
            let excused = std::mem::take(&mut self.excused);
            *self = Lent { run: Some(run.clone()), input, excused, ..Lent::default() };
        }
    }

    /// Notes what an agent holds although the hub does not know of it: the hub was started anew.
    pub fn adopt(
        &mut self,
        record: &JobRecord,
        agent: NodeId,
        holds: &ShardSet,
        accepts: u64,
        now: Now,
        log_ms: u64,
    ) {
        let unknown = |&shard: &u64| {
            !self.shards.contains(shard)
                && !record.attested.contains(shard)
                && !self.has_failed(&agent, shard)
        };
        let room = accepts.saturating_sub(self.held_by(&agent));
        let mut shards = ShardSet::default();
        for shard in holds.iter().filter(unknown).take(room as usize) {
            shards.insert(shard);
        }
        if matches!(record.state, State::Planned | State::Running) && !shards.is_empty() {
            let (lent_ms, fresh_ms) = (now.up_ms, now.up_ms);
            let expires_ms = log_ms + limits::LEASE_MS;
            self.lend(Lending {
                agent,
                shards,
                lent_ms,
                fresh_ms,
                expires_ms,
                spare: false,
                recalled_ms: None,
            });
        }
    }

    /// Is this the stage, with this input?
    pub fn is_of(&self, stage: u64, input: Option<Hash>) -> bool {
        self.input == input && self.run.as_ref().is_some_and(|run| run.number == stage)
    }

    /// Notes a lease.
    pub fn lend(&mut self, lending: Lending) {
        for shard in lending.shards.iter() {
            self.shards.insert(shard);
        }
        self.engaged.insert(lending.agent);
        self.lendings.push(lending);
    }

    /// Shards that `agent` has.
    pub fn held_by(&self, agent: &NodeId) -> u64 {
        self.lendings
            .iter()
            .filter(|lending| lending.agent == *agent)
            .map(|lending| lending.shards.len())
            .sum()
    }

    /// These shards are attested by `agent`; other agents that have them, too, with what they need no more.
    pub fn settled(&mut self, agent: &NodeId, shards: &[u64], up_ms: u64) -> BTreeMap<NodeId, ShardSet> {
        let mut others: BTreeMap<NodeId, ShardSet> = BTreeMap::new();
        for lending in &mut self.lendings {
            for &shard in shards {
                if !lending.shards.contains(shard) {
                    continue;
                }
                lending.shards.remove(shard);
                if lending.agent == *agent {
                    lending.fresh_ms = up_ms;
                } else {
                    others.entry(lending.agent).or_default().insert(shard);
                }
            }
        }
        shards.iter().for_each(|&shard| self.shards.remove(shard));
        self.drop_empty();
        others
    }

    /// `agent` failed at `shard`. A repeated message is no second failure.
    pub fn failed(&mut self, agent: NodeId, shard: u64, detail: String) {
        if self.take_back(|lending, candidate| lending.agent == agent && candidate == shard) {
            self.refuse(agent, shard);
            self.detail = detail;
        }
    }

    /// So many batches of an agent were set aside because it was gone, the n-th time: that is not held against it, if it was
    /// not gone too often. True if so.
    pub fn excuse(&mut self, agent: NodeId, absence: u64, batches: usize) -> bool {
        let excused = self.excused.entry(agent).or_default();
        if excused.last != absence {
            (excused.last, excused.absences) = (absence, excused.absences + 1);
        }
        if excused.absences > limits::ABSENCES {
            return false;
        }
        excused.batches += batches;
        true
    }

    /// How many those are.
    pub fn excused(&self, agent: &NodeId) -> usize {
        self.excused.get(agent).map_or(0, |excused| excused.batches)
    }

    /// `agent` is not to have `shard` again, as long as there is another.
    pub fn refuse(&mut self, agent: NodeId, shard: u64) {
        let failures = self.failures.entry(shard).or_default().entry(agent).or_default();
        *failures = failures.saturating_add(1);
    }

    /// How often anybody failed at `shard`.
    pub fn attempts(&self, shard: u64) -> u32 {
        self.failures.get(&shard).map_or(0, |by| by.values().fold(0, |sum, n| sum.saturating_add(*n)))
    }

    /// Has `agent` failed at `shard`?
    pub fn has_failed(&self, agent: &NodeId, shard: u64) -> bool {
        self.failures.get(&shard).is_some_and(|by| by.contains_key(agent))
    }

    /// Takes back what an agent does not hold, although it got it a while ago.
    pub fn compare(&mut self, agent: &NodeId, held: &ShardSet, up_ms: u64) -> bool {
        self.take_back(|lending, shard| {
            let old = up_ms.saturating_sub(lending.lent_ms) >= limits::LEASE_GRACE_MS;
            lending.agent == *agent && (old || lending.recalled_ms.is_some()) && !held.contains(shard)
        })
    }

    /// The agent is gone.
    pub fn abandoned(&mut self, agent: &NodeId) -> bool {
        let engaged = self.engaged.remove(agent);
        self.take_back(|lending, _| lending.agent == *agent) || engaged
    }

    /// Takes back what was lent too long.
    pub fn expire(&mut self, log_ms: u64) -> bool {
        let over = |lending: &Lending| lending.expires_ms < log_ms;
        self.lendings.iter().any(over) && self.take_back(|lending, _| over(lending))
    }

    /// Takes back the shards of which `which` says so; true if there were any.
    fn take_back(&mut self, which: impl Fn(&Lending, u64) -> bool) -> bool {
        let mut back = Vec::new();
        for lending in &mut self.lendings {
            let going: Vec<u64> = lending.shards.iter().filter(|&shard| which(lending, shard)).collect();
            going.iter().for_each(|&shard| lending.shards.remove(shard));
            back.extend(going);
        }
        self.drop_empty();
        for &shard in &back {
            if !self.lendings.iter().any(|lending| lending.shards.contains(shard)) {
                self.shards.remove(shard);
            }
        }
        !back.is_empty()
    }

    fn drop_empty(&mut self) {
        self.lendings.retain(|lending| !lending.shards.is_empty());
    }
}

/// The set of a holding's shards, all below `end`; none if it is no set.
pub(crate) fn held(holding: &Holding, end: u64) -> Option<ShardSet> {
    let within = holding.shards.last().is_none_or(|range| range.end <= end);
    ShardSet::of_ranges(holding.shards.clone()).filter(|_| within)
}

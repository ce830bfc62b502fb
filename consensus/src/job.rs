//! One open job as the hub knows it: the submission, the plan, how far it is, and the evidence so far.

use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::challenge::{Draw, LeafRef, Verdict};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::envelope::{ArtifactKind, Terms, Verify};
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{Plan, StageRun};
use forgemesh_protocol::shard_list::ShardList;
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::vote::{Outcome, ReductionVote};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::shard_set::ShardSet;

/// Everything about an open job; once it is final, the same record without change is its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    pub id: JobId,
    pub submission: Signed<Submission>,
    pub contract: Contract,
    pub terms: Terms,
    pub plan: Plan,
    pub state: State,
    pub accepted_ms: u64,
    /// The stages so far, at least one; the last is the current one.
    #[serde(deserialize_with = "at_least_one")]
    pub runs: Vec<StageRun>,
    /// Shards of the current stage for which a valid attestation is logged.
    pub attested: ShardSet,
    /// Attested batches of all stages, in log order.
    pub batches: Vec<Batch>,
    /// Of all stages, in log order.
    pub votes: Vec<Signed<ReductionVote>>,
    /// Agents of which a commitment was found false: nothing of theirs counts in this job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub convicted: Vec<NodeId>,
    /// Batches that no longer count, kept as evidence, in the order in which they were set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAside>,
}

/// A batch that no longer counts. Its shards are executed again; nobody is paid for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAside {
    pub batch: Batch,
    pub reason: Reason,
}

/// Why a batch was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Recomputation disagreed: the verdict says where.
    False,
    /// Its agent was convicted on another batch of the job.
    Convicted,
    /// Its agent did not open what was drawn. No accusation.
    Unopened,
    /// Its blobs are lost. No accusation.
    Lost,
    /// It belongs to a stage that was planned from batches which no longer count. No accusation.
    Superseded,
}

/// One attested batch and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub attestation: Signed<Attestation>,
    /// Its digest, by which reveal and verdict name it.
    pub digest: Hash,
    /// Index of its log entry.
    pub logged: u64,
    /// Its shards that count: the first valid attestation of a shard wins, later ones are superseded.
    pub credited: ShardList,
    // In boxes what the shortest batches do not have: a record may have very many of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reveal: Option<Box<Reveal>>,
    /// Checkers that failed to check it.
    pub unable: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<Signed<Verdict>>>,
}

/// The beacon's link from which a batch's leaves are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reveal {
    pub member: NodeId,
    pub value: Hash,
    /// How many links of the member were revealed before it: `ordinal + 1` steps lead from it to the anchor.
    pub ordinal: u64,
    /// Index of its log entry: after the commitment's.
    pub logged: u64,
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<StageRun>, D::Error> {
    let runs = Vec::deserialize(from)?;
    if runs.is_empty() { Err(D::Error::invalid_length(0, &"a stage at least")) } else { Ok(runs) }
}

impl JobRecord {
    /// The canonical bytes: once the job is final, its evidence.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// What a receipt names as its evidence.
    pub fn hash(&self) -> Hash {
        Hash::of(Domain::EVIDENCE, &self.encode())
    }

    /// Strictly.
    pub fn decode(bytes: &[u8]) -> Result<JobRecord, CanonError> {
        canon::from_bytes(bytes, limits::SNAPSHOT_BYTES)
    }

    /// Has somebody voted for what follows from this batch, so that its blobs are evidence? Not if the job ended before: then
    /// it counts for nothing, and perhaps nobody but its agent ever had them.
    pub fn stands_on(&self, batch: &Batch, has_result: bool) -> bool {
        let stage = batch.attestation.body.stage;
        let is_voted_on = self.votes.iter().any(|vote| vote.body.stage == stage);
        has_result || is_voted_on || stage < self.run().number
    }

    /// Does the outcome of the final job rest on this batch, so that nothing shows it without the batch's blobs? Not if the job
    /// failed for another reason than its votes, one of which may have been there already: perhaps nobody but that voter has
    /// them.
    pub fn rests_on(&self, batch: &Batch, failure: Option<&Failure>) -> bool {
        let (stage, current) = (batch.attestation.body.stage, self.run().number);
        let Some(failure) = failure.filter(|_| stage >= current) else { return true };
        let votes = || self.votes.iter().map(|vote| &vote.body).filter(|vote| vote.stage == stage);
        let is_voted = votes().any(|vote| vote.outcome == Outcome::Failed(failure.clone()));
        is_voted || (failure.code == FailureCode::VerificationMismatch && votes().count() > 1)
    }

    /// The current stage.
    pub fn run(&self) -> &StageRun {
        self.runs.last().expect("invariant: a record is made, and read, with a stage")
    }

    /// The batches of the current stage.
    pub fn current_batches(&self) -> impl Iterator<Item = &Batch> {
        let stage = self.run().number;
        self.batches.iter().filter(move |batch| batch.attestation.body.stage == stage)
    }

    /// Is every shard of the current stage attested?
    pub fn is_attested(&self) -> bool {
        self.attested.len() == self.run().stage.shards()
    }

    /// Is every batch of the current stage verified, as far as its policy asks for that?
    pub fn is_verified(&self) -> bool {
        self.current_batches().all(|batch| self.is_settled(batch))
    }

    /// Is nothing more to be checked in this batch?
    pub fn is_settled(&self, batch: &Batch) -> bool {
        let verify = self.terms.policy.verify;
        verify == Verify::None || batch.credited.is_empty() || batch.verdict.is_some()
    }

    /// Do the artifacts of a reduction say how it was verified?
    pub fn tells_of_verdicts(&self) -> bool {
        self.terms.artifacts.include.contains(&ArtifactKind::VerificationJson)
    }

    /// Is there a batch with this digest that has no verdict yet?
    pub fn awaits_verdict(&self, attestation: &Hash) -> bool {
        self.batches.iter().any(|batch| batch.digest == *attestation && batch.verdict.is_none())
    }

    /// The stage with this number.
    pub fn stage_run(&self, number: u64) -> Option<&StageRun> {
        self.runs.iter().find(|run| run.number == number)
    }

    /// The leaves of a batch that are to be executed again; empty before its beacon is revealed.
    pub fn challenged(&self, batch: &Batch, spotcheck_ppm: u64) -> Vec<LeafRef> {
        let (Some(reveal), Some(run)) = (&batch.reveal, self.stage_run(batch.attestation.body.stage)) else {
            return Vec::new();
        };
        let shard = |shard: u64| {
            let leaves = run.stage.shard_leaves(shard);
            (shard, leaves.start, leaves.end - leaves.start)
        };
        let shards: Vec<_> = batch.credited.iter().map(shard).collect();
        let (job, members) = (self.id, batch.attestation.body.members);
        let verify = self.terms.policy.verify;
        Draw { job, members, beacon: reveal.value, verify, spotcheck_ppm, shards: &shards }.leaves()
    }

    /// How often something happened that set batches aside; a single event may reach many.
    pub fn incidents(&self) -> usize {
        let own = |aside: &&SetAside| matches!(aside.reason, Reason::False | Reason::Unopened | Reason::Lost);
        self.set_aside.iter().filter(own).count()
    }

    /// Sets aside the batches for which there is a reason, and all that was planned from them; the job goes on with
    /// what remains.
    pub(crate) fn set_aside(&mut self, reason: impl Fn(&Batch) -> Option<Reason>) {
        let hit = self.batches.iter().filter(|batch| reason(batch).is_some());
        let Some(stage) = hit.map(|batch| batch.attestation.body.stage).min() else { return };
        for batch in std::mem::take(&mut self.batches) {
            let of_stage = batch.attestation.body.stage;
            match reason(&batch).or((of_stage > stage).then_some(Reason::Superseded)) {
                Some(reason) => self.set_aside.push(SetAside { batch, reason }),
                None => self.batches.push(batch),
            }
        }
        self.runs.retain(|run| run.number <= stage);
        self.votes.retain(|vote| vote.body.stage < stage);
        self.attested = ShardSet::default();
        for batch in self.batches.iter().filter(|batch| batch.attestation.body.stage == stage) {
            batch.credited.iter().for_each(|shard| {
                self.attested.insert(shard);
            });
        }
        if self.state != State::Running {
            self.advance(State::Running);
        }
    }

    /// Moves to `next` if the table allows it; a move that is not in the table is a bug of ours.
    pub(crate) fn advance(&mut self, next: State) {
        assert!(
            self.state.may_become(next),
            "invariant: {:?} → {next:?} is in the table of moves",
            self.state
        );
        self.state = next;
    }
}

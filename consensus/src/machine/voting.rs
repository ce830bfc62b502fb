//! Votes on a stage's reduction: a majority of equal ones opens the next stage or ends the job.

use forgemesh_kernel::planner;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::keys::{KeyError, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::{Outcome, ReductionVote};

use super::{Applied, Event, Hub, Rejected};
use crate::job::JobRecord;
use crate::shard_set::ShardSet;

/// Why a vote was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefused {
    #[error("the vote's signature: {0}")]
    Signature(#[from] KeyError),
    #[error("only who sits in the hub votes")]
    NotAMember,
    #[error("no open job waits for the reduction of this stage")]
    NotAwaited,
    #[error("this member has voted on this stage")]
    Twice,
    #[error("the stage voted for does not follow from the plan")]
    WrongStage,
    #[error(
        "the result voted for does not end where the plan lets the job end, or its artifacts are not the ones asked for"
    )]
    WrongResult,
}

impl Hub {
    /// Is this vote made from what the record says now? It counts once the stage is verified.
    pub fn may_count(&self, job: &JobRecord, vote: &ReductionVote) -> bool {
        let made_from = (vote.stage, vote.set_aside, vote.seating);
        matches!(job.state, State::Verifying | State::Aggregating)
            && made_from == (job.run().number, job.set_aside.len() as u64, self.state.seating.number)
    }

    pub(super) fn vote(&mut self, signed: &Signed<ReductionVote>) -> Result<Applied, Rejected> {
        let vote = &signed.body;
        signed.verify(self.mesh).map_err(VoteRefused::Signature)?;
        if !self.seated().contains(&signed.key.id()) {
            return Err(VoteRefused::NotAMember.into());
        }
        let (members, seating) = (self.seated().len(), self.state.seating.number);
        let job = self.state.open.get(&vote.job).ok_or(VoteRefused::NotAwaited)?;
        if job.state != State::Aggregating || !self.may_count(job, vote) {
            return Err(VoteRefused::NotAwaited.into());
        }
        let job = self.state.open.get_mut(&vote.job).ok_or(VoteRefused::NotAwaited)?;
        let mut of_stage =
            job.votes.iter().filter(|old| (old.body.stage, old.body.seating) == (vote.stage, seating));
        if of_stage.any(|old| old.key == signed.key) {
            return Err(VoteRefused::Twice.into());
        }
        check_outcome(job, &vote.outcome)?;
        job.votes.push(signed.clone());
        let equal = job.votes.iter().filter(|other| other.body == *vote).count();
        if equal <= members / 2 {
            if !may_agree(job, vote, members) {
                let detail = "the hub's members came to different results, none of them that of a majority";
                let failure = Failure::new(FailureCode::VerificationMismatch, detail);
                return Ok(self.finish(vote.job, Err(failure)));
            }
            return Ok(Applied::event(Event::Voted { job: vote.job }));
        }
        match &vote.outcome {
            Outcome::Next(run) => {
                job.runs.push(run.clone());
                job.attested = ShardSet::default();
                job.advance(State::Running);
                Ok(Applied::event(Event::StageOpened { job: vote.job, stage: run.number }))
            }
            Outcome::Final(result) => Ok(self.finish(vote.job, Ok(result.clone()))),
            Outcome::Failed(failure) => Ok(self.finish(vote.job, Err(failure.clone()))),
        }
    }
}

/// Can the votes that are still to come make a majority of equal ones?
fn may_agree(job: &JobRecord, last: &ReductionVote, members: usize) -> bool {
    let counts = |vote: &&ReductionVote| (vote.stage, vote.seating) == (last.stage, last.seating);
    let votes: Vec<&ReductionVote> = job.votes.iter().map(|vote| &vote.body).filter(counts).collect();
    let equal = |vote: &&ReductionVote| votes.iter().filter(|other| *other == vote).count();
    let most = votes.iter().map(equal).max().unwrap_or(0);
    most + members.saturating_sub(votes.len()) > members / 2
}

/// What can be derived of an outcome is derived here, not believed.
fn check_outcome(job: &JobRecord, outcome: &Outcome) -> Result<(), VoteRefused> {
    let (plan, run) = (&job.plan, job.run());
    match outcome {
        Outcome::Failed(_) => Ok(()),
        Outcome::Next(next) => {
            let bytes = next.input.as_ref().map_or(0, |input| input.brackets.0.len());
            let bounded = next.number < limits::JOB_STAGES && bytes <= limits::STAGE_INPUT_BYTES;
            let follows = bounded && planner::may_follow(plan, run, next);
            if follows { Ok(()) } else { Err(VoteRefused::WrongStage) }
        }
        Outcome::Final(result) => {
            let kinds = result.artifacts.iter().map(|artifact| artifact.kind);
            // A result is of all leaves before the end of this stage, and a job ends only where its plan says it may.
            let end = run.stage.end();
            let covered = result.stop_leaf == end && result.work.leaves == end && plan.is_stop(end);
            let whole = covered && result.work.iterations == plan.paths_before(end);
            if whole && kinds.eq(job.terms.artifacts.include.iter().copied()) {
                Ok(())
            } else {
                Err(VoteRefused::WrongResult)
            }
        }
    }
}

//! Reduction votes: a majority of equal ones opens the next stage or ends the job.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected, VoteRefused};
use forgemesh_kernel::planner;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId};
use forgemesh_protocol::keys::{KeyError, SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{StageInput, StageRun};
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::{FinalResult, Outcome, ReductionVote};

use super::bench::{Bench, mix, reserve};

fn refusal(bench: &mut Bench, command: Command) -> VoteRefused {
    match bench.refuse(command) {
        Rejected::Vote(refused) => refused,
        other => panic!("a refused vote, not {other:?}"),
    }
}

fn input() -> Option<StageInput> {
    Some(StageInput { source: Hash([4; 32]), brackets: Bytes(vec![1, 2, 3]) })
}

/// The stage that the plan has next.
pub fn next_stage(bench: &Bench, id: &JobId) -> StageRun {
    let job = bench.job(id);
    let number = job.run().number + 1;
    StageRun { number, stage: job.plan.stages[number as usize].clone(), input: input() }
}

/// Takes a job whose pilot is verified to its main stage.
pub fn open_second_stage(bench: &mut Bench, id: &JobId) {
    let command = bench.vote(id, 0, Outcome::Next(next_stage(bench, id)));
    assert_eq!(bench.accept(command), Event::StageOpened { job: *id, stage: 1 });
}

fn verified(members: u8) -> (Bench, JobId) {
    let mut bench = Bench::new(members);
    let id = bench.submit(&mix("spotcheck"));
    bench.verify_stage(&id);
    (bench, id)
}

#[test]
fn a_stranger_has_no_vote() {
    let (mut bench, id) = verified(1);
    let vote = ReductionVote { job: id, stage: 0, outcome: Outcome::Final(bench.result(&id)) };
    let stranger = Signed::new(vote.clone(), bench.hub.mesh(), &SecretKey::from_bytes(&[0xcc; 32]));
    assert_eq!(refusal(&mut bench, Command::Vote { vote: stranger }), VoteRefused::NotAMember);
    let elsewhere = Signed::new(vote, MeshId(Hash::ZERO), &bench.members[0]);
    let expected = VoteRefused::Signature(KeyError::BadSignature);
    assert_eq!(refusal(&mut bench, Command::Vote { vote: elsewhere }), expected);
}

#[test]
fn a_majority_of_equal_votes_decides_and_nobody_votes_twice() {
    let (mut bench, id) = verified(3);
    let right = bench.result(&id);
    let wrong = FinalResult { result_hash: Hash([8; 32]), ..right.clone() };
    let first = bench.vote(&id, 0, Outcome::Final(right.clone()));
    assert_eq!(bench.accept(first.clone()), Event::Voted { job: id });
    assert_eq!(refusal(&mut bench, first), VoteRefused::Twice);
    let second_thought = bench.vote(&id, 0, Outcome::Final(wrong.clone()));
    assert_eq!(refusal(&mut bench, second_thought), VoteRefused::Twice);
    let dissent = bench.vote(&id, 1, Outcome::Final(wrong));
    assert_eq!(bench.accept(dissent), Event::Voted { job: id }, "one against one decides nothing");
    assert_eq!(bench.job(&id).state, State::Aggregating);
    let third = bench.vote(&id, 2, Outcome::Final(right.clone()));
    assert_eq!(bench.accept(third), Event::Finished { job: id });
    assert_eq!(bench.finished[0].result.as_ref(), Some(&right));
}

#[test]
fn a_vote_is_awaited_only_when_its_stage_is_verified() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let result = Outcome::Final(bench.result(&id));
    let early = bench.vote(&id, 0, result.clone());
    assert_eq!(refusal(&mut bench, early), VoteRefused::NotAwaited);
    bench.attest_all(&id);
    let early = bench.vote(&id, 0, result.clone());
    assert_eq!(refusal(&mut bench, early), VoteRefused::NotAwaited, "attested is not verified");
    let sign = |bench: &Bench, vote| Signed::new(vote, bench.hub.mesh(), &bench.members[0]);
    for (job, stage) in [(JobId(Hash::ZERO), 0), (id, 1)] {
        let vote = sign(&bench, ReductionVote { job, stage, outcome: result.clone() });
        assert_eq!(refusal(&mut bench, Command::Vote { vote }), VoteRefused::NotAwaited);
    }
}

#[test]
fn a_result_covers_the_plan_and_has_the_artifacts_asked_for() {
    let (mut bench, id) = verified(1);
    let good = bench.result(&id);
    let mut wrong = vec![FinalResult { stop_leaf: good.stop_leaf - 1, ..good.clone() }];
    let mut fewer = good.clone();
    fewer.artifacts.pop();
    let mut other_order = good.clone();
    other_order.artifacts.swap(0, 1);
    let mut twice = good.clone();
    twice.artifacts.push(twice.artifacts[0].clone());
    let mut iterations = good.clone();
    iterations.work.iterations += 1;
    let mut leaves = good.clone();
    leaves.work.leaves -= 1;
    wrong.extend([fewer, other_order, twice, iterations, leaves]);
    for result in wrong {
        let command = bench.vote(&id, 0, Outcome::Final(result));
        assert_eq!(refusal(&mut bench, command), VoteRefused::WrongResult);
    }
    let command = bench.vote(&id, 0, Outcome::Final(good));
    assert_eq!(bench.accept(command), Event::Finished { job: id });
}

#[test]
fn the_next_stage_is_the_plans_own() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    let good = next_stage(&bench, &id);
    let mut larger = good.clone();
    larger.stage.leaves += 1;
    let long =
        Some(StageInput { source: Hash::ZERO, brackets: Bytes(vec![0; limits::STAGE_INPUT_BYTES + 1]) });
    let repaired = planner::repair(&good.stage, bench.job(&id).plan.leaves() - 1);
    let wrong = [
        larger,
        StageRun { number: 2, ..good.clone() },
        StageRun { number: 0, ..good.clone() },
        StageRun { stage: bench.job(&id).plan.stages[0].clone(), ..good.clone() },
        StageRun { input: None, ..good.clone() },
        StageRun { input: long, ..good.clone() },
        StageRun { stage: repaired, ..good.clone() },
    ];
    for run in wrong {
        let command = bench.vote(&id, 0, Outcome::Next(run));
        assert_eq!(refusal(&mut bench, command), VoteRefused::WrongStage);
    }
    open_second_stage(&mut bench, &id);
    let job = bench.job(&id);
    assert_eq!((job.state, job.run(), job.attested.len()), (State::Running, &good, 0));
}

#[test]
fn repairs_are_bounded() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    open_second_stage(&mut bench, &id);
    for number in 2..limits::JOB_STAGES {
        bench.verify_stage(&id);
        let plan = &bench.job(&id).plan;
        let stage = planner::repair(plan.stages.last().unwrap(), plan.leaves());
        let command = bench.vote(&id, 0, Outcome::Next(StageRun { number, stage, input: input() }));
        assert_eq!(bench.accept(command), Event::StageOpened { job: id, stage: number });
    }
    bench.verify_stage(&id);
    let again = StageRun { number: limits::JOB_STAGES, ..bench.job(&id).run().clone() };
    let command = bench.vote(&id, 0, Outcome::Next(again));
    assert_eq!(refusal(&mut bench, command), VoteRefused::WrongStage);
}

#[test]
fn votes_of_an_earlier_stage_do_not_count_later() {
    let mut bench = Bench::new(3);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    let next = Outcome::Next(next_stage(&bench, &id));
    for member in 0..2 {
        let command = bench.vote(&id, member, next.clone());
        bench.accept(command);
    }
    assert_eq!(bench.job(&id).state, State::Running);
    bench.verify_stage(&id);
    let result = Outcome::Final(bench.result(&id));
    let command = bench.vote(&id, 0, result.clone());
    assert_eq!(bench.accept(command), Event::Voted { job: id });
    let command = bench.vote(&id, 2, result);
    assert_eq!(bench.accept(command), Event::Finished { job: id });
    assert_eq!(bench.finished[0].record.votes.len(), 4);
}

#[test]
fn a_failed_reduction_ends_the_job() {
    let (mut bench, id) = verified(1);
    let failure = Failure::new(FailureCode::NumericDegenerate, "a test");
    let command = bench.vote(&id, 0, Outcome::Failed(failure.clone()));
    assert_eq!(bench.accept(command), Event::Finished { job: id });
    assert_eq!(bench.finished[0].failure, Some(failure));
}

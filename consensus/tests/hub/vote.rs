//! Reduction votes: a majority of equal ones opens the next stage or ends the job.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected, VoteRefused};
use forgemesh_kernel::planner;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::contract::Work;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId};
use forgemesh_protocol::keys::{KeyError, SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::{StageInput, StageKind, StageRun};
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
    let vote = ReductionVote {
        job: id,
        stage: 0,
        outcome: Outcome::Final(bench.result(&id)),
        set_aside: 0,
        seating: 0,
    };
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

/// A tie is never settled: when no majority can come any more, the job ends without a result.
#[test]
fn members_that_cannot_agree_end_the_job() {
    for members in [3u8, 5] {
        let (mut bench, id) = verified(members);
        let right = bench.result(&id);
        // Two at most agree; with five members the fourth vote already decides it.
        let digests: &[u8] = if members == 3 { &[1, 2, 3] } else { &[1, 2, 3, 4] };
        for (member, digest) in digests.iter().enumerate() {
            let outcome = Outcome::Final(FinalResult { result_hash: Hash([*digest; 32]), ..right.clone() });
            let command = bench.vote(&id, member, outcome);
            let last = member + 1 == digests.len();
            let expected = if last { Event::Finished { job: id } } else { Event::Voted { job: id } };
            assert_eq!(bench.accept(command), expected, "{members} members, vote {member}");
        }
        let failure = bench.finished[0].failure.as_ref().expect("no result");
        assert_eq!(failure.code, FailureCode::VerificationMismatch);
    }
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
        let vote =
            sign(&bench, ReductionVote { job, stage, outcome: result.clone(), set_aside: 0, seating: 0 });
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
fn one_repair_follows_the_last_stage_and_nothing_follows_a_repair() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    let plan = bench.job(&id).plan.clone();
    let stage = planner::repair(plan.stages.last().unwrap(), plan.leaves());
    let early =
        bench.vote(&id, 0, Outcome::Next(StageRun { number: 1, stage: stage.clone(), input: input() }));
    assert_eq!(refusal(&mut bench, early), VoteRefused::WrongStage, "a pilot misses no bracket");
    open_second_stage(&mut bench, &id);
    bench.verify_stage(&id);
    let command = bench.vote(&id, 0, Outcome::Next(StageRun { number: 2, stage, input: input() }));
    assert_eq!(bench.accept(command), Event::StageOpened { job: id, stage: 2 });
    bench.verify_stage(&id);
    let again = StageRun { number: 3, ..bench.job(&id).run().clone() };
    let command = bench.vote(&id, 0, Outcome::Next(again));
    assert_eq!(refusal(&mut bench, command), VoteRefused::WrongStage);
    let command = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    assert_eq!(bench.accept(command), Event::Finished { job: id });
}

/// A reserve that looks from 28 leaves on: the stages of its pilot end at 28, 35, 44, 55 and 64 leaves, then come 80 and
/// the 98 there are.
fn looking() -> String {
    r#"{"op":{"name":"mc","version":1,"profile":"reserve.v1"},
        "args":{"triangle":[[100,150,170],[110,160],[120]],"iterations":100000,
                "convergence":{"relative_half_width":0.5,"min_iterations":28000}}}"#
        .to_owned()
}

/// Verifies the current stage and opens the plan's next, which needs no new brackets.
fn go_on(bench: &mut Bench, id: &JobId) {
    bench.verify_stage(id);
    let run = bench.job(id).run().clone();
    let stage = bench.job(id).plan.stages[run.number as usize + 1].clone();
    let input = match (stage.kind, run.stage.kind) {
        (StageKind::Pilot, _) => None,
        (_, StageKind::Pilot) => input(),
        _ => run.input,
    };
    let command = bench.vote(id, 0, Outcome::Next(StageRun { number: run.number + 1, stage, input }));
    assert_eq!(bench.accept(command), Event::StageOpened { job: *id, stage: run.number + 1 });
}

/// A result of all leaves before this one.
fn stopped(bench: &Bench, id: &JobId, stop_leaf: u64) -> FinalResult {
    let (whole, plan) = (bench.result(id), &bench.job(id).plan);
    let iterations = (stop_leaf * plan.leaf_paths).min(plan.paths);
    FinalResult { stop_leaf, work: Work { iterations, leaves: stop_leaf, ..whole.work.clone() }, ..whole }
}

#[test]
fn a_job_stops_where_its_plan_looks_and_nowhere_else() {
    let ends = [28, 35, 44, 55, 64, 80, 98];
    for stage in 0..ends.len() {
        let mut bench = Bench::new(1);
        let id = bench.submit(&looking());
        assert!(bench.job(&id).plan.looks().eq(ends), "{:?}", bench.job(&id).plan);
        (0..stage).for_each(|_| go_on(&mut bench, &id));
        bench.verify_stage(&id);
        let here = stopped(&bench, &id, ends[stage]);
        let near = ends.iter().flat_map(|end| [end - 1, *end, end + 1]).filter(|leaf| *leaf != ends[stage]);
        let elsewhere = near.map(|leaf| stopped(&bench, &id, leaf));
        let mut wrong: Vec<FinalResult> = elsewhere.collect();
        wrong.push(FinalResult { stop_leaf: here.stop_leaf - 1, ..here.clone() });
        for change in [|work: &mut Work| work.leaves -= 1, |work: &mut Work| work.iterations -= 1] {
            let mut other = here.clone();
            change(&mut other.work);
            wrong.push(other);
        }
        for result in wrong {
            let command = bench.vote(&id, 0, Outcome::Final(result.clone()));
            assert_eq!(refusal(&mut bench, command), VoteRefused::WrongResult, "stage {stage}: {result:?}");
        }
        let command = bench.vote(&id, 0, Outcome::Final(here));
        assert_eq!(bench.accept(command), Event::Finished { job: id }, "stage {stage}");
    }
}

#[test]
fn a_job_that_does_not_look_stops_at_its_end_alone() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    let command = bench.vote(&id, 0, Outcome::Final(stopped(&bench, &id, 64)));
    assert_eq!(
        refusal(&mut bench, command),
        VoteRefused::WrongResult,
        "its pilot ends there, and no look is due"
    );
}

#[test]
fn before_its_first_look_a_job_does_not_stop() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&looking().replace("28000", "70000"));
    assert!(bench.job(&id).plan.looks().eq([69, 87, 98]), "{:?}", bench.job(&id).plan);
    bench.verify_stage(&id);
    let command = bench.vote(&id, 0, Outcome::Final(stopped(&bench, &id, 64)));
    assert_eq!(refusal(&mut bench, command), VoteRefused::WrongResult);
}

#[test]
fn all_main_stages_have_the_brackets_of_the_pilot_and_a_repair_ends_where_the_job_stopped() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&looking());
    (0..5).for_each(|_| go_on(&mut bench, &id));
    bench.verify_stage(&id);
    let (run, plan) = (bench.job(&id).run().clone(), bench.job(&id).plan.clone());
    assert_eq!((run.number, run.stage.end()), (5, 80));
    let next = StageRun { number: 6, stage: plan.stages[6].clone(), input: run.input.clone() };
    let other = Some(StageInput { source: Hash([5; 32]), brackets: Bytes(vec![1, 2, 3]) });
    let repair = |end| StageRun { number: 6, stage: planner::repair(&run.stage, end), input: other.clone() };
    let wrong = [
        StageRun { input: other.clone(), ..next.clone() },
        StageRun { input: None, ..next.clone() },
        StageRun { stage: plan.stages[5].clone(), ..next.clone() },
        StageRun { number: 7, ..next },
        repair(98),
        repair(64),
        repair(79),
        StageRun { input: None, ..repair(80) },
    ];
    for run in wrong {
        let command = bench.vote(&id, 0, Outcome::Next(run.clone()));
        assert_eq!(refusal(&mut bench, command), VoteRefused::WrongStage, "{run:?}");
    }
    let command = bench.vote(&id, 0, Outcome::Next(repair(80)));
    assert_eq!(bench.accept(command), Event::StageOpened { job: id, stage: 6 });
    bench.verify_stage(&id);
    let command = bench.vote(&id, 0, Outcome::Final(stopped(&bench, &id, 98)));
    assert_eq!(refusal(&mut bench, command), VoteRefused::WrongResult);
    let command = bench.vote(&id, 0, Outcome::Final(stopped(&bench, &id, 80)));
    assert_eq!(bench.accept(command), Event::Finished { job: id });
}

#[test]
fn a_pilot_stage_takes_no_input() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&looking());
    bench.verify_stage(&id);
    let stage = bench.job(&id).plan.stages[1].clone();
    let command = bench.vote(&id, 0, Outcome::Next(StageRun { number: 1, stage, input: input() }));
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

/// A bundle is whole without what nobody's votes made anything of: perhaps a single voter had it.
#[test]
fn an_outcome_rests_on_what_a_majority_has_reduced() {
    let rests = |bench: &Bench| {
        let finished = &bench.finished[0];
        let batch = &finished.record.batches[0];
        (finished.stands_on(batch), finished.rests_on(batch))
    };
    let (mut bench, id) = verified(3);
    let vote = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    bench.accept(vote);
    let failure = Failure::new(FailureCode::AttemptsExhausted, "a test");
    bench.accept(Command::Fail { job: id, failure });
    assert_eq!(rests(&bench), (true, false));

    let (mut bench, id) = verified(3);
    let failure = Failure::new(FailureCode::NumericDegenerate, "a test");
    for member in [0, 1] {
        let vote = bench.vote(&id, member, Outcome::Failed(failure.clone()));
        bench.accept(vote);
    }
    assert_eq!(rests(&bench), (true, true));

    let (mut bench, id) = verified(3);
    for (member, bytes) in [(0, 3), (1, 4), (2, 5)] {
        let mut result = bench.result(&id);
        result.artifacts[0].bytes = bytes;
        let vote = bench.vote(&id, member, Outcome::Final(result));
        bench.accept(vote);
    }
    assert_eq!(rests(&bench), (true, true), "no two agreed");

    let (mut bench, id) = verified(3);
    bench.accept(Command::Fail { job: id, failure });
    assert_eq!(rests(&bench), (false, false));
}

//! How the leader gives a job up, and what comes too late.

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::machine::{Event, Gap, Rejected};
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::state::State;

use super::bench::{Bench, mix};

fn timed_out(job: JobId) -> Command {
    Command::Fail { job, failure: Failure::new(FailureCode::TimedOut, "too slow") }
}

#[test]
fn a_job_times_out_by_log_time_and_not_before() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix(r#"none","timeout_ms":5000,"target":"any"#));
    assert_eq!(bench.job(&id).terms.policy.timeout_ms, 5_000);
    let accepted_ms = bench.now_ms;
    for now_ms in [accepted_ms, accepted_ms + 4_999] {
        bench.now_ms = now_ms;
        assert_eq!(bench.refuse(timed_out(id)), Rejected::NotTimedOut { job: id, now_ms });
    }
    bench.now_ms = accepted_ms + 5_000;
    assert_eq!(bench.accept(timed_out(id)), Event::Finished { job: id });
    assert_eq!(bench.finished[0].failure.as_ref().unwrap().code, FailureCode::TimedOut);
    assert_eq!(bench.refuse(timed_out(id)), Rejected::NotOpen(id), "it ends once");
}

#[test]
fn a_job_without_a_limit_never_times_out() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    bench.now_ms += 10 * 365 * 24 * 3_600_000;
    let now_ms = bench.now_ms;
    assert_eq!(bench.refuse(timed_out(id)), Rejected::NotTimedOut { job: id, now_ms });
    let failure = Failure::new(FailureCode::AttemptsExhausted, "shard 0");
    assert_eq!(bench.accept(Command::Fail { job: id, failure }), Event::Finished { job: id });
}

#[test]
fn a_job_can_be_given_up_in_every_open_state() {
    let give_up = |bench: &mut Bench, job, state| {
        assert_eq!(bench.job(&job).state, state);
        let failure = Failure::new(FailureCode::EvidenceLost, "a test");
        assert_eq!(bench.accept(Command::Fail { job, failure }), Event::Finished { job });
    };
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    give_up(&mut bench, id, State::Planned);
    let id = bench.submit(&mix("spotcheck"));
    bench.accept(Command::Start { job: id });
    give_up(&mut bench, id, State::Running);
    let id = bench.submit(&mix("spotcheck"));
    bench.attest_all(&id);
    give_up(&mut bench, id, State::Verifying);
    let id = bench.submit(&mix("spotcheck"));
    bench.verify_stage(&id);
    give_up(&mut bench, id, State::Aggregating);
    assert_eq!(bench.finished.len(), 4);
}

#[test]
fn what_comes_after_the_end_changes_nothing_but_the_chain() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    let digest = bench.attest_all(&id);
    bench.accept(bench.reveal());
    let late = bench.attestation(&id, vec![0]);
    let (verdict, start) = (bench.judge(bench.verdict(&id, digest)), Command::Start { job: id });
    let failure = Failure::new(FailureCode::EvidenceLost, "a test");
    bench.accept(Command::Fail { job: id, failure });
    assert_eq!(bench.attest(late).0, 0);
    assert!(matches!(bench.refuse(verdict), Rejected::Verdict(_)));
    assert_eq!(bench.refuse(start), Rejected::NotOpen(id));
    assert_eq!(bench.finished.len(), 1);
}

#[test]
fn unknown_jobs_and_entries_out_of_order_are_refused() {
    let mut bench = Bench::new(1);
    let nowhere = JobId(Hash::ZERO);
    assert_eq!(bench.refuse(Command::Start { job: nowhere }), Rejected::NotOpen(nowhere));
    assert_eq!(bench.refuse(timed_out(nowhere)), Rejected::NotOpen(nowhere));
    let before = bench.hub.state().clone();
    for index in [0, before.next + 1] {
        let entry = Entry { index, term: 9, at_ms: u64::MAX, command: Command::Start { job: nowhere } };
        let gap = Gap { due: before.next, found: index };
        assert_eq!(bench.hub.apply(&entry), Err(Rejected::OutOfOrder(gap)));
        assert_eq!(bench.hub.pass_over(index, 9), Err(gap));
        assert_eq!(*bench.hub.state(), before, "not even log time");
    }
}

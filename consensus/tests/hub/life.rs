//! A job's life, state by state, as its policy asks; and what is outstanding in each.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::Event;
use forgemesh_consensus::todo::{Todo, outstanding};
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::Outcome;

use super::bench::{Bench, mix, reserve};
use super::vote::open_second_stage;

fn todo(bench: &Bench, id: &JobId) -> Vec<Todo> {
    outstanding(bench.job(id), bench.hub.genesis().parameters.spotcheck_ppm)
}

#[test]
fn a_checked_job_passes_every_state() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    assert_eq!((bench.job(&id).state, todo(&bench, &id)), (State::Planned, Vec::new()));
    assert_eq!(bench.accept(Command::Start { job: id }), Event::Started { job: id });
    assert_eq!(bench.job(&id).state, State::Running);
    bench.accept(Command::Start { job: id });
    assert_eq!(bench.job(&id).state, State::Running, "a second start changes nothing");

    let attestation = bench.attestation(&id, vec![0, 2]);
    let (_, first) = bench.attest(attestation);
    assert_eq!(bench.job(&id).state, State::Running);
    assert!(bench.hub.awaits_reveal() && todo(&bench, &id).is_empty());
    bench.accept(bench.reveal());
    assert!(matches!(&todo(&bench, &id)[..], [Todo::Check { attestation, .. }] if *attestation == first));
    bench.accept(bench.judge(bench.verdict(&id, first)));
    assert_eq!((bench.job(&id).state, todo(&bench, &id)), (State::Running, Vec::new()));

    let attestation = bench.attestation(&id, vec![1]);
    let (_, second) = bench.attest(attestation);
    assert_eq!(bench.job(&id).state, State::Verifying);
    bench.accept(bench.reveal());
    bench.accept(bench.judge(bench.verdict(&id, second)));
    assert_eq!(bench.job(&id).state, State::Aggregating);
    assert_eq!(todo(&bench, &id), [Todo::Reduce { job: id, stage: 0 }]);

    let command = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    assert_eq!(bench.accept(command), Event::Finished { job: id });
    assert_eq!(bench.finished[0].record.state, State::Finalized);
    assert!(bench.hub.job(&id).is_none());
}

#[test]
fn an_unchecked_job_goes_straight_to_its_reduction() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    bench.attest_all(&id);
    assert_eq!(bench.job(&id).state, State::Aggregating, "an attestation starts a job, too");
    assert_eq!(todo(&bench, &id), [Todo::Reduce { job: id, stage: 0 }]);
}

#[test]
fn a_job_of_two_stages_runs_twice() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    open_second_stage(&mut bench, &id);
    assert_eq!((bench.job(&id).state, todo(&bench, &id)), (State::Running, Vec::new()));
    bench.verify_stage(&id);
    assert_eq!(bench.job(&id).state, State::Aggregating);
    assert_eq!(todo(&bench, &id), [Todo::Reduce { job: id, stage: 1 }]);
    let command = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    bench.accept(command);
    assert_eq!(bench.finished[0].record.runs.len(), 2);
}

#[test]
fn log_time_is_the_largest_clock_seen() {
    let mut bench = Bench::new(1);
    bench.submit(&mix("none"));
    bench.now_ms -= 500;
    let id = bench.submit(&mix("none"));
    assert_eq!((bench.hub.state().now_ms, bench.job(&id).accepted_ms), (1_000_000, 1_000_000));
}

//! An agent signs for what is none of the job's accumulators. Its bytes have their right address, so that no other copy
//! would be better; the leader has the batch set aside, and nobody asks for it or reduces it again.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::job::Reason;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::state::State;

use super::bench::Bench;
use super::work::INSURANCE;

/// Three members and two agents, one of which lies; nobody checks.
fn lied_to() -> (Bench, JobId) {
    let mut bench = Bench::new(3, 0, 2);
    bench.liar = Some(3);
    bench.elect(0);
    let unchecked = INSURANCE.replace("}}", r#"},"policy":{"verify":"none"}}"#);
    let job = bench.submit(0, &unchecked);
    (bench, job)
}

fn ended_well(bench: &Bench, member: usize, job: &JobId) {
    let record = bench.finished(member, job).expect("books").finished.record;
    assert_eq!(record.state, State::Finalized);
    let liar = bench.id(3);
    assert!(!record.set_aside.is_empty());
    for aside in &record.set_aside {
        assert_eq!((aside.batch.attestation.body.agent, aside.reason), (liar, Reason::Lost));
    }
    assert!(record.batches.iter().all(|batch| batch.attestation.body.agent != liar));
}

#[test]
fn what_is_no_accumulator_is_set_aside_at_once() {
    let (mut bench, job) = lied_to();
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    ended_well(&bench, 0, &job);
}

#[test]
fn a_new_leader_has_it_set_aside_too() {
    let (mut bench, job) = lied_to();
    let by_liar = |bench: &Bench| {
        let liar = bench.id(3);
        bench.logged(
            |command| matches!(command, Command::Attest { attestation } if attestation.body.agent == liar),
        )
    };
    bench.run(60_000, |bench| by_liar(bench) > 0);
    bench.kill(0);
    // The others have all that they need, and find it out with nobody to tell.
    let end_ms = bench.now_ms + 10_000;
    bench.run(60_000, |bench| bench.now_ms >= end_ms);
    assert_eq!(bench.logged(|command| matches!(command, Command::Discard { .. })), 0);
    bench.elect(1);
    bench.run(60_000, |bench| (1..3).all(|member| bench.finished(member, &job).is_some()));
    ended_well(&bench, 1, &job);
}

//! The leader logs votes when they decide: together, right behind the last verdict, and no more than that takes.

use forgemesh_consensus::command::Command;
use forgemesh_protocol::limits;

use super::bench::Bench;
use super::deliveries::NOOP;
use super::work::INSURANCE;

fn is_vote(command: &Command) -> bool {
    matches!(command, Command::Vote { .. })
}

#[test]
fn a_majority_is_logged_together_behind_the_last_verdict() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    let end_ms = bench.now_ms + 5_000;
    bench.run(10_000, |bench| bench.now_ms >= end_ms);
    assert_eq!(bench.logged(is_vote), 2, "the third would change nothing");
    let last = bench.log.iter().rposition(|entry| matches!(entry.command, Command::Judge { .. }));
    let behind = &bench.log[last.expect("checked") + 1..];
    assert!(behind.len() >= 2 && behind[..2].iter().all(|entry| is_vote(&entry.command)));
}

/// Artifacts that tell of the verdicts cannot be made before they are there.
#[test]
fn artifacts_that_tell_of_verdicts_are_made_after_them() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    let all = INSURANCE.replace(
        "}}",
        r#"},"artifacts":{"persist":true,"kv_namespace":"jobs","include":["result_json","verification_json"]}}"#,
    );
    let job = bench.submit(0, &all);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    let file = bench.finished(0, &job).expect("books");
    let artifact = &file.finished.result.expect("a result").artifacts[1];
    let bytes = bench.nodes[0].storage.blob(&artifact.blake3).expect("a disk").expect("here");
    let told: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let batches = told["batches"].as_array().expect("batches");
    assert!(!batches.is_empty() && batches.iter().all(|batch| batch["checker"].is_string()), "{told}");
}

#[test]
fn a_vote_that_waits_in_vain_for_others_is_logged_alone() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.cut = vec![(1, 0), (2, 0)];
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| bench.logged(|command| matches!(command, Command::Judge { .. })) > 0);
    bench.run(10 * limits::RETRY_MS, |bench| bench.logged(is_vote) == 1);
    assert!(bench.finished(0, &job).is_none());
    bench.cut.clear();
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    assert_eq!(bench.logged(is_vote), 2);
}

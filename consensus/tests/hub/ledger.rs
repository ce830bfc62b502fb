//! The books: one entry for each final job, chained; who is named in them, and with how many paths.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_protocol::failure::{Failure, FailureCode};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::receipt::Independence;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::Outcome;

use super::bench::{Bench, mix, reserve};
use super::vote::open_second_stage;

#[test]
fn entries_are_numbered_and_each_names_the_one_before() {
    let mut bench = Bench::new(1);
    let jobs: Vec<_> = (0..5).map(|_| bench.submit(&mix("spotcheck"))).collect();
    for (i, id) in jobs.iter().enumerate().rev() {
        bench.now_ms += 7;
        if i % 2 == 0 {
            bench.finish(id);
        } else {
            let failure = Failure::new(FailureCode::EvidenceLost, "a test");
            bench.accept(Command::Fail { job: *id, failure });
        }
    }
    let mut prev = Hash::ZERO;
    for (seq, finished) in bench.finished.iter().enumerate() {
        let entry = &finished.entry;
        assert_eq!((entry.seq, entry.prev), (seq as u64, prev));
        assert_eq!(entry.job, jobs[4 - seq], "in the order in which they ended");
        assert_eq!(entry.at_ms, 1_000_000 + 7 * (seq as u64 + 1));
        assert_eq!(entry.receipt, bench.statement(finished).digest());
        assert_eq!(FinishedJob::decode(&finished.encode()).as_ref(), Ok(finished));
        prev = entry.hash();
    }
    let state = bench.hub.state();
    assert_eq!((state.ledger_len, state.ledger_head), (5, prev));
}

#[test]
fn providers_are_named_with_the_paths_that_count() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    let attestation = bench.attestation(&id, vec![0, 1]);
    bench.attest(attestation);
    let first = bench.agent.public().id();
    bench.agent = SecretKey::from_bytes(&[0xa1; 32]);
    let attestation = bench.attestation(&id, vec![1, 2]);
    assert_eq!(bench.attest(attestation).0, 1, "shard 1 is the first agent's");
    let second = bench.agent.public().id();
    let command = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    bench.accept(command);
    let finished = &bench.finished[0];
    let (plan, stage) = (&finished.record.plan, &finished.record.runs[0].stage);
    let paths = |shards: &[u64]| -> u64 {
        let leaves = shards.iter().flat_map(|&shard| stage.shard_leaves(shard));
        leaves.map(|leaf| plan.leaf_range(leaf).end - plan.leaf_range(leaf).start).sum()
    };
    let of = |node| finished.entry.providers.iter().find(|p| p.node == node).unwrap().verified_paths;
    assert_eq!((of(first), of(second)), (paths(&[0, 1]), paths(&[2])));
    assert_eq!(of(first) + of(second), 400_000);
    assert!(finished.entry.providers.iter().all(|provider| provider.reward_ucredits == 0));
}

#[test]
fn both_stages_of_a_reserve_are_credited() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&reserve());
    bench.verify_stage(&id);
    open_second_stage(&mut bench, &id);
    bench.verify_stage(&id);
    let command = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    bench.accept(command);
    let entry = &bench.finished[0].entry;
    assert_eq!((entry.state, entry.providers.len()), (State::Finalized, 1));
    assert_eq!(entry.providers[0].verified_paths, 70_000);
}

#[test]
fn the_record_says_who_checked_whom() {
    let independence = |bench: &Bench| {
        let statement = bench.statement(&bench.finished[0]);
        (statement.predicate.verification.independence, statement.predicate.verification.checked_leaves)
    };
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("spotcheck"));
    bench.finish(&id);
    let (other, checked) = independence(&bench);
    assert_eq!((other, checked > 0), (Independence::SameOperator, true), "another key checked it");

    let mut bench = Bench::new(1);
    bench.agent = bench.members[0].clone();
    let id = bench.submit(&mix("spotcheck"));
    bench.finish(&id);
    assert_eq!(independence(&bench).0, Independence::SelfAttested);

    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    bench.attest_all(&id);
    let command = bench.vote(&id, 0, Outcome::Final(bench.result(&id)));
    bench.accept(command);
    assert_eq!(independence(&bench), (Independence::SelfAttested, 0));
}

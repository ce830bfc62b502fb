//! Agents that say what is not so, and strangers: nothing of it ends a job, accuses an honest agent, or costs more than
//! its bytes.

use std::collections::BTreeMap;

use forgemesh_consensus::command::Command;
use forgemesh_node::core::Input;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{CheckOutcome, Mismatch, MismatchKind, Verdict};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Hello, Holding, Message};

use super::bench::{Agent, Bench, mix};

#[test]
fn a_strangers_verdict_does_not_even_enter_the_log() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(4, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut one);
    let offer = one.leases[0].clone();
    bench.attest(&mut one, &offer, &[0]);
    let attestation = bench.job(&id).expect("open").batches[0].digest;
    let entries = bench.log.len();
    for _ in 0..10 {
        let verdict = Verdict {
            job: id,
            attestation,
            checker: one.id(),
            outcome: CheckOutcome::Agreed,
            drawn: Hash::ZERO,
            checked: 0,
            mismatches: Vec::new(),
        };
        let verdict = Signed::new(verdict, bench.genesis.mesh_id(), &one.secret);
        bench.from(&one.clone(), Message::Judge(Box::new(verdict)));
    }
    assert_eq!((bench.log.len(), bench.job(&id).is_some()), (entries, true));
}

#[test]
fn a_job_with_one_agent_at_a_time_gets_another_when_that_one_failed() {
    let mut bench = Bench::new();
    let (mut one, mut two) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&one, &two]);
    let id = bench.submit(&mix(1, r#"{"verify":"none","max_agents":1}"#));
    bench.deliver(&mut one);
    bench.deliver(&mut two);
    let (mut worker, other) = if one.held() > 0 { (one, two) } else { (two, one) };
    worker.holds.clear();
    let detail = "for a moment".to_owned();
    bench.from(&worker, Message::ShardFailed { job: id, stage: 0, shard: 0, attempt: 1, detail });
    bench.pass(1_000, &[&worker, &other]);
    assert!(bench.leases(&worker).is_empty() && !bench.leases(&other).is_empty());
}

#[test]
fn after_a_restart_a_conviction_waits_for_others_to_say_hello() {
    let mut bench = Bench::new();
    let (mut cheat, mut honest) = (Agent::new(10, 1), Agent::new(11, 1));
    honest.accepts = 0;
    bench.hello(&[&cheat, &honest]);
    let id = bench.submit(&mix(3, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut cheat);
    let offer = cheat.leases[0].clone();
    bench.attest(&mut cheat, &offer, &[0]);
    for message in bench.told(&cheat) {
        if let Message::Open(challenge) = message {
            let openings = vec![Bytes(vec![0]); challenge.leaves.len()];
            let attestation = challenge.attestation.body.digest();
            bench.from(&cheat, Message::Opened { job: id, attestation, openings });
        }
    }
    let Some((ticket, Work::Check { leaves, .. })) = bench.works.pop_front() else { panic!("a check") };
    let mismatches =
        vec![Mismatch { at: leaves[0], kind: MismatchKind::LeafDiffers, recomputed: Hash([3; 32]) }];
    bench.hand(Input::Worked { ticket, done: Done::Checked { mismatches } });
    assert_eq!(bench.job(&id).expect("open").convicted, [cheat.id()]);
    bench.restart();
    bench.pass(limits::SETTLE_MS + 1_000, &[&cheat]);
    honest.accepts = 256;
    bench.hello(&[&honest]);
    assert_eq!(bench.deliver(&mut honest), 3);
    // The convicted alone: once everyone has had the time, the job is over.
    bench.restart();
    bench.pass(limits::SILENCE_MS + 1_000, &[&cheat]);
    let failure = bench.finished().failure.expect("a failure");
    assert_eq!(failure.code.as_str(), "verification_mismatch");
}

#[test]
fn blobs_are_fetched_as_fast_as_they_come() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 16);
    bench.hello(&[&one]);
    bench.submit(&mix(256, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    let offer = one.leases[0].clone();
    let held: Vec<u64> = (0..offer.lease.body.shards).collect();
    assert!(held.len() > 200);
    let (message, blobs) = one.attest(&bench, &offer, &held);
    let blobs: BTreeMap<Hash, Vec<u8>> = blobs.into_iter().map(|bytes| (Hash::blob(&bytes), bytes)).collect();
    bench.from(&one, message);
    // Without a moment's delay in the network, no time passes.
    for _ in 0..held.len() {
        for message in bench.told(&one) {
            let Message::Fetch { blobs: asked } = message else { continue };
            for blob in asked {
                bench.from(&one, Message::Blob { bytes: Bytes(blobs[&blob].clone()) });
            }
        }
    }
    assert_eq!(bench.logged(|command| matches!(command, Command::Attest { .. })), 1);
}

#[test]
fn nobody_speaks_for_another_agents_blobs() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    bench.submit(&mix(3, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    let offer = one.leases[0].clone();
    let (message, blobs) = one.attest(&bench, &offer, &[0, 1, 2]);
    bench.from(&one, message);
    let stranger = Agent::new(99, 1);
    for bytes in &blobs {
        bench.from(&stranger, Message::NoBlob { blob: Hash::blob(bytes) });
    }
    assert_eq!(bench.logged(|command| matches!(command, Command::Attest { .. })), 0);
    for bytes in &blobs {
        bench.from(&one, Message::Blob { bytes: Bytes(bytes.clone()) });
    }
    assert!(blobs.iter().all(|bytes| bench.blobs.contains(&Hash::blob(bytes))));
}

#[test]
fn one_liar_does_not_wear_a_job_out() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(2_000, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    let liar = Agent::new(99, 1);
    for attempt in 1..=20 {
        let shards = std::iter::once(1_999..2_000).collect();
        let holds = vec![Holding { job: id, stage: 0, input: None, shards }];
        let hello = hello(1, holds);
        bench.from(&liar, Message::Hello(Box::new(hello)));
        let detail = "no".to_owned();
        bench.from(&liar, Message::ShardFailed { job: id, stage: 0, shard: 1_999, attempt, detail });
        bench.pass(100, &[&one]);
    }
    assert!(bench.job(&id).is_some(), "{:?}", bench.finished().failure);
}

#[test]
fn a_hello_with_more_than_it_may_hold_is_not_looked_at() {
    let mut bench = Bench::new();
    let mut one = Agent::new(10, 1);
    bench.hello(&[&one]);
    let id = bench.submit(&mix(20_000, r#"{"verify":"none"}"#));
    bench.deliver(&mut one);
    let held = one.held();
    for shards in [
        (0..limits::HOLDINGS as u64 + 1).map(|i| 2 * i..2 * i + 1).collect::<Vec<_>>(),
        (0..1_000).rev().map(|i| 2 * i..2 * i + 1).collect(),
    ] {
        let holds = vec![Holding { job: id, stage: 0, input: None, shards }];
        let hello = hello(256, holds);
        bench.from(&one, Message::Hello(Box::new(hello)));
    }
    // Nothing was taken from it, and nothing more given.
    bench.pass(3_000, &[&one]);
    assert_eq!((bench.deliver(&mut one), one.held()), (0, held));
}

fn hello(accepts: u64, holds: Vec<Holding>) -> Hello {
    Hello {
        capacity: 1,
        backend: "cpu".to_owned(),
        accepts,
        holds,
        ops: Vec::new(),
        region: None,
        billing: Vec::new(),
        clients: None,
        organizations: Vec::new(),
        seating: 0,
        candidacy: None,
        books: 0,
    }
}

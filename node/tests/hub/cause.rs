//! Who holds the hub's key can sign anything; what a record sets aside must follow from it all the same.

use forgemesh_consensus::job::{JobRecord, Reason};
use forgemesh_node::cause::contradiction;
use forgemesh_protocol::challenge::{CheckOutcome, LeafRef, Verdict};
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;

use super::attesting::accuse_the_first;
use super::bench::{Agent, Bench, mix};

/// The record of a job whose one agent was convicted.
fn convicted() -> (Bench, JobRecord) {
    let mut bench = Bench::new();
    let mut cheat = Agent::new(10, 1);
    bench.hello(&[&cheat]);
    let id = bench.submit(&mix(8, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut cheat);
    let offer = cheat.leases[0].clone();
    for shard in 0..8 {
        bench.attest(&mut cheat, &offer, &[shard]);
    }
    accuse_the_first(&mut bench, &cheat, id);
    bench.pass(limits::SILENCE_MS, &[&cheat]);
    let record = bench.finished().record;
    assert_eq!((record.set_aside.len(), record.convicted.len()), (8, 1));
    (bench, record)
}

/// Changes the verdict on the false batch, under the hub's own signature.
fn judge_again(bench: &Bench, record: &mut JobRecord, change: impl FnOnce(&mut Verdict)) {
    let at = record.set_aside.iter().position(|aside| aside.reason == Reason::False).expect("one");
    let verdict = record.set_aside[at].batch.verdict.as_mut().expect("a verdict");
    let mut body = verdict.body.clone();
    change(&mut body);
    **verdict = Signed::new(body, bench.genesis.mesh_id(), &bench.hub);
}

#[test]
fn a_conviction_needs_a_verdict_on_what_was_drawn_later() {
    let (bench, record) = convicted();
    let charters = Charters::new(bench.genesis.clone());
    assert_eq!(contradiction(&record, &charters), None);
    let at = record.set_aside.iter().position(|aside| aside.reason == Reason::False).expect("one");
    type Change = fn(&Bench, &mut JobRecord, usize);
    let changes: [(&str, Change); 10] = [
        ("no draw", |_, record, at| record.set_aside[at].batch.reveal = None),
        ("drawn before the commitment", |_, record, at| record.set_aside[at].batch.logged += 1_000),
        ("no verdict", |_, record, at| record.set_aside[at].batch.verdict = None),
        ("no verification was asked for", |_, record, _| record.terms.policy.verify = Verify::None),
        ("another outcome", |bench, record, _| {
            judge_again(bench, record, |verdict| verdict.outcome = CheckOutcome::Unopened);
        }),
        ("other leaves", |bench, record, _| judge_again(bench, record, |verdict| verdict.drawn = Hash::ZERO)),
        ("a leaf that was not drawn", |bench, record, _| {
            judge_again(bench, record, |verdict| {
                verdict.mismatches[0].at = LeafRef { shard: 0, leaf: u64::MAX };
            });
        }),
        ("another job", |bench, record, _| {
            judge_again(bench, record, |verdict| verdict.job = JobId(Hash::ZERO));
        }),
        ("a conviction without a false batch", |_, record, at| {
            record.set_aside[at].reason = Reason::Convicted;
        }),
        ("a superseded batch of the first stage", |_, record, at| {
            let other = (at + 1) % record.set_aside.len();
            record.set_aside[other].reason = Reason::Superseded;
        }),
    ];
    for (what, change) in changes {
        let mut changed = record.clone();
        change(&bench, &mut changed, at);
        assert!(contradiction(&changed, &charters).is_some(), "{what}");
    }
    let mut counts = record.clone();
    counts.batches.push(counts.set_aside[at].batch.clone());
    assert!(contradiction(&counts, &charters).is_some(), "what was found false counts");
}

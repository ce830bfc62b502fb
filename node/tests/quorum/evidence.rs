//! What receipts stand on is with every member in the end: with one that was away when a job ended, with one that sits since
//! later on, and with one whose disk has lost something.

use forgemesh_consensus::command::Command;
use forgemesh_node::bundle;
use forgemesh_node::core::{Input, Request};
use forgemesh_node::evidence::Report;
use forgemesh_node::lacks::{self, Place};
use forgemesh_protocol::attestation::decode_claims;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_storage::Batch;

use super::bench::{Bench, client};
use super::deliveries::NOOP;
use super::work::INSURANCE;

/// Paths of a shard of `diag@1/mix.v1`.
const MIX_SHARD: usize = 156_256;

/// All that a job's batches claim.
pub fn evidence(bench: &Bench, member: usize, job: &JobId) -> Vec<Hash> {
    let record = bench.finished(member, job).expect("books").finished.record;
    let mut blobs = Vec::new();
    for batch in &record.batches {
        let members = batch.attestation.body.members;
        let bytes = bench.nodes[member].storage.blob(&members).expect("a disk").expect("claims");
        blobs.extend(decode_claims(&bytes).expect("claims").iter().map(|claim| claim.blob));
        blobs.push(members);
    }
    blobs
}

pub fn has_all(bench: &Bench, node: usize, blobs: &[Hash]) -> bool {
    blobs.iter().all(|blob| bench.nodes[node].storage.has_blob(blob).expect("a disk"))
}

/// Two jobs end while the third member is away, and the agents let go what they had computed.
fn ended_without_one(envelopes: [&str; 2]) -> (Bench, [JobId; 2]) {
    let mut bench = Bench::new(3, 0, 2);
    bench.elect(0);
    bench.kill(2);
    let jobs = envelopes.map(|envelope| bench.submit(0, envelope));
    bench.run(120_000, |bench| {
        bench.queue_is_empty()
            && jobs.iter().all(|job| (3..5).all(|agent| bench.finished(agent, job).is_some()))
    });
    let is_let_go = |bench: &Bench| {
        (3..5).all(|agent| bench.nodes[agent].storage.blobs(None, 1).expect("a disk").is_empty())
    };
    bench.run(2 * limits::SCRUB_MS, is_let_go);
    assert!(is_let_go(&bench));
    (bench, jobs)
}

#[test]
fn a_member_that_was_away_gets_what_the_others_have() {
    let (mut bench, jobs) = ended_without_one([NOOP, INSURANCE]);
    let all: Vec<Hash> = jobs.iter().flat_map(|job| evidence(&bench, 1, job)).collect();
    bench.revive(2);
    bench.run(60_000, |bench| has_all(bench, 2, &all));
    assert!(has_all(&bench, 2, &all));
    let lacks = lacks::lacks(&bench.nodes[2].storage, Place::default()).expect("a disk");
    assert_eq!((lacks.job, lacks.blobs.len()), (None, 0));

    // Its disk loses some of it: that comes anew, an hour later at most.
    let mut batch = Batch::new();
    all.iter().step_by(3).for_each(|blob| {
        batch.delete_blob(*blob);
    });
    bench.nodes[2].storage.commit(&batch).expect("a disk");
    assert!(!has_all(&bench, 2, &all));
    bench.run(limits::EVIDENCE_AGAIN_MS + 60_000, |bench| has_all(bench, 2, &all));
    assert!(has_all(&bench, 2, &all));
}

/// It would run full, and a member without room is none.
#[test]
fn a_nearly_full_disk_gets_none_of_it() {
    let (mut bench, jobs) = ended_without_one([NOOP, INSURANCE]);
    let all: Vec<Hash> = jobs.iter().flat_map(|job| evidence(&bench, 1, job)).collect();
    bench.revive(2);
    bench.hand(2, Input::DiskLow(true));
    let end_ms = bench.now_ms + 60_000;
    bench.run(120_000, |bench| bench.queue_is_empty() && bench.now_ms >= end_ms);
    assert!(all.iter().all(|blob| !has_all(&bench, 2, &[*blob])));
    assert!(bench.next_deadline(2) > 0, "it waits");
    bench.hand(2, Input::DiskLow(false));
    bench.run(60_000, |bench| has_all(bench, 2, &all));
}

/// It ended before: its batches count for nothing, and its bundle has what is there.
#[test]
fn on_what_nobody_has_voted_nothing_is_asked_for() {
    let mut bench = Bench::new(3, 0, 2);
    bench.elect(0);
    bench.kill(2);
    let large = format!(
        r#"{{"op":{{"name":"diag","version":1,"profile":"mix.v1"}},"args":{{"iterations":{}}}}}"#,
        40 * MIX_SHARD
    );
    let job = bench.submit(3, &large);
    let is_attested = |command: &Command| matches!(command, Command::Attest { .. });
    bench.run(60_000, |bench| bench.logged(is_attested) > 0);
    let cancellation = Signed::new(Cancellation { job }, bench.genesis.mesh_id(), &client());
    bench.ask(3, Request::Cancel(Box::new(cancellation)));
    bench.run(60_000, |bench| {
        (0..5).filter(|node| *node != 2).all(|node| bench.finished(node, &job).is_some())
    });
    let file = bench.finished(0, &job).expect("books");
    let claimed = evidence(&bench, 0, &job);
    assert!(file.finished.result.is_none() && !claimed.is_empty());
    let mut batch = Batch::new();
    claimed.iter().for_each(|blob| {
        batch.delete_blob(*blob);
    });
    bench.nodes[0].storage.commit(&batch).expect("a disk");
    let lacks = lacks::lacks(&bench.nodes[0].storage, Place::default()).expect("a disk");
    assert_eq!((lacks.next.entry, lacks.blobs.len()), (1, 0));
    let bundle = bundle::pack(&bench.nodes[0].storage, &file).expect("a bundle");
    let mut report = Report::default();
    bundle::check(&bundle, Some(bench.genesis.mesh_id()), &mut report);
    assert!(report.is_ok(), "{}", report.failures());
}

#[test]
fn what_nobody_has_keeps_nothing_else_waiting() {
    let (mut bench, jobs) = ended_without_one([INSURANCE, NOOP]);
    let (lost, rest) = (evidence(&bench, 0, &jobs[0])[0], evidence(&bench, 0, &jobs[1]));
    for member in [0, 1] {
        let mut batch = Batch::new();
        batch.delete_blob(lost);
        bench.nodes[member].storage.commit(&batch).expect("a disk");
    }
    bench.revive(2);
    bench.run(600_000, |bench| has_all(bench, 2, &rest));
    assert!(has_all(&bench, 2, &rest) && !has_all(&bench, 2, &[lost]));
}

/// More than one look names, and nobody has it: the rest of the same job comes all the same.
#[test]
fn much_that_nobody_has_hides_nothing_of_its_job() {
    let shards = lacks::MOST + 80;
    let large = format!(
        r#"{{"op":{{"name":"diag","version":1,"profile":"mix.v1"}},"args":{{"iterations":{}}}}}"#,
        shards * MIX_SHARD
    );
    let (mut bench, jobs) = ended_without_one([&large, INSURANCE]);
    let all = evidence(&bench, 0, &jobs[0]);
    assert!(all.len() > shards, "{} shards", all.len());
    let (lost, rest) = all.split_at(shards - 20);
    let batches = bench.finished(0, &jobs[0]).expect("books").finished.record.batches;
    let claims: Vec<Hash> = batches.iter().map(|batch| batch.attestation.body.members).collect();
    let lost: Vec<Hash> = lost.iter().filter(|blob| !claims.contains(blob)).copied().collect();
    assert!(lost.len() > lacks::MOST && claims.len() > 1, "{} of {} batches", lost.len(), claims.len());
    for member in [0, 1] {
        let mut batch = Batch::new();
        lost.iter().for_each(|blob| {
            batch.delete_blob(*blob);
        });
        bench.nodes[member].storage.commit(&batch).expect("a disk");
    }
    bench.revive(2);
    let others = evidence(&bench, 0, &jobs[1]);
    let wanted = [rest, &others].concat();
    bench.run(600_000, |bench| bench.queue_is_empty() && has_all(bench, 2, &wanted));
    assert!(has_all(&bench, 2, &wanted) && !lost.iter().any(|blob| has_all(&bench, 2, &[*blob])));
}

/// Whoever has it may be away for a moment: one asks again long before the next look for what has rotted.
#[test]
fn what_nobody_has_now_is_asked_for_again_soon() {
    let (mut bench, jobs) = ended_without_one([INSURANCE, NOOP]);
    let lost = evidence(&bench, 0, &jobs[0])[0];
    let bytes = bench.nodes[0].storage.blob(&lost).expect("a disk").expect("it has it");
    let mut deletion = Batch::new();
    deletion.delete_blob(lost);
    for member in [0, 1] {
        bench.nodes[member].storage.commit(&deletion).expect("a disk");
    }
    bench.revive(2);
    let rest = evidence(&bench, 0, &jobs[1]);
    bench.run(120_000, |bench| has_all(bench, 2, &rest));
    let given_up_ms = bench.now_ms + limits::EVIDENCE_SOON_MS / 2;
    bench.run(120_000, |bench| bench.now_ms >= given_up_ms);
    assert!(!has_all(&bench, 2, &[lost]));
    let mut back = Batch::new();
    back.put_blob(bytes);
    bench.nodes[0].storage.commit(&back).expect("a disk");
    bench.run(4 * limits::EVIDENCE_SOON_MS, |bench| has_all(bench, 2, &[lost]));
    assert!(has_all(&bench, 2, &[lost]));
}

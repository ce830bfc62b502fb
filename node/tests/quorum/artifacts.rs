//! Artifacts in a mesh: they come from whoever has them, whole and true, and are kept on as many nodes as they should be.

use forgemesh_node::core::{Input, Reply, Request};
use forgemesh_node::{artifacts, bundle, garbage};
use forgemesh_protocol::artifact::{Outline, Outliner, Pin};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Keeping, KeptPage, Message, Outlined};
use forgemesh_storage::Batch;

use super::bench::Bench;

const P: usize = limits::PIECE_BYTES;

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 7) ^ (i >> 15)) as u8 ^ seed).collect()
}

fn outline(bytes: &[u8]) -> (Hash, Outline) {
    let mut outliner = Outliner::default();
    bytes.chunks(P).for_each(|piece| outliner.push(piece));
    outliner.finish()
}

/// A client puts bytes at a node, pinned for a day.
fn put(bench: &mut Bench, node: usize, bytes: &[u8]) -> Hash {
    let (artifact, outline) = outline(bytes);
    let last = Bytes(bytes.chunks(P).last().unwrap_or_default().to_vec());
    let pin = Pin { artifact, length: outline.length, until_ms: bench.now_ms + 24 * 3_600_000 };
    let pin = Some(Signed::new(pin, bench.genesis.mesh_id(), &bench.nodes[node].secret));
    let length = outline.length;
    bench.nodes[node].replies.clear();
    bench.ask(node, Request::PutArtifact(Box::new(Outlined { artifact, outline, last, pin })));
    bench.run(1_000, |bench| !bench.nodes[node].replies.is_empty());
    let Some(Reply::Artifact { missing, .. }) = bench.nodes[node].replies.pop() else {
        panic!("it is taken")
    };
    for index in missing.into_iter().flatten() {
        let piece = bytes.chunks(P).nth(index as usize).expect("it has it").to_vec();
        bench.ask(node, Request::PutPiece { artifact, index, bytes: Bytes(piece) });
    }
    bench.ask(node, Request::Artifact { artifact, bytes: 0..u64::MAX });
    let whole = Reply::Artifact { length, missing: Vec::new() };
    bench.run(1_000, |bench| bench.nodes[node].replies.contains(&whole));
    artifact
}

/// Does a node say that it holds all of it?
fn holds(bench: &Bench, node: usize, artifact: &Hash) -> bool {
    artifacts::look(&bench.nodes[node].storage, artifact).expect("a disk").whole().is_some()
}

/// Does a node hold all of it, and the right bytes?
fn has(bench: &Bench, node: usize, artifact: &Hash, bytes: &[u8]) -> bool {
    let storage = &bench.nodes[node].storage;
    if !holds(bench, node, artifact) {
        return false;
    }
    let mut found = Vec::new();
    let read = artifacts::read(storage, artifact, bytes.len() as u64, &(0..u64::MAX), |part| {
        found.extend_from_slice(part);
        Ok::<_, ()>(())
    });
    assert_eq!(read, Ok(Ok(true)));
    assert!(found == bytes, "node {node} holds other bytes");
    true
}

fn holders(bench: &Bench, artifact: &Hash) -> Vec<usize> {
    (0..bench.nodes.len()).filter(|i| bench.nodes[*i].up && holds(bench, *i, artifact)).collect()
}

/// Pieces that were sent to a node, those lost on the way too.
fn pieces_to(bench: &Bench, node: usize) -> usize {
    bench.sent.iter().filter(|(_, to, m)| *to == node && matches!(m, Message::Pieced { .. })).count()
}

/// One hub member that leads and four agents, on so many nodes each artifact.
fn mesh(replication: u64) -> Bench {
    let mut bench = Bench::with_replication(1, 1, 4, replication);
    bench.elect(0);
    bench
}

#[test]
fn an_artifact_comes_from_whoever_has_it() {
    let mut bench = mesh(1);
    let bytes = bytes(5 * P + 77, 0);
    let artifact = put(&mut bench, 1, &bytes);
    assert_eq!(holders(&bench, &artifact), [1]);
    bench.ask(2, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(20_000, |bench| !bench.nodes[2].replies.is_empty());
    let reply = Reply::Artifact { length: bytes.len() as u64, missing: Vec::new() };
    assert_eq!(bench.nodes[2].replies, [reply]);
    assert!(has(&bench, 2, &artifact, &bytes));
    // The last piece comes with the outline.
    assert_eq!(pieces_to(&bench, 2), 5);
}

#[test]
fn of_a_range_only_its_pieces_come() {
    let mut bench = mesh(1);
    let bytes = bytes(9 * P, 1);
    let artifact = put(&mut bench, 1, &bytes);
    let (from, to) = (2 * P as u64 + 5, 3 * P as u64 + 9);
    bench.ask(2, Request::Artifact { artifact, bytes: from..to });
    bench.run(20_000, |bench| !bench.nodes[2].replies.is_empty());
    assert_eq!(pieces_to(&bench, 2), 2);
    let mut found = Vec::new();
    let storage = &bench.nodes[2].storage;
    let read = artifacts::read(storage, &artifact, 9 * P as u64, &(from..to), |part| {
        found.extend_from_slice(part);
        Ok::<_, ()>(())
    });
    assert_eq!(read, Ok(Ok(true)));
    assert!(found == bytes[from as usize..to as usize]);
    assert_eq!(artifacts::look(storage, &artifact).expect("a disk").whole(), None);
}

#[test]
fn what_nobody_has_is_given_up() {
    let mut bench = mesh(1);
    bench.ask(2, Request::Artifact { artifact: Hash::blob(b"nobody's"), bytes: 0..u64::MAX });
    bench.run(limits::SEEK_MS + 1_000, |bench| !bench.nodes[2].replies.is_empty());
    assert_eq!(bench.nodes[2].replies, [Reply::NoArtifact]);
}

#[test]
fn nothing_is_fetched_for_a_client_while_the_disk_is_nearly_full() {
    let mut bench = mesh(1);
    let bytes = bytes(3 * P, 9);
    let artifact = put(&mut bench, 1, &bytes);
    for node in [1, 2] {
        bench.nodes[node].replies.clear();
        bench.hand(node, Input::DiskLow(true));
        bench.ask(node, Request::Artifact { artifact, bytes: 0..u64::MAX });
        bench.run(20_000, |bench| !bench.nodes[node].replies.is_empty());
    }
    let here = Reply::Artifact { length: bytes.len() as u64, missing: Vec::new() };
    assert_eq!(bench.nodes[1].replies, [here], "what is here is had");
    assert_eq!(bench.nodes[2].replies, [Reply::DiskLow]);
    assert_eq!(pieces_to(&bench, 2), 0);
    let later_ms = bench.now_ms + 100;
    bench.run(1_000, |bench| bench.now_ms >= later_ms && bench.queue_is_empty());
    assert!(bench.next_deadline(2) > 0, "nobody waits for it any more");
    bench.nodes[2].replies.clear();
    bench.hand(2, Input::DiskLow(false));
    bench.ask(2, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(120_000, |bench| !bench.nodes[2].replies.is_empty());
    assert!(has(&bench, 2, &artifact, &bytes));
}

#[test]
fn lost_pieces_are_asked_for_again() {
    let mut bench = mesh(1);
    let bytes = bytes(30 * P, 2);
    let artifact = put(&mut bench, 1, &bytes);
    bench.lossy = 3;
    bench.ask(2, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(60_000, |bench| !bench.nodes[2].replies.is_empty());
    assert!(has(&bench, 2, &artifact, &bytes));
    assert!(pieces_to(&bench, 2) > 29, "nothing was lost");
}

#[test]
fn who_sends_other_bytes_is_asked_no_more() {
    let mut bench = mesh(2);
    let bytes = bytes(20 * P, 3);
    let artifact = put(&mut bench, 1, &bytes);
    bench.run(60_000, |bench| holders(bench, &artifact).len() == 2);
    let other = holders(&bench, &artifact).into_iter().find(|i| *i != 1).expect("two");
    let third = (2..5).find(|i| *i != other).expect("three");
    // Everybody knows by then who has it.
    bench.run(60_000, |bench| bench.now_ms.is_multiple_of(limits::STEWARD_MS));
    bench.forger = Some(other);
    bench.sent.clear();
    bench.ask(third, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(60_000, |bench| !bench.nodes[third].replies.is_empty());
    assert!(has(&bench, third, &artifact, &bytes));
    let asked = |bench: &Bench| {
        let sent = bench
            .sent
            .iter()
            .filter(|(from, to, m)| (*from, *to) == (third, other) && matches!(m, Message::Piece { .. }));
        sent.count()
    };
    assert!(asked(&bench) <= limits::FETCH_PIECES, "{} times", asked(&bench));
}

#[test]
fn a_source_that_dies_is_replaced_and_nothing_comes_twice() {
    let mut bench = mesh(2);
    let bytes = bytes(40 * P, 4);
    let artifact = put(&mut bench, 1, &bytes);
    bench.run(60_000, |bench| holders(bench, &artifact).len() == 2);
    let other = holders(&bench, &artifact).into_iter().find(|i| *i != 1).expect("two");
    let third = (2..5).find(|i| *i != other).expect("three");
    bench.sent.clear();
    bench.ask(third, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(60_000, |bench| pieces_to(bench, third) > 10);
    bench.kill(1);
    bench.run(60_000, |bench| !bench.nodes[third].replies.is_empty());
    assert_eq!(bench.nodes[third].replies, [Reply::Artifact { length: 40 * P as u64, missing: Vec::new() }]);
    assert!(has(&bench, third, &artifact, &bytes));
    assert!(pieces_to(&bench, third) <= 40 + limits::FETCH_PIECES);
}

#[test]
fn a_download_goes_on_after_a_crash() {
    let mut bench = mesh(1);
    let bytes = bytes(40 * P, 5);
    let artifact = put(&mut bench, 1, &bytes);
    bench.ask(2, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(60_000, |bench| pieces_to(bench, 2) > 20);
    bench.kill(2);
    let before = pieces_to(&bench, 2);
    bench.revive(2);
    bench.ask(2, Request::Artifact { artifact, bytes: 0..u64::MAX });
    bench.run(60_000, |bench| !bench.nodes[2].replies.is_empty());
    assert!(has(&bench, 2, &artifact, &bytes));
    // Only what was under way is sent a second time.
    assert!(pieces_to(&bench, 2) - before <= 40 - 21 + limits::FETCH_PIECES);
}

#[test]
fn a_client_is_told_that_its_bytes_are_others() {
    let mut bench = mesh(1);
    let bytes = bytes(3 * P, 6);
    let (artifact, outline) = outline(&bytes);
    let outlined = |last: &[u8]| {
        let outline = outline.clone();
        Box::new(Outlined { artifact, outline, last: Bytes(last.to_vec()), pin: None })
    };
    bench.ask(1, Request::PutArtifact(outlined(&bytes[P..2 * P])));
    bench.run(1_000, |bench| !bench.nodes[1].replies.is_empty());
    assert_eq!(bench.nodes[1].replies.pop(), Some(Reply::NotOfArtifact));
    bench.ask(1, Request::PutArtifact(outlined(&bytes[2 * P..])));
    bench.run(1_000, |bench| !bench.nodes[1].replies.is_empty());
    let reply = Reply::Artifact { length: 3 * P as u64, missing: std::iter::once(0..2).collect() };
    assert_eq!(bench.nodes[1].replies.pop(), Some(reply));
    bench.ask(1, Request::PutPiece { artifact, index: 0, bytes: Bytes(bytes[P..2 * P].to_vec()) });
    bench.run(1_000, |bench| !bench.nodes[1].replies.is_empty());
    assert_eq!(bench.nodes[1].replies.pop(), Some(Reply::NotOfArtifact));
}

#[test]
fn each_is_kept_on_as_many_nodes_as_it_should_be_and_again_after_a_loss() {
    let mut bench = mesh(3);
    let all: Vec<(Hash, Vec<u8>)> = (0..4)
        .map(|n| {
            let bytes = bytes(P + usize::from(n) * 1_000, n);
            (put(&mut bench, 1, &bytes), bytes)
        })
        .collect();
    let kept = |bench: &Bench, copies: usize| {
        all.iter().all(|(artifact, _)| holders(bench, artifact).len() == copies)
    };
    bench.run(60_000, |bench| kept(bench, 3));
    // Who put them is one of the three of each.
    bench.kill(1);
    assert!(kept(&bench, 2));
    let lost_ms = bench.now_ms;
    bench.run(120_000, |bench| kept(bench, 3));
    assert!(bench.now_ms - lost_ms >= limits::HOLDER_LOST_MS / 2, "a node that is late is not lost");
    // Two more: only two nodes are left.
    let (second, third) = (4, 3);
    bench.kill(second);
    bench.kill(third);
    bench.run(120_000, |bench| kept(bench, 2));
    for (artifact, bytes) in &all {
        assert!(holders(&bench, artifact).into_iter().all(|node| has(&bench, node, artifact, bytes)));
    }
}

#[test]
fn who_does_not_say_what_it_keeps_holds_nobody_up() {
    for crawls in [false, true] {
        let mut bench = mesh(3);
        bench.mute = Some(4);
        let artifact = put(&mut bench, 1, &bytes(P + 1, 9));
        // One address at a time, and for ever: as slow as saying nothing.
        let mut last = Hash([0; 32]);
        let page = |last: &mut Hash| {
            let after = Some(*last).filter(|last| *last != Hash([0; 32]));
            last.0[31] += 1;
            let row = Keeping { artifact: *last, pinned_by: None };
            KeptPage { after, artifacts: vec![row], through: Some(*last) }
        };
        for _ in 0..60 {
            if crawls {
                let from = bench.id(4);
                let message = Message::Kept(Box::new(page(&mut last)));
                bench.hand(0, Input::Message { from, message });
            }
            let end = bench.now_ms + 1_000;
            bench.run(1_000, |bench| bench.now_ms >= end || holders(bench, &artifact).len() >= 3);
        }
        let holders = holders(&bench, &artifact);
        assert!(holders.len() >= 3, "{holders:?} of five, crawling: {crawls}");
    }
}

#[test]
fn a_job_s_artifacts_are_kept_by_agents_too() {
    let mut bench = mesh(3);
    let job = bench.submit(0, r#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{}}"#);
    bench.run(60_000, |bench| bench.finished(0, &job).is_some());
    let file = bench.finished(0, &job).expect("a record");
    let artifacts = file.finished.result.expect("a result").artifacts;
    assert!(!artifacts.is_empty());
    bench.run(120_000, |bench| {
        artifacts.iter().all(|artifact| {
            let has = |i: &usize| {
                let look = artifacts::look(&bench.nodes[*i].storage, &artifact.blake3).expect("a disk");
                look.whole() == Some(artifact.bytes)
            };
            (0..5).filter(has).count() == 3
        })
    });
}

#[test]
fn what_nobody_has_asked_for_is_not_kept() {
    let mut bench = mesh(3);
    let bytes = bytes(1_000, 9);
    let (artifact, outline) = outline(&bytes);
    // Without a pin, and with that of a stranger's signature.
    let outlined = Outlined { artifact, outline, last: Bytes(bytes.clone()), pin: None };
    bench.ask(1, Request::PutArtifact(Box::new(outlined)));
    bench.run(1_000, |bench| !bench.nodes[1].replies.is_empty());
    let end_ms = bench.now_ms + 3 * limits::STEWARD_MS;
    bench.run(60_000, |bench| bench.now_ms > end_ms);
    assert_eq!(holders(&bench, &artifact), [1]);
    let (from, to) = (bench.id(0), 2);
    let keep = Message::Keep { artifact, sources: vec![bench.id(1)] };
    bench.hand(to, forgemesh_node::core::Input::Message { from, message: keep });
    let end_ms = bench.now_ms + limits::STEWARD_MS;
    bench.run(60_000, |bench| bench.now_ms > end_ms);
    assert_eq!(holders(&bench, &artifact), [1], "nobody has signed that it be kept");
}

#[test]
fn a_piece_that_is_damaged_comes_anew() {
    let mut bench = mesh(2);
    let bytes = bytes(5 * P, 7);
    let artifact = put(&mut bench, 1, &bytes);
    bench.run(60_000, |bench| holders(bench, &artifact).len() == 2);
    let other = holders(&bench, &artifact).into_iter().find(|i| *i != 1).expect("two");
    // Gone without a trace, as what a disk has lost.
    let mut batch = Batch::new();
    bench.nodes[other].storage.commit(batch.delete_piece(artifact, 2)).expect("a disk");
    let piece = |bench: &Bench| bench.nodes[other].storage.piece(&artifact, 2).expect("a disk");
    bench.run(2 * limits::SCRUB_MS + 60_000, |bench| piece(bench).is_some());
    assert!(has(&bench, other, &artifact, &bytes));
}

/// Whatever jobs there are, open and final, and whatever else lies about: what goes is what nothing needs.
#[test]
fn garbage_is_what_no_receipt_stands_on() {
    for seed in 0_u64..6 {
        println!("seed {seed}");
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut bench = mesh(1);
        let mut jobs = Vec::new();
        for _ in 0..1 + draw(4) {
            let paths = 1_000 + draw(40_000);
            let envelope = format!(
                r#"{{"op":{{"name":"diag","version":1,"profile":"mix.v1"}},"args":{{"iterations":{paths}}}}}"#
            );
            jobs.push(bench.submit(0, &envelope));
            let end_ms = bench.now_ms + draw(3_000);
            bench.run(600_000, |bench| bench.now_ms >= end_ms);
        }
        let mut batch = Batch::new();
        let orphans: Vec<Hash> = (0..draw(5)).map(|n| batch.put_blob(vec![n as u8; 100])).collect();
        bench.nodes[0].storage.commit(&batch).expect("a disk");
        let pinned = put(&mut bench, 0, &bytes(2 * P, 1));
        let unpinned = Outlined { pin: None, ..outlined_of(&bytes(P / 2, 2)) };
        let artifact = unpinned.artifact;
        bench.nodes[0].replies.clear();
        bench.ask(0, Request::PutArtifact(Box::new(unpinned)));
        bench.run(1_000, |bench| !bench.nodes[0].replies.is_empty());

        bench.kill(0);
        let (storage, hub) = (&bench.nodes[0].storage, bench.nodes[0].core.hub().expect("a member"));
        let blobs = garbage::blobs(storage, hub, bench.now_ms).expect("a disk");
        let artifacts = garbage::artifacts(storage, bench.now_ms).expect("a disk");
        let mut batch = garbage::removal(&artifacts);
        for (blob, _) in &blobs {
            batch.delete_blob(*blob);
        }
        storage.commit(&batch).expect("a disk");
        assert!(orphans.iter().all(|orphan| storage.has_blob(orphan) == Ok(false)));
        assert!(!holds(&bench, 0, &artifact) && has(&bench, 0, &pinned, &bytes(2 * P, 1)));

        bench.revive(0);
        bench.elect(0);
        bench.run(600_000, |bench| jobs.iter().all(|job| bench.finished(0, job).is_some()));
        for job in &jobs {
            let file = bench.finished(0, job).expect("a record");
            assert!(file.finished.result.is_some(), "seed {seed}: {:?}", file.finished.record.state);
            let packed = bundle::pack(&bench.nodes[0].storage, &file);
            assert!(packed.is_ok(), "seed {seed}: {:?}", packed.err());
        }
    }
}

fn outlined_of(bytes: &[u8]) -> Outlined {
    let (artifact, outline) = outline(bytes);
    Outlined {
        artifact,
        outline,
        last: Bytes(bytes.chunks(P).last().unwrap_or_default().to_vec()),
        pin: None,
    }
}

//! Artifacts among five processes: put at one node, had at another, kept on three, and on three again after one is lost.

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::Storage;
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 9) ^ (i >> 18)) as u8).collect()
}

/// The nodes that run and hold all of it.
fn holders(cluster: &Cluster, address: &str) -> Vec<usize> {
    let holds = |node: &usize| {
        let listed = cluster.ask(*node, &["artifact", "ls"]);
        let rows = if listed.code == 0 { listed.json()["artifacts"].clone() } else { json!([]) };
        let whole =
            |row: &serde_json::Value| row["artifact"] == json!(address) && row["bytes"] == row["here"];
        rows.as_array().is_some_and(|rows| rows.iter().any(whole))
    };
    (1..=5).filter(holds).collect()
}

#[test]
fn an_artifact_comes_to_any_node_and_is_kept_on_three() {
    let cluster = Cluster::new();
    let bytes = bytes(64 << 20);
    let file = cluster.folder(5).with_file_name("file");
    std::fs::write(&file, &bytes).expect("the folder can be written");
    let put = cluster.ask(4, &["artifact", "put", file.to_str().expect("a path")]);
    assert_eq!(put.code, 0, "{}{}", put.text(), put.stderr);
    let address = put.json()["artifact"].as_str().expect("an address").to_owned();
    assert_eq!(address, Hash::blob(&bytes).to_string());

    let out = cluster.folder(5).with_file_name("got");
    let get = |node: usize, range: &str| {
        let out = out.to_str().expect("a path");
        let got = cluster.ask(node, &["artifact", "get", &address, "--range", range, "-o", out]);
        assert_eq!(got.code, 0, "{}{}", got.text(), got.stderr);
        let bytes = std::fs::read(out).expect("it was written");
        std::fs::remove_file(out).expect("it can be removed");
        bytes
    };
    assert!(get(5, "7000000..9000001") == bytes[7_000_000..9_000_001]);
    assert!(get(5, "..") == bytes);
    assert!(get(1, "63000000..") == bytes[63_000_000..]);

    // Before it is needed, without a client to take its bytes.
    let has = holders(&cluster, &address);
    let lacking = (1..=5).find(|node| !has.contains(node)).expect("three copies are kept");
    let fetched = cluster.ask(lacking, &["artifact", "fetch", &address]);
    assert_eq!(fetched.code, 0, "{}{}", fetched.text(), fetched.stderr);
    assert_eq!(fetched.json(), json!({ "artifact": address, "bytes": bytes.len() }));
    assert!(holders(&cluster, &address).contains(&lacking));

    // Who has only had it from there is told to keep it, or another is.
    until("three nodes hold it", || holders(&cluster, &address).len() >= 3);
    cluster.kill(4);
    let left = holders(&cluster, &address);
    assert!(!left.contains(&4));
    if left.len() > 2 {
        // The copy that was only read goes like any that nothing needs.
        cluster.ask(5, &["artifact", "gc"]);
    }
    until("three nodes hold it again", || holders(&cluster, &address).len() >= 3);
    assert!(get(2, "..") == bytes);
    let unknown = Hash::blob(b"nobody's").to_string();
    let out = out.to_str().expect("a path");
    cluster.ask(3, &["artifact", "get", &unknown, "-o", out]).error(1, "no_such_artifact");
}

/// What a result was computed from is with the hub's members alone in the end; nothing goes that a receipt needs.
#[test]
fn what_nothing_needs_goes_from_an_agent_s_disk() {
    let mut cluster = Cluster::new();
    // The newest link of an agent's chain stays, and what it vouches for.
    let jobs = [3_000, 3_001].map(|shards| {
        let job = cluster.submit(4, &["diag@1/noop.v1", &format!("shards={shards}")]);
        until("it is final", || cluster.books(4).iter().any(|(id, _)| *id == job));
        job
    });
    let has_both = |node| cluster.status(node).is_some_and(|status| status["books"] == json!(jobs.len()));
    until("all have both in their books", || (1..=5).all(has_both));
    let digest = cluster.job(1, &jobs[0])["result_hash"].clone();
    let is_at_rest = |node| cluster.status(node).is_some_and(|status| status["unlogged"] == json!(0));
    until("the hub has all that the agents have vouched for", || (1..=5).all(is_at_rest));
    cluster.stop();
    let blobs = |node: usize| -> usize {
        let storage = Storage::open(&cluster.folder(node)).expect("no process has it");
        storage.blobs(None, 1_000).expect("a disk").len()
    };
    let collect = |node: usize, more: &[&str]| -> Value {
        let collected = cluster.alone(node, &[&["artifact", "gc"], more].concat());
        assert_eq!(collected.code, 0, "{}{}", collected.text(), collected.stderr);
        collected.json()
    };
    for agent in [4, 5] {
        let before = blobs(agent);
        assert!(before > 0, "it has executed some of it");
        let counted = collect(agent, &["--dry-run"]);
        assert_eq!(blobs(agent), before, "that was only counted");
        let gone = collect(agent, &[]);
        assert_eq!((&gone["blobs"], &gone["bytes"]), (&counted["blobs"], &counted["bytes"]));
        assert_eq!(json!(before - blobs(agent)), gone["blobs"]);
        // Of a link of no-ops: the claims, and the one accumulator that all of them come to.
        assert!(blobs(agent) <= 2, "the newest link's stay alone");
        assert_eq!(collect(agent, &[])["blobs"], json!(0));
    }
    for member in 1..=3 {
        assert_eq!(collect(member, &[])["blobs"], json!(0));
        let bundle = cluster.folder(member).with_file_name(format!("{member}.tar"));
        let bundle = bundle.to_str().expect("a path");
        let packed = cluster.alone(member, &["receipt", "bundle", &jobs[0], "--out", bundle]);
        assert_eq!(packed.code, 0, "{}{}", packed.text(), packed.stderr);
        let verified = cluster.alone(member, &["verify", bundle]);
        assert_eq!(verified.code, 0, "{}{}", verified.text(), verified.stderr);
    }
    cluster.start();
    let again = cluster.submit(5, &["diag@1/noop.v1", "shards=3000"]);
    until("it is done", || cluster.books(5).len() == 3);
    assert!(digest.is_string());
    assert_eq!(cluster.job(5, &again)["result_hash"], digest);
}

/// A member that was away when a job ended asks the others for what the receipt stands on.
#[test]
fn a_member_that_was_away_has_the_evidence_afterwards() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader().expect("all know it");
    let away = (1..=3).find(|member| *member != leader).expect("three members");
    cluster.kill(away);
    let job = cluster.submit(4, &["mc@1/insurance.v1", "iterations=3000000"]);
    until("it is final", || cluster.books(4).iter().any(|(id, _)| *id == job));
    cluster.revive(away);
    let bundle = cluster.folder(away).with_file_name("bundle.tar");
    let bundle = bundle.to_str().expect("a path");
    let pack = ["receipt", "bundle", &job, "--force", "--out", bundle];
    until("it is all on its disk", || cluster.ask(away, &pack).code == 0);
    // Of its own disk: there is nobody to ask.
    cluster.stop();
    cluster.alone(away, &["down"]);
    until("it has stopped", || cluster.status(away).is_none());
    let packed = cluster.alone(away, &pack);
    assert_eq!(packed.code, 0, "{}{}", packed.text(), packed.stderr);
    let verified = cluster.alone(away, &["verify", bundle]);
    assert_eq!(verified.code, 0, "{}{}", verified.text(), verified.stderr);
}

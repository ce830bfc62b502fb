//! `replay`: the contract executed again, here, on any instruction set and any number of threads, has the same bits.

use forgemesh_kernel::backend::Isa;
use serde_json::{Value, json};

use super::node::{Ended, Node, path, small_job};

/// A node that has run the job, and what it printed.
fn ran(job: &Value) -> (Node, Value) {
    let node = Node::new();
    let run = node.run(job, "out");
    (node, run)
}

#[test]
fn a_replay_is_identical_on_every_instruction_set_and_number_of_threads() {
    let insurance = json!({
        "op": {"name": "mc", "version": 1, "profile": "insurance.v1"}, "args": {"iterations": 150_000},
    });
    for job in [small_job(), insurance] {
        let (node, run) = ran(&job);
        let receipt = node.path("out/receipt.json");
        for isa in Isa::available() {
            for threads in ["1", "3"] {
                let mut command = node.command(&["replay", path(&receipt), "--threads", threads, "--json"]);
                let output = command.env("FORGEMESH_ISA", isa.to_string()).output().expect("it starts");
                let replay = Ended::of(output).json();
                assert_eq!(replay["ok"], json!(true), "{replay:#}");
                assert_eq!(replay["isa"], json!(isa.to_string()));
                assert_eq!(replay["threads"].to_string(), threads);
                assert_eq!(replay["result_hash"], run["result_hash"]);
                assert_eq!(replay["replay_key"], run["replay_key"]);
            }
        }
    }
}

#[test]
fn a_run_is_identical_on_every_instruction_set_and_number_of_threads() {
    let node = Node::new();
    let file = node.file("job.json", small_job().to_string());
    let mut hashes = std::collections::BTreeSet::new();
    for isa in Isa::available() {
        for threads in ["1", "3"] {
            let mut command = node.command(&["run", path(&file), "--threads", threads, "--json"]);
            let output = command.env("FORGEMESH_ISA", isa.to_string()).output().expect("it starts");
            hashes.insert(Ended::of(output).json()["result_hash"].to_string());
        }
    }
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[test]
fn a_replay_needs_neither_folder_nor_mesh_and_takes_a_bundle() {
    let (node, run) = ran(&small_job());
    let id = run["job_id"].as_str().expect("an id");
    node.ok(&["receipt", "bundle", id, "--out", "b.tar"]);
    let stranger = Node::new();
    for name in ["out/receipt.json", "b.tar"] {
        let ended = stranger.ok(&["replay", path(&node.path(name))]);
        let hash = run["result_hash"].as_str().expect("a hash");
        assert!(ended.text().contains(&format!("identical: result_hash {hash}")), "{}", ended.text());
    }
    assert!(!stranger.home().exists());
}

#[test]
fn a_damaged_receipt_is_not_replayed() {
    let (node, _) = ran(&small_job());
    let mut bytes = std::fs::read(node.path("out/receipt.json")).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let file = node.file("damaged.json", bytes);
    node.forgemesh(&["replay", path(&file), "--json"]).error(3, "verification_failed");
}

/// The more paths, the more bins a result has: one of more than a mebibyte was once taken for a fraud.
#[test]
fn a_result_of_more_than_a_mebibyte_is_verified_and_replayed() {
    let node = Node::new();
    let mut job: serde_json::Value =
        serde_json::from_str(include_str!("../../node/examples/reserve-raa.json")).expect("an example");
    job["args"]["iterations"] = 1_000_000.into();
    let run = node.run(&job, "out");
    let length = std::fs::metadata(node.path("out/result.json")).expect("it was written").len();
    assert!(length > 1 << 20, "{length} bytes say nothing");
    let receipt = node.path("out/receipt.json");
    node.ok(&["verify", path(&receipt)]);
    let id = run["job_id"].as_str().expect("an id");
    node.ok(&["receipt", "bundle", id, "--out", "b.tar"]);
    node.ok(&["verify", path(&node.path("b.tar"))]);
    node.ok(&["replay", path(&receipt)]);
}

//! A job that is accepted and cannot have a result: it ends as failed, with a receipt like any other.

use serde_json::{Value, json};

use super::node::{Node, path};

/// A wide triangle of noise: its development factors are ratios of numbers around zero, and their product overflows
/// the range of the statistics in far more than one path in a thousand.
fn hopeless() -> Value {
    let side = 24u64;
    let loss = |i: u64, j: u64| ((i * i * 7 + j * 13 + i * j * j * 3) % 11) as f64 - 4.75;
    let row = |i: u64| (0..side - i).map(|j| loss(i, j)).collect::<Vec<_>>();
    json!({
        "op": {"name": "mc", "version": 1, "profile": "reserve.v1"},
        "args": {"triangle": (0..side).map(row).collect::<Vec<_>>(), "iterations": 2000},
        "ctx": {"job_id": "hopeless"},
    })
}

#[test]
fn a_degenerate_job_fails_with_a_record_and_a_receipt_that_verifies() {
    let node = Node::new();
    let file = node.file("job.json", hopeless().to_string());
    let ended = node.forgemesh(&["run", path(&file), "--json", "--out", "out"]);
    let error = ended.error(1, "numeric_degenerate");
    assert_eq!(error["phase"], json!("aggregation"));
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("of 2000 paths") && message.contains("check their magnitude"), "{message}");
    let id = ended.json()["job_id"].as_str().expect("the job").to_owned();

    let shown = node.ok(&["job", "show", "hopeless", "--json"]).json();
    assert_eq!(shown["job_id"], json!(id));
    assert_eq!(shown["state"], json!("failed"));
    assert_eq!(shown["failure"]["code"], json!("numeric_degenerate"));
    assert_eq!((&shown["result_hash"], &shown["output"]), (&Value::Null, &Value::Null));
    let listed = node.ok(&["job", "ls", "--json"]).json();
    assert_eq!(listed["jobs"][0]["failure"]["code"], json!("numeric_degenerate"));
    assert!(node.ok(&["job", "show", &id[..8]]).text().contains("numeric_degenerate"));

    let receipt = node.ok(&["job", "receipt", &id]).stdout;
    let written = std::fs::read(node.path("out/receipt.json")).expect("it was written");
    assert_eq!(receipt, written);
    let report = node.ok(&["verify", "out/receipt.json", "--json"]).json();
    assert_eq!(report["receipt"]["state"], json!("failed"));
    node.forgemesh(&["job", "result", &id, "--json"]).error(1, "no_artifact");
    node.forgemesh(&["replay", "out/receipt.json", "--json"]).error(2, "usage");

    node.ok(&["receipt", "bundle", &id, "--out", "failed.bundle.tar"]);
    node.ok(&["verify", "failed.bundle.tar"]);
}

#[test]
fn as_text_a_failed_job_ends_on_standard_error() {
    let node = Node::new();
    let file = node.file("job.json", hopeless().to_string());
    let ended = node.forgemesh(&["run", path(&file)]);
    assert_eq!(ended.code, 1);
    assert!(ended.text().starts_with("accepted ") && ended.text().lines().count() == 1, "{}", ended.text());
    assert!(ended.stderr.contains("failed: numeric_degenerate: "), "{}", ended.stderr);
}

#[test]
fn a_failure_does_not_stop_the_node() {
    let node = Node::new();
    let file = node.file("job.json", hopeless().to_string());
    assert_eq!(node.forgemesh(&["run", path(&file)]).code, 1);
    assert_eq!(node.ok(&["run", "diag@1/noop.v1", "--json"]).json()["state"], json!("finalized"));
}

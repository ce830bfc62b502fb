//! `artifacts` takes effect: what is rendered, where its pointers are, and what outlives the job.

use forgemesh_storage::Storage;
use serde_json::{Value, json};

use super::node::{Node, path, small_job};

const ALL: [&str; 4] = ["result_json", "executions_json", "metrics_json", "verification_json"];

fn with(artifacts: Value) -> Value {
    let mut job = small_job();
    job["artifacts"] = artifacts;
    job
}

fn id(run: &Value) -> String {
    run["job_id"].as_str().expect("an id").to_owned()
}

/// The pointers of a namespace, read while no process has the folder.
fn pointers(node: &Node, namespace: &str) -> Vec<(String, Vec<u8>)> {
    let storage = Storage::open(&node.home()).expect("no process has it");
    storage.kv_list(namespace, None, 100).expect("it can be read")
}

fn written(node: &Node, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(node.path(folder)).expect("the folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn pointers_stand_in_the_named_namespace_and_lead_to_the_blobs() {
    let node = Node::new();
    let run = node.run(&with(json!({"kv_namespace": "team-a"})), "out");
    let pointers = pointers(&node, "team-a");
    assert_eq!(pointers.len(), 4);
    for (artifact, kind) in run["artifacts"].as_array().expect("a list").iter().zip(ALL) {
        assert_eq!(artifact["kind"], json!(kind));
        let key = format!("{}/{kind}", id(&run));
        assert_eq!(artifact["kv"], json!(format!("kv://team-a/{key}")));
        let value = pointers.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        assert_eq!(value, artifact["blob"].as_str().map(|hash| hash.as_bytes().to_vec()));
    }
    assert!(self::pointers(&node, "jobs").is_empty());
}

#[test]
fn nothing_included_leaves_a_receipt_alone() {
    let node = Node::new();
    let run = node.run(&with(json!({"include": []})), "out");
    assert_eq!((&run["artifacts"], &run["output"]), (&json!([]), &Value::Null));
    assert!(run["result_hash"].is_string());
    assert_eq!(written(&node, "out"), ["receipt.json"]);
    for command in ["result", "executions"] {
        node.forgemesh(&["job", command, &id(&run), "--json"]).error(1, "no_artifact");
    }
    node.ok(&["verify", "out/receipt.json"]);
    node.ok(&["replay", "out/receipt.json"]);
    assert!(pointers(&node, "jobs").is_empty());
    let everything = node.run(&small_job(), "all");
    assert_eq!(everything["result_hash"], run["result_hash"], "artifacts decide no bit");
}

#[test]
fn only_what_is_included_is_there_whatever_its_order() {
    let node = Node::new();
    let run = node.run(&with(json!({"include": ["metrics_json", "result_json"]})), "out");
    let kinds: Vec<&Value> =
        run["artifacts"].as_array().expect("a list").iter().map(|a| &a["kind"]).collect();
    assert_eq!(kinds, ["result_json", "metrics_json"]);
    assert_eq!(
        written(&node, "out"),
        ["loss.png", "loss.svg", "metrics.json", "receipt.json", "result.json"]
    );
    node.forgemesh(&["job", "executions", &id(&run), "--json"]).error(1, "no_artifact");
    node.ok(&["verify", "out/receipt.json"]);
}

#[test]
fn what_is_not_to_persist_is_gone_after_the_next_start() {
    let node = Node::new();
    let kept = node.run(&small_job(), "kept");
    let mut job = with(json!({"persist": false, "kv_namespace": "team-b"}));
    job["args"]["iterations"] = json!(2000);
    let run = node.run(&job, "out");
    let id = id(&run);
    assert!(run["artifacts"].as_array().expect("a list").iter().all(|artifact| artifact["kv"].is_null()));
    assert!(pointers(&node, "team-b").is_empty());
    assert_eq!(written(&node, "out").len(), 7, "the run itself still writes its files");

    node.ok(&["run", "diag@1/noop.v1"]);
    for command in ["result", "executions"] {
        node.forgemesh(&["job", command, &id, "--json"]).error(1, "no_artifact");
    }
    node.forgemesh(&["receipt", "bundle", &id, "--json"]).error(1, "no_artifact");
    let receipt = node.ok(&["job", "receipt", &id]).stdout;
    let file = node.file("alone.json", receipt);
    node.ok(&["verify", path(&file)]);
    let shown = node.ok(&["job", "show", &id, "--json"]).json();
    assert_eq!((&shown["result_hash"], &shown["output"]), (&run["result_hash"], &Value::Null));
    // What others asked to keep is still here.
    let kept = kept["job_id"].as_str().expect("an id");
    node.ok(&["job", "result", kept]);
    node.ok(&["receipt", "bundle", kept, "--out", "kept.tar"]);
    node.ok(&["verify", "kept.tar"]);
}

#[test]
fn a_blob_that_another_job_keeps_is_not_swept() {
    let node = Node::new();
    let kept = node.run(&small_job(), "kept");
    node.run(&with(json!({"persist": false})), "out");
    node.ok(&["run", "diag@1/noop.v1"]);
    // The two have result.json in common, byte for byte.
    let result = node.ok(&["job", "result", kept["job_id"].as_str().expect("an id")]).stdout;
    assert_eq!(result, std::fs::read(node.path("out/result.json")).expect("it was written"));
}

//! `run`: what it prints, what it writes, and that both can be checked by a stranger.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::node::{Ended, Node, path, small_job};

const FILES: [&str; 7] = [
    "executions.json",
    "loss.png",
    "loss.svg",
    "metrics.json",
    "receipt.json",
    "result.json",
    "verification.json",
];

fn example(name: &str) -> String {
    format!("{}/../node/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn json_has_all_that_was_promised() {
    let node = Node::new();
    let run = node.run(&small_job(), "out");
    for key in ["job_id", "result_hash", "replay_key", "root_seed", "contract_hash"] {
        let hash = run[key].as_str().unwrap_or_default();
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{key}: {}", run[key]);
    }
    assert_eq!((&run["state"], &run["op"]), (&json!("finalized"), &json!("mc@1/reserve.v1")));
    for key in ["chain_ladder_reserve", "mean", "prediction_error"] {
        assert!(run["output"][key].as_f64().is_some(), "{key}: {}", run["output"]);
    }
    assert_eq!(run["output"]["percentiles"].as_array().map(Vec::len), Some(2));
    assert_eq!(run["output"]["by_origin"].as_array().map(Vec::len), Some(4));
    assert_eq!(run["work"]["iterations"], json!(3000));
    let verification = &run["verification"];
    assert_eq!((&verification["mode"], &verification["independence"]), (&json!("spotcheck"), &json!("self")));
    assert!(verification["claim"].as_str().is_some_and(|claim| claim.starts_with("self-attested: ")));
    let (checked, leaves) = (verification["checked_leaves"].as_u64(), verification["leaves"].as_u64());
    assert!(checked >= Some(1) && checked <= leaves, "{verification}");
    let receipt = &run["receipt"];
    assert_eq!(receipt["path"], json!("out/receipt.json"));
    assert_eq!(receipt["signers"].as_array().map(Vec::len), Some(1));
    assert!(receipt["digest"].is_string() && receipt["mesh_id"].is_string(), "{receipt}");
    assert_eq!(receipt["ledger_seq"], json!(0));
}

#[test]
fn out_has_every_file_and_a_stranger_can_verify_them() {
    let node = Node::new();
    let run = node.run(&small_job(), "out");
    let stranger = Node::new();
    let folder = stranger.path("received");
    std::fs::create_dir(&folder).expect("the temporary folder can be written");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(node.path("out")).expect("it was written") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy");
        names.push(entry.file_name().into_string().expect("UTF-8"));
    }
    names.sort();
    assert_eq!(names, FILES);
    for artifact in run["artifacts"].as_array().expect("a list") {
        let name = artifact["kind"].as_str().expect("a kind").replace("_json", ".json");
        let bytes = std::fs::read(folder.join(name)).expect("it was written");
        assert_eq!(artifact["bytes"], json!(bytes.len()));
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(artifact["sha256"], json!(sha256));
    }
    let (png, svg) =
        (std::fs::read(folder.join("loss.png")), std::fs::read_to_string(folder.join("loss.svg")));
    assert!(png.is_ok_and(|png| png.starts_with(b"\x89PNG\r\n\x1a\n") && png.ends_with(b"IEND\xaeB`\x82")));
    assert!(svg.is_ok_and(|svg| svg.contains("<svg") && svg.trim_end().ends_with("</svg>")));

    let mesh = run["receipt"]["mesh_id"].as_str().expect("an id");
    let started = Instant::now();
    let receipt = folder.join("receipt.json");
    let report = stranger.ok(&["verify", path(&receipt), "--mesh", mesh, "--json"]).json();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!((&report["ok"], &report["receipt"]["result_hash"]), (&json!(true), &run["result_hash"]));
    let checks = report["checks"].as_array().expect("a list");
    assert!(checks.iter().all(|check| check["status"] == "ok"), "{checks:#?}");
    assert!(checks.iter().any(|check| check["name"] == "result.result_hash"));
    let lines = stranger.ok(&["verify", path(&receipt)]).text();
    assert!(lines.contains("unpinned") && lines.contains("verified: "), "{lines}");

    let id = run["job_id"].as_str().expect("an id");
    let packed = node.ok(&["receipt", "bundle", id, "--out", "b.tar", "--json"]).json();
    let bundle = std::fs::read(node.path("b.tar")).expect("it was written");
    assert_eq!(packed["bytes"], json!(bundle.len()));
    let received = stranger.file("b.tar", &bundle);
    let report = stranger.ok(&["verify", path(&received), "--mesh", mesh, "--json"]).json();
    let checks = report["checks"].as_array().expect("a list");
    assert!(checks.iter().all(|check| check["status"] == "ok"), "{checks:#?}");
    node.ok(&["receipt", "bundle", id, "--out", "again.tar"]);
    assert_eq!(
        std::fs::read(node.path("again.tar")).expect("it was written"),
        bundle,
        "packing is deterministic"
    );
    assert!(!stranger.home().exists());
}

#[test]
fn text_begins_with_accepted_and_ends_with_the_receipt() {
    let node = Node::new();
    let file = node.file("job.json", small_job().to_string());
    let ended = node.ok(&["run", path(&file), "--out", "out"]);
    let text = ended.text();
    let id = text.lines().next().and_then(|line| line.strip_prefix("accepted ")).expect("the first line");
    assert_eq!(id.len(), 64);
    for part in
        ["chain ladder reserve", "mean", "prediction error", "p50", "p99", "result_hash", "replay_key"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains("self-attested: ") && text.contains("out/receipt.json"), "{text}");
    let json = node.ok(&["job", "show", id, "--json"]).json();
    assert!(text.contains(json["result_hash"].as_str().expect("a hash")));
}

#[test]
fn the_published_triangle_has_its_published_reserve() {
    let node = Node::new();
    let run = node.ok(&["run", &example("reserve-raa.json"), "iterations=2000", "--json"]).json();
    let reserve = run["output"]["chain_ladder_reserve"].as_f64().expect("a number");
    assert!((reserve - 52_135.23).abs() < 0.005, "{reserve}");
    assert_eq!(run["output"]["by_origin"].as_array().map(Vec::len), Some(10));
    let run = node.ok(&["run", &example("insurance-quickstart.json"), "iterations=20000", "--json"]).json();
    for key in ["mean", "std", "std_error", "p50_loss", "p95_loss", "p99_loss"] {
        assert!(run["output"][key].as_f64() > Some(0.0), "{key}");
    }
}

#[test]
fn a_job_can_come_from_standard_input_and_from_the_command_line() {
    let node = Node::new();
    let mut command = node.command(&["run", "-", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let text = small_job().to_string();
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("the pipe is open");
    let piped = Ended::of(child.wait_with_output().expect("it ends")).json();
    assert_eq!(piped["result_hash"], node.run(&small_job(), "out")["result_hash"]);

    let args = [
        "run",
        "mc@1/insurance.v1",
        "iterations=2e4",
        "cat_prob=0.5",
        "--seed",
        "x",
        "--verify",
        "full",
        "--json",
    ];
    let short = node.ok(&args).json();
    let long = json!({
        "op": {"name": "mc", "version": 1, "profile": "insurance.v1"},
        "args": {"iterations": 20000, "cat_prob": 0.5},
        "policy": {"verify": "full"}, "seed": {"mode": "explicit", "value": "x"},
    });
    let long = node.run(&long, "long");
    for key in ["contract_hash", "root_seed", "replay_key", "result_hash"] {
        assert_eq!(short[key], long[key], "{key}");
    }
}

#[test]
fn the_same_job_twice_is_two_jobs_with_one_result_on_any_mesh() {
    let (node, other) = (Node::new(), Node::new());
    let runs = [node.run(&small_job(), "a"), node.run(&small_job(), "b"), other.run(&small_job(), "a")];
    assert_ne!(runs[0]["job_id"], runs[1]["job_id"]);
    assert_ne!(runs[0]["receipt"]["mesh_id"], runs[2]["receipt"]["mesh_id"]);
    assert_eq!(runs[1]["receipt"]["ledger_seq"], json!(1));
    for run in &runs[1..] {
        for key in ["contract_hash", "root_seed", "replay_key", "result_hash", "output", "work"] {
            assert_eq!(run[key], runs[0][key], "{key}");
        }
    }
    let read = |node: &Node, name: &str| std::fs::read(node.path(name)).expect("it was written");
    assert_eq!(read(&node, "a/result.json"), read(&other, "a/result.json"));
    let mut salted = small_job();
    salted["seed"]["value"] = json!("another");
    assert_ne!(node.run(&salted, "c")["result_hash"], runs[0]["result_hash"]);
}

fn with_policy(policy: Value) -> Value {
    let mut job = small_job();
    job["policy"] = policy;
    job
}

#[test]
fn what_was_verified_is_what_was_asked_for() {
    let node = Node::new();
    let none = node.run(&with_policy(json!({"verify": "none"})), "none");
    assert_eq!(
        (&none["verification"]["mode"], &none["verification"]["checked_leaves"]),
        (&json!("none"), &json!(0))
    );
    let claim = none["verification"]["claim"].as_str().expect("a text");
    assert!(claim.starts_with("unverified: "), "{claim}");
    let id = none["job_id"].as_str().expect("an id");
    assert!(node.ok(&["job", "show", id]).text().contains("unverified: "));
    node.ok(&["verify", "none/receipt.json"]);

    let full = node.run(&with_policy(json!({"verify": "full"})), "full");
    let quorum = node.run(&with_policy(json!({"verify": "quorum"})), "quorum");
    for run in [&full, &quorum] {
        let verification = &run["verification"];
        assert_eq!(verification["mode"], json!("full"));
        assert_eq!(verification["checked_leaves"], verification["leaves"]);
        assert_eq!((&verification["leaves"], &verification["mismatches"]), (&json!(3), &json!(0)));
        assert_eq!(run["contract_hash"], none["contract_hash"]);
        assert_eq!(run["result_hash"], none["result_hash"], "verification decides no bit");
    }
    node.ok(&["receipt", "bundle", full["job_id"].as_str().expect("an id"), "--out", "b.tar"]);
    node.ok(&["verify", "b.tar"]);
}

#[test]
fn a_policy_of_one_cpu_node_is_met() {
    let node = Node::new();
    let policy = json!({"target": "cpu", "min_agents": 1, "max_agents": 1, "timeout_ms": 60_000, "verify": "spotcheck"});
    assert_eq!(node.run(&with_policy(policy), "out")["state"], json!("finalized"));
}

#[test]
fn a_policy_that_one_node_cannot_meet_is_refused_with_the_cure() {
    let node = Node::new();
    let file = node.file("job.json", with_policy(json!({"target": "gpu", "min_agents": 2})).to_string());
    let error = node.forgemesh(&["run", path(&file), "--json"]).error(2, "refused");
    let problems = error["problems"].as_array().expect("a list");
    let paths: Vec<&Value> = problems.iter().map(|problem| &problem["path"]).collect();
    assert_eq!(paths, ["$.policy.target", "$.policy.min_agents"]);
    assert!(problems.iter().all(|problem| problem["code"] == "policy_unsatisfiable"));
}

#[test]
fn test_billing_is_executed_verified_and_said() {
    let node = Node::new();
    let mut job = small_job();
    job["ctx"] = json!({"billing": {"mode": "test", "reason": "studio_run"}});
    let run = node.run(&job, "out");
    assert_eq!(run["state"], json!("finalized"));
    assert!(run["verification"]["checked_leaves"].as_u64() >= Some(1));
    node.ok(&["verify", "out/receipt.json"]);
    let shown = node.ok(&["job", "show", run["job_id"].as_str().expect("an id")]).text();
    assert!(shown.contains("test: settles at zero"), "{shown}");
    assert_eq!(run["result_hash"], node.run(&small_job(), "billable")["result_hash"]);
}

#[test]
fn an_output_folder_that_cannot_be_written_is_named_before_anything_is_executed() {
    let node = Node::new();
    node.file("taken", "a file");
    let file = node.file("job.json", small_job().to_string());
    node.forgemesh(&["run", path(&file), "--out", "taken", "--json"]).error(1, "cannot_write");
    let jobs = node.ok(&["job", "ls", "--json"]).json();
    assert_eq!(jobs["jobs"], json!([]));
}

/// One value is one bar, and not the class of the histogram in which it lies.
#[test]
fn a_constant_loss_is_drawn_as_one_value() {
    let node = Node::new();
    let constant = ["claim_freq=0", "cat_prob=1", "cat_sig=0", "iterations=2000"];
    node.ok(&[&["run", "mc@1/insurance.v1", "--out", "out"], &constant[..]].concat());
    let svg = std::fs::read_to_string(node.path("out").join("loss.svg")).expect("it was written");
    assert!(svg.contains("100.0 % at 22,026") && !svg.contains("outcomes per"), "{svg}");
}

//! What can be asked without executing anything: operations, plans, and what a node has done.

use serde_json::{Value, json};

use super::node::{Node, path, small_job};

const OPS: [&str; 4] = ["diag@1/mix.v1", "diag@1/noop.v1", "mc@1/insurance.v1", "mc@1/reserve.v1"];

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn op_ls_lists_every_operation() {
    let node = Node::new();
    let listed = node.ok(&["op", "ls", "--json"]).json();
    let names: Vec<&str> =
        listed["ops"].as_array().expect("a list").iter().map(|op| text(&op["op"])).collect();
    assert_eq!(names, OPS);
    let lines = node.ok(&["op", "ls"]).text();
    assert!(
        OPS.iter().zip(lines.lines()).all(|(op, line)| line.starts_with(op) && line.len() > op.len() + 10)
    );
    assert!(!node.home().exists());
}

/// Fails unless every part of a JSON Schema says what it accepts.
fn check_schema(schema: &Value, at: &str) {
    if schema["enum"].is_array() {
        return;
    }
    match schema["type"].as_str() {
        Some("object") => {
            assert_eq!(schema["additionalProperties"], json!(false), "{at}");
            let properties = schema["properties"].as_object().expect("properties");
            for required in schema["required"].as_array().expect("a list") {
                assert!(properties.contains_key(text(required)), "{at}: {required}");
            }
            for (name, property) in properties {
                assert!(!text(&property["description"]).is_empty(), "{at}.{name}");
                check_schema(property, &format!("{at}.{name}"));
            }
        }
        Some("array") => {
            assert!(schema["minItems"].is_u64() && schema["maxItems"].is_u64(), "{at}");
            check_schema(&schema["items"], &format!("{at}[]"));
        }
        Some("integer" | "number") => {
            let lowest = schema["minimum"].is_number() || schema["exclusiveMinimum"].is_number();
            assert!(lowest && schema["maximum"].is_number(), "{at}");
        }
        Some("string" | "boolean") => {}
        other => panic!("{at}: type {other:?}"),
    }
}

#[test]
fn op_schema_is_a_json_schema_of_each_operation() {
    let node = Node::new();
    for op in OPS {
        let schema = node.ok(&["op", "schema", op]).json();
        assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
        assert_eq!(schema["title"], json!(op));
        check_schema(&schema, op);
    }
    let reserve = node.ok(&["op", "schema", "mc@1/reserve.v1"]).json();
    assert_eq!(reserve["required"], json!(["triangle"]));
    assert_eq!(reserve["properties"]["process"]["enum"], json!(["gamma", "none"]));
    assert_eq!(reserve["properties"]["iterations"]["default"], json!(100_000));
    assert_eq!(reserve["properties"]["triangle"]["items"]["items"]["type"], json!("number"));
}

#[test]
fn plan_says_what_run_will_do_and_does_nothing() {
    let node = Node::new();
    let file = node.file("job.json", small_job().to_string());
    let plan = node.ok(&["plan", path(&file), "--json"]).json();
    assert_eq!((&plan["paths"], &plan["verify"]), (&json!(3000), &json!("spotcheck")));
    let stages = plan["stages"].as_array().expect("stages");
    let leaves: u64 = stages.iter().filter_map(|stage| stage["leaves"].as_u64()).sum();
    assert_eq!(json!(leaves), plan["leaves"]);
    assert!(stages.iter().all(|stage| stage["shards"].as_u64() > Some(0)));
    assert!(plan["estimate"]["core_seconds"].as_f64() > Some(0.0));
    let lines = node.ok(&["plan", path(&file)]).text();
    for key in ["contract_hash", "replay_key"] {
        assert!(lines.contains(text(&plan[key])), "{lines}");
    }
    assert!(lines.contains("3000 paths"), "{lines}");
    assert!(!node.home().exists(), "nothing is recorded");

    let run = node.run(&small_job(), "out");
    for key in ["contract_hash", "replay_key", "root_seed"] {
        assert_eq!(plan[key], run[key], "{key}");
    }
    let listed = node.ok(&["plan", path(&file), "--json"]).json();
    assert_eq!(listed, plan, "nor does it depend on what was run");
}

#[test]
fn a_plan_of_a_vast_job_is_immediate() {
    let node = Node::new();
    let plan = node.ok(&["plan", "mc@1/insurance.v1", "iterations=1e12", "--json"]).json();
    assert_eq!(plan["paths"], json!(1_000_000_000_000_u64));
    let shards =
        plan["stages"].as_array().expect("stages").iter().filter_map(|stage| stage["shards"].as_u64());
    assert!(shards.max() <= Some(1 << 20));
}

#[test]
fn a_job_can_be_found_by_id_by_its_beginning_and_by_its_clients_name() {
    let node = Node::new();
    let mut job = small_job();
    job["ctx"] = json!({"job_id": "Q3 reserve", "run_id": "r", "stage_id": "s", "trace_id": "t"});
    let run = node.run(&job, "out");
    let id = text(&run["job_id"]);
    assert_eq!(run["client_job_id"], json!("Q3 reserve"));
    for name in [id, &id[..4], &id[..12], "Q3 reserve"] {
        let shown = node.ok(&["job", "show", name, "--json"]).json();
        for key in ["job_id", "result_hash", "output", "artifacts", "verification", "replay_key", "state"] {
            assert_eq!(shown[key], run[key], "{name}: {key}");
        }
        for (command, file) in
            [("result", "result.json"), ("executions", "executions.json"), ("receipt", "receipt.json")]
        {
            let written = std::fs::read(node.path("out").join(file)).expect("it was written");
            assert_eq!(node.ok(&["job", command, name]).stdout, written, "job {command} {name}");
        }
    }
    let shown = node.ok(&["job", "show", id]).text();
    assert!(shown.contains(id) && shown.contains("self-attested"), "{shown}");
    let listed = node.ok(&["job", "ls", "--json"]).json();
    assert_eq!(listed["jobs"][0]["job_id"], json!(id));
    assert_eq!(listed["jobs"][0]["client_job_id"], json!("Q3 reserve"));
    assert!(node.ok(&["job", "ls"]).text().starts_with(&id[..8]));
}

#[test]
fn a_job_that_is_not_there_is_named() {
    let node = Node::new();
    let id = text(&node.ok(&["run", "diag@1/noop.v1", "--json"]).json()["job_id"]).to_owned();
    let other = if id.starts_with('0') { "1".repeat(64) } else { "0".repeat(64) };
    for name in
        [other.as_str(), "ffff0000ffff", "", "no such job", &id[..3], "../node.key", &"f".repeat(100_000)]
    {
        for command in ["show", "result", "executions", "receipt"] {
            node.forgemesh(&["job", command, name, "--json"]).error(2, "no_such_job");
        }
    }
    node.forgemesh(&["receipt", "bundle", &other, "--json"]).error(2, "no_such_job");
}

#[test]
fn the_newest_job_of_a_clients_name_is_shown_and_the_list_has_the_newest_first() {
    let node = Node::new();
    let job = |shards: u64| {
        let op = json!({"name": "diag", "version": 1, "profile": "noop.v1"});
        json!({"op": op, "args": {"shards": shards}, "ctx": {"job_id": "nightly"}})
    };
    let ids: Vec<Value> = (1..=3).map(|shards| node.run(&job(shards), "out")["job_id"].clone()).collect();
    let shown = node.ok(&["job", "show", "nightly", "--json"]).json();
    assert_eq!(shown["job_id"], ids[2]);
    let note = "more than one job is called \"nightly\"; this is the newest";
    let shown = node.ok(&["job", "show", "nightly"]);
    assert!(shown.stderr.contains(note) && shown.text().contains(text(&ids[2])), "{}", shown.stderr);
    assert_eq!(node.ok(&["job", "show", text(&ids[0])]).stderr, "", "an id is unique");
    let listed = node.ok(&["job", "ls", "--json"]).json();
    let listed: Vec<&Value> =
        listed["jobs"].as_array().expect("a list").iter().map(|job| &job["job_id"]).collect();
    assert_eq!(listed, [&ids[2], &ids[1], &ids[0]]);
    assert_eq!(node.ok(&["job", "resume", "--json"]).json(), json!({"finished": []}));
}

/// Whoever sees a part of the jobs is told so.
#[test]
fn job_ls_says_that_there_are_older_jobs() {
    let node = Node::new();
    let ids = ["a", "b", "c"]
        .map(|seed| node.ok(&["run", "diag@1/noop.v1", "--seed", seed, "--json"]).json()["job_id"].clone());
    let listed = |limit: &str| node.ok(&["job", "ls", "--limit", limit, "--json"]).json();
    let newest = |listed: &Value| {
        let jobs = listed["jobs"].as_array().expect("a list");
        jobs.iter().map(|job| job["job_id"].clone()).collect::<Vec<_>>()
    };
    let two = listed("2");
    assert_eq!((newest(&two), &two["more"]), (vec![ids[2].clone(), ids[1].clone()], &json!(true)));
    let three = listed("3");
    assert_eq!((newest(&three).len(), &three["more"]), (3, &json!(false)));
    assert!(node.ok(&["job", "ls", "--limit", "1"]).text().contains("older jobs are not listed"));
    for wrong in ["0", "1001", "all"] {
        assert_eq!(node.forgemesh(&["job", "ls", "--limit", wrong]).code, 2);
    }
}

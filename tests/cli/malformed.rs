//! Envelopes that must be refused: with their code, their path, a cure, exit code 2, a record, and nothing else left.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::malformed_table::{Case, OPS, table};
use super::node::{Node, path};

/// Runs one case and gives the id of its refusal.
fn refused(node: &Node, case: &Case) -> String {
    let file = node.file("job.json", &case.envelope);
    let ended = node.forgemesh(&["run", path(&file), "--json"]);
    let error = ended.error(2, "refused");
    let problems = error["problems"].as_array().expect("a list of problems");
    for problem in problems {
        for key in ["code", "path", "message", "cure"] {
            let text = problem[key].as_str().unwrap_or_default();
            assert!(!text.is_empty() && text.len() < 1000, "{}: {key} of {problem}", case.name);
            assert!(!text.chars().any(char::is_control), "{}: {key} of {problem}", case.name);
        }
    }
    let first = &problems[0];
    let found = (first["code"].as_str(), first["path"].as_str());
    assert_eq!(found, (Some(case.code), Some(case.path)), "{}: {error:#}", case.name);
    assert!(first["cure"].as_str().is_some_and(|cure| cure.contains(case.cure)), "{}: {error:#}", case.name);
    assert!(ended.stderr.is_empty(), "{}: {}", case.name, ended.stderr);
    let id = error["refusal"].as_str().unwrap_or_else(|| panic!("{}: no record", case.name)).to_owned();
    let shown = node.ok(&["job", "show", &id, "--json"]).json();
    assert_eq!(shown["refusal"], json!(id), "{}", case.name);
    assert_eq!(shown["bytes"], json!(case.envelope.len().min((1 << 20) + 1)), "{}", case.name);
    assert_eq!(shown["problems"][0], *first, "{}", case.name);
    id
}

/// Runs cases on one node, then looks at what they left.
fn refuse_all(cases: &[Case]) {
    let node = Node::new();
    let ids: BTreeSet<String> = cases.iter().map(|case| refused(&node, case)).collect();
    assert_eq!(ids.len(), cases.len(), "each case has its own record");
    let jobs = node.ok(&["job", "ls", "--json"]).json();
    assert_eq!(jobs["jobs"], json!([]), "nothing half-written is left");
    let listed = node.ok(&["job", "ls", "--refused", "--json"]).json();
    let listed = listed["refusals"].as_array().expect("a list").iter();
    let listed: BTreeSet<String> =
        listed.filter_map(|row| row["refusal"].as_str().map(str::to_owned)).collect();
    assert_eq!(listed, ids);
    let refusal = listed.first().expect("there are cases");
    let shown = node.ok(&["job", "show", refusal, "--out", "nowhere", "--json"]);
    assert!(shown.stderr.contains("none are written") && !node.path("nowhere").exists(), "{}", shown.stderr);
    // The folder is as good as new.
    node.ok(&["run", "diag@1/noop.v1", "--json"]);
}

#[test]
fn the_table_is_large_and_its_names_differ() {
    let names: BTreeSet<&str> = table().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), table().len());
    assert!(names.len() >= 60, "{}", names.len());
}

#[test]
fn every_malformed_envelope_is_refused_with_its_cure() {
    let cases = table();
    // A folder serves one process at a time, and the machine has more than one core.
    let (one, other) = cases.split_at(cases.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| refuse_all(one));
        scope.spawn(|| refuse_all(other));
    });
}

#[test]
fn plan_refuses_what_run_refuses_and_makes_no_folder() {
    let node = Node::new();
    for case in table().iter().step_by(7) {
        let file = node.file("job.json", &case.envelope);
        let error = node.forgemesh(&["plan", path(&file), "--json"]).error(2, "refused");
        assert_eq!(error["problems"][0]["code"], json!(case.code), "{}", case.name);
        assert_eq!(error["problems"][0]["path"], json!(case.path), "{}", case.name);
    }
    assert!(!node.home().exists());
}

#[test]
fn all_problems_of_a_file_are_named_at_once_and_as_text() {
    let node = Node::new();
    let envelope = r#"{"op":{"name":"mc","version":1,"profile":"insurance.v1"},"args":{},"polcy":{},
        "policy":{"verify":"twice","min_agents":-1},"seed":{"mode":"explicit"}}"#;
    let file = node.file("job.json", envelope);
    let ended = node.forgemesh(&["run", path(&file)]);
    assert_eq!((ended.code, ended.text().as_str()), (2, ""));
    for text in [
        "unknown_field at $.polcy",
        "invalid_value at $.policy.verify",
        "out_of_range at $.policy.min_agents",
        "missing_field at $.seed.value",
        "recorded as refusal ",
    ] {
        assert!(ended.stderr.contains(text), "{text} is not in\n{}", ended.stderr);
    }
}

#[test]
fn the_number_of_problems_is_bounded() {
    let node = Node::new();
    let fields: Vec<String> = (0..5000).map(|i| format!("\"x{i}\":0")).collect();
    let file = node.file("job.json", format!("{{{}}}", fields.join(",")));
    let error = node.forgemesh(&["run", path(&file), "--json"]).error(2, "refused");
    let count = error["problems"].as_array().map(Vec::len);
    assert_eq!(count, Some(20));
}

#[test]
fn a_bad_envelope_on_standard_input_is_refused_too() {
    use std::io::Write;
    let node = Node::new();
    let mut command = node.command(&["run", "-", "--json"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("the executable starts");
    child.stdin.take().expect("a pipe").write_all(b"{\"op\":").expect("the pipe is open");
    let ended = super::node::Ended::of(child.wait_with_output().expect("it ends"));
    let error = ended.error(2, "refused");
    assert_eq!(error["problems"][0]["code"], json!("json_syntax"));
}

#[test]
fn all_that_is_wrong_is_named_at_once() {
    let node = Node::new();
    let job = json!({
        "op": {"name": "mc", "version": 1, "profile": "insurance.v1"}, "colour": 1, "shape": 2,
        "args": {"iteration": 5, "years": 7, "cat_prob": 2}, "policy": {"verify": "twice"},
    });
    let job = node.file("job.json", job.to_string());
    let error = node.forgemesh(&["run", path(&job), "--json"]).error(2, "refused");
    let problems = error["problems"].as_array().expect("a list");
    let paths: Vec<&str> = problems.iter().filter_map(|problem| problem["path"].as_str()).collect();
    let all =
        ["$.colour", "$.shape", "$.policy.verify", "$.args.iteration", "$.args.years", "$.args.cat_prob"];
    assert_eq!(paths, all);
}

#[test]
fn bad_words_on_the_command_line_are_refused() {
    let node = Node::new();
    for (args, code) in [
        (vec!["run", "nothing.json"], "cannot_read"),
        (vec!["run", "mc@1"], "usage"),
        (vec!["run", "mc@1/insurance.v1", "iterations"], "usage"),
        (vec!["run", "mc@1/insurance.v1", "iterations=5", "iterations=6"], "usage"),
        (vec!["run", "mc@1/insurance.v9"], "refused"),
        (vec!["run", "mc@1/insurance.v1", "--verify", "twice"], "refused"),
        (vec!["run", "mc@1/insurance.v1", "iterations=many"], "usage"),
        (vec!["run", "mc@1/insurance.v1", "iterations=-5"], "refused"),
        (vec!["run", "mc@1/insurance.v1", "iteration=5"], "refused"),
        (vec!["op", "schema", "mc"], "usage"),
        (vec!["op", "schema", "mc@1/none.v1"], "refused"),
        (vec!["verify", "nothing.json"], "cannot_read"),
        (vec!["verify", "nothing.json", "--mesh", "xyz"], "usage"),
    ] {
        let args: Vec<&str> = args.into_iter().chain(["--json"]).collect();
        node.forgemesh(&args).error(2, code);
    }
    let missing = node.forgemesh(&["run", "nothing.json"]).stderr;
    assert!(missing.contains("cannot read nothing.json: no such file;"), "{missing}");
    let mistyped = node.forgemesh(&["run", "insurance"]).stderr;
    assert!(mistyped.contains("such as mc@1/insurance.v1: `forgemesh op ls`"), "{mistyped}");
    // What clap itself refuses.
    for args in [vec!["walk"], vec!["run"], vec!["op", "ls", "--threads", "0"], vec!["run", "-x"]] {
        assert_eq!(node.forgemesh(&args).code, 2, "{args:?}");
    }
}

#[test]
fn the_ops_of_the_table_are_valid_by_themselves() {
    let node = Node::new();
    for (name, op, args) in OPS {
        let envelope = format!("{{\"op\":{op},\"args\":{args}}}");
        let file = node.file("job.json", &envelope);
        let plan: Value = node.ok(&["plan", path(&file), "--json"]).json();
        assert!(plan["op"].is_string(), "{name}");
    }
}

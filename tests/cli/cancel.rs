//! `job cancel`: an interrupted job is given up, for good, and in the books.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use super::node::Node;

/// A node with a job of days that was killed as soon as it was accepted.
fn interrupted() -> (Node, String) {
    let node = Node::new();
    let args = ["run", "mc@1/insurance.v1", "iterations=1e12", "--threads", "1", "--progress", "none"];
    let mut run =
        node.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(run.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let id = line.strip_prefix("accepted ").unwrap_or_else(|| panic!("{line}")).trim_end().to_owned();
    run.kill().expect("it runs");
    run.wait().expect("it ends");
    (node, id)
}

#[test]
fn an_interrupted_job_is_unfinished_to_people() {
    let (node, id) = interrupted();
    let listed = node.ok(&["job", "ls"]).text();
    let shown = node.ok(&["job", "show", &id]).text();
    assert!(listed.contains("unfinished") && !listed.contains("running"), "{listed}");
    assert!(shown.starts_with(&format!("job {id}\nmc@1/insurance.v1  unfinished\n")), "{shown}");
    let home = node.home();
    let forgemesh = |words: &str| format!("forgemesh --home {} job {words}", home.display());
    for command in [forgemesh("resume"), forgemesh(&format!("cancel {}", &id[..8]))] {
        assert!(shown.contains(&command), "{shown}");
    }
    // Programs are told the state itself.
    let state = node.ok(&["job", "show", &id, "--json"]).json()["state"].clone();
    assert!(["planned", "running"].contains(&state.as_str().expect("a text")), "{state}");
}

#[test]
fn an_interrupted_job_is_cancelled_once_and_for_good() {
    let (node, id) = interrupted();
    assert_eq!(node.ok(&["job", "cancel", &id[..10], "--json"]).json(), json!({ "cancelled": id }));
    let shown = node.ok(&["job", "show", &id, "--json"]).json();
    assert_eq!((&shown["state"], &shown["failure"]["code"]), (&json!("failed"), &json!("cancelled")));
    node.forgemesh(&["job", "cancel", &id, "--json"]).error(1, "already_final");
    node.forgemesh(&["job", "cancel", "0123456789", "--json"]).error(2, "no_such_job");
    assert_eq!(node.ok(&["job", "resume", "--json"]).json(), json!({"finished": []}));
    // Its receipt says so to a stranger, too.
    let receipt = node.ok(&["job", "receipt", &id]).stdout;
    let file = node.file("receipt.json", receipt);
    node.ok(&["verify", super::node::path(&file)]);
}

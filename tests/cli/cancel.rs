//! A job that was interrupted: given up, for good, and in the books; gone on with; or only no longer waited for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::node::{Ended, Node};

/// A job of days.
const LONG: [&str; 4] = ["mc@1/insurance.v1", "iterations=1e12", "--progress", "none"];

/// A command that has a job accepted and waits for it, and the job's id.
fn begin(node: &Node, args: &[&str]) -> (Child, String) {
    let mut run =
        node.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(run.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let id = line.strip_prefix("accepted ").unwrap_or_else(|| panic!("{line}")).trim_end().to_owned();
    (run, id)
}

/// A node with a job that was killed as soon as it was accepted.
fn killed(job: &[&str]) -> (Node, String) {
    let node = Node::new();
    let (mut run, id) = begin(&node, &[&["run", "--threads", "1"], job].concat());
    run.kill().expect("it runs");
    run.wait().expect("it ends");
    (node, id)
}

/// Ctrl-C; how the command ended, and what it said.
fn interrupt(run: Child) -> (i32, String) {
    let pid = run.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().is_ok_and(|status| status.success()));
    let ended = Ended::of(run.wait_with_output().expect("it ends"));
    (ended.code, ended.stderr)
}

#[test]
fn an_interrupted_job_is_unfinished_to_people() {
    let (node, id) = killed(&LONG);
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
    let (node, id) = killed(&LONG);
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

#[test]
fn who_waits_for_a_node_and_is_interrupted_hears_that_the_job_goes_on() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    let (submit, id) = begin(&node, &[&["job", "submit", "--wait"], &LONG[..]].concat());
    let words =
        |words: &str| format!("`forgemesh --home {} job {words} {}`", node.home().display(), &id[..8]);
    let (code, said) = interrupt(submit);
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("the job goes on"), "{said}");
    assert!(said.contains(&words("watch")) && said.contains(&words("cancel")), "{said}");
    let mut watch = node.command(&["job", "watch", &id, "--progress", "json"]);
    let mut watch = watch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(watch.stderr.take().expect("a pipe")).lines();
    assert!(lines.next().is_some_and(|line| line.is_ok_and(|line| line.contains(&id))), "it watches");
    assert_eq!(interrupt(watch).0, 130);
    let last = lines.last().expect("a line").expect("it can be read");
    assert!(last.contains("the job goes on"), "{last}");
    let state = node.ok(&["job", "show", &id, "--json"]).json()["state"].clone();
    assert!(!["finalized", "failed"].contains(&state.as_str().expect("a text")), "{state}");
    node.ok(&["job", "cancel", &id]);
}

#[test]
fn who_is_interrupted_after_the_wait_ends_at_once() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    // A file that takes nothing until somebody reads it.
    let out = node.path("out");
    std::fs::create_dir(&out).expect("beside the data folder");
    let pipe = out.join(".receipt.json.part");
    assert!(Command::new("mkfifo").arg(pipe).status().is_ok_and(|status| status.success()));
    let (submit, id) = begin(&node, &["job", "submit", "diag@1/noop.v1", "--wait", "--out", "out"]);
    node.until("it is final", || {
        node.ok(&["job", "show", &id, "--json"]).json()["state"] == json!("finalized")
    });
    // It writes by then; if it does not, the wait ends the same way.
    sleep(Duration::from_secs(1));
    assert_eq!(interrupt(submit).0, 130);
}

#[test]
fn a_job_that_was_resumed_leaves_its_files_where_they_are_wanted() {
    let (node, id) = killed(&["diag@1/mix.v1", "iterations=3000000", "--out", "out", "--progress", "none"]);
    node.forgemesh(&["job", "show", &id, "--out", "out", "--json"]).error(1, "not_final");
    let text = node.ok(&["job", "resume"]).text();
    let command = format!("`forgemesh --home {} job show {}`", node.home().display(), &id[..8]);
    assert!(text.contains(&format!("finished {id}\n")), "{text}");
    assert!(text.contains(&command) && text.contains("--out DIR"), "{text}");
    let shown = node.ok(&["job", "show", &id, "--out", "out", "--json"]).json();
    assert_eq!(shown["receipt"]["path"], json!("out/receipt.json"));
    node.ok(&["verify", "out/receipt.json"]);
}

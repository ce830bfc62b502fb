//! What README.md tells people to type works as it is printed.

use super::node::{Node, path};

/// README.md after a heading.
fn section(heading: &str) -> String {
    let file = format!("{}/../README.md", env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(file).expect("README.md is at the root");
    let (_, section) = readme.split_once(heading).unwrap_or_else(|| panic!("no {heading} in README.md"));
    section.to_owned()
}

/// The first block of code in a text, between a fence and the next.
fn block<'a>(text: &'a str, fence: &str) -> &'a str {
    let (_, block) = text.split_once(fence).unwrap_or_else(|| panic!("no {fence} in {text}"));
    block.split_once("```").expect("every fence is closed").0
}

#[test]
fn the_job_file_is_accepted_as_printed() {
    let node = Node::new();
    let job = node.file("job.json", block(&section("## A job file"), "```json\n"));
    let run = node.ok(&["run", path(&job), "--json"]).json();
    assert_eq!((&run["state"], &run["client_job_id"]), (&"finalized".into(), &"my-name-for-it".into()));
}

#[test]
fn the_convergence_argument_is_accepted_as_printed() {
    let node = Node::new();
    let section = section("## Stopping early");
    let argument = section.split('\'').find(|text| text.starts_with("convergence=")).expect("it is shown");
    let file = format!("{}/../node/examples/reserve-raa.json", env!("CARGO_MANIFEST_DIR"));
    let plan = node.ok(&["plan", &file, "iterations=1000000", argument, "--json"]).json();
    assert!(plan["stages"].as_array().is_some_and(|stages| stages.len() > 1), "{plan}");
    // Who writes it the other way is told that form.
    let ended = node.forgemesh(&["plan", &file, "convergence.relative_half_width=0.01", "--json"]);
    let error = ended.error(2, "usage");
    let hint = format!("'{argument}'");
    assert!(error["message"].as_str().is_some_and(|text| text.contains(&hint)), "{error}");
}

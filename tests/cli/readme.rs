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

#[test]
fn all_files_of_a_data_folder_are_listed() {
    let listed = section("In it are:");
    let listed = listed.split("\n\n## ").next().expect("a beginning");
    let node = Node::new();
    node.init(&["--private"]);
    node.ok(&["up", "--detach", "--threads", "1"]);
    let names: Vec<String> = std::fs::read_dir(node.home())
        .expect("init has made it")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("names of ours"))
        .collect();
    node.ok(&["down"]);
    // Room for the reserve is not found on every disk.
    assert!(names.iter().filter(|name| *name != "forgemesh.reserve").count() >= 7, "{names:?}");
    for name in names {
        assert!(listed.contains(&format!("| `{name}` |")), "{name} is not in {listed}");
    }
}

#[test]
fn two_nodes_on_one_machine_are_made_as_printed() {
    let block = section("Both may be one machine").split("```\n").nth(1).expect("a block").to_owned();
    let (first, second) = (Node::new(), Node::new());
    let mut lines = block.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let mut next = |node: &Node, ticket: &str| {
        let words = lines.next().expect("a line").skip(3);
        let words: Vec<&str> = words
            .map(|word| match word {
                // Other tests may have that port.
                "/ip4/127.0.0.1/tcp/4610" => "/ip4/127.0.0.1/tcp/0",
                "fmt1…" => ticket,
                word => word,
            })
            .collect();
        node.ok(&[&words[..], &["--json"]].concat()).json()
    };
    let made = next(&first, "");
    next(&first, "");
    next(&second, made["ticket"].as_str().expect("a line"));
    next(&second, "");
    second.until("they have met", || second.ok(&["status", "--json"]).json()["network"]["peers"] == 1);
    for node in [&first, &second] {
        node.ok(&["down"]);
    }
}

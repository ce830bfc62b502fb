//! A node that runs: what a person does with it from `init` to `down`, and what stands after it was killed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::node::{Node, path, small_job};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn init_makes_a_node_and_a_ticket_once() {
    let node = Node::new();
    let made = node.init(&["--name", "first"]);
    assert_eq!((&made["name"], &made["private"]), (&json!("first"), &json!(false)));
    assert!(made["ticket"].as_str().is_some_and(|ticket| ticket.starts_with("fmt1")), "{made}");
    let address = made["addresses"][0].as_str().expect("an address");
    assert!(address.starts_with("/ip4/127.0.0.1/tcp/") && address.contains("/p2p/12D3Koo"), "{address}");
    // The port was 0: a free one is settled on, so that the ticket leads there after every start.
    let listen = made["listen"][0].as_str().expect("an address");
    assert!(address.starts_with(listen) && !listen.ends_with("/0"), "{listen}");
    let config = std::fs::read_to_string(node.home().join("config.toml")).expect("the settings");
    assert!(config.contains(listen), "{config}");
    assert!(!node.home().join("swarm.key").exists(), "an open mesh has no key");
    let error = node.forgemesh(&["init", "--json"]).error(2, "has_mesh");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("forgemesh up")), "{error}");
    let private = Node::new();
    private.init(&["--private"]);
    assert_eq!(mode(&private.home().join("swarm.key")), 0o600);
}

#[test]
fn a_folder_that_init_made_in_vain_is_gone_again() {
    let node = Node::new();
    let nowhere = ["init", "--json", "--listen", "/ip4/192.0.2.77/tcp/4610"];
    node.forgemesh(&nowhere).error(1, "network");
    assert!(!node.home().exists());
    // One that was there stays, with the key that it has by now.
    std::fs::create_dir(node.home()).expect("the temporary folder can be written");
    node.forgemesh(&nowhere).error(1, "network");
    let key = || std::fs::read(node.home().join("node.key")).expect("the key");
    let before = key();
    node.forgemesh(&nowhere).error(1, "network");
    assert_eq!(key(), before);
    node.init(&[]);
    assert_eq!(key(), before);
}

#[test]
fn a_node_without_a_mesh_does_not_start() {
    let node = Node::new();
    let error = node.forgemesh(&["up", "--json"]).error(2, "no_mesh");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("forgemesh init")), "{error}");
    assert!(!node.home().exists());
    for args in
        [["status"].as_slice(), &["down"], &["node", "ls"], &["ticket", "ls"], &["job", "why-pending", "ab"]]
    {
        let args = [args, &["--json"]].concat();
        let error = node.forgemesh(&args).error(1, "no_node");
        let message = error["message"].as_str().expect("a text");
        let at = |command: &str| message.find(command).unwrap_or_else(|| panic!("{command}: {message}"));
        assert!(at("forgemesh init") < at("forgemesh join") && at("forgemesh join") < at("forgemesh up"));
    }
    // What people are told to run is for the folder that they named, or for the node.
    let (home, socket) = (node.home(), node.home().join("control.sock"));
    let said = node.forgemesh(&["status"]).stderr;
    assert!(said.contains(&format!("`forgemesh --home {} init`", home.display())), "{said}");
    let said = node.forgemesh(&["status", "--node", path(&socket)]).stderr;
    assert!(said.contains(&format!("`forgemesh --home {} up`", home.display())), "{said}");
    // Nor is there a folder of that name, or there is one with a mesh, whose node was stopped.
    let nowhere = node.path("nowhere");
    let said = node.forgemesh(&["status", "--node", path(&nowhere)]).stderr;
    assert!(said.contains(&format!("`forgemesh --home {} init`", nowhere.display())), "{said}");
    node.init(&[]);
    let start = format!("`forgemesh --home {} up`", home.display());
    for name in [home, socket] {
        let said = node.forgemesh(&["status", "--node", path(&name)]).stderr;
        assert!(said.contains(&start) && !said.contains(" init`"), "{said}");
    }
}

#[test]
fn a_final_job_is_told_of_where_no_node_runs() {
    let node = Node::new();
    let job = node.run(&small_job(), "out")["job_id"].as_str().expect("an id").to_owned();
    let told = node.forgemesh(&["job", "watch", &job, "--json"]).json();
    assert_eq!((&told["job_id"], &told["state"]), (&json!(job), &json!("finalized")), "{told}");
    node.forgemesh(&["job", "watch", "beef", "--json"]).error(2, "no_such_job");
    let empty = node.path("empty.json");
    std::fs::write(&empty, " \n").expect("written");
    let error = node.forgemesh(&["run", path(&empty), "--json"]).error(2, "refused");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("there is nothing in it")), "{error}");
}

#[test]
fn jobs_of_a_running_node_come_to_the_bits_of_an_embedded_run() {
    let (node, embedded) = (Node::new(), Node::new());
    let expected = embedded.run(&small_job(), "out");
    node.init(&[]);
    let running = node.up();
    let status = node.ok(&["status", "--json"]).json();
    assert_eq!(
        (&status["role"], &status["leads"], &status["mode"]),
        (&json!("hub"), &json!(true), &json!("working"))
    );
    assert_eq!(status["pid"], json!(running.id()));
    assert_eq!(mode(&node.home().join("control.sock")), 0o600);
    let file = node.file("job.json", small_job().to_string());
    let job = node.ok(&["job", "submit", path(&file), "--wait", "--out", "there", "--json"]).json();
    for key in ["result_hash", "replay_key", "root_seed", "contract_hash", "output", "work"] {
        assert_eq!(job[key], expected[key], "{key}");
    }
    // What `run` does embedded, it does here by the node.
    let run = node.ok(&["run", path(&file), "--json", "--out", "here"]).json();
    assert_eq!(run["result_hash"], expected["result_hash"]);
    assert_ne!(run["job_id"], job["job_id"]);
    // Each says how to have the files in its own words.
    let told = node.ok(&["run", path(&file)]).text();
    assert!(told.contains("(or run with --out DIR)"), "{told}");
    let told = node.ok(&["job", "submit", path(&file), "--wait"]).text();
    assert!(told.contains("(or submit with --wait --out DIR)"), "{told}");
    node.ok(&["verify", "there/receipt.json", "--mesh", status["mesh"].as_str().expect("a mesh")]);
    for name in ["result.json", "loss.svg"] {
        let read = |node: &Node, out: &str| std::fs::read(node.path(out).join(name)).expect("a file");
        if name == "result.json" {
            assert_eq!(read(&node, "there"), read(&embedded, "out"));
        }
        assert!(!read(&node, "here").is_empty());
    }
    // The same commands read the running node and, after it, the folder; and say the same.
    let id = job["job_id"].as_str().expect("an id");
    let commands: [&[&str]; 5] = [
        &["job", "ls", "--json"],
        &["job", "show", &id[..8], "--json"],
        &["job", "result", id],
        &["job", "executions", id],
        &["job", "receipt", id],
    ];
    let there: Vec<Vec<u8>> = commands.iter().map(|args| node.ok(args).stdout).collect();
    node.ok(&["receipt", "bundle", id, "-o", "there.tar"]);
    assert_eq!(running.down(&node), Some(0));
    assert!(!node.home().join("control.sock").exists());
    for (args, there) in commands.iter().zip(there) {
        assert_eq!(node.ok(args).stdout, there, "{args:?}");
    }
    node.ok(&["receipt", "bundle", id, "-o", "here.tar"]);
    assert_eq!(std::fs::read(node.path("there.tar")).ok(), std::fs::read(node.path("here.tar")).ok());
    node.ok(&["verify", "there.tar"]);
}

#[test]
fn a_refused_job_is_refused_by_the_node_in_the_same_words() {
    let node = Node::new();
    let mut job = small_job();
    job["args"]["iterations"] = json!(-1);
    let file = node.file("job.json", job.to_string());
    let embedded = node.forgemesh(&["run", path(&file), "--json"]).error(2, "refused");
    let other = Node::new();
    other.init(&[]);
    let _running = other.up();
    let there = other.forgemesh(&["job", "submit", path(&file), "--json"]).error(2, "refused");
    assert_eq!(there, embedded);
    let listed = other.ok(&["job", "ls", "--refused", "--json"]).json();
    assert_eq!(listed["refusals"][0]["refusal"], embedded["refusal"]);
    other.forgemesh(&["job", "show", "nonsense", "--json"]).error(2, "no_such_job");
}

#[test]
fn a_folder_has_one_node_and_a_killed_one_leaves_no_trouble() {
    let node = Node::new();
    node.init(&[]);
    let running = node.up();
    let error = node.forgemesh(&["up", "--json"]).error(1, "node_runs");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("forgemesh down")), "{error}");
    node.forgemesh(&["init", "--json"]).error(1, "node_runs");
    node.ok(&["node", "pause"]);
    let file = node.file("job.json", small_job().to_string());
    let id = node.ok(&["job", "submit", path(&file), "--json"]).json()["job_id"].clone();
    running.kill();
    assert!(node.home().join("control.sock").exists(), "its socket is left");
    // The folder is read as one that no node uses.
    assert_eq!(node.ok(&["job", "ls", "--json"]).json()["jobs"][0]["job_id"], id);
    node.forgemesh(&["status", "--json"]).error(1, "no_node");
    // A new node takes the socket's place and finishes what was accepted.
    let running = node.up();
    let id = id.as_str().expect("an id");
    let watched = node.ok(&["job", "watch", &id[..8], "--json"]).json();
    assert_eq!((&watched["job_id"], &watched["state"]), (&json!(id), &json!("finalized")));
    assert_eq!(running.down(&node), Some(0));
}

#[test]
fn a_node_in_the_background_is_started_and_stopped_by_commands() {
    let node = Node::new();
    node.init(&[]);
    let started = node.ok(&["up", "--detach", "--json"]).json();
    let status = node.ok(&["status", "--json"]).json();
    assert_eq!(started["pid"], status["pid"]);
    // By its folder or its socket it can be asked from anywhere.
    let elsewhere = Node::new();
    for place in [node.home(), node.home().join("control.sock")] {
        let there = elsewhere.ok(&["status", "--node", path(&place), "--json"]).json();
        assert_eq!(there["node"], status["node"]);
    }
    node.ok(&["down"]);
    // The folder is free at once.
    node.ok(&["run", "diag@1/noop.v1"]);
    let log = std::fs::read_to_string(node.home().join("node.log")).expect("its log");
    assert!(log.contains("listens at /ip4/127.0.0.1/") && log.trim_end().ends_with("stopped"), "{log}");
    // What keeps it from starting is said at once.
    node.file("home/config.toml", "listen = 7\n");
    let error = node.forgemesh(&["up", "--detach", "--json"]).error(1, "not_started");
    let words = ["line 1", "listen = 7", "node.log"];
    let message = error["message"].as_str().expect("a text");
    assert!(words.iter().all(|word| message.contains(word)), "{error}");
}

#[test]
fn a_job_is_cancelled_by_the_node_that_runs() {
    let node = Node::new();
    node.init(&[]);
    let running = node.up();
    let id = node.ok(&["job", "submit", "mc@1/insurance.v1", "iterations=1e11", "--json"]).json()["job_id"]
        .clone();
    let id = id.as_str().expect("an id");
    assert_eq!(node.ok(&["job", "cancel", &id[..8], "--json"]).json(), json!({ "cancelled": id }));
    let shown = node.ok(&["job", "show", id, "--json"]).json();
    assert_eq!((&shown["state"], &shown["failure"]["code"]), (&json!("failed"), &json!("cancelled")));
    node.forgemesh(&["job", "cancel", id, "--json"]).error(1, "already_final");
    node.forgemesh(&["job", "resume", "--json"]).error(2, "usage");
    assert_eq!(running.down(&node), Some(0));
}

//! A private node in a mesh of two: what its operator allows, the other end of a real network sees and keeps to.

use forgemesh_tests::node::Node;
use serde_json::{Value, json};

use crate::pair::{Pair, executors, node};

/// Adds a setting to those that the node has, and starts it again.
fn restart_with(pair: &mut Pair, setting: &str) {
    assert_eq!(pair.guest_runs.take().expect("it runs").down(&pair.guest), Some(0));
    let path = pair.guest.home().join("config.toml");
    let text = std::fs::read_to_string(&path).expect("the settings");
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("visibility")).collect();
    std::fs::write(&path, format!("{}\n{setting}\n", kept.join("\n"))).expect("our file");
    pair.guest_runs = Some(pair.guest.up());
}

fn id(node: &Node) -> String {
    let identity = node.ok(&["node", "identity", "--json"]).json();
    identity["node"].as_str().expect("an id").to_owned()
}

fn codes(value: &Value) -> Vec<&str> {
    value["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

#[test]
fn a_private_node_works_for_itself_and_for_whom_it_names() {
    let mut pair = Pair::new(&["--private"]);
    restart_with(&mut pair, "visibility = \"private\"\nregion = \"eu-west\"");
    pair.hub.until("the hub hears that the guest is private", || {
        let guest = node(&pair.hub, "guest");
        (&guest["visibility"], &guest["region"]) == (&json!("private"), &json!("eu-west"))
    });
    pair.guest_alone();
    let job = pair.hub.ok(&["job", "submit", "diag@1/noop.v1", "--json"]).json();
    let job = job["job_id"].as_str().expect("an id").to_owned();
    pair.hub.until("it waits for who may execute it", || {
        codes(&pair.hub.ok(&["job", "why-pending", &job, "--json"]).json())
            == ["no_agent", "private", "unwilling"]
    });
    // Its own it executes, and nobody else's meanwhile.
    let guest = id(&pair.guest);
    let submit = ["job", "submit", "diag@1/noop.v1", "--region", "eu-west", "--wait", "--json"];
    let own = pair.guest.ok(&submit).json();
    let by = executors(&pair.hub, own["job_id"].as_str().expect("an id"));
    assert_eq!(by.into_iter().collect::<Vec<_>>(), [guest.as_str()]);
    assert_eq!(pair.hub.ok(&["job", "show", &job, "--json"]).json()["state"], json!("planned"));
    let named = format!("visibility = \"private\"\nclients = [\"{}\"]", id(&pair.hub));
    restart_with(&mut pair, &named);
    pair.hub.until("the job is final", || {
        let shown = pair.hub.forgemesh(&["job", "show", &job, "--json"]);
        shown.code == 0 && shown.json()["state"] == json!("finalized")
    });
    assert_eq!(executors(&pair.hub, &job).into_iter().collect::<Vec<_>>(), [guest.as_str()]);
}

//! What a provider sets in config.toml is what its node says, what the hub lends by, and what a waiting job names.

use serde_json::{Value, json};

use super::node::Node;

fn settings(node: &Node, text: &str) {
    std::fs::write(node.home().join("config.toml"), text).expect("our file");
}

fn codes(value: &Value) -> Vec<&str> {
    value["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

fn submit(node: &Node, args: &[&str]) -> String {
    let value = node.ok(&[&["job", "submit", "diag@1/noop.v1", "--json"], args].concat()).json();
    value["job_id"].as_str().expect("an id").to_owned()
}

/// Waits until a job waits for exactly this.
fn waits_for(node: &Node, job: &str, expected: &[&str]) {
    node.until(&format!("the job waits for {expected:?}"), || {
        codes(&node.ok(&["job", "why-pending", job, "--json"]).json()) == expected
    });
}

fn finalized(node: &Node, job: &str) {
    node.until("the job is final", || {
        let shown = node.forgemesh(&["job", "show", job, "--json"]);
        shown.code == 0 && shown.json()["state"] == json!("finalized")
    });
}

#[test]
fn the_settings_of_a_provider_are_shown_and_hold() {
    let node = Node::new();
    node.init(&[]);
    let client = "ab".repeat(32);
    settings(
        &node,
        &format!(
            "region = \"eu-west\"\nvisibility = \"private\"\nclients = [\"{client}\"]\nbilling = [\"test\"]\n\
             organizations = [\"acme\"]\nhours_utc = [\"00:00-24:00\"]\n"
        ),
    );
    let running = node.up();
    let own = node.ok(&["node", "identity", "--json"]).json()["node"].clone();
    let limits = node.ok(&["node", "limits", "--json"]).json();
    assert_eq!(limits["region"], json!("eu-west"));
    assert_eq!((&limits["visibility"], &limits["clients"]), (&json!("private"), &json!([own, client])));
    assert_eq!((&limits["billing"], &limits["hours_utc"]), (&json!(["test"]), &json!(["00:00-24:00"])));
    assert_eq!((&limits["organizations"], &limits["idle_only"]), (&json!(["acme"]), &json!(false)));
    let text = node.ok(&["node", "limits"]).text();
    for part in ["2 of 2 threads", "eu-west", "(private)", "nodes of acme", &client, "test", "00:00-24:00"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Its own job, but a billable one.
    let job = submit(&node, &[]);
    waits_for(&node, &job, &["no_agent", "billing"]);
    let own = own.as_str().expect("an id");
    let shown = node.ok(&["node", "show", own, "--json"]).json();
    assert_eq!((&shown["region"], &shown["visibility"]), (&json!("eu-west"), &json!("private")));
    assert_eq!(shown["billing"], json!(["test"]));
    let idle = node.ok(&["node", "why-idle", "--json"]).json();
    assert_eq!(codes(&idle), ["private", "pending"], "{idle}");
    let private = idle["reasons"][0]["text"].as_str().expect("a text");
    assert!(private.contains("and of 1 other clients, and of nodes of acme, alone"), "{private}");
    assert!(node.ok(&["job", "why-pending", &job]).text().contains("1 of 1 agents take no billable jobs"));
    // Allowed, it is executed: a private node works for itself.
    assert_eq!(running.down(&node), Some(0));
    settings(&node, "visibility = \"private\"\nbilling = [\"billable\", \"test\"]\n");
    let _running = node.up();
    finalized(&node, &job);
}

#[test]
fn a_job_for_a_region_waits_for_a_node_there() {
    let node = Node::new();
    node.init(&[]);
    // Alone, nobody is anywhere: refused at once, with what to do.
    let refused = node.forgemesh(&["run", "diag@1/noop.v1", "--region", "eu-west", "--json"]);
    let error = refused.error(2, "refused");
    assert_eq!(error["problems"][0]["path"], json!("$.offer.regions"), "{error}");
    assert_eq!(node.forgemesh(&["run", "diag@1/noop.v1", "--region", "EU"]).code, 2);
    settings(&node, "region = \"us-east\"\n");
    let running = node.up();
    let job = submit(&node, &["--region", "eu-west", "--region", "eu-north"]);
    waits_for(&node, &job, &["no_agent", "region"]);
    let text = node.ok(&["job", "why-pending", &job]).text();
    assert!(text.contains("1 of 1 agents do not say that they are in eu-north or eu-west"), "{text}");
    assert_eq!(running.down(&node), Some(0));
    settings(&node, "region = \"eu-north\"\n");
    let _running = node.up();
    finalized(&node, &job);
    // The receipt says what was asked for, and a stranger can check the client's signature under it.
    let receipt = node.ok(&["job", "receipt", &job]);
    let file = node.file("receipt.json", &receipt.stdout);
    node.ok(&["verify", super::node::path(&file)]);
}

#[test]
fn a_node_for_idle_machines_begins_by_looking() {
    let node = Node::new();
    node.init(&[]);
    settings(&node, "idle_only = true\n");
    let _running = node.up();
    let status = node.ok(&["status", "--json"]).json();
    assert_eq!((&status["mode"], &status["idle_only"]), (&json!("yielding"), &json!(true)));
    let job = submit(&node, &[]);
    waits_for(&node, &job, &["no_agent", "unwilling"]);
    let idle = node.ok(&["node", "why-idle", "--json"]).json();
    assert_eq!(codes(&idle), ["in_use", "pending"], "{idle}");
    // No command makes it take work while nobody knows whether the machine is idle.
    assert_eq!(node.ok(&["node", "resume", "--json"]).json()["mode"], json!("yielding"));
    assert!(node.ok(&["node", "limits"]).text().contains("while the machine is idle"));
    let checks = node.forgemesh(&["doctor", "--json"]).json();
    let found = checks["checks"].as_array().into_iter().flatten().find(|check| check["check"] == "idle only");
    assert_eq!(found.map(|check| check["verdict"].clone()), Some(json!("pass")), "{checks}");
}

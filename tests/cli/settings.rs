//! How much of a node the mesh may have: config.toml before it starts, commands while it runs.

use serde_json::{Value, json};

use super::node::Node;

fn settings(node: &Node, text: &str) {
    std::fs::write(node.home().join("config.toml"), text).expect("our file");
}

fn codes(value: &Value) -> Vec<&str> {
    value["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

#[test]
fn a_mistake_in_the_settings_is_named_with_its_line() {
    let node = Node::new();
    node.init(&[]);
    for (text, words) in [
        ("listen = []\nthread = 2\n", ["line 2", "thread"]),
        ("\nthreads = 0\n", ["line 2", "1 to 1024"]),
        ("listen = [\"0.0.0.0:1\"]\n", ["line 1", "/ip4/"]),
        ("listen = []\nexternal = [\"mesh.example.org\"]\n", ["line 2", "/ip4/203.0.113.7/"]),
        ("ops = [\n\"mc\"]\n", ["line 2", "mc@1/reserve.v1"]),
        ("hours_utc = [\"25:00-26:00\"]\n", ["line 1", "20:00-06:00"]),
        ("listen = [\n", ["config.toml, line ", "mend that line"]),
        ("listen = []\nmdns = \"yes\"\n", ["config.toml, line 2: ", "mdns = \"yes\""]),
    ] {
        settings(&node, text);
        let error = node.forgemesh(&["up", "--json"]).error(2, "config");
        let message = error["message"].as_str().expect("a text");
        assert!(words.iter().all(|word| message.contains(word)), "{text:?}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
    // An address that the system refuses is named too.
    settings(&node, "listen = [\"/ip4/192.0.2.77/tcp/4610\"]\n");
    let error = node.forgemesh(&["up", "--json"]).error(1, "network");
    let message = error["message"].as_str().expect("a text");
    let words = ["192.0.2.77", "Cannot assign requested address", "address that this machine has"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn settings_that_were_changed_since_the_node_was_started_are_told() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    let told = || node.ok(&["status", "--json"]).json()["settings"].clone();
    let text = || node.ok(&["status"]).text();
    assert_eq!(told(), json!({ "changed": false, "error": null }));
    assert!(!text().contains("config.toml"), "{}", text());
    let begun = std::fs::read_to_string(node.home().join("config.toml")).expect("the settings");
    // Other words for the same settings change nothing.
    settings(&node, &format!("# listens as before\n{begun}"));
    assert_eq!(told()["changed"], json!(false));
    settings(&node, &format!("{begun}threads = 1\n"));
    assert_eq!(told(), json!({ "changed": true, "error": null }));
    let words = ["config.toml was changed", " down`", " up`"];
    assert!(words.iter().all(|word| text().contains(word)), "{}", text());
    settings(&node, "\nthreads = 0\n");
    assert!(told()["error"].as_str().is_some_and(|text| text.contains("line 2: threads are")), "{}", told());
    assert!(
        ["line 2: threads are", "would not start"].iter().all(|word| text().contains(word)),
        "{}",
        text()
    );
    settings(&node, &begun);
    assert_eq!(told(), json!({ "changed": false, "error": null }));
}

#[test]
fn a_node_confined_to_other_operations_leaves_a_job_pending_and_says_why() {
    let node = Node::new();
    node.init(&[]);
    settings(&node, "ops = [\"mc@1/reserve.v1\"]\nthreads = 1\n");
    let _running = node.up();
    let status = node.ok(&["status", "--json"]).json();
    assert_eq!((&status["capacity"], &status["ops"]), (&json!(1), &json!(["mc@1/reserve.v1"])));
    let id = node.ok(&["job", "submit", "diag@1/noop.v1", "--json"]).json()["job_id"].clone();
    let id = id.as_str().expect("an id");
    // Its hello comes within seconds; before it there is no agent at all.
    node.until("the agent has said what it executes", || {
        let pending = node.ok(&["job", "why-pending", id, "--json"]).json();
        codes(&pending) == ["no_agent", "profile"]
    });
    let idle = node.ok(&["node", "why-idle", "--json"]).json();
    assert_eq!((&idle["idle"], codes(&idle)), (&json!(true), vec!["pending"]));
    assert!(node.ok(&["job", "why-pending", id]).text().contains("do not execute diag@1/noop.v1"));
    // Allowed, it is executed; 0 threads are all.
    let limits = node.ok(&["node", "limits", "--op", "all", "--compute", "0", "--json"]).json();
    assert_eq!((&limits["capacity"], &limits["threads"], &limits["ops"]), (&json!(2), &json!(2), &json!([])));
    let watched = node.ok(&["job", "watch", id, "--json"]).json();
    assert_eq!(watched["state"], json!("finalized"));
    let error = node.forgemesh(&["job", "why-pending", id, "--json"]).error(1, "already_final");
    let message = error["message"].as_str().expect("a text");
    assert!(
        ["finalized", "job result", "job receipt"].iter().all(|word| message.contains(word)),
        "{message}"
    );
    // Threads that the operator has taken away are not counted.
    node.ok(&["node", "limits", "--compute", "1"]);
    let found = node.ok(&["doctor"]).text();
    assert!(found.contains("threads      1 of "), "{found}");
    node.forgemesh(&["node", "limits", "--op", "mc@9/later.v9", "--json"]).error(2, "refused");
}

#[test]
fn a_paused_node_waits_and_a_resumed_one_works() {
    let node = Node::new();
    node.init(&[]);
    settings(&node, "paused = true\n");
    let _running = node.up();
    assert_eq!(node.ok(&["status", "--json"]).json()["mode"], json!("paused"));
    let id = node.ok(&["job", "submit", "diag@1/noop.v1", "--json"]).json()["job_id"].clone();
    let id = id.as_str().expect("an id");
    node.until("the agent has said that it takes nothing", || {
        codes(&node.ok(&["job", "why-pending", id, "--json"]).json()) == ["no_agent", "unwilling"]
    });
    let idle = node.ok(&["node", "why-idle", "--json"]).json();
    assert_eq!(codes(&idle), ["paused", "pending"]);
    assert_eq!(node.ok(&["node", "resume", "--json"]).json()["mode"], json!("working"));
    node.ok(&["job", "watch", id]);
    for (command, mode) in [("drain", "draining"), ("pause", "paused"), ("resume", "working")] {
        assert_eq!(node.ok(&["node", command, "--json"]).json()["mode"], json!(mode));
        assert_eq!(node.ok(&["status", "--json"]).json()["mode"], json!(mode));
    }
}

#[test]
fn outside_its_hours_a_node_takes_no_work() {
    let node = Node::new();
    node.init(&[]);
    // One minute of the day, twelve hours from now: the other minutes are closed.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let minute = (now / 60 + 720) % 1_439;
    let time = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
    settings(&node, &format!("hours_utc = [\"{}-{}\"]\n", time(minute), time(minute + 1)));
    let _running = node.up();
    assert_eq!(node.ok(&["status", "--json"]).json()["mode"], json!("paused"));
    let idle = node.ok(&["node", "why-idle", "--json"]).json();
    assert!(codes(&idle).contains(&"hours"), "{idle}");
}

#[test]
fn an_operation_that_is_not_known_is_named_to_whoever_starts_the_node() {
    let node = Node::new();
    node.init(&[]);
    settings(&node, "ops = [\"mc@1/reserv.v1\"]\n");
    let started = node.ok(&["up", "--detach", "--threads", "2"]);
    node.ok(&["down"]);
    let words = ["mc@1/reserv.v1", "is mc@1/reserve.v1 meant?", "it executes no shard", "forgemesh op ls"];
    assert!(words.iter().all(|word| started.stderr.contains(word)), "{}", started.stderr);
    let found = node.ok(&["doctor"]).text();
    assert!(found.contains("is mc@1/reserve.v1 meant?"), "{found}");
}

//! `doctor`: what it says of a healthy node, and of each thing that is wrong.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::node::Node;

/// The verdict and the fix of one check.
fn check(node: &Node, name: &str) -> (i32, String, String) {
    let ended = node.forgemesh(&["doctor", "--json"]);
    let value = ended.json();
    let checks = value["checks"].as_array().expect("a list");
    let found =
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name}: {value}"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (ended.code, text(&found["verdict"]), text(&found["fix"]))
}

#[test]
fn a_healthy_node_passes() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    node.until("the hub has answered", || check(&node, "hello").1 == "pass");
    for name in ["folder", "key", "network key", "settings", "node", "room", "clock", "hub", "hello"] {
        assert_eq!(check(&node, name), (0, "pass".to_owned(), String::new()), "{name}");
    }
    // Nobody outside has tried the address: that is not known, and not said to be good.
    assert_eq!(check(&node, "listens").1, "unknown");
    let text = node.ok(&["doctor"]).text();
    assert!(text.lines().any(|line| line.starts_with("pass") && line.contains("folder")), "{text}");
}

#[test]
fn each_thing_that_is_wrong_has_its_fix() {
    let node = Node::new();
    let (code, verdict, fix) = check(&node, "folder");
    assert_eq!((code, verdict.as_str()), (1, "fail"));
    assert!(fix.contains("forgemesh init"), "{fix}");
    assert!(!node.home().exists(), "a look changes nothing");
    node.init(&["--private"]);
    let (code, verdict, fix) = check(&node, "node");
    assert_eq!((code, verdict.as_str(), fix.as_str()), (0, "warn", "`forgemesh up`"));
    let loosen = |name: &str, mode: u32| {
        let path = node.home().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("our file");
    };
    for (file, name) in [("node.key", "key"), ("swarm.key", "network key")] {
        loosen(file, 0o644);
        let (code, verdict, _) = check(&node, name);
        assert_eq!((code, verdict.as_str()), (1, "fail"), "{name}");
        loosen(file, 0o600);
        assert_eq!(check(&node, name).1, "pass", "{name}");
    }
    loosen("", 0o755);
    let (_, verdict, fix) = check(&node, "folder");
    assert!(verdict == "warn" && fix.starts_with("chmod 700"), "{verdict}: {fix}");
    loosen("", 0o700);
    // What `up` would not start with.
    let unreachable = "listen = [\"/ip4/127.0.0.1/tcp/0\"]\nexternal = [\"/ip4/203.0.113.7/tcp/0\"]\n";
    std::fs::write(node.home().join("config.toml"), unreachable).expect("our file");
    let (code, verdict, fix) = check(&node, "settings");
    assert_eq!((code, verdict.as_str()), (1, "fail"));
    assert!(fix.contains("address"), "{fix}");
    node.forgemesh(&["up", "--json"]).error(1, "network");
    std::fs::write(node.home().join("config.toml"), "ops = [\"mc@9/later.v9\"]\n").expect("our file");
    let (code, verdict, fix) = check(&node, "settings");
    assert!((code, verdict.as_str()) == (0, "warn") && fix.contains("forgemesh op ls"), "{fix}");
    std::fs::write(node.home().join("config.toml"), "threads = 0\n").expect("our file");
    let said = node.forgemesh(&["doctor"]).stderr;
    assert_eq!(said, "forgemesh: 1 check failed; it names its fix\n");
    assert_eq!(check(&node, "settings").1, "fail");
    // A port that somebody else has.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    let port = taken.local_addr().expect("an address").port();
    let settings = format!("listen = [\"/ip4/127.0.0.1/tcp/{port}\"]\nthreads = 1024\n");
    std::fs::write(node.home().join("config.toml"), settings).expect("our file");
    assert_eq!(check(&node, "listens").1, "fail");
    assert_eq!(check(&node, "threads").1, "warn");
    let error = node.forgemesh(&["up", "--json"]).error(1, "network");
    assert!(error["message"].as_str().is_some_and(|text| text.contains(&port.to_string())), "{error}");
}

#[test]
fn a_folder_that_only_run_has_used_is_given_a_way_that_works() {
    let node = Node::new();
    node.ok(&["run", "diag@1/noop.v1"]);
    // It has a mesh, so it is not made or joined here.
    let error = node.forgemesh(&["init", "--json"]).error(2, "has_mesh");
    let message = error["message"].as_str().expect("a text");
    let words =
        ["forgemesh up", "forgemesh ticket create", "--home DIR before the command", "FORGEMESH_HOME"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    let (code, verdict, fix) = check(&node, "settings");
    assert_eq!((code, verdict.as_str()), (0, "warn"));
    assert!(!fix.contains("forgemesh init") && !fix.contains("forgemesh join"), "{fix}");
    let words = ["write config.toml", "listen = ", "forgemesh ticket create", "--home DIR"];
    assert!(words.iter().all(|word| fix.contains(word)), "{fix}");
    // And so it is done.
    let settings = "listen = [\"/ip4/127.0.0.1/tcp/0\"]\n";
    std::fs::write(node.home().join("config.toml"), settings).expect("our file");
    let _running = node.up();
    let made = node.ok(&["ticket", "create", "--json"]).json();
    Node::new().ok(&["join", made["ticket"].as_str().expect("a line")]);
}

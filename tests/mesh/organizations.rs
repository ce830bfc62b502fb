//! A provider that works for an organization: of the nodes that were invited, those of it are served, and others wait until
//! somebody says otherwise.

use forgemesh_tests::node::{Node, Running};
use serde_json::{Value, json};

use crate::pair::{executors, node};

/// A node that has joined by a ticket of its own, and what `join` said.
fn joined(hub: &Node, name: &str, organization: &[&str]) -> (Node, Value) {
    let made = hub.ok(&[&["ticket", "create", "--json"], organization].concat()).json();
    let guest = Node::new();
    let said = guest.ok(&["join", made["ticket"].as_str().expect("a line"), "--name", name, "--json"]).json();
    assert_eq!(said["organization"], made["organization"]);
    (guest, said)
}

/// Starts a node, and waits until the hub has heard it.
fn up(hub: &Node, guest: &Node, name: &str) -> Running {
    let running = guest.up();
    hub.until(&format!("the hub hears {name}"), || node(hub, name)["live"] == json!(true));
    running
}

fn submit(from: &Node) -> String {
    let job = from.ok(&["job", "submit", "diag@1/noop.v1", "--json"]).json();
    job["job_id"].as_str().expect("an id").to_owned()
}

fn finalized(asked: &Node, job: &str) {
    asked.until("the job is final", || {
        let shown = asked.forgemesh(&["job", "show", job, "--json"]);
        shown.code == 0 && shown.json()["state"] == json!("finalized")
    });
}

fn private(value: &Value) -> Option<String> {
    let mut reasons = value["reasons"].as_array().into_iter().flatten();
    reasons.find(|reason| reason["code"] == json!("private"))?["text"].as_str().map(str::to_owned)
}

#[test]
fn a_private_node_works_for_the_organizations_that_it_lists() {
    let hub = Node::new();
    let made = hub.init(&["--private", "--organization", "acme"]);
    assert_eq!(made["organization"], json!("acme"));
    let _hub = hub.up();
    let own = made["node"].as_str().expect("an id");
    let (provider, said) = joined(&hub, "provider", &[]);
    assert_eq!(said["organization"], json!(null));
    let (member, _) = joined(&hub, "member", &["--organization", "acme"]);
    let (outsider, _) = joined(&hub, "outsider", &[]);
    for (guest, name) in [(&member, "member"), (&outsider, "outsider"), (&provider, "provider")] {
        let text = std::fs::read_to_string(guest.home().join("config.toml")).expect("the settings");
        let setting = match name {
            "provider" => "visibility = \"private\"\norganizations = [\"acme\"]\n",
            _ => "paused = true\n",
        };
        std::fs::write(guest.home().join("config.toml"), text + setting).expect("our file");
    }
    // The others have the provider alone to work for them.
    hub.ok(&["node", "pause"]);
    hub.until("the hub takes no work", || node(&hub, own)["accepts"] == json!(0));
    let (_member, _outsider) = (up(&hub, &member, "member"), up(&hub, &outsider, "outsider"));
    let _provider = up(&hub, &provider, "provider");
    // Everybody sees who belongs where, and for whom the provider works.
    hub.until("the hub hears for whom the provider works", || {
        node(&hub, "provider")["organizations"] == json!(["acme"])
    });
    let belongs = |name: &str| node(&outsider, name)["organization"].clone();
    assert_eq!([own, "member"].map(belongs), [json!("acme"), json!("acme")]);
    assert_eq!(["provider", "outsider"].map(belongs), [json!(null), json!(null)]);
    assert_eq!(node(&member, "provider")["visibility"], json!("private"));
    for asked in [&hub, &member] {
        assert_eq!(asked.ok(&["status", "--json"]).json()["organization"], json!("acme"));
    }
    assert_eq!(outsider.ok(&["status", "--json"]).json()["organization"], json!(null));
    let limits = provider.ok(&["node", "limits"]).text();
    assert!(limits.contains("nodes of acme"), "{limits}");
    // Of the two the member's job is executed, and there; so is the founder's.
    let (waits, job) = (submit(&outsider), submit(&member));
    finalized(&hub, &job);
    let provider_id = node(&hub, "provider")["node"].as_str().expect("an id").to_owned();
    let by = |job: &str| executors(&hub, job).into_iter().collect::<Vec<_>>();
    assert_eq!(by(&job), [provider_id.as_str()]);
    let founders = submit(&hub);
    finalized(&hub, &founders);
    assert_eq!(by(&founders), [provider_id.as_str()]);
    let why = private(&outsider.ok(&["job", "why-pending", &waits, "--json"]).json()).expect("it is private");
    assert!(["no organization", "clients", "organizations"].iter().all(|word| why.contains(word)), "{why}");
    assert_eq!(hub.ok(&["job", "show", &waits, "--json"]).json()["state"], json!("planned"));
    // Expelled, the member belongs nowhere.
    let member_id = node(&hub, "member")["node"].as_str().expect("an id").to_owned();
    hub.ok(&["node", "expel", &member_id]);
    let expelled = node(&hub, &member_id);
    assert_eq!((&expelled["expelled"], &expelled["organization"]), (&json!(true), &json!(null)));
    member.until("it is told", || member.ok(&["status", "--json"]).json()["expelled"] == json!(true));
    assert_eq!(member.ok(&["status", "--json"]).json()["organization"], json!(null));
}

/// Where everybody may work, being expelled costs the organization alone.
#[test]
fn in_an_open_mesh_too_a_node_can_be_taken_from_its_organization() {
    let hub = Node::new();
    hub.init(&[]);
    let _hub = hub.up();
    assert_eq!(hub.forgemesh(&["node", "expel", "abcd"]).code, 2, "nobody belongs anywhere");
    let (member, _) = joined(&hub, "member", &["--organization", "acme"]);
    let _member = up(&hub, &member, "member");
    assert_eq!(node(&hub, "member")["organization"], json!("acme"));
    let id = node(&hub, "member")["node"].as_str().expect("an id").to_owned();
    let said = hub.ok(&["node", "expel", &id, "--json"]).json();
    assert_eq!(said, json!({ "expelled": id, "may_work": true }));
    let shown = node(&hub, &id);
    assert_eq!((&shown["organization"], &shown["live"]), (&json!(null), &json!(true)), "{shown}");
    member.ok(&["job", "submit", "diag@1/noop.v1", "--wait"]);
}

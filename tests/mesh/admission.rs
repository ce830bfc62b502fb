//! Who is let in: a ticket admits one node once, and in a mesh of invited nodes nobody else computes.

use forgemesh_protocol::limits;
use forgemesh_tests::node::Node;
use serde_json::{Value, json};

use crate::pair::{Pair, node};

fn codes(value: &Value) -> Vec<&str> {
    value["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

#[test]
fn a_used_ticket_admits_no_second_node() {
    let (hub, one, two) = (Node::new(), Node::new(), Node::new());
    let made = hub.init(&["--private"]);
    let ticket = made["ticket"].as_str().expect("a line");
    // Before the hub runs nobody answers; nothing is used up by that.
    let _running = hub.up();
    one.ok(&["join", ticket, "--name", "one"]);
    let error = two.forgemesh(&["join", ticket, "--json"]).error(1, "not_admitted");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("has been used")), "{error}");
    let listed = hub.ok(&["node", "ls", "--json"]).json();
    let names: Vec<&str> =
        listed["nodes"].as_array().expect("a list").iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names, ["one"]);
    // The one that was refused joins with a ticket of its own.
    let ticket = hub.ok(&["ticket", "create", "--json"]).json();
    two.ok(&["join", ticket["ticket"].as_str().expect("a line"), "--name", "two"]);
    let error = one.forgemesh(&["ticket", "ls", "--json"]).error(1, "no_node");
    assert!(error["message"].as_str().is_some(), "{error}");
}

#[test]
fn an_expelled_node_computes_nothing_more() {
    let pair = Pair::new(&["--private"]);
    pair.guest_alone();
    pair.hub.ok(&["job", "submit", "diag@1/noop.v1", "--wait"]);
    let guest = node(&pair.hub, "guest")["node"].clone();
    let guest = guest.as_str().expect("an id");
    // Only a hub member expels.
    pair.guest.forgemesh(&["node", "expel", guest, "--json"]).error(2, "usage");
    let said = pair.hub.ok(&["node", "expel", &guest[..8], "--json"]).json();
    assert_eq!(said, json!({ "expelled": guest, "may_work": false }));
    let job = pair.hub.ok(&["job", "submit", "diag@1/noop.v1", "--json"]).json()["job_id"].clone();
    let job = job.as_str().expect("an id");
    // It is no agent of this mesh any more, not even a silent one: there is but the hub, which takes no work.
    let why = || pair.hub.ok(&["job", "why-pending", job, "--json"]).json();
    pair.hub.until("the expelled node is not counted", || codes(&why()) == ["no_agent", "unwilling"]);
    let why = why()["reasons"][1]["text"].clone();
    assert!(why.as_str().is_some_and(|text| text.starts_with("1 of 1 agents")), "{why}");
    assert_eq!(node(&pair.hub, guest)["name"], json!(null));
    // It is not merely silent, and is told so wherever its owner looks.
    assert_eq!(node(&pair.hub, guest)["expelled"], json!(true));
    let listed = pair.hub.ok(&["node", "ls"]).text();
    assert!(
        listed.lines().any(|line| line.starts_with(&guest[..8]) && line.contains("expelled")),
        "{listed}"
    );
    pair.guest.until("the expelled node is told", || {
        pair.guest.ok(&["status", "--json"]).json()["expelled"] == json!(true)
    });
    let why = pair.guest.ok(&["node", "why-idle", "--json"]).json();
    assert_eq!(codes(&why), ["expelled"], "{why}");
    let doctor = pair.guest.forgemesh(&["doctor"]);
    for text in [pair.guest.ok(&["status"]).text(), doctor.text()] {
        assert!(text.contains("it was expelled") && text.contains("new ticket"), "{text}");
    }
    assert_eq!(doctor.code, 1);
    // It knows, and asks nobody.
    let begun = std::time::Instant::now();
    let error = pair.guest.forgemesh(&["job", "ls", "--json"]).error(1, "rejected");
    assert!(u128::from(limits::ASK_MS) > begun.elapsed().as_millis(), "{:?}", begun.elapsed());
    assert!(error["message"].as_str().is_some_and(|text| text.contains("new ticket")), "{error}");
    pair.hub.ok(&["node", "resume"]);
    pair.hub.ok(&["job", "watch", job]);
}

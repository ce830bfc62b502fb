//! Tickets on the command line: made, listed, revoked; and every reason for which a node is not let in.

use serde_json::{Value, json};

use super::node::Node;

fn states(node: &Node) -> Vec<(String, String)> {
    let listed = node.ok(&["ticket", "ls", "--json"]).json();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let tickets = listed["tickets"].as_array().expect("a list");
    tickets.iter().map(|ticket| (text(&ticket["id"]), text(&ticket["state"]))).collect()
}

/// The files of a node's data folder, in order.
fn names(node: &Node) -> Vec<String> {
    let files = std::fs::read_dir(node.home()).expect("it is there");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("it can be read").file_name();
    let mut names: Vec<String> = files.map(|entry| name(entry).into_string().expect("ours")).collect();
    names.sort();
    names
}

#[test]
fn tickets_are_listed_and_revoked() {
    let node = Node::new();
    let first = node.init(&[])["ticket_id"].as_str().expect("an id").to_owned();
    let running = node.up();
    assert_eq!(states(&node), [(first.clone(), "open".to_owned())]);
    let made = node.ok(&["ticket", "create", "--minutes", "5", "--json"]).json();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(made["ticket"].as_str().is_some_and(|ticket| ticket.starts_with("fmt1")));
    assert!(made["addresses"][0].as_str().is_some_and(|address| address.contains("/p2p/")), "{made}");
    assert_eq!(node.ok(&["ticket", "revoke", &id[..8], "--json"]).json(), json!({ "revoked": id }));
    let mut listed = states(&node);
    listed.sort_by_key(|(ticket, _)| *ticket != first);
    assert_eq!(listed, [(first, "open".to_owned()), (id.clone(), "revoked".to_owned())]);
    node.forgemesh(&["ticket", "revoke", "0000", "--json"]).error(2, "ticket");
    for minutes in ["0", "100000"] {
        node.forgemesh(&["ticket", "create", "--minutes", minutes, "--json"]).error(2, "usage");
    }
    // People see which ticket is which, and how long it is good for.
    let made_text = node.ok(&["ticket", "create", "--minutes", "90"]).text();
    let listed = node.ok(&["ticket", "ls"]).text();
    let newest = listed.lines().next().expect("a line");
    let words = ["open", "made", "good for another 90 min"];
    assert!(words.iter().all(|word| newest.contains(word)), "{listed}");
    assert!(
        made_text.contains(&format!("ticket {} is good for one node, for 90 min", &newest[..8])),
        "{made_text}"
    );
    assert!(listed.contains(&format!("{}  revoked  made ", &id[..8])), "{listed}");
    // What is in the log is there after a restart.
    assert_eq!(running.down(&node), Some(0));
    let _running = node.up();
    assert!(states(&node).contains(&(id.clone(), "revoked".to_owned())));
    // The ticket is of no use. Of the attempt nothing is left but the key, which another member may have admitted.
    let other = Node::new();
    let line = made["ticket"].as_str().expect("a line");
    let key = || std::fs::read(other.home().join("node.key")).expect("it is kept");
    let error = other.forgemesh(&["join", line, "--json"]).error(1, "not_admitted");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("revoked")), "{error}");
    let (first_key, left) = (key(), names(&other));
    assert_eq!(left, ["forgemesh.lock", "node.key"]);
    other.forgemesh(&["up", "--json"]).error(2, "no_mesh");
    // What was there before stays.
    let before = names(&other);
    other.forgemesh(&["join", line, "--json"]).error(1, "not_admitted");
    assert_eq!(names(&other), before);
    // A ticket that was used is not for taking back.
    let made = node.ok(&["ticket", "create", "--json"]).json();
    other.ok(&["join", made["ticket"].as_str().expect("a line")]);
    assert_eq!(key(), first_key);
    let error = node.forgemesh(&["ticket", "revoke", made["id"].as_str().expect("an id"), "--json"]);
    let error = error.error(1, "rejected");
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("nothing to revoke") && !message.contains("ask for a new one"), "{message}");
}

#[test]
fn a_ticket_for_an_organization_says_so_wherever_it_is_shown() {
    let (node, other) = (Node::new(), Node::new());
    // What is no name is refused before anything is made.
    for bad in ["", "Acme Ltd", "acme\n"] {
        assert_eq!(node.forgemesh(&["init", "--organization", bad]).code, 2, "{bad:?}");
    }
    assert!(!node.home().exists());
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0"];
    let made = node.ok(&[&["init", "--organization", "acme"], &listen[..]].concat()).text();
    assert!(
        made.contains("organization acme\n") && made.contains("ticket create --organization acme`"),
        "{made}"
    );
    let running = node.up();
    assert_eq!(node.forgemesh(&["ticket", "create", "--organization", "Acme Ltd"]).code, 2);
    let create = ["ticket", "create", "--organization", "risk.example.org"];
    assert!(node.ok(&create).text().contains("will belong to organization risk.example.org"));
    let made = node.ok(&[&create[..], &["--json"]].concat()).json();
    assert_eq!(made["organization"], json!("risk.example.org"));
    // The first ticket, of init, is for none.
    let listed = node.ok(&["ticket", "ls", "--json"]).json();
    let of: Vec<&Value> =
        listed["tickets"].as_array().expect("a list").iter().map(|ticket| &ticket["organization"]).collect();
    assert_eq!(of.iter().filter(|of| **of == &json!("risk.example.org")).count(), 2, "{listed}");
    assert_eq!(of.last(), Some(&&json!(null)), "{listed}");
    let listed = node.ok(&["ticket", "ls"]).text();
    assert_eq!(listed.lines().filter(|line| line.ends_with("  for risk.example.org")).count(), 2, "{listed}");
    let line = made["ticket"].as_str().expect("a line");
    let joined = other.ok(&["join", line, "--name", "other"]).text();
    assert!(joined.contains(" of organization risk.example.org\n"), "{joined}");
    let nodes = node.ok(&["node", "ls"]).text();
    assert!(nodes.contains("  of acme") && nodes.contains("other  of risk.example.org"), "{nodes}");
    let shown = node.ok(&["node", "show", "other"]).text();
    assert!(shown.contains("organization   risk.example.org"), "{shown}");
    assert!(node.ok(&["status"]).text().contains("belongs to acme\n"));
    // It is in the log: a restart changes nothing.
    assert_eq!(running.down(&node), Some(0));
    let _running = node.up();
    let shown = node.ok(&["node", "show", "other", "--json"]).json();
    assert_eq!(shown["organization"], json!("risk.example.org"));
}

#[test]
fn a_ticket_leads_to_where_the_settings_say_that_a_hub_is_reached() {
    let node = Node::new();
    node.init(&[]);
    let path = node.home().join("config.toml");
    let settings = std::fs::read_to_string(&path).expect("init has written it");
    std::fs::write(&path, settings + "external = [\"/ip4/203.0.113.7/tcp/4610\"]\n").expect("our file");
    let running = node.up();
    let made = node.ok(&["ticket", "create", "--json"]).json();
    // It listens on loopback, where nobody else reaches it.
    let addresses = made["addresses"].as_array().expect("a list");
    let told = addresses.iter().map(|address| address.as_str().expect("a text").split_once("/p2p/"));
    assert_eq!(
        told.map(|told| told.expect("whose it is").0).collect::<Vec<_>>(),
        ["/ip4/203.0.113.7/tcp/4610"]
    );
    assert_eq!(running.down(&node), Some(0));
}

#[test]
fn a_hub_that_is_down_is_named_soon() {
    let (node, other) = (Node::new(), Node::new());
    let made = node.init(&[]);
    let begun = std::time::Instant::now();
    let error = other.forgemesh(&["join", made["ticket"].as_str().expect("a line"), "--json"]);
    let error = error.error(1, "hub_unreachable");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let words = ["nobody listens at ", made["addresses"][0].as_str().expect("an address"), "forgemesh up"];
    let message = error["message"].as_str().expect("a text");
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn what_is_no_good_ticket_is_named_before_anything_is_made() {
    let node = Node::new();
    let made = node.init(&[]);
    let line = made["ticket"].as_str().expect("a line");
    let other = Node::new();
    let damaged = line.replace("fmt1o", "fmt1p");
    for (text, word) in [
        ("hello", "fmt1"),
        (&line[..line.len() - 1], "copy the whole line"),
        (&damaged, "copy the whole line"),
        ("fmt9abc", "another version"),
    ] {
        let error = other.forgemesh(&["join", text, "--json"]).error(2, "ticket");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(word)), "{word}: {error}");
    }
    let other_mesh = "0".repeat(64);
    let error = other.forgemesh(&["join", line, "--mesh", &other_mesh, "--json"]).error(2, "usage");
    assert!(error["message"].as_str().is_some_and(|text| text.contains(&other_mesh)), "{error}");
    assert!(!other.home().exists());
    // A node that has a mesh stays in it.
    let founder = Node::new();
    founder.init(&[]);
    founder.forgemesh(&["join", line, "--json"]).error(2, "has_mesh");
}

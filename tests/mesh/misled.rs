//! An address in the settings at which another node answers than it names: its owner is told.

use forgemesh_tests::node::Node;
use serde_json::json;

use crate::pair::Pair;

/// The name at the end of an address.
fn peer(address: &str) -> &str {
    address.rsplit_once("/p2p/").expect("whose it is").1
}

#[test]
fn an_address_at_which_another_node_answers_is_named() {
    let mut pair = Pair::new(&[]);
    let hub = pair.hub.ok(&["status", "--json"]).json();
    let right = hub["network"]["listen"][0].as_str().expect("an address");
    let other = Node::new().init(&[])["addresses"][0].as_str().expect("an address").to_owned();
    pair.guest_runs.take().into_iter().for_each(|runs| assert_eq!(runs.down(&pair.guest), Some(0)));
    let path = pair.guest.home().join("config.toml");
    let settings = std::fs::read_to_string(&path).expect("join has written it");
    let wrong = right.replace(peer(right), peer(&other));
    assert!(settings.contains(right), "{settings}");
    std::fs::write(&path, settings.replace(right, &wrong)).expect("our file");
    let node = hub["node"].as_str().expect("an id");
    let is_told = |verdict: &str| {
        pair.guest.until("it is told who answers there", || {
            let network = pair.guest.ok(&["status", "--json"]).json()["network"].clone();
            network["misled"] == json!([{ "address": wrong, "node": hub["node"], "instead": right }])
        });
        let status = pair.guest.ok(&["status"]).text();
        assert!(status.contains(&format!("at {wrong} another node answers")), "{status}");
        let shown = || pair.guest.forgemesh(&["doctor"]).text();
        let begins = |line: &str| line.starts_with(verdict) && line.contains("another node answers");
        pair.guest.until("doctor sees it so", || shown().lines().any(begins));
        let said = format!("at {wrong} another node answers: {node}");
        for words in [&said, right, "bootstrap in config.toml"] {
            assert!(shown().contains(words), "{words} in\n{}", shown());
        }
    };
    // It remembers where the hub is, and so it works for all that.
    let runs = pair.guest.up();
    is_told("warn");
    assert_eq!(runs.down(&pair.guest), Some(0));
    std::fs::remove_file(pair.guest.home().join("whereabouts")).expect("it was kept");
    let _running = pair.guest.up();
    is_told("fail");
    assert_eq!(pair.guest.forgemesh(&["doctor"]).code, 1);
}

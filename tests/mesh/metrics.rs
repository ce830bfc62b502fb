//! What a node's network has counted, as Prometheus reads it.

use serde_json::json;

use crate::pair::Pair;

/// The value of a figure without labels.
fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in\n{text}"))
}

#[test]
fn what_the_network_counts_is_told_as_openmetrics() {
    let mut pair = Pair::new(&[]);
    let text = pair.hub.ok(&["node", "metrics"]).text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let received = value(&text, "forgemesh_mesh_received_total");
    assert!(received > 0 && value(&text, "forgemesh_mesh_bytes_received_total") > received, "{text}");
    for described in [
        "# HELP forgemesh_mesh_received Messages that arrived whole and were valid.",
        "# TYPE forgemesh_mesh_received counter",
        "libp2p_swarm_connections_established_total{",
        "libp2p_ping_",
        "libp2p_kad_",
    ] {
        assert!(text.contains(described), "{described} in\n{text}");
    }
    // The guest dials, and both have said who they are.
    pair.guest.until("what the guest did is counted", || {
        let text = pair.guest.ok(&["node", "metrics"]).text();
        let counted = [
            "libp2p_swarm_dial_attempt_total",
            "libp2p_identify_received_total",
            "libp2p_identify_sent_total",
            "forgemesh_mesh_dials_total",
        ];
        counted.iter().all(|name| value(&text, name) > 0)
    });
    pair.hub.until("more is counted", || {
        let object = pair.hub.ok(&["node", "metrics", "--json"]).json();
        let text = object["openmetrics"].as_str().unwrap_or_else(|| panic!("{object}")).to_owned();
        value(&text, "forgemesh_mesh_received_total") > received
    });
    assert_eq!(pair.hub.ok(&["status", "--json"]).json()["network"]["peers"], json!(1));
    pair.guest_runs.take().into_iter().for_each(|runs| assert_eq!(runs.down(&pair.guest), Some(0)));
    pair.hub_runs.take().into_iter().for_each(|runs| assert_eq!(runs.down(&pair.hub), Some(0)));
}

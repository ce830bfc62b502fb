//! Members of a hub that are behind NATs: nobody can reach them, but through the one that is not.

use forgemesh_tests::node::Node;
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::netns::Internet;

/// A job of some shards.
const JOB: [&str; 4] = ["diag@1/mix.v1", "iterations=1000000", "--seed", "relay"];

fn status(node: &Node) -> Value {
    let asked = node.forgemesh(&["status", "--json"]);
    if asked.code == 0 { asked.json() } else { Value::Null }
}

#[test]
fn a_hub_and_an_agent_behind_nats_are_one_mesh_through_a_relay() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_nat(), net.host_behind_nat(), net.host_behind_nat()];
    let nodes = hosts.each_ref().map(|host| Node::within(host.words()));
    // Three hub members and an agent are made on loopback, and then moved to their machines.
    let mut cluster = Cluster::of(4);
    cluster.stop();
    let first = cluster.first_address();
    let (_, peer) = first.split_once("/p2p/").expect("with its peer id");
    let relay = format!("/ip4/{}/tcp/4610/p2p/{peer}", hosts[0].address());
    let circuit = format!("listen = [\"{relay}/p2p-circuit\"]\nbootstrap = [\"{relay}\"]\n");
    let configs = [
        "listen = [\"/ip4/0.0.0.0/tcp/4610\"]\n",
        &circuit,
        &circuit,
        &format!("listen = []\nbootstrap = [\"{relay}\"]\n"),
    ];
    for (i, (node, config)) in nodes.iter().zip(configs).enumerate() {
        std::fs::rename(cluster.folder(i + 1), node.home()).expect("both in the temporary folder");
        std::fs::write(node.home().join("config.toml"), config).expect("its own");
    }
    let _running = nodes.each_ref().map(Node::up);
    // Each is connected with all hub members; those behind NATs with each other, though neither can dial the other.
    for node in &nodes {
        until("it is connected with the hub", || {
            let status = status(node);
            let members = if status["role"] == json!("hub") { 2 } else { 3 };
            status["leader"].is_string() && status["network"]["peers"].as_u64() >= Some(members)
        });
    }
    let job = nodes[3].ok(&[&["job", "submit"], &JOB[..], &["--wait", "--json"]].concat()).json();
    let alone = Node::new().ok(&[&["run"], &JOB[..], &["--json"]].concat()).json();
    assert_eq!(job["result_hash"], alone["result_hash"]);
    for node in &nodes {
        until("all have it in their books", || {
            let listed = node.ok(&["job", "ls", "--json"]).json();
            listed["jobs"][0]["result_hash"] == alone["result_hash"]
        });
    }
}

//! Two hub members behind NATs: a relay brings them together, and where their NATs allow it they need it no longer.
//!
//! Both have the same address at home, as is common: what one says of itself is for the other where it is itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use forgemesh_tests::node::{Ended, Node, Running};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::netns::{Host, Internet};

const JOB: [&str; 4] = ["diag@1/mix.v1", "iterations=1000000", "--seed", "holes"];
/// Longer than an attempt takes that comes to nothing.
const ATTEMPT: Duration = Duration::from_secs(12);

fn status(node: &Node) -> Value {
    let asked = node.forgemesh(&["status", "--json"]);
    if asked.code == 0 { asked.json() } else { Value::Null }
}

/// Is there a TCP connection between these machines, by the word of the first one's kernel?
fn is_direct(from: &Host, to: &Host) -> bool {
    let words = [from.words(), ["ss", "-tnH", "state", "established"].map(str::to_owned).to_vec()].concat();
    let ended = Ended::of(Command::new(&words[0]).args(&words[1..]).output().expect("nsenter starts"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.text().lines().any(|line| line.contains(&format!(" {}:", to.address())))
}

/// How the members of a hub talk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By TCP, under a pre-shared key.
    Private,
    /// By QUIC, in an open mesh.
    Quic,
}

/// A hub of three: the first member on a machine that all can reach, the others behind NATs.
struct Hub {
    hosts: [Host; 3],
    nodes: [Node; 3],
    _running: [Running; 3],
}

impl Hub {
    /// On these machines; returns when the members behind the NATs are connected with each other, however that came about.
    fn new(hosts: [Host; 3], way: Way) -> Hub {
        let nodes = hosts.each_ref().map(|host| Node::within(host.words()));
        let mut cluster = Cluster::of(3);
        cluster.stop();
        let first = cluster.first_address();
        let (_, peer) = first.split_once("/p2p/").expect("with its peer id");
        let port = if way == Way::Quic { "udp/4610/quic-v1" } else { "tcp/4610" };
        let (open, relay) =
            (format!("/ip4/0.0.0.0/{port}"), format!("/ip4/{}/{port}/p2p/{peer}", hosts[0].address()));
        let behind = format!("listen = [\"{open}\", \"{relay}/p2p-circuit\"]\nbootstrap = [\"{relay}\"]\n");
        let configs = [format!("listen = [\"{open}\"]\n"), behind.clone(), behind];
        for (i, (node, config)) in nodes.iter().zip(configs).enumerate() {
            std::fs::rename(cluster.folder(i + 1), node.home()).expect("both in the temporary folder");
            std::fs::write(node.home().join("config.toml"), config).expect("its own");
            if way == Way::Private {
                let path = node.home().join("swarm.key");
                std::fs::write(&path, format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", "4b".repeat(32)))
                    .expect("its own");
                std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("our file");
            }
        }
        let _running = nodes.each_ref().map(Node::up);
        for node in &nodes {
            until("all are connected with each other", || {
                let status = status(node);
                status["leader"].is_string() && status["network"]["peers"] == json!(2)
            });
        }
        Hub { hosts, nodes, _running }
    }

    /// A job that is submitted to the second member comes to the digest of an embedded run.
    fn computes(&self) {
        let job = self.nodes[1].ok(&[&["job", "submit"], &JOB[..], &["--wait", "--json"]].concat()).json();
        let alone = Node::new().ok(&[&["run"], &JOB[..], &["--json"]].concat()).json();
        assert_eq!(job["result_hash"], alone["result_hash"]);
    }

    fn are_direct(&self) -> bool {
        let [_, one, other] = &self.hosts;
        is_direct(one, other) && is_direct(other, one)
    }
}

#[test]
fn behind_nats_that_keep_ports_two_members_need_no_relay() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_nat(), net.host_behind_nat()];
    let hub = Hub::new(hosts, Way::Private);
    until("they are connected without the relay", || hub.are_direct());
    // Two of three are a majority, and only if they hear each other.
    net.cut(&hub.hosts[0]);
    hub.computes();
}

#[test]
fn nor_do_they_by_quic() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_nat(), net.host_behind_nat()];
    let hub = Hub::new(hosts, Way::Quic);
    std::thread::sleep(ATTEMPT / 2);
    net.cut(&hub.hosts[0]);
    hub.computes();
}

#[test]
fn behind_nats_that_draw_ports_the_relay_is_needed() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_hard_nat(), net.host_behind_hard_nat()];
    let hub = Hub::new(hosts, Way::Private);
    std::thread::sleep(ATTEMPT);
    assert!(!hub.are_direct());
    hub.computes();
}

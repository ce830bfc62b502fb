//! A hub of three members, each on a machine of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use forgemesh_tests::node::{Node, Running};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::netns::Host;

/// How the members of a hub talk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By TCP, under a pre-shared key.
    Private,
    /// By QUIC, in an open mesh.
    Quic,
}

/// Three hub members, the first on a machine that all can reach, which is a relay for the others.
pub struct Trio {
    pub hosts: [Host; 3],
    pub nodes: [Node; 3],
    _running: [Running; 3],
}

impl Trio {
    /// On these machines; returns when all are connected with each other, however that came about.
    pub fn new(hosts: [Host; 3], way: Way) -> Trio {
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
        Trio { hosts, nodes, _running }
    }

    /// How a member stands, by its own word; null while it does not answer.
    pub fn status(&self, member: usize) -> Value {
        status(&self.nodes[member])
    }

    /// The member that leads, by its own word.
    pub fn leader(&self) -> Option<usize> {
        (0..3).find(|member| self.status(*member)["leads"] == json!(true))
    }
}

fn status(node: &Node) -> Value {
    let asked = node.forgemesh(&["status", "--json"]);
    if asked.code == 0 { asked.json() } else { Value::Null }
}

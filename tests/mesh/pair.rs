//! A founder and a node that has joined its mesh, each a process of its own.

use forgemesh_tests::node::{Node, Running};
use serde_json::{Value, json};

/// Where the hub listens if a test does not say: at a free port of this machine alone.
const LOOPBACK: &[&str] = &["--listen", "/ip4/127.0.0.1/tcp/0"];

/// The two, running.
pub struct Pair {
    pub hub: Node,
    pub guest: Node,
    pub hub_runs: Option<Running>,
    pub guest_runs: Option<Running>,
}

impl Pair {
    /// Makes a mesh with these arguments of `init`, has the second join it, and waits until the hub has heard of it.
    pub fn new(args: &[&str]) -> Pair {
        Pair::of(Node::new(), Node::new(), &[LOOPBACK, args].concat())
    }

    /// Likewise, of nodes that are somewhere; the arguments say where the hub listens.
    pub fn of(hub: Node, guest: Node, args: &[&str]) -> Pair {
        let made = hub.ok(&[&["init", "--json"], args].concat()).json();
        let hub_runs = Some(hub.up());
        let ticket = made["ticket"].as_str().expect("a line");
        let joined = guest.ok(&["join", ticket, "--name", "guest", "--json"]).json();
        assert_eq!(joined["mesh"], made["mesh"]);
        let guest_runs = Some(guest.up());
        let pair = Pair { hub, guest, hub_runs, guest_runs };
        pair.hub.until("the hub hears the guest", || pair.hears());
        pair
    }

    /// Does the hub hear the guest?
    pub fn hears(&self) -> bool {
        node(&self.hub, "guest")["live"] == json!(true)
    }

    /// Has the guest alone execute what comes: the hub takes nothing, and the hub has heard that of itself.
    pub fn guest_alone(&self) {
        self.hub.ok(&["node", "pause"]);
        let own = self.hub.ok(&["node", "identity", "--json"]).json()["node"].clone();
        let own = own.as_str().expect("an id").to_owned();
        self.hub.until("the hub takes no work", || node(&self.hub, &own)["accepts"] == json!(0));
    }
}

/// A node of the mesh as another one shows it.
pub fn node(asked: &Node, name: &str) -> Value {
    let shown = asked.forgemesh(&["node", "show", name, "--json"]);
    if shown.code == 0 { shown.json() } else { Value::Null }
}

/// The nodes that executed a job, by `executions.json`.
pub fn executors(asked: &Node, job: &str) -> std::collections::BTreeSet<String> {
    let executions = asked.ok(&["job", "executions", job]).json();
    let shards = executions.as_array().unwrap_or_else(|| panic!("{executions}"));
    shards
        .iter()
        .map(|shard| shard["agent_id"].as_str().unwrap_or_else(|| panic!("{shard}")).to_owned())
        .collect()
}

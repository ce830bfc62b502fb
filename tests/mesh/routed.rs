//! A hub and an agent on machines of their own, with routers and NATs between them: the same bits as alone.

use forgemesh_tests::node::Node;
use serde_json::{Value, json};

use crate::netns::{Host, Internet};
use crate::pair::{Pair, executors};

/// Where the hub listens, on every address of its machine.
const ANYWHERE: [&str; 2] = ["--listen", "/ip4/0.0.0.0/tcp/4610"];
/// A job of some twenty shards.
const JOB: Work = Work(["diag@1/mix.v1", "iterations=3000000", "--seed", "routed"]);

/// What is to be done, by its arguments.
pub struct Work(pub [&'static str; 4]);

impl Work {
    /// What an embedded node makes of it.
    pub fn expected(&self) -> Value {
        Node::new().ok(&[&["run"], &self.0[..], &["--json"]].concat()).json()["result_hash"].clone()
    }
}

/// A private mesh of two machines, of which the agent's alone takes work.
pub fn pair(hub: &Host, guest: &Host) -> Pair {
    let args = [&ANYWHERE[..], &["--private"]].concat();
    let pair = Pair::of(Node::within(hub.words()), Node::within(guest.words()), &args);
    pair.guest_alone();
    pair
}

/// A job that the agent alone executed is submitted from its machine, and comes to the digest of an embedded run.
fn computes(pair: &Pair) {
    let job = pair.guest.ok(&[&["job", "submit"], &JOB.0[..], &["--wait", "--json"]].concat()).json();
    assert_eq!(job["result_hash"], JOB.expected());
    let guest = pair.guest.ok(&["node", "identity", "--json"]).json()["node"].clone();
    let by: Vec<Value> =
        executors(&pair.hub, job["job_id"].as_str().expect("an id")).into_iter().map(Value::from).collect();
    assert_eq!(by, [guest]);
    assert_eq!(job["verification"]["mismatches"], json!(0), "{job}");
}

#[test]
fn an_agent_beyond_a_router_computes() {
    let Some(mut net) = Internet::new() else { return };
    let (hub, guest) = (net.host(), net.host());
    computes(&pair(&hub, &guest));
}

#[test]
fn an_agent_behind_a_nat_joins_by_ticket_and_computes() {
    let Some(mut net) = Internet::new() else { return };
    let (hub, guest) = (net.host(), net.host_behind_nat());
    computes(&pair(&hub, &guest));
}

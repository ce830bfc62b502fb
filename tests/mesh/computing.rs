//! Jobs in a mesh of two: the same bits whoever computes and whoever asks, and whatever is killed meanwhile.

use forgemesh_tests::node::{Node, path, small_job};
use serde_json::{Value, json};

use crate::pair::{Pair, executors};

/// A job of some twenty shards.
const MIX: [&str; 4] = ["diag@1/mix.v1", "iterations=3000000", "--seed", "mesh"];

fn id_of(value: &Value) -> String {
    value["job_id"].as_str().expect("an id").to_owned()
}

/// What an embedded node makes of it.
fn expected() -> Value {
    let args = [&["run"], &MIX[..], &["--json"]].concat();
    Node::new().ok(&args).json()["result_hash"].clone()
}

fn submit(node: &Node, more: &[&str]) -> Value {
    let args = [&["job", "submit"], &MIX[..], more, &["--json"]].concat();
    node.ok(&args).json()
}

#[test]
fn a_job_has_the_same_digest_through_either_node_and_alone() {
    let pair = Pair::new(&["--private"]);
    let expected = expected();
    for node in [&pair.hub, &pair.guest] {
        let job = submit(node, &["--wait"]);
        assert_eq!(job["result_hash"], expected);
    }
    // Both read the same of both jobs; the guest holds none of it itself.
    let [there, here] = [&pair.hub, &pair.guest].map(|node| node.ok(&["job", "ls", "--json"]).json());
    assert_eq!(there, here);
    let id = id_of(&there["jobs"][0]);
    for args in [["job", "result", &id], ["job", "executions", &id], ["job", "receipt", &id]] {
        assert_eq!(pair.hub.ok(&args).stdout, pair.guest.ok(&args).stdout, "{args:?}");
    }
    pair.guest.forgemesh(&["job", "show", "ffffffffffff", "--json"]).error(2, "no_such_job");
    // `run` on the guest goes through the mesh, and leaves everything that an embedded run leaves.
    let file = pair.guest.file("job.json", small_job().to_string());
    let run = pair.guest.ok(&["run", path(&file), "--json", "--out", "out"]).json();
    let alone = Node::new().run(&small_job(), "out");
    assert_eq!(run["result_hash"], alone["result_hash"]);
    pair.guest.ok(&[
        "verify",
        "out/receipt.json",
        "--mesh",
        run["receipt"]["mesh_id"].as_str().expect("a mesh"),
    ]);
    pair.guest.ok(&["replay", "out/receipt.json"]);
}

#[test]
fn the_guest_executes_what_the_hub_does_not() {
    let pair = Pair::new(&[]);
    pair.guest_alone();
    let job = submit(&pair.guest, &["--wait"]);
    assert_eq!(job["result_hash"], expected());
    let guest = pair.guest.ok(&["node", "identity", "--json"]).json()["node"].clone();
    assert_eq!(
        executors(&pair.hub, &id_of(&job)).into_iter().collect::<Vec<_>>(),
        [guest.as_str().expect("an id")]
    );
    // The hub has checked what another node executed.
    assert_eq!(job["verification"]["independence"], json!("same_operator"), "{job}");
}

#[test]
fn a_guest_that_is_killed_goes_on_where_it_was() {
    let mut pair = Pair::new(&["--private"]);
    pair.guest_alone();
    let job = submit(&pair.hub, &[]);
    let id = id_of(&job);
    pair.hub.until("the guest has attested something", || {
        let shown = pair.hub.ok(&["job", "show", &id, "--json"]).json();
        shown["attested_shards"].as_u64().is_none_or(|attested| attested > 0)
    });
    pair.guest_runs.take().expect("it runs").kill();
    pair.guest_runs = Some(pair.guest.up());
    pair.hub.ok(&["job", "watch", &id]);
    let shown = pair.hub.ok(&["job", "show", &id, "--json"]).json();
    assert_eq!(shown["result_hash"], expected());
}

#[test]
fn a_hub_that_is_killed_goes_on_where_it_was() {
    let mut pair = Pair::new(&["--private"]);
    pair.guest_alone();
    let id = id_of(&submit(&pair.guest, &[]));
    pair.hub_runs.take().expect("it runs").kill();
    pair.hub_runs = Some(pair.hub.up());
    pair.hub.ok(&["job", "watch", &id]);
    let shown = pair.guest.ok(&["job", "show", &id, "--json"]).json();
    assert_eq!(shown["result_hash"], expected());
}

#[test]
fn a_guest_whose_hub_is_gone_says_so() {
    let mut pair = Pair::new(&[]);
    assert_eq!(pair.hub_runs.take().expect("it runs").down(&pair.hub), Some(0));
    let error = pair.guest.forgemesh(&["job", "ls", "--json"]).error(1, "hub_unreachable");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("forgemesh doctor")), "{error}");
    let checks = pair.guest.forgemesh(&["doctor", "--json"]);
    assert_eq!(checks.code, 1);
    let checks = checks.json();
    let hub = checks["checks"].as_array().into_iter().flatten().find(|check| check["check"] == "hub");
    assert_eq!(hub.map(|check| check["verdict"].clone()), Some(json!("fail")), "{checks}");
    // Its own state it still tells, and it stops.
    pair.guest.ok(&["status"]);
    assert_eq!(pair.guest_runs.take().expect("it runs").down(&pair.guest), Some(0));
}

#[test]
fn a_job_of_which_a_node_checked_only_a_part_itself_says_so() {
    let pair = Pair::new(&[]);
    pair.hub.until("both have executed a part", || {
        let id = id_of(&submit(&pair.guest, &["--wait"]));
        if executors(&pair.hub, &id).len() < 2 {
            return false;
        }
        let shown = pair.guest.ok(&["job", "show", &id, "--json"]).json();
        let by = |who: &str| shown["checked_leaves"][who].as_u64().unwrap_or_else(|| panic!("{shown}"));
        let (own, other) = (by("by_itself"), by("by_another"));
        assert_eq!(json!(own + other), shown["verification"]["checked_leaves"]);
        // The hub checks both, and so itself.
        assert!(own > 0 && other > 0, "{shown}");
        let text = pair.guest.ok(&["job", "show", &id]).text();
        let words = [format!("{other} by another node"), format!("{own} by the node that had executed them")];
        assert!(text.contains("self-attested in part: ") && words.iter().all(|w| text.contains(w)), "{text}");
        true
    });
}

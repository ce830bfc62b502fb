//! Lines that are cut, lossy or narrow in the middle of a job: it ends with the same digest, and nobody is blamed.
//!
//! `FORGEMESH_LINES=all` makes them worse and takes minutes; see `BENCHMARKS.md`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::netns::Internet;
use crate::pair::{Pair, node};
use crate::routed::{Work, pair};

/// A job that is still at it when its line is cut.
const LONG: Work = Work(["mc@1/insurance.v1", "iterations=6000000", "--seed", "lines"]);
/// One whose evidence is some megabytes.
const MIDDLE: Work = Work(["mc@1/insurance.v1", "iterations=600000", "--seed", "lines"]);
const SHORT: Work = Work(["mc@1/insurance.v1", "iterations=60000", "--seed", "lines"]);

fn all() -> bool {
    std::env::var("FORGEMESH_LINES").is_ok_and(|which| which == "all")
}

/// Submits at the hub what the agent alone will execute; its id.
fn submit(pair: &Pair, work: &Work) -> String {
    let job = pair.hub.ok(&[&["job", "submit"], &work.0[..], &["--json"]].concat()).json();
    job["job_id"].as_str().expect("an id").to_owned()
}

fn show(pair: &Pair, id: &str) -> Value {
    pair.hub.ok(&["job", "show", id, "--json"]).json()
}

/// The job ends as it does alone, its agent is still one of the mesh, and nothing of it was found to be wrong.
fn ends_well(pair: &Pair, work: &Work, id: &str) {
    let expected = work.expected();
    pair.hub.ok(&["job", "watch", id]);
    let shown = show(pair, id);
    assert_eq!((&shown["state"], &shown["result_hash"]), (&json!("finalized"), &expected), "{shown}");
    assert_eq!(shown["verification"]["mismatches"], json!(0), "{shown}");
    pair.hub.until("the hub hears the guest", || pair.hears());
    let guest = node(&pair.hub, "guest");
    assert_eq!(guest["expelled"], json!(false), "{guest}");
    pair.guest.ok(&["job", "submit", "diag@1/noop.v1", "--wait"]);
}

#[test]
fn a_job_goes_on_when_its_line_was_cut_for_twenty_seconds() {
    let Some(mut net) = Internet::new() else { return };
    let (hub, guest) = (net.host(), net.host_behind_nat());
    let pair = pair(&hub, &guest);
    let id = submit(&pair, &LONG);
    pair.hub.until("the agent has attested something", || {
        show(&pair, &id)["attested_shards"].as_u64().is_none_or(|attested| attested > 0)
    });
    net.cut(&guest);
    std::thread::sleep(Duration::from_secs(20));
    let state = show(&pair, &id)["state"].clone();
    assert_ne!(state, json!("finalized"), "it was cut too late");
    assert_eq!(node(&pair.hub, "guest")["live"], json!(false));
    net.mend(&guest);
    ends_well(&pair, &LONG, &id);
}

#[test]
fn a_job_ends_though_packets_are_lost() {
    let Some(mut net) = Internet::new() else { return };
    let (hub, guest) = (net.host(), net.host());
    let pair = pair(&hub, &guest);
    let percents: &[u8] = if all() { &[5, 20] } else { &[5] };
    for &percent in percents {
        net.lose(percent);
        let id = submit(&pair, &SHORT);
        ends_well(&pair, &SHORT, &id);
    }
}

#[test]
fn a_job_ends_over_a_narrow_line() {
    let Some(mut net) = Internet::new() else { return };
    let (hub, guest) = (net.host(), net.host());
    let pair = pair(&hub, &guest);
    net.narrow(&guest, 1_000);
    let work = if all() { MIDDLE } else { SHORT };
    let id = submit(&pair, &work);
    ends_well(&pair, &work, &id);
}

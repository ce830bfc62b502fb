//! A hub of three machines whose leader's line is cut in the middle of a job: the others go on without it, it acknowledges
//! nothing alone, and afterwards all have the same books.

use std::process::Stdio;
use std::time::Duration;

use forgemesh_tests::node::{Ended, Node};
use serde_json::{Value, json};

use crate::cluster::until;
use crate::netns::Internet;
use crate::trio::{Trio, Way};

/// Some seconds of work.
const LONG: [&str; 4] = ["mc@1/insurance.v1", "iterations=20000000", "--seed", "parted"];
const SHORT: [&str; 4] = ["diag@1/mix.v1", "iterations=200000", "--seed", "parted"];
/// Ten times as long as a member follows a leader of whom it hears nothing.
const CUT: Duration = Duration::from_secs(5);

fn job(node: &Node, id: &str) -> Value {
    let shown = node.forgemesh(&["job", "show", id, "--json"]);
    if shown.code == 0 { shown.json() } else { Value::Null }
}

/// What a member has in its books of jobs: their ids, states and digests.
fn books(node: &Node) -> Vec<[Value; 3]> {
    let listed = node.ok(&["job", "ls", "--json"]).json()["jobs"].clone();
    let jobs = listed.as_array().cloned().unwrap_or_default();
    jobs.iter().map(|job| ["job_id", "state", "result_hash"].map(|key| job[key].clone())).collect()
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_the_others_go_on() {
    let Some(mut net) = Internet::new() else { return };
    let trio = Trio::new([net.host(), net.host(), net.host()], Way::Private);
    until("somebody leads", || trio.leader().is_some());
    let old = trio.leader().expect("just now");
    let others = [(old + 1) % 3, (old + 2) % 3].map(|member| (member, &trio.nodes[member]));
    let (_, one) = others[0];
    let submit = |node: &Node, work: &[&str]| {
        let submitted = node.ok(&[&["job", "submit"], work, &["--json"]].concat()).json();
        submitted["job_id"].as_str().expect("an id").to_owned()
    };
    let long = submit(one, &LONG);
    until("it runs", || job(one, &long)["attested_shards"].as_u64().is_some_and(|attested| attested > 0));
    net.cut(&trio.hosts[old]);
    assert_ne!(job(one, &long)["state"], json!("finalized"), "it was cut too late");
    // Said to the old leader by somebody at its machine, who waits for the word that it is committed.
    let args = [&["job", "submit"], &SHORT[..], &["--json"]].concat();
    let mut alone = trio.nodes[old]
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    until("another leads", || others.iter().any(|(member, _)| trio.status(*member)["leads"] == json!(true)));
    std::thread::sleep(CUT);
    assert!(
        alone.try_wait().expect("it was started").is_none_or(|ended| !ended.success()),
        "no majority knows of it"
    );
    let listed = trio.nodes[old].forgemesh(&["job", "ls", "--json"]);
    assert!(listed.stderr.contains("no leader that a majority follows"), "{}", listed.stderr);
    assert_ne!(job(&trio.nodes[old], &long)["state"], json!("finalized"));
    // What the majority takes meanwhile is settled without the old leader.
    let short = submit(one, &SHORT);
    for (_, node) in others {
        for id in [&long, &short] {
            until("it is final without the old leader", || job(node, id)["state"] == json!("finalized"));
        }
    }
    net.mend(&trio.hosts[old]);
    until("it follows", || {
        trio.status(old)["leads"] == json!(false) && trio.status(old)["leader"].is_string()
    });
    let alone = Ended::of(alone.wait_with_output().expect("it ends"));
    // It may have gone on asking until it was heard; then its job is in the books like any other.
    if alone.code != 0 {
        alone.error(1, "hub_unreachable");
    }
    until("all have the same books", || {
        let all = trio.nodes.each_ref().map(books);
        let ended = |books: &[[Value; 3]]| books.iter().all(|[_, state, _]| *state == json!("finalized"));
        all.iter().all(|books| *books == all[0] && ended(books))
    });
    for (id, work) in [(&long, LONG), (&short, SHORT)] {
        let embedded = Node::new().ok(&[&["run"], &work[..], &["--json"]].concat()).json();
        let same =
            books(&trio.nodes[old]).into_iter().filter(|[job, ..]| *job == json!(id)).collect::<Vec<_>>();
        assert_eq!(same, [[json!(id), json!("finalized"), embedded["result_hash"].clone()]]);
    }
}

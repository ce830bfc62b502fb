//! Three hub members and two agents: whoever is killed, the job ends with the same digest, and is settled once.
//!
//! `FORGEMESH_LEADER_KILLS` sets how often the leader is killed; see `BENCHMARKS.md`.

use std::time::{Duration, Instant};

use forgemesh_tests::node::Node;
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::draws::Draws;

/// A job of some twenty shards that takes a second or so.
const JOB: [&str; 4] = ["mc@1/insurance.v1", "iterations=3000000", "--seed", "quorum"];

/// Longer rests of a job whose leader was killed are printed one by one.
const LONG: Duration = Duration::from_secs(2);

/// What an embedded node makes of it.
fn expected(job: &[&str]) -> Value {
    Node::new().ok(&[&["run"], job, &["--json"]].concat()).json()["result_hash"].clone()
}

fn is_final(cluster: &Cluster, node: usize, id: &str) -> bool {
    cluster.books(node).iter().any(|(job, _)| job == id)
}

#[test]
fn five_nodes_have_the_same_books() {
    let cluster = Cluster::new();
    let id = cluster.submit(5, &JOB);
    until("all five have it in their books", || (1..=5).all(|node| is_final(&cluster, node, &id)));
    let expected = expected(&JOB);
    for node in 1..=5 {
        assert_eq!(cluster.books(node), [(id.clone(), expected.clone())], "n{node}");
    }
    // A stranger finds the signatures of a majority, on an agent's copy.
    let receipt = cluster.ask(4, &["job", "receipt", &id]);
    let stranger = Node::new();
    let file = stranger.file("receipt.json", &receipt.stdout);
    let verified = stranger.ok(&["verify", file.to_str().expect("a path"), "--json"]).json();
    let quorum =
        verified["checks"].as_array().into_iter().flatten().find(|c| c["name"] == json!("receipt.quorum"));
    assert_eq!(quorum.expect("checked")["status"], json!("ok"), "{verified}");
}

/// A second cluster in the folder of the first has once stopped the nodes of that, and emptied their logs.
#[test]
fn another_cluster_in_the_same_folder_is_refused_and_harms_nothing() {
    let cluster = Cluster::of(3);
    let processes = || (1..=3).map(|node| cluster.status(node).map(|s| s["pid"].clone())).collect::<Vec<_>>();
    let before = processes();
    cluster.start_another().error(1, "node_runs");
    assert_eq!(processes(), before);
    let log = std::fs::read_to_string(cluster.folder(1).join("node.log")).expect("its log");
    assert!(log.contains("listens at") && !log.contains("stop"), "{log}");
}

/// Waits until a node has the job in its books. The longest time in which nothing was to be seen of it there, from `since`
/// on, and what was seen before and after.
fn longest_rest(cluster: &Cluster, node: usize, id: &str, since: Instant) -> (Duration, String) {
    let (mut seen, mut at, mut longest) = (None, since, (Duration::ZERO, String::new()));
    until("the job is in a survivor's books", || {
        let job = cluster.job(node, id);
        let now = Some((job["state"].clone(), job["stage"].clone(), job["attested_shards"].clone()));
        if seen.is_none() || now != seen {
            let said = |what: &Option<(Value, Value, Value)>| {
                what.as_ref().map_or("nothing".to_owned(), |(state, stage, shards)| {
                    format!("{state} {stage} {shards}")
                })
            };
            if at.elapsed() > longest.0 {
                longest = (at.elapsed(), format!("{} to {}", said(&seen), said(&now)));
            }
            (seen, at) = (now, Instant::now());
        }
        is_final(cluster, node, id)
    });
    longest
}

#[test]
fn the_leader_may_be_killed_in_every_phase_of_a_job() {
    let rounds =
        std::env::var("FORGEMESH_LEADER_KILLS").map_or(30, |rounds| rounds.parse().expect("a number"));
    let (cluster, expected) = (Cluster::new(), expected(&JOB));
    let mut draws = Draws::new("leader kills");
    let phases = ["planned", "running", "verifying", "aggregating", "finalized"];
    let (mut killed_in, mut waits_ms, mut rests_ms) =
        (std::collections::BTreeMap::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        until("somebody leads", || cluster.leader().is_some());
        let leader = cluster.leader().expect("just now");
        let id = cluster.submit(4 + round % 2, &JOB);
        // At a random moment, or as soon as it is seen to be so far.
        let so_far = phases[round % phases.len()];
        let phase = |state: &str| phases.iter().position(|phase| *phase == state);
        let state = || cluster.job(leader, &id)["state"].as_str().unwrap_or("submitted").to_owned();
        if so_far == "finalized" {
            std::thread::sleep(Duration::from_millis(draws.below(1_200) as u64));
        } else {
            until("it is so far", || phase(&state()) >= phase(so_far));
        }
        let state = state();
        cluster.kill(leader);
        let begun = Instant::now();
        let another = || cluster.leader().is_some_and(|node| node != leader);
        until("another leads", another);
        let led_ms = begun.elapsed().as_millis();
        waits_ms.push(led_ms);
        let (rest, what) = longest_rest(&cluster, if leader == 1 { 2 } else { 1 }, &id, begun);
        rests_ms.push(rest.as_millis());
        if rest > LONG {
            eprintln!(
                "round {round}, killed in {state}: another led after {led_ms} ms; nothing to be seen for {} ms, {what}",
                rest.as_millis()
            );
        }
        until("the job is in everybody's books", || {
            (1..=5).filter(|node| *node != leader).all(|node| is_final(&cluster, node, &id))
        });
        cluster.revive(leader);
        until("the killed one has it too", || is_final(&cluster, leader, &id));
        *killed_in.entry(state).or_insert(0) += 1;
    }
    let of = |mut ms: Vec<u128>| {
        ms.sort_unstable();
        (ms[ms.len() / 2], ms[ms.len() - 1])
    };
    let ((led, led_most), (rested, rested_most)) = (of(waits_ms), of(rests_ms));
    eprintln!(
        "{rounds} leaders killed, in {killed_in:?}; another led after {led} ms (median), {led_most} ms (most); the job's \
         longest rest took {rested} ms (median), {rested_most} ms (most)"
    );
    // Without the news that its connections are gone a dead agent was waited for as long as a silent one, up to half a minute.
    // What is asserted leaves room for a busy machine; what it took is printed.
    assert!(rested < 4_000 && rested_most < 10_000, "a job rested for {rested} ms, {rested_most} ms at most");
    let in_phase = |phase: &str| killed_in.get(phase).copied().unwrap_or(0);
    if rounds >= 30 {
        let unfinished = phases.iter().filter(|phase| **phase != "finalized" && in_phase(phase) > 0);
        assert!(unfinished.count() >= 2 && in_phase("finalized") <= rounds / 2, "{killed_in:?}");
    }
    for member in 1..=3 {
        let status = cluster.status(member).expect("it runs");
        assert_eq!(status["hub"]["ledger"], json!(rounds), "n{member}: each job is settled once");
    }
    for node in 1..=5 {
        let books = cluster.books(node);
        assert_eq!(books.len(), rounds, "n{node}: all are in its books");
        assert!(books.iter().all(|(_, digest)| *digest == expected), "n{node}");
    }
}

/// Agents execute, the hub's members do not: what is attested stays so when the leader dies, and what an agent holds is its
/// own under the next one. Nothing is done again but what two executors were just at, if that.
#[test]
fn with_another_leader_only_what_was_in_flight_is_done_again() {
    const QUARTERS: u64 = 4;
    const AT_ONCE: u64 = 8;
    let cluster = Cluster::new();
    let pause = |member: usize| {
        let paused = cluster.ask(member, &["node", "pause"]);
        assert_eq!(paused.code, 0, "{}{}", paused.text(), paused.stderr);
    };
    (1..=3).for_each(pause);
    let executed = || -> u64 {
        let of = |node| cluster.status(node).expect("it runs")["executed"].as_u64().expect("a number");
        of(4) + of(5)
    };
    for quarter in 1..QUARTERS {
        until("somebody leads", || cluster.leader().is_some());
        let (leader, before) = (cluster.leader().expect("just now"), executed());
        let seed = format!("quarter {quarter}");
        let job = ["diag@1/mix.v1", "iterations=10000000", "--seed", &seed];
        let id = cluster.submit(4, &job);
        let (mut attested, mut shards) = (0, 0);
        until("so much of it is attested", || {
            let job = cluster.job(leader, &id);
            assert!(job["result_hash"].is_null(), "it is over already");
            (attested, shards) =
                (job["attested_shards"].as_u64().unwrap_or(0), job["shards"].as_u64().unwrap_or(0));
            shards > 0 && QUARTERS * attested >= quarter * shards
        });
        cluster.kill(leader);
        let survivor = if leader == 1 { 2 } else { 1 };
        until("the job is final", || is_final(&cluster, survivor, &id));
        let again = executed() - before - shards;
        eprintln!("{attested} of {shards} shards attested when n{leader} was killed, {again} done again");
        assert!(attested > AT_ONCE && again <= AT_ONCE, "{again} of {shards} shards were done again");
        assert!(cluster.books(survivor).contains(&(id, expected(&job))));
        cluster.revive(leader);
        pause(leader);
    }
}

#[test]
fn an_agent_and_a_follower_may_be_killed_in_the_middle() {
    let cluster = Cluster::new();
    let leader = cluster.leader().expect("somebody leads");
    let follower = (1..=3).find(|node| *node != leader).expect("two follow");
    let id = cluster.submit(leader, &JOB);
    cluster.kill(5);
    cluster.kill(follower);
    until("the job is final", || is_final(&cluster, leader, &id));
    assert_eq!(cluster.books(leader), [(id.clone(), expected(&JOB))]);
    for node in [5, follower] {
        cluster.revive(node);
        until("it has the books", || is_final(&cluster, node, &id));
    }
}

#[test]
fn without_a_quorum_a_member_says_what_it_last_knew_and_no_more() {
    let cluster = Cluster::new();
    let id = cluster.submit(4, &JOB);
    until("all members have it", || (1..=3).all(|node| is_final(&cluster, node, &id)));
    let show = || {
        let shown = cluster.ask(1, &["job", "show", "nobody-knows"]);
        shown.text() + &shown.stderr
    };
    assert!(show().contains("no_such_job"), "{}", show());
    cluster.kill(2);
    cluster.kill(3);
    // What is in the books needs nobody, what may have changed is marked, and what is not here may be elsewhere.
    assert_eq!(cluster.books(1), [(id.clone(), expected(&JOB))]);
    let listed = || cluster.ask(1, &["job", "ls"]).stderr;
    assert!(listed().contains("no leader that a majority follows"), "{}", listed());
    assert!(show().contains("hub_unreachable"), "{}", show());
    cluster.revive(2);
    until("it is sure again", || show().contains("no_such_job"));
    assert!(!listed().contains("majority"), "{}", listed());
}

#[test]
fn a_mesh_that_was_stopped_goes_on() {
    let mut cluster = Cluster::new();
    let job = ["diag@1/mix.v1", "iterations=60000000", "--seed", "stop"];
    let id = cluster.submit(4, &job);
    until("it runs", || (1..=3).any(|node| cluster.job(node, &id)["state"] == json!("running")));
    cluster.stop();
    assert!((1..=5).all(|node| cluster.leader_of(node).is_none()), "all are down");
    cluster.start();
    until("the job is in everybody's books", || (1..=5).all(|node| is_final(&cluster, node, &id)));
    let expected = expected(&job);
    for node in 1..=5 {
        assert_eq!(cluster.books(node), [(id.clone(), expected.clone())], "n{node}");
    }
}

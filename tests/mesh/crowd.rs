//! Many processes on this machine that are one mesh: all find each other, compute, cost little while they wait, and go.
//!
//! `FORGEMESH_CROWD` sets how many; see `BENCHMARKS.md`.

use std::time::{Duration, Instant};

use forgemesh_tests::node::Node;
use serde_json::json;

use crate::cluster::{Cluster, until};

/// A job of some twenty shards.
const JOB: [&str; 4] = ["diag@1/mix.v1", "iterations=3000000", "--seed", "crowd"];
/// How long the idle nodes are watched.
const WATCHED: Duration = Duration::from_secs(10);

/// What a process has used: resident bytes in KiB, and processor time in ticks.
fn used(pid: u64) -> (u64, u64) {
    let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
    let status = text("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of its own");
    let resident = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    let stat = text("stat");
    // After the name, which may hold anything but ends at the last bracket: user and system time are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = [11, 12].map(|field| fields[field].parse::<u64>().expect("a number"));
    (resident, ticks.iter().sum())
}

#[test]
fn a_crowd_joins_computes_and_goes() {
    let count = std::env::var("FORGEMESH_CROWD").map_or(12, |count| count.parse().expect("a number"));
    let mut cluster = Cluster::of(count);
    // All but the first know one address, and that is the first's.
    cluster.stop();
    cluster.know_only_the_first();
    let begun = Instant::now();
    cluster.start();
    eprintln!("{count} processes: all knew who leads after {} ms", begun.elapsed().as_millis());
    until("the leader hears all of them", || {
        let leader = cluster.leader();
        leader.is_some_and(|leader| {
            cluster.status(leader).is_some_and(|status| status["hub"]["live_agents"] == json!(count))
        })
    });
    eprintln!("the leader heard all of them after {} ms", begun.elapsed().as_millis());
    let pids: Vec<u64> = (1..=count)
        .map(|node| cluster.status(node).expect("it runs")["pid"].as_u64().expect("a number"))
        .collect();
    let term = |cluster: &Cluster| cluster.status(1).expect("it runs")["hub"]["term"].clone();
    let (before, term_before) = (pids.iter().map(|pid| used(*pid)).collect::<Vec<_>>(), term(&cluster));
    std::thread::sleep(WATCHED);
    let after: Vec<(u64, u64)> = pids.iter().map(|pid| used(*pid)).collect();
    // Agents alone; 100 ticks are a second on every Linux.
    let kib: Vec<u64> = after.iter().skip(3).map(|(kib, _)| *kib).collect();
    let percent: Vec<f64> = before
        .iter()
        .zip(&after)
        .skip(3)
        .map(|((_, from), (_, to))| (to - from) as f64 / WATCHED.as_secs_f64())
        .collect();
    let share =
        |of: &[f64]| (of.iter().sum::<f64>() / of.len() as f64, of.iter().copied().fold(0.0, f64::max));
    let (mean, most) = share(&percent);
    let all: u64 = after.iter().map(|(kib, _)| kib).sum();
    eprintln!(
        "idle: {} MiB resident in all; an agent {} KiB at most, {mean:.2} % of a core (mean), {most:.2} % (most); term {term_before} to {}",
        all / 1_024,
        kib.iter().max().expect("agents"),
        term(&cluster)
    );
    let begun = Instant::now();
    let id = cluster.submit(count, &JOB);
    until("the job is in everybody's books", || {
        (1..=count).all(|node| cluster.books(node).iter().any(|(job, _)| *job == id))
    });
    eprintln!(
        "a job was in everybody's books after {} ms; term {}",
        begun.elapsed().as_millis(),
        term(&cluster)
    );
    let expected = Node::new().ok(&[&["run"], &JOB[..], &["--json"]].concat()).json()["result_hash"].clone();
    for node in [1, 2, 3, count] {
        assert_eq!(cluster.books(node), [(id.clone(), expected.clone())], "n{node}");
    }
    cluster.stop();
    let left: Vec<&u64> =
        pids.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "{left:?} still run");
}

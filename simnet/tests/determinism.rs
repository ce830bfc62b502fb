//! The gate before every other scenario: one seed in two processes gives one trace; virtual time is not wall time.

use std::process::Command;
use std::time::Instant;

use forgemesh_protocol::limits;
use forgemesh_simnet::scenario::{Scenario, Wish};
use forgemesh_simnet::world::run;

/// The JSON objects that a process of its own prints.
fn in_a_process(arguments: &str) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_forgemesh-simnet"))
        .arg("--json")
        .args(arguments.split(' '))
        .output()
        .expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// In this process other seeds have run before, so that nothing may depend on what a thread has kept.
#[test]
fn one_seed_in_two_processes_gives_one_trace() {
    let mut traces = Vec::new();
    for seed in [7, 11, 12, 19, 117] {
        let one = || in_a_process(&format!("--seed {seed}")).remove(0);
        let (first, second) = (one(), one());
        assert_eq!(first, second, "seed {seed}");
        let here = run(&Scenario::random(seed, &Wish::default())).expect("it holds");
        assert_eq!(serde_json::to_value(&here).expect("a report"), first, "seed {seed} in this process");
        assert!(here.parcels.delivered > 100, "seed {seed}: {:?}", here.parcels);
        traces.push(here.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 5, "another seed is another trace");
}

/// Half an hour has more of everything, so more that could happen in another order.
#[test]
fn half_an_hour_in_two_processes_gives_one_trace() {
    let one = || in_a_process("--seed 7 --nodes 6 --hours 0.5");
    assert_eq!(one(), one());
}

/// Lives that end at any moment: what waits for a node is woken again and again.
#[test]
fn seeds_of_crashes_in_two_processes_give_one_trace_each() {
    let of = |seeds: &str| {
        let mut lines =
            in_a_process(&format!("--seeds {seeds} --threads 1 --faults crash,disk_error,read_error"));
        // The summary says how long it took.
        assert!(lines.pop().expect("a summary").get("wall_s").is_some());
        lines
    };
    let (first, second) = (of("100..120"), of("100..120"));
    assert_eq!(first.len(), 20);
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second);
        assert_eq!(first["faults"].as_object().map(serde_json::Map::len), Some(3), "all classes: {first}");
    }
    // Nothing of the worlds before it reaches the last one.
    assert_eq!(first.last(), of("119..120").last());
}

#[test]
fn hours_pass_while_no_time_does() {
    let span_ms = 2 * 3_600_000;
    let wish = Wish { machines: Some(4), span_ms: Some(span_ms), jobs: Some(6), ..Wish::default() };
    let started = Instant::now();
    let report = run(&Scenario::random(5, &wish)).expect("it holds");
    assert!(report.virtual_ms >= span_ms, "{} ms", report.virtual_ms);
    let seconds = report.virtual_ms / 1_000;
    assert!(report.heartbeats.abs_diff(seconds) <= 1, "{} beats in {seconds} s", report.heartbeats);
    assert!(started.elapsed().as_millis() < u128::from(span_ms), "virtual time is not wall time");
}

#[test]
fn the_nodes_themselves_count_the_seconds() {
    // Nothing goes wrong, and there is next to nothing to do: each agent says hello every three seconds.
    let wish =
        Wish { machines: Some(4), hubs: Some(1), span_ms: Some(3_600_000), jobs: Some(1), ..Wish::default() };
    let scenario = Scenario { faults: Vec::new(), ..Scenario::random(5, &wish) };
    let report = run(&scenario).expect("it holds");
    let seconds = report.virtual_ms / 1_000;
    let due = 3 * seconds / (limits::HELLO_IDLE_MS / 1_000);
    let said = report.events["hellos"];
    assert!(said.abs_diff(due) <= due / 10, "{said} hellos in {seconds} s, {due} are due");
}

//! The gate before every other scenario: one seed in two processes gives one trace; virtual time is not wall time.

use std::process::Command;
use std::time::Instant;

use forgemesh_simnet::scenario::{Scenario, Wish};
use forgemesh_simnet::world::run;

fn in_a_process(seed: u64) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_forgemesh-simnet"))
        .args(["--json", "--seed", &seed.to_string()])
        .output()
        .expect("the simulator starts");
    assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// In this process other seeds have run before, so that nothing may depend on what a thread has kept.
#[test]
fn one_seed_in_two_processes_gives_one_trace() {
    let mut traces = Vec::new();
    for seed in [7, 11, 12, 19] {
        let (first, second) = (in_a_process(seed), in_a_process(seed));
        assert_eq!(first, second, "seed {seed}");
        let here = run(&Scenario::random(seed, &Wish::default())).expect("it holds");
        assert_eq!(serde_json::to_value(&here).expect("a report"), first, "seed {seed} in this process");
        assert!(here.parcels.delivered > 100, "seed {seed}: {:?}", here.parcels);
        traces.push(here.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 4, "another seed is another trace");
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
    assert!(started.elapsed().as_secs() < 60, "virtual time is not wall time");
}

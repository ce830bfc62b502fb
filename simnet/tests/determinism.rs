//! The gate before every other scenario: one seed in two processes gives one trace; and what every seed must show.

use std::process::Command;
use std::time::Instant;

use forgemesh_simnet::scenario::{Arrival, Scenario};
use forgemesh_simnet::world::{Report, run};

fn in_a_process(seed: u64, jobs: u64) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_forgemesh-simnet"))
        .args(["--json", "--seed", &seed.to_string(), "--jobs", &jobs.to_string()])
        .output()
        .expect("the simulator starts");
    assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn one_seed_in_two_processes_gives_one_trace() {
    let mut traces = Vec::new();
    for seed in [7, 11, 12] {
        let (first, second) = (in_a_process(seed, 5), in_a_process(seed, 5));
        assert_eq!(first, second, "seed {seed}");
        let here = run(&Scenario::random(seed, 5)).expect("it holds");
        assert_eq!(serde_json::to_value(&here).expect("a report"), first, "seed {seed} in this process");
        traces.push(here.trace);
    }
    assert!(traces[0] != traces[1] && traces[1] != traces[2], "another seed is another trace");
}

/// Results against the oracle, the ledger's chain and lost jobs are checked within each run.
#[test]
fn forty_seeds_hold() {
    let reports: Vec<Report> = (100..140)
        .map(|seed| {
            let again = format!("cargo run -p forgemesh-simnet -- --seed {seed} --jobs 4");
            let report = run(&Scenario::random(seed, 4)).unwrap_or_else(|broken| panic!("{broken}: {again}"));
            assert_eq!((report.finalized, report.failed), (4, 0), "{again}");
            report
        })
        .collect();
    let restarts: u64 = reports.iter().map(|report| report.restarts).sum();
    assert!(restarts > 20, "{restarts} crashes are too few to show anything");
}

#[test]
fn hours_pass_while_no_time_does() {
    let job = |at_ms| Arrival {
        at_ms,
        envelope: r#"{"op":{"name":"diag","version":1,"profile":"mix.v1"},"args":{"iterations":100}}"#
            .to_owned(),
    };
    let hour_ms = 3_600_000;
    let scenario = Scenario { seed: 5, jobs: vec![job(0), job(2 * hour_ms)], restarts: 0, misdeed: None };
    let started = Instant::now();
    let report = run(&scenario).expect("it holds");
    assert!(report.virtual_ms >= 2 * hour_ms);
    let seconds = report.virtual_ms / 1_000;
    assert!(report.heartbeats.abs_diff(seconds) <= 1, "{} beats in {seconds} s", report.heartbeats);
    assert!(started.elapsed().as_secs() < 60, "virtual time is not wall time");
    assert_eq!(report.finalized, 2);
}

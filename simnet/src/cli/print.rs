//! One seed, in full.

use std::fmt::Display;
use std::time::Instant;

use forgemesh_simnet::report::Report;
use serde::Serialize;

use crate::arguments::Arguments;
use crate::{crew, failure};

/// Runs the one seed and shows what came of it; whether everything held.
pub fn one(arguments: &Arguments) -> bool {
    let (started, seed) = (Instant::now(), arguments.seed);
    match crew::alone(&arguments.chosen(seed)) {
        Ok(report) => {
            if let Some(bug) = arguments.bug_name() {
                eprintln!("bug {bug} did no harm at this seed; PLANTED.md says which seeds");
            }
            if arguments.json {
                println!("{}", json(&report));
            } else {
                print!("{}", text(&report, started.elapsed().as_secs_f64()));
            }
            true
        }
        Err(broken) => {
            let again = failure::name(arguments, seed, &broken).again;
            eprintln!("seed {seed}: {broken}\n  again: {again}\nshortening");
            let failure = failure::examine(arguments, seed, &broken);
            if arguments.json {
                println!("{}", json(&failure))
            } else {
                println!("{failure}")
            }
            false
        }
    }
}

/// One line of JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("invariant: a report has text keys and finite numbers")
}

fn text(report: &Report, wall_s: f64) -> String {
    let mut out = format!(
        "seed {}: {} machines, {} of them the hub{}, everything held\n",
        report.seed,
        report.machines,
        report.hubs,
        if report.standbys > 0 { format!(", {} stand for it", report.standbys) } else { String::new() }
    );
    let mut row = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
    let failed: u64 = report.failed.values().sum();
    let mut jobs = format!("{} submitted, {} finalized", report.submitted, report.finalized);
    if failed > 0 {
        jobs += &format!(", {failed} failed ({})", counts(&report.failed));
    }
    row("jobs", jobs);
    let faults = report.faults.iter().map(|(class, count)| (json(class).replace('"', ""), count));
    let faults: Vec<String> = faults.map(|(class, count)| format!("{class} {count}")).collect();
    row("faults", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") });
    row("events", if report.events.is_empty() { "none".to_owned() } else { counts(&report.events) });
    row("liars", report.liars.to_string());
    row("lives ended", format!("{} by crashes, {} by disk errors", report.crashes, report.disk_errors));
    let parcels = &report.parcels;
    row(
        "messages",
        format!(
            "{} sent, {} delivered, {} lost, {} repeated, {} overtaken, {} cut off, {} found nobody, {} found no room, {} connections gone",
            parcels.sent,
            parcels.delivered,
            parcels.lost,
            parcels.repeated,
            parcels.overtaken,
            parcels.cut,
            parcels.nobody,
            parcels.overflowed,
            parcels.parted
        ),
    );
    row("checked", counts(&report.checks));
    row("books", format!("{} log entries, {} ledger entries", report.log, report.ledger));
    let virtual_s = report.virtual_ms as f64 / 1_000.0;
    row("time", format!("{virtual_s:.3} virtual s ({} heartbeats) in {wall_s:.2} s", report.heartbeats));
    row("trace", format!("{} over {} steps", report.trace, report.steps));
    out
}

fn counts<N: Display, C: Display>(counts: impl IntoIterator<Item = (N, C)>) -> String {
    let parts = counts.into_iter().map(|(name, count)| format!("{name} {count}"));
    parts.collect::<Vec<_>>().join(", ")
}

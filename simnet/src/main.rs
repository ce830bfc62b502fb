//! The simulator's command line: runs seeds, prints a line for each, and the one-line reproduction of one that fails.

use std::process::ExitCode;

use clap::Parser;
use forgemesh_simnet::scenario::Scenario;
use forgemesh_simnet::world::{Report, run};

/// Real nodes in virtual time; a seed decides everything.
#[derive(Parser)]
#[command(name = "forgemesh-simnet")]
struct Arguments {
    /// The one seed to run.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Many seeds: `A..B`, B left out.
    #[arg(long, value_parser = seeds)]
    seeds: Option<std::ops::Range<u64>>,
    /// Jobs in each simulation.
    #[arg(long, default_value_t = 5)]
    jobs: u64,
    /// One JSON object a line, with every job.
    #[arg(long)]
    json: bool,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let cure = || format!("`{text}` is no range of seeds; write A..B, for instance 1..1000");
    let (first, end) = text.split_once("..").ok_or_else(cure)?;
    Ok(first.parse().map_err(|_| cure())?..end.parse().map_err(|_| cure())?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = arguments.seeds.unwrap_or(arguments.seed..arguments.seed.saturating_add(1));
    let mut failed = 0u64;
    for seed in seeds {
        match run(&Scenario::random(seed, arguments.jobs)) {
            Ok(report) if arguments.json => println!("{}", json(&report)),
            Ok(report) => println!("{}", line(&report)),
            Err(broken) => {
                failed += 1;
                eprintln!("seed {seed}: {broken}");
                eprintln!("again: cargo run -p forgemesh-simnet -- --seed {seed} --jobs {}", arguments.jobs);
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(report: &Report) -> String {
    let Report { seed, virtual_ms, finalized, failed, restarts, steps, trace, .. } = report;
    let (seconds, millis) = (virtual_ms / 1_000, virtual_ms % 1_000);
    format!(
        "seed {seed}: {seconds}.{millis:03} virtual s, {finalized} finalized, {failed} failed, {restarts} restarts, {steps} steps, trace {trace}"
    )
}

fn json(report: &Report) -> String {
    serde_json::to_string(report).expect("invariant: a report has text keys and no float")
}

//! The simulator's command line.

use std::process::ExitCode;

use forgemesh_simnet::scenario::{Scenario, Wish};
use forgemesh_simnet::world::run;

fn main() -> ExitCode {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let mut code = ExitCode::SUCCESS;
    for seed in args[0]..args[1] {
        let scenario = Scenario::random(seed, &Wish::default());
        match run(&scenario) {
            Ok(report) => println!("{}", serde_json::to_string(&report).expect("invariant: text keys")),
            Err(broken) => {
                println!("seed {seed}: {broken}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

//! The simulator's command line: one seed in full, many seeds with a summary, the table of planted bugs.

mod arguments;
mod crew;
mod failure;
mod fleet;
mod plant;
mod print;

use std::process::ExitCode;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parsed();
    crew::quiet();
    let held = match (&arguments.command, arguments.seeds) {
        (Some(Command::Planted { write }), _) => return plant::table(write.as_deref()),
        (None, Some(seeds)) => fleet::run_seeds(&arguments, seeds),
        (None, None) => print::one(&arguments),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

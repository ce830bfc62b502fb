//! The table of planted bugs: each is run until its invariant catches it.

use std::path::Path;
use std::process::ExitCode;

use forgemesh_simnet::planted::hunt::{self, Caught};

/// Prints the table, and writes it; whether every bug was caught by its invariant.
pub fn table(write: Option<&Path>) -> ExitCode {
    let caught = hunt::all();
    let table = hunt::markdown(&caught);
    print!("{table}");
    if let Some(path) = write
        && let Err(error) = std::fs::write(path, &table)
    {
        eprintln!("cannot write {}: {error}; give another path", path.display());
        return ExitCode::FAILURE;
    }
    if caught.iter().all(Caught::is_right) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `--force`: a command that writes one file where its user says leaves a file alone that is there.

use std::path::Path;

use super::error::CliError;

/// May a command write this file? What is no plain file, such as a pipe, is written to and not over.
pub fn allowed(path: &Path, force: bool) -> Result<(), CliError> {
    let is_there = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    if is_there && !force { Err(CliError::Exists { path: path.to_owned() }) } else { Ok(()) }
}

//! Standard error, where a process speaks to people. Must never end the process because nobody reads it any more.

use std::io::Write as _;

/// Writes a line at once, so that lines of several threads stay whole. A reader that has gone away is no error.
pub fn say(text: &str) {
    let line = format!("{text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

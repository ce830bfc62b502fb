//! The one binary, `forgemesh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    forgemesh_node::cli::main()
}

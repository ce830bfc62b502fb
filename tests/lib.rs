//! What the whole-system tests share: the real executable. Must never stand in for a part of the system.

#[path = "cli/node.rs"]
pub mod node;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `forgemesh` executable: `FORGEMESH_BIN` if that is set, else built once, in the profile of these tests.
pub fn forgemesh() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("FORGEMESH_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Writes a shell script that can be started at once. Another process writes it: what any thread of this one starts meanwhile
/// would hold the file open for writing for a moment, and nobody may start what is being written.
pub fn script(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut to = writer.stdin.take().expect("it was asked for");
    to.write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).expect("it reads");
    drop(to);
    assert!(writer.wait().expect("it was started").success(), "{} cannot be written", path.display());
}

/// Asks cargo for it, so that it is never older than its sources.
fn build() -> PathBuf {
    // <target>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("a test lies two folders below the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = folder.parent().expect("a profile's folder lies in the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "forgemesh-node", "--bin", "forgemesh", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "cargo could not build the forgemesh executable");
    folder.join(format!("forgemesh{}", std::env::consts::EXE_SUFFIX))
}

//! Our results against independent NumPy simulations of the same models, and against R's documented run. The scripts
//! under `tests/oracle/` share nothing with the kernel: other generators, other samplers, other arithmetic.

use std::path::{Path, PathBuf};
use std::process::Command;

use forgemesh_tests::forgemesh;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").to_owned()
}

/// The Python that has NumPy: `tests/run` makes it and says where.
fn python() -> PathBuf {
    let made = root().join("target/venv/bin/python");
    std::env::var_os("FORGEMESH_PYTHON").map_or(made, PathBuf::from)
}

fn agrees(example: &str, more: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let job = root().join("node/examples").join(example);
    let run = Command::new(forgemesh())
        .args(["run", "--progress", "none", "--home"])
        .arg(folder.path().join("home"))
        .arg("--out")
        .arg(folder.path().join("out"))
        .arg(&job)
        .args(more)
        .output()
        .expect("forgemesh starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let python = python();
    let compare = Command::new(&python)
        .arg(root().join("tests/oracle/compare.py"))
        .arg("--job")
        .arg(&job)
        .arg("--result")
        .arg(folder.path().join("out/result.json"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/run, which makes it", python.display()));
    let (out, err) = (String::from_utf8_lossy(&compare.stdout), String::from_utf8_lossy(&compare.stderr));
    println!("{out}");
    assert!(compare.status.success(), "the figures differ by more than their sampling error\n{out}{err}");
}

#[test]
fn the_raa_reserve_agrees_with_numpy_and_with_r() {
    agrees("reserve-raa.json", &[]);
}

#[test]
fn the_insurance_quickstart_agrees_with_numpy() {
    agrees("insurance-quickstart.json", &[]);
}

#[test]
fn two_million_years_agree_with_numpy() {
    agrees("insurance-quickstart.json", &["iterations=2000000", "--seed", "another"]);
}

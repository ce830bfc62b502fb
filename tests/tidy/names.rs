//! Names of files and folders: none that says nothing, no top-level entry that nobody expects.

use std::collections::BTreeSet;

use super::tree::{Offence, Tree, assert_none, places};

/// What the top level holds, given and kept.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "BENCHMARKS.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "consensus",
    "deny.toml",
    "kernel",
    "node",
    "protocol",
    "rustfmt.toml",
    "simnet",
    "storage",
    "target",
    "tests",
];

/// Names under which anything may hide.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "manager", "managers"];

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut seen = BTreeSet::new();
    for file in &tree.files {
        let top = file.path.split('/').next().unwrap_or_default();
        // A user's own output in the checkout is no offence until somebody adds it.
        if file.tracked && !TOP_LEVEL.contains(&top) && seen.insert(top) {
            let cure = "the top level is fixed: put it below the folder that owns it";
            offences.push(file.offence(0, format!("`{top}` at the top level"), cure));
        }
        for name in file.path.split('/') {
            let stem = name.split('.').next().unwrap_or_default();
            if EMPTY_NAMES.contains(&stem) || name == "types.rs" {
                let cure = "name it after the thing it owns";
                offences.push(file.offence(0, format!("`{name}` says nothing"), cure));
            }
        }
    }
    offences
}

#[test]
fn names_say_what_is_inside() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let tree = Tree::of(&[
        ("docs/a.md", ""),
        ("docs/b.md", ""),
        ("node/src/utils/a.rs", ""),
        ("node/src/types.rs", ""),
        ("node/src/job_manager.rs", ""),
        ("kernel/src/misc.rs", ""),
        ("README.md", ""),
    ]);
    let expected = ["docs/a.md:0", "node/src/utils/a.rs:0", "node/src/types.rs:0", "kernel/src/misc.rs:0"];
    assert_eq!(places(&check(&tree)), expected);
}

//! Dependency arrows between the crates, in manifests and in source.
//!
//! The one list of which crate may know which. It must never be widened for a test's sake: whole-system tests live in
//! `tests/`, which may know all.

use super::source::find_word;
use super::tree::{File, Offence, Tree, assert_none, places};

const CURE: &str = "the arrows are in ARCHITECTURE.md: move the code down to a crate that both may know";

/// Each crate and the crates it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("kernel", &["protocol"]),
    ("storage", &["protocol"]),
    ("consensus", &["protocol", "kernel", "storage"]),
    ("node", &["protocol", "kernel", "storage", "consensus"]),
    ("simnet", &["protocol", "kernel", "storage", "consensus", "node"]),
    ("tests", &["protocol", "kernel", "storage", "consensus", "node", "simnet"]),
];

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (folder, file, manifest) in tree.manifests() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
            offences.push(file.offence(
                0,
                format!("crate {folder} has no arrows"),
                "add it to ARROWS in this test",
            ));
            continue;
        };
        for other in dependencies(&manifest).iter().filter_map(|name| name.strip_prefix("forgemesh-")) {
            // A crate may name itself: its tests then see it with a feature for tests.
            if other != folder && !allowed.contains(&other) {
                let what = format!("{folder} must not depend on {other}");
                offences.push(file.offence(line_of(file, other), what, CURE));
            }
        }
    }
    for (folder, file, manifest) in tree.manifests() {
        if folder != "simnet" && asks_for_testing(&manifest) {
            let cure = "ask for it in dev-dependencies: it is for tests and the simulator";
            offences.push(file.offence(0, format!("{folder} is built with the feature `testing`"), cure));
        }
    }
    for file in tree.rust() {
        let folder = file.path.split('/').next().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else { continue };
        let source = file.source();
        for (other, _) in ARROWS.iter().filter(|(other, _)| *other != folder && !allowed.contains(other)) {
            for at in source.find(&format!("forgemesh_{other}")) {
                let what = format!("{folder} must not use {other}");
                offences.push(file.offence(source.line(at), what, CURE));
            }
        }
    }
    offences
}

/// Names of all packages in every table of dependencies, those for one platform or for tests too.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            let package = |(name, value): (&String, &toml::Value)| {
                value.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
            };
            names.extend(table.iter().map(package));
        } else if key == "target" {
            names.extend(table.values().filter_map(toml::Value::as_table).flat_map(dependencies));
        }
    }
    names
}

/// Whether a crate itself, and not only its tests, asks for a feature `testing`.
fn asks_for_testing(manifest: &toml::Table) -> bool {
    let table = |key: &str| manifest.get(key).and_then(toml::Value::as_table);
    let testing = |dependency: &toml::Value| {
        let features = dependency.get("features").and_then(toml::Value::as_array);
        features.is_some_and(|list| list.iter().any(|feature| feature.as_str() == Some("testing")))
    };
    let per_platform =
        table("target").into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table);
    table("dependencies").is_some_and(|list| list.values().any(testing))
        || per_platform.into_iter().any(asks_for_testing)
}

fn line_of(file: &File, other: &str) -> usize {
    let name = format!("forgemesh-{other}");
    file.text.lines().position(|line| !find_word(line, &name).is_empty()).map_or(0, |line| line + 1)
}

#[test]
fn no_arrow_runs_the_wrong_way() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let tree = Tree::of(&[
        ("kernel/Cargo.toml", "[package]\nname = 'k'\n[dependencies]\nforgemesh-protocol.workspace = true\n"),
        ("storage/Cargo.toml", "[target.'cfg(unix)'.dev-dependencies]\nforgemesh-kernel.workspace = true\n"),
        (
            "protocol/Cargo.toml",
            "[build-dependencies]\nk = { package = 'forgemesh-kernel', path = '../kernel' }\n",
        ),
        ("extra/Cargo.toml", "[package]\nname = 'extra'\n"),
        (
            "node/Cargo.toml",
            "[dependencies]\nforgemesh-storage = { workspace = true, features = ['testing'] }\n",
        ),
        (
            "consensus/Cargo.toml",
            "[dev-dependencies]\nforgemesh-storage = { path = 'a', features = ['testing'] }\n",
        ),
        ("simnet/Cargo.toml", "[dependencies]\nforgemesh-storage = { path = 'a', features = ['testing'] }\n"),
        ("kernel/src/a.rs", "//! forgemesh_node\nuse forgemesh_protocol::op;\nuse {forgemesh_node::boot};\n"),
        ("node/src/main.rs", "use forgemesh_node::cli;\nuse forgemesh_consensus::job;\n"),
        ("consensus/tests/a.rs", "fn a() { forgemesh_simnet::run() }\n"),
    ]);
    assert_eq!(
        places(&check(&tree)),
        [
            "storage/Cargo.toml:2",
            "protocol/Cargo.toml:2",
            "extra/Cargo.toml:0",
            "node/Cargo.toml:0",
            "kernel/src/a.rs:3",
            "consensus/tests/a.rs:1"
        ]
    );
}

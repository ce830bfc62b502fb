//! Clippy's settings reach every crate: a crate's `clippy.toml` replaces the root's, so it must repeat it.

use super::tree::{Offence, Tree, assert_none, places};

/// Crates whose `clippy.toml` bans what would make results differ.
const PURE: &[&str] = &["protocol", "kernel", "consensus"];
/// Crates whose `clippy.toml` has bans of its own.
const OWN: &[&str] = &["simnet"];
const BANS: &[&str] = &["disallowed-methods", "disallowed-types"];

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (_, file, manifest) in tree.manifests() {
        if manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool()) != Some(true) {
            offences.push(file.offence(
                0,
                "the workspace's lints are off",
                "add `[lints]` with `workspace = true`",
            ));
        }
    }
    let parse = |path: &str| tree.get(path).and_then(|file| file.text.parse::<toml::Table>().ok());
    let root = parse("clippy.toml").unwrap_or_default();
    let first = parse("protocol/clippy.toml").unwrap_or_default();
    for name in PURE.iter().chain(OWN) {
        let path = format!("{name}/clippy.toml");
        let settings = parse(&path).unwrap_or_default();
        let mut report = |what: String, cure: &str| {
            offences.push(Offence { path: path.clone(), line: 0, what, cure: cure.to_owned() });
        };
        for (key, value) in root.iter().filter(|(key, value)| settings.get(*key) != Some(*value)) {
            report(
                format!("`{key} = {value}` of the root is lost"),
                "repeat it: this file replaces the root's",
            );
        }
        for ban in BANS.iter().filter(|_| PURE.contains(name)) {
            if settings.get(*ban).is_none_or(|list| Some(list) != first.get(*ban)) {
                report(
                    format!("`{ban}` differs from protocol's"),
                    "keep the bans of the pure crates the same",
                );
            }
        }
    }
    offences
}

#[test]
fn every_crate_is_linted() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let bans = "a = true\ndisallowed-methods = ['x']\ndisallowed-types = ['y']\n";
    let tree = Tree::of(&[
        ("node/Cargo.toml", "[package]\nname = 'n'\n"),
        ("clippy.toml", "a = true\n"),
        ("protocol/clippy.toml", bans),
        ("kernel/clippy.toml", "disallowed-methods = ['x']\ndisallowed-types = ['z']\n"),
        ("consensus/clippy.toml", bans),
        ("simnet/clippy.toml", "a = false\n"),
    ]);
    let expected =
        ["node/Cargo.toml:0", "kernel/clippy.toml:0", "kernel/clippy.toml:0", "simnet/clippy.toml:0"];
    assert_eq!(places(&check(&tree)), expected);
}

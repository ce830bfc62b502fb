//! Any Rust from 1.95 on builds this: no pinned toolchain, one declared minimum, the same for every crate.

use super::tree::{Offence, Tree, assert_none, places};

const RUST_VERSION: &str = "1.95";

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in &tree.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if name == "rust-toolchain" || name == "rust-toolchain.toml" {
            let cure = "remove it: `rust-version` says what is needed, users keep their toolchain";
            offences.push(file.offence(0, "a pinned toolchain", cure));
        }
    }
    if let Some(file) = tree.get("Cargo.toml") {
        let version = file.text.parse::<toml::Table>().ok().and_then(|manifest| {
            Some(manifest.get("workspace")?.get("package")?.get("rust-version")?.as_str()?.to_owned())
        });
        if version.as_deref() != Some(RUST_VERSION) {
            let what = format!("[workspace.package] rust-version is {version:?}");
            offences.push(file.offence(0, what, format!("set rust-version = \"{RUST_VERSION}\"")));
        }
    }
    for (_, file, manifest) in tree.manifests() {
        let inherited = manifest
            .get("package")
            .and_then(|package| package.get("rust-version")?.get("workspace")?.as_bool());
        if inherited != Some(true) {
            let cure = "write `rust-version.workspace = true`";
            offences.push(file.offence(0, "the crate has its own minimum Rust, or none", cure));
        }
    }
    offences
}

#[test]
fn any_recent_toolchain_will_do() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let tree = Tree::of(&[
        ("rust-toolchain.toml", ""),
        ("Cargo.toml", "[workspace.package]\nrust-version = \"1.96\"\n"),
        ("node/Cargo.toml", "[package]\nrust-version = \"1.95\"\n"),
        ("kernel/Cargo.toml", "[package]\nrust-version.workspace = true\n"),
    ]);
    assert_eq!(places(&check(&tree)), ["rust-toolchain.toml:0", "Cargo.toml:0", "node/Cargo.toml:0"]);
}

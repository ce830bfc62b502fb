//! No test is forgotten: `tests/` finds none by itself, so each file at its top is listed in its manifest.

use super::tree::{Offence, Tree, assert_none, places};

fn check(tree: &Tree) -> Vec<Offence> {
    let Some((_, _, manifest)) = tree.manifests().find(|(folder, ..)| *folder == "tests") else {
        return Vec::new();
    };
    let target = |key: &str| -> Vec<String> {
        let entries = manifest.get(key).and_then(toml::Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.get("path")?.as_str()?.to_owned())).collect()
    };
    let listed = [target("test"), target("bench"), target("bin")].concat();
    let forgotten = tree.rust().filter_map(|file| {
        let name = file.path.strip_prefix("tests/")?;
        // A folder with a `main.rs` is a test too; its other files are that one's modules.
        let is_root = !name.contains('/') && name != "lib.rs" || name.split_once('/')?.1 == "main.rs";
        (is_root && !listed.iter().any(|path| path == name)).then_some((file, name))
    });
    let offence = |(file, name): (&super::tree::File, &str)| {
        let cure = format!("add a `[[test]]` with `path = \"{name}\"` to tests/Cargo.toml");
        file.offence(0, "this test never runs", cure)
    };
    forgotten.map(offence).collect()
}

#[test]
fn every_test_runs() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let tree = Tree::of(&[
        (
            "tests/Cargo.toml",
            "[[test]]\nname = 'a'\npath = 'a.rs'\n[[test]]\nname = 'b'\npath = 'b/main.rs'\n",
        ),
        ("tests/lib.rs", ""),
        ("tests/a.rs", ""),
        ("tests/a/part.rs", ""),
        ("tests/b/main.rs", ""),
        ("tests/c.rs", ""),
        ("tests/d/main.rs", ""),
        ("kernel/tests/e.rs", ""),
    ]);
    assert_eq!(places(&check(&tree)), ["tests/c.rs:0", "tests/d/main.rs:0"]);
}

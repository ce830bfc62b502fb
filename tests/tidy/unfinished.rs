//! Nothing unfinished and nothing dead is kept, in tests neither.

use super::source::find_word;
use super::tree::{Offence, Tree, assert_none, places};

/// Code that stands for code to come, or hides that it is not needed.
const CODE: &[(&str, &str)] = &[
    ("todo!", "write it, or leave out what needs it"),
    ("unimplemented!", "write it, or leave out what needs it"),
    ("dbg!", "remove it"),
    ("#[ignore", "a test runs or it is removed: make it quick, or move it to a documented command"),
    ("allow(dead_code", "remove what is not used"),
    ("allow(unused", "remove what is not used"),
];

/// Marks of unfinished work, in every kind of file that people write.
const MARKS: &[&str] = &["FIXME", "XXX"];
const PROSE: &[&str] = &[".rs", ".md", ".py", ".toml", ".sh", "/run"];

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let source = file.source();
        for (word, cure) in CODE {
            for at in source.find(word) {
                offences.push(file.offence(source.line(at), format!("`{word}`"), *cure));
            }
        }
    }
    for file in tree.files.iter().filter(|file| PROSE.iter().any(|end| file.path.ends_with(end))) {
        // In Rust a mark counts in comments: in a string it is somebody's data.
        let text = if file.path.ends_with(".rs") { file.source().comments } else { file.text.clone() };
        for mark in MARKS {
            for at in find_word(&text, mark) {
                let line = text[..at].matches('\n').count() + 1;
                offences.push(file.offence(line, format!("`{mark}`"), "do it now, or open an issue"));
            }
        }
    }
    offences
}

#[test]
fn nothing_is_left_unfinished() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let marks = format!("# A\n{} later\n", MARKS[0]);
    let tree = Tree::of(&[
        ("a/src/a.rs", "fn a() {\n    todo!()\n}\n#[allow(dead_code)]\nfn b() {}\n// todo! is a word\n"),
        ("a/tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() { let b = dbg!(c); }\nlet d = \"FIXME\";\n"),
        ("README.md", marks.as_str()),
    ]);
    let expected = ["a/src/a.rs:2", "a/src/a.rs:4", "a/tests/a.rs:3", "a/tests/a.rs:2", "README.md:2"];
    assert_eq!(places(&check(&tree)), expected);
}

//! A file says first what it owns, and stays short enough to be read whole.

use super::tree::{Offence, Tree, assert_none, places};

/// Lines that a file may have, tests aside.
const MAX_LINES: usize = 600;

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        if !file.text.starts_with("//! ") {
            let cure = "begin with `//!`: what the file owns and what it must never do";
            offences.push(file.offence(1, "the file does not say what it is", cure));
        }
        let lines = file.source().production_lines(&file.text);
        if lines > MAX_LINES {
            let what = format!("{lines} lines, tests aside; {MAX_LINES} is the limit");
            offences.push(file.offence(0, what, "split it where it owns two things"));
        }
    }
    offences
}

#[test]
fn files_introduce_themselves_and_are_short() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let long = format!("//! Long.\n{}", "fn a() {}\n".repeat(600));
    let tested = format!("//! Tested.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(700));
    let tree = Tree::of(&[
        ("a/src/long.rs", long.as_str()),
        ("a/src/tested.rs", tested.as_str()),
        ("a/tests/long.rs", long.as_str()),
        ("a/src/silent.rs", "// What?\nfn a() {}\n"),
        ("a/src/empty.rs", ""),
    ]);
    assert_eq!(places(&check(&tree)), ["a/src/long.rs:0", "a/src/silent.rs:1", "a/src/empty.rs:1"]);
}

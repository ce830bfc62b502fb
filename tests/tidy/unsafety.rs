//! `unsafe` only where intrinsics, control registers, the C library's allocator and the tests' own need it, and never without its reason.

use super::source::Source;
use super::tree::{Offence, Tree, assert_none, places};

/// The only files with `unsafe` in them.
const ALLOWED: &[&str] = &[
    "kernel/src/backend/avx2.rs",
    "kernel/src/backend/avx512.rs",
    "kernel/src/fpenv.rs",
    "node/src/real/allocator.rs",
    "tests/fuzz/memory.rs",
];

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let source = file.source();
        for at in source.find("unsafe") {
            let line = source.line(at);
            if !ALLOWED.contains(&file.path.as_str()) {
                let cure = format!("it is allowed in {} alone: write it safely", ALLOWED.join(", "));
                offences.push(file.offence(line, "`unsafe`", cure));
            } else if !is_explained(&source, line) {
                let cure = "say above it in a comment `// SAFETY: …` why each condition of the callee holds";
                offences.push(file.offence(line, "`unsafe` without its reason", cure));
            }
        }
    }
    offences
}

/// Whether the comment that ends on this line or directly above it (attributes apart) says `SAFETY:`.
fn is_explained(source: &Source, line: usize) -> bool {
    let reason = |comment: &str| comment.contains("SAFETY:") || comment.contains("# Safety");
    let lines: Vec<(&str, &str)> = source.code.lines().zip(source.comments.lines()).take(line).collect();
    let above = lines.iter().rev().skip(1).take_while(|(code, _)| {
        let code = code.trim();
        code.is_empty() || code.starts_with("#[")
    });
    lines.last().is_some_and(|(_, comment)| reason(comment))
        || above.into_iter().any(|(_, comment)| reason(comment))
}

#[test]
fn unsafe_code_is_where_it_belongs_and_explained() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let tree = Tree::of(&[
        ("kernel/src/lib.rs", "#![deny(unsafe_op_in_unsafe_fn)]\n// unsafe\nfn a() { unsafe { b() } }\n"),
        ("kernel/src/fpenv.rs", "// SAFETY: so.\n#[inline]\nunsafe { a() }\nlet b = 1;\nunsafe { c() }\n"),
    ]);
    assert_eq!(places(&check(&tree)), ["kernel/src/lib.rs:3", "kernel/src/fpenv.rs:5"]);
}

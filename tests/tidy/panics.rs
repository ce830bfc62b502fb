//! Outside tests nothing panics but on a broken invariant, and then it names the invariant.

use super::source::Source;
use super::tree::{File, Offence, Tree, assert_none, places};

const PREFIX: &str = "\"invariant:";

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let source = file.source();
        for call in [".unwrap()", ".unwrap_err()"] {
            let cure = "return an error, or `.expect(\"invariant: why it holds\")` where it truly cannot fail";
            push(&mut offences, file, &source, call, cure, |_| true);
        }
        for call in [".expect(", ".expect_err("] {
            let cure = "its text begins with `invariant:` and says why it holds; otherwise return an error";
            // A parser's own `expect(token)` takes no text.
            let careless =
                |rest: &str| rest.starts_with("&format!") || rest.starts_with('"') && !rest.starts_with(PREFIX);
            push(&mut offences, file, &source, call, cure, careless);
        }
        for call in ["panic!(", "unreachable!("] {
            let cure = "return an error; for a broken invariant the text begins with `invariant:`";
            push(&mut offences, file, &source, call, cure, |rest| !rest.starts_with(PREFIX));
        }
    }
    offences
}

/// Reports each `call` outside tests whose argument is careless.
fn push(
    offences: &mut Vec<Offence>,
    file: &File,
    source: &Source,
    call: &str,
    cure: &str,
    careless: impl Fn(&str) -> bool,
) {
    for at in source.find(call) {
        let line = source.line(at);
        if !source.is_test(line) && careless(file.text[at + call.len()..].trim_start()) {
            offences.push(file.offence(line, format!("`{call}` outside tests"), cure));
        }
    }
}

#[test]
fn only_broken_invariants_panic() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let text = "let a = b.unwrap();\n// c.unwrap()\nlet d = e.unwrap_or(1);\n\
                f.expect(\"invariant: the caller checked\");\nf.expect(\n    \"there is one\",\n);\n\
                parser.expect(b':')?;\npanic!(\"invariant: {x}\");\npanic!(\"{x}\");\nunreachable!();\n\
                #[cfg(test)]\nmod tests {\n    fn a() { b.unwrap(); panic!(\"c\") }\n}\n";
    let tree = Tree::of(&[("node/src/a.rs", text), ("node/tests/b.rs", text), ("node/src/a/tests.rs", text)]);
    let expected = ["node/src/a.rs:1", "node/src/a.rs:5", "node/src/a.rs:10", "node/src/a.rs:11"];
    assert_eq!(places(&check(&tree)), expected);
}

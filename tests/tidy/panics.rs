//! Outside tests nothing panics but on a broken invariant, and then it names the invariant.

use super::source::Source;
use super::tree::{File, Offence, Tree, assert_none, places};

const PREFIX: &str = "\"invariant:";

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let source = file.source();
        for call in [".unwrap()", ".unwrap_err()"] {
            let cure =
                "return an error, or `.expect(\"invariant: why it holds\")` where it truly cannot fail";
            push(&mut offences, file, &source, call, cure, |_| true);
        }
        for call in [".expect(", ".expect_err("] {
            let cure = "its text begins with `invariant:` and says why it holds; otherwise return an error";
            push(&mut offences, file, &source, call, cure, is_careless_text);
        }
        for call in ["panic!(", "unreachable!("] {
            let cure = "return an error; for a broken invariant the text begins with `invariant:`";
            push(&mut offences, file, &source, call, cure, |rest| !rest.starts_with(PREFIX));
        }
    }
    offences
}

/// Whether the call's one argument is a text that names no invariant. Another type's own `expect` takes no text, or
/// more than a text.
fn is_careless_text(rest: &str) -> bool {
    let Some(literal) = rest.strip_prefix('"') else { return rest.starts_with("&format!") };
    let mut escaped = false;
    let end = literal.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    let after = end.map_or("", |end| literal[end + 1..].trim_start());
    let alone = after.strip_prefix(',').unwrap_or(after).trim_start().starts_with(')');
    alone && !rest.starts_with(PREFIX)
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
                parser.expect(b':')?; a.expect(\"b\", c);\npanic!(\"invariant: {x}\");\npanic!(\"{x}\");\nunreachable!();\n\
                #[cfg(test)]\nmod tests {\n    fn a() { b.unwrap(); panic!(\"c\") }\n}\n";
    let tree = Tree::of(&[("node/src/a.rs", text), ("node/tests/b.rs", text), ("node/src/a/tests.rs", text)]);
    let expected = ["node/src/a.rs:1", "node/src/a.rs:5", "node/src/a.rs:10", "node/src/a.rs:11"];
    assert_eq!(places(&check(&tree)), expected);
}

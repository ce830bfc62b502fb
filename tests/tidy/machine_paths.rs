//! No file speaks of the machine it was written on.
//!
//! Owns: the list of absolute folders that mean one machine. Tests and scripts may name a scratch folder.

use super::tree::{File, Offence, Tree, assert_none, places};

/// Folders of one machine, put together here so that this file does not name them.
const ANYWHERE: &[&str] = &[concat!("/wo", "rk/")];
const OUTSIDE_TESTS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/t", "mp/")];

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in &tree.files {
        let rust = file.path.ends_with(".rs").then(|| file.source());
        for (number, text) in file.text.lines().enumerate() {
            let line = number + 1;
            let free =
                is_script(file) || file.is_test() || rust.as_ref().is_some_and(|source| source.is_test(line));
            let found =
                ANYWHERE.iter().chain(OUTSIDE_TESTS.iter().filter(|_| !free)).find(|path| names(text, path));
            if let Some(path) = found {
                let cure = "write it relative to the checkout, or take it from the environment";
                offences.push(file.offence(line, format!("`{path}` is a path of one machine"), cure));
            }
        }
    }
    offences
}

fn is_script(file: &File) -> bool {
    file.path.ends_with(".py") || file.path.ends_with(".sh") || file.path.ends_with("/run")
}

/// Whether the absolute `path` stands in the text; `a/b/` is a relative path or part of an address.
fn names(text: &str, path: &str) -> bool {
    let begins =
        |before: Option<char>| before.is_none_or(|c| !c.is_alphanumeric() && !"_-.$}~*)".contains(c));
    text.match_indices(path).any(|(at, _)| begins(text[..at].chars().next_back()))
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let [anywhere, outside] = [ANYWHERE[0], OUTSIDE_TESTS[1]];
    let rust = format!(
        "// {outside}me\n#[cfg(test)]\nmod tests {{\n    // {outside}me\n    // {anywhere}main\n}}\n"
    );
    let page = format!("https://example.org{outside}index.html\nrun `{outside}me/a`\n");
    let tree = Tree::of(&[
        ("node/src/a.rs", rust.as_str()),
        ("README.md", page.as_str()),
        ("tests/oracle/a.py", page.as_str()),
    ]);
    assert_eq!(places(&check(&tree)), ["node/src/a.rs:1", "node/src/a.rs:5", "README.md:2"]);
}

//! A profile is registered, specified and pinned by golden vectors, or it is not there.
//!
//! Owns: the names and places of a profile's three companions. What is in the vectors is the kernel's to test.

use super::tree::{File, Offence, Tree, assert_none, places};

const FOLDER: &str = "kernel/src/profiles/";
const VECTORS: &str = "kernel/vectors/profiles/";
const REGISTRY: &str = "kernel/src/registry.rs";
const MARK: &str = "const OP:";

/// A profile as its source declares it.
struct Declared<'a> {
    file: &'a File,
    line: usize,
    /// The Rust module: `reserve`.
    module: &'a str,
    /// The whole name, for the registry's order: `mc@1/reserve.v1`.
    op: String,
    /// The profile: `reserve.v1`.
    name: &'a str,
}

fn check(tree: &Tree) -> Vec<Offence> {
    let Some(registry) = tree.get(REGISTRY) else {
        return vec![Offence {
            path: REGISTRY.to_owned(),
            line: 0,
            what: "no registry".to_owned(),
            cure: "tell this rule where it went".to_owned(),
        }];
    };
    let declared: Vec<Declared> = tree.rust().filter_map(declaration).collect();
    let listed = listed_modules(registry);
    let mut offences = companions(tree, &declared);
    for profile in declared.iter().filter(|profile| !listed.contains(&profile.module)) {
        let what = format!("{} is not in the registry", profile.op);
        offences.push(profile.file.offence(profile.line, what, format!("add it to PROFILES in {REGISTRY}")));
    }
    let ops: Vec<Option<&str>> = listed
        .iter()
        .map(|module| {
            declared.iter().find(|profile| profile.module == *module).map(|profile| profile.op.as_str())
        })
        .collect();
    if ops.is_empty() || ops.contains(&None) {
        let cure = format!("each module in PROFILES has a `{MARK} …` in {FOLDER}<module>.rs");
        offences.push(registry.offence(0, "a registered profile has no name of its own", cure));
    } else if !ops.is_sorted() {
        offences.push(registry.offence(
            0,
            "the registry is not in order",
            "sort it by name: diag@1/… before mc@1/…",
        ));
    }
    offences
}

/// Each profile with its two files, each of those files with its profile.
fn companions(tree: &Tree, declared: &[Declared]) -> Vec<Offence> {
    let mut offences = Vec::new();
    let kinds = [(FOLDER, ".md", "frozen specification"), (VECTORS, ".json", "golden vectors")];
    for (folder, ending, kind) in kinds {
        for profile in declared {
            let path = format!("{folder}{}{ending}", profile.name);
            if tree.get(&path).is_none_or(|file| file.text.trim().is_empty()) {
                let what = format!("{} has no {kind}", profile.op);
                offences.push(profile.file.offence(profile.line, what, format!("add {path}")));
            }
        }
        for file in &tree.files {
            let name = file.path.strip_prefix(folder).and_then(|name| name.strip_suffix(ending));
            if name.is_some_and(|name| !declared.iter().any(|profile| profile.name == name)) {
                let cure = "released profiles stay: restore the profile; rename a file that is none of this";
                offences.push(file.offence(0, format!("{kind} of a profile that is not there"), cure));
            }
        }
    }
    offences
}

/// The profile in a file, read from `const OP: … = ("mc", 1, "reserve.v1");`.
fn declaration(file: &File) -> Option<Declared<'_>> {
    let module = file.path.strip_prefix(FOLDER)?.strip_suffix(".rs")?;
    let source = file.source();
    let at = *source.find(MARK).iter().find(|at| !source.is_test(source.line(**at)))?;
    let (_, value) = file.text[at..].split_once('=')?;
    let (value, _) = value.split_once(';')?;
    let mut parts =
        value.trim().trim_matches(['(', ')']).split(',').map(|part| part.trim().trim_matches('"'));
    let (family, version, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Declared { file, line: source.line(at), module, op: format!("{family}@{version}/{name}"), name })
}

/// The modules in `PROFILES … = &[&mix::Mix, …];`, in order.
fn listed_modules(registry: &File) -> Vec<&str> {
    let (_, rest) = registry.text.split_once("static PROFILES").unwrap_or_default();
    let (_, rest) = rest.split_once('=').and_then(|(_, list)| list.split_once('[')).unwrap_or_default();
    let (list, _) = rest.split_once(']').unwrap_or_default();
    let module = |entry| Some(str::trim(entry).strip_prefix('&')?.split_once("::")?.0);
    list.split(',').filter_map(module).collect()
}

#[test]
fn every_profile_has_its_specification_and_vectors() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let op = |family: &str, name: &str| {
        format!(
            "//! A.\nimpl Typed for A {{\n    {MARK} (&str, u64, &str) = (\"{family}\", 1, \"{name}\");\n}}\n"
        )
    };
    let (a, b, c) = (op("mc", "a.v1"), op("diag", "b.v1"), op("mc", "c.v1"));
    let tree = Tree::of(&[
        (REGISTRY, "pub static PROFILES: &[&dyn Profile] =\n    &[&a::A, &b::B];\n"),
        ("kernel/src/profiles/a.rs", a.as_str()),
        ("kernel/src/profiles/a.v1.md", "Frozen."),
        ("kernel/vectors/profiles/a.v1.json", "{}"),
        ("kernel/src/profiles/b.rs", b.as_str()),
        ("kernel/src/profiles/b.v1.md", ""),
        ("kernel/src/profiles/c.rs", c.as_str()),
        ("kernel/src/profiles/c.v1.md", "Frozen."),
        ("kernel/vectors/profiles/c.v1.json", "{}"),
        ("kernel/vectors/profiles/d.v1.json", "{}"),
        ("kernel/src/profiles/output.rs", "//! No profile.\n"),
    ]);
    let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
    let expected = [
        "kernel/src/profiles/b.rs:3: diag@1/b.v1 has no frozen specification",
        "kernel/src/profiles/b.rs:3: diag@1/b.v1 has no golden vectors",
        "kernel/vectors/profiles/d.v1.json: golden vectors of a profile that is not there",
        "kernel/src/profiles/c.rs:3: mc@1/c.v1 is not in the registry",
        "kernel/src/registry.rs: the registry is not in order",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found.iter().zip(expected).all(|(found, start)| found.starts_with(start)), "{found:#?}");
    assert_eq!(places(&check(&Tree::of(&[]))), ["kernel/src/registry.rs:0"]);
    assert_eq!(places(&check(&Tree::of(&[(REGISTRY, "moved")]))), ["kernel/src/registry.rs:0"]);
}

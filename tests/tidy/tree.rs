//! The files of this checkout, and what a rule says about them.
//!
//! Owns: which files are looked at (those that git tracks or would track; all where there is no git). It must never
//! look outside the checkout.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::source::Source;

/// A file: its path from the root with `/` between names, and its text.
pub struct File {
    pub path: String,
    /// Empty for what is not text.
    pub text: String,
    /// In git's index, and so part of what others get. False for new files.
    pub tracked: bool,
}

impl File {
    /// Whether the path says that all of it is test: below a `tests` folder, or a `tests.rs`.
    pub fn is_test(&self) -> bool {
        let mut names = self.path.split('/').rev();
        names.next() == Some("tests.rs") || names.any(|name| name == "tests")
    }

    /// The text as Rust source.
    pub fn source(&self) -> Source {
        Source::scan(&self.text, self.is_test())
    }

    /// The offence at `line` of this file.
    pub fn offence(&self, line: usize, what: impl Into<String>, cure: impl Into<String>) -> Offence {
        Offence { path: self.path.clone(), line, what: what.into(), cure: cure.into() }
    }
}

/// All files, by path.
pub struct Tree {
    pub files: Vec<File>,
}

impl Tree {
    /// This checkout.
    pub fn load() -> Tree {
        let root = root();
        let tracked: Option<BTreeSet<String>> = git_files(&root, &["--cached"]).map(BTreeSet::from_iter);
        let paths =
            git_files(&root, &["--cached", "--others", "--exclude-standard"]).unwrap_or_else(|| walk(&root));
        let read = |path: String| {
            // A file that is tracked and deleted, or deleted by now, is none.
            let bytes = std::fs::read(root.join(&path)).ok()?;
            let tracked = tracked.as_ref().is_none_or(|tracked| tracked.contains(&path));
            Some(File { path, text: String::from_utf8(bytes).unwrap_or_default(), tracked })
        };
        let files: Vec<File> = BTreeSet::from_iter(paths).into_iter().filter_map(read).collect();
        assert!(files.iter().any(|file| file.path == "Cargo.toml"), "no Cargo.toml at {}", root.display());
        Tree { files }
    }

    /// A tree made up for a rule's own test.
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
            tracked: true,
        };
        Tree { files: files.iter().map(file).collect() }
    }

    /// The file of that path.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The manifests of the crates: folder and parsed file. One that is not TOML is cargo's to report.
    pub fn manifests(&self) -> impl Iterator<Item = (&str, &File, toml::Table)> {
        self.files.iter().filter_map(|file| {
            let folder = file.path.strip_suffix("/Cargo.toml")?;
            Some((folder, file, file.text.parse().ok()?))
        })
    }
}

/// What a rule found.
#[derive(Debug, PartialEq)]
pub struct Offence {
    pub path: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    pub what: String,
    pub cure: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}; {}", self.what, self.cure)
    }
}

/// Fails with all offences, one a line.
pub fn assert_none(offences: &[Offence]) {
    let list: Vec<String> = offences.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} offence(s)\n{}\n", list.len(), list.join("\n"));
}

/// The offences as `path:line`, for a rule's own test.
pub fn places(offences: &[Offence]) -> Vec<String> {
    offences.iter().map(|offence| format!("{}:{}", offence.path, offence.line)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn git_files(root: &Path, options: &[&str]) -> Option<Vec<String>> {
    let output =
        Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).args(options).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let files: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    (output.status.success() && files.iter().any(|file| file == "Cargo.toml")).then_some(files)
}

/// Every file below `root`, but for git's own and what is built.
fn walk(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let built = folder == root && (name == "target" || name == ".git") || name == "__pycache__";
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !built => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let path = entry.path();
                    let names = path.strip_prefix(root).into_iter().flat_map(|path| path.iter());
                    found.push(names.map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/"));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn with_and_without_git_the_same_files_are_seen() {
    let root = root();
    let Some(tracked) = git_files(&root, &["--cached"]) else { return };
    let walked: BTreeSet<String> = walk(&root).into_iter().collect();
    let missed: Vec<_> =
        tracked.iter().filter(|path| root.join(path).is_file() && !walked.contains(*path)).collect();
    assert!(missed.is_empty(), "not walked: {missed:?}");
}

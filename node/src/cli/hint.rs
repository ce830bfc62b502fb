//! Commands that a text names, in the form in which this user has to give them: with the `--home` or `--node` of the
//! command that says so.
//!
//! Texts are written without these, since a node does not know where its clients are. Must never touch what is no command
//! between back quotes.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Common, print};
use crate::real::control::SOCKET_FILE_NAME;

/// Between back quotes, the beginning of a command.
const MARK: &str = "`forgemesh ";
/// Commands that make a folder's mesh, or run its node: they take `--home` alone.
const STARTERS: [&str; 5] = ["init", "join", "up", "service", "run"];
/// What needs no data folder, or is no command at all: the first line of node.key begins so.
const ELSEWHERE: [&str; 5] = ["op ", "verify ", "replay ", "plan ", "node key "];

/// What was given to this command; nothing until it is known.
static GIVEN: OnceLock<Flags> = OnceLock::new();

/// What other commands need to be given, too, with a space behind it.
#[derive(Default)]
struct Flags {
    ask: String,
    start: String,
}

/// The data folder of the node that `--node` names: by its folder, or by its socket, which is there while it runs.
pub fn folder(node: &Path) -> PathBuf {
    let is_named_so = node.extension() == Path::new(SOCKET_FILE_NAME).extension();
    let is_socket = !node.is_dir() && (is_named_so || node.exists());
    let folder = node.parent().filter(|folder| is_socket && !folder.as_os_str().is_empty());
    match folder {
        Some(folder) => folder.to_owned(),
        None if is_socket => PathBuf::from("."),
        None => node.to_owned(),
    }
}

impl Flags {
    fn of(common: &Common) -> Flags {
        match (&common.node, &common.home) {
            (Some(node), _) => {
                let start = format!("--home {} ", quoted(&folder(node)));
                Flags { ask: format!("--node {} ", quoted(node)), start }
            }
            (None, Some(home)) => {
                let flag = format!("--home {} ", quoted(home));
                Flags { ask: flag.clone(), start: flag }
            }
            (None, None) => Flags::default(),
        }
    }

    /// For the command that begins with these words.
    fn before(&self, words: &str) -> &str {
        let first = words.split([' ', '`']).next().unwrap_or_default();
        if ELSEWHERE.iter().any(|other| words.starts_with(other)) {
            ""
        } else if STARTERS.contains(&first) {
            &self.start
        } else {
            &self.ask
        }
    }

    fn whole(&self, text: &str) -> String {
        let mut parts = text.split(MARK);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for words in parts {
            out.push_str(MARK);
            out.push_str(self.before(words));
            out.push_str(words);
        }
        out
    }
}

/// Notes what was given to this command.
pub fn remember(common: &Common) {
    // Once a process: `main` calls it.
    let _ = GIVEN.set(Flags::of(common));
}

/// A text in which every command between back quotes says which node it is for.
pub fn whole(text: &str) -> String {
    GIVEN.get().map_or_else(|| text.to_owned(), |given| given.whole(text))
}

/// A command outside of any text: `forgemesh`, what was given, and these words.
pub fn command(words: &str) -> String {
    format!("forgemesh {}{words}", GIVEN.get().map_or("", |given| given.before(words)))
}

/// Prints a text that names commands.
pub fn print_whole(text: &str) {
    print(&whole(text));
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "_-./:=+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(home: Option<&str>, node: Option<&str>) -> Flags {
        Flags::of(&Common {
            json: false,
            home: home.map(Into::into),
            node: node.map(Into::into),
            threads: None,
        })
    }

    #[test]
    fn a_command_is_named_with_what_the_user_has_to_give_it() {
        let text = "`forgemesh job ls` lists them; start it with `forgemesh up`, see `forgemesh op ls`";
        assert_eq!(given(None, None).whole(text), text);
        let home = given(Some("a/b"), None).whole(text);
        assert_eq!(
            home,
            "`forgemesh --home a/b job ls` lists them; start it with `forgemesh --home a/b up`, see `forgemesh op ls`"
        );
        // A node that runs is asked by its socket; its folder is what it is started in.
        let node = given(Some("a"), Some("c d/it's.sock")).whole(text);
        assert!(node.starts_with("`forgemesh --node 'c d/it'\\''s.sock' job ls`"), "{node}");
        assert!(node.contains("`forgemesh --home 'c d' up`"), "{node}");
        for (named, expected) in [("nowhere", "nowhere"), ("control.sock", "."), ("a/control.sock", "a")] {
            assert_eq!(folder(Path::new(named)), Path::new(expected));
        }
        let key = "one line `forgemesh node key v1 <64 hex digits>`";
        assert_eq!(given(Some("a"), None).whole(key), key);
    }
}

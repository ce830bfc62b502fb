//! What pure crates must not know: clocks, entropy, threads, the platform, hash order, std's elementary functions.
//!
//! Clippy's `disallowed-methods` and `disallowed-types` see types where this rule sees words; this rule sees code that
//! is compiled out here (another platform's, another feature's). Tests may use what they like.

use super::source::{Source, find_word};
use super::tree::{Offence, Tree, assert_none, places};

const PURE: &[&str] = &["protocol/src/", "kernel/src/", "consensus/src/"];
const PURE_AND_CORE: &[&str] = &["protocol/src/", "kernel/src/", "consensus/src/", "node/src/core"];
const NO_CLOCK: &[&str] =
    &["protocol/src/", "kernel/src/", "consensus/src/", "storage/src/", "node/src/core"];
const NO_TASKS: &[&str] = &["protocol/src/", "kernel/src/", "storage/src/", "consensus/src/"];
const SIMULATED: &[&str] = &["simnet/src/"];
const EVERYWHERE: &[&str] = &[""];

/// Words banned below some folders.
struct Ban {
    words: &'static [&'static str],
    below: &'static [&'static str],
    except: &'static str,
    cure: &'static str,
}

const NOWHERE: &str = "(no folder)";

const BANS: &[Ban] = &[
    Ban {
        words: &["HashMap", "HashSet", "RandomState", "DefaultHasher"],
        below: PURE,
        except: NOWHERE,
        cure: "use BTreeMap or BTreeSet: the order of a hash table differs from run to run",
    },
    Ban {
        words: &["Instant", "SystemTime", "UNIX_EPOCH"],
        below: NO_CLOCK,
        // It names the type for openraft, and reads none.
        except: "consensus/src/raft/runtime.rs",
        cure: "take the time as an argument: only the driver and node/src/real read clocks",
    },
    Ban {
        words: &["rand::", "thread_rng", "getrandom", "OsRng", "SysRng", "from_entropy", "from_os_rng"],
        below: &["protocol/src/", "kernel/src/", "storage/src/", "node/src/core"],
        except: NOWHERE,
        cure: "take the random bytes as an argument: only node/src draws entropy",
    },
    Ban {
        words: &["thread_rng", "getrandom", "OsRng", "SysRng", "from_entropy", "from_os_rng"],
        below: &["consensus/src/"],
        // How long a member waits before an election; the simulator seeds it.
        except: "consensus/src/raft",
        cure: "take the random bytes as an argument: only elections are drawn",
    },
    Ban {
        words: &["openraft", "tokio"],
        below: NO_TASKS,
        except: "consensus/src/raft",
        cure: "the state machine waits for nothing: only consensus/src/raft agrees with others",
    },
    Ban {
        words: &["thread::spawn", "thread::Builder", "thread::scope", "std::net", "std::env"],
        below: NO_CLOCK,
        except: NOWHERE,
        cure: "leave it to node/src/real and hand the value in: this code is pure",
    },
    Ban {
        words: &["std::fs"],
        below: PURE_AND_CORE,
        except: NOWHERE,
        cure: "leave files to storage and node/src/real: this code is pure",
    },
    Ban {
        words: &["f64::min", "f64::max", "f32::min", "f32::max"],
        below: PURE,
        except: NOWHERE,
        cure: "write `if a < b { a } else { b }`: the sign of zero differs between platforms",
    },
    Ban {
        words: &[
            "HashMap",
            "HashSet",
            "RandomState",
            "SystemTime",
            "std::time",
            "std::thread",
            "getrandom",
            "thread_rng",
        ],
        below: SIMULATED,
        except: "simnet/src/cli/",
        cure: "one seed is one trace: a world has virtual time, ordered maps, one thread and its own draws",
    },
    Ban {
        words: &["spawn_blocking", "block_in_place"],
        below: EVERYWHERE,
        except: "node/src/real/",
        cure: "allowed below node/src/real/ only: it halts virtual time in the simulator",
    },
];

/// std's elementary functions, as methods. `log` is missing, for it is a log's name elsewhere; clippy knows the type.
const FUNCTIONS: &[&str] = &[
    "exp", "exp2", "exp_m1", "ln", "ln_1p", "log2", "log10", "powf", "powi", "cbrt", "hypot", "sin", "cos",
    "tan", "sin_cos", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "gamma", "ln_gamma",
];
const FUNCTIONS_CURE: &str = "use kernel's num::func: bits of std's functions differ between machines";

fn check(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let source = file.source();
        let mut report = |at: usize, word: &str, cure: &str| {
            let line = source.line(at);
            if !source.is_test(line) {
                offences.push(file.offence(line, format!("`{word}` is banned here"), cure));
            }
        };
        let below = |folders: &[&str]| folders.iter().any(|folder| file.path.starts_with(folder));
        for ban in BANS.iter().filter(|ban| below(ban.below) && !file.path.starts_with(ban.except)) {
            for word in ban.words {
                uses(&source, word).into_iter().for_each(|at| report(at, word, ban.cure));
            }
        }
        for function in FUNCTIONS.iter().filter(|_| below(PURE)) {
            for form in [format!(".{function}("), format!("f64::{function}"), format!("f32::{function}")] {
                source.find(&form).into_iter().for_each(|at| report(at, &form, FUNCTIONS_CURE));
            }
        }
    }
    offences
}

/// Where `word` stands in the code, or comes in by a group of imports.
fn uses(source: &Source, word: &str) -> Vec<usize> {
    let mut found = source.find(word);
    if word.contains("::") {
        let grouped = |(at, path): (usize, String)| {
            let written = source.code[at..].split(';').next().unwrap_or_default();
            let imported = find_word(&path, word).len() > find_word(written, word).len();
            imported.then_some(at)
        };
        found.extend(source.imports().into_iter().filter_map(grouped));
    }
    found
}

#[test]
fn pure_code_is_pure() {
    assert_none(&check(&Tree::load()));
}

#[test]
fn planted_offenders_are_found() {
    let tree = Tree::of(&[
        ("protocol/src/a.rs", "//! HashMap\nuse std::collections::HashMap;\nlet s = \"SystemTime\";\n"),
        (
            "kernel/src/b.rs",
            "let a = x.exp();\nlet b = exp(x);\nlet c = y\n    .powf(2.0);\nlet d = f64::max;\n",
        ),
        ("kernel/src/c.rs", "#[cfg(test)]\nmod tests {\n    fn a() { x.ln(); Instant::now(); }\n}\n"),
        ("kernel/tests/d.rs", "use std::time::Instant;\nfn a() { std::env::var(\"a\"); }\n"),
        ("storage/src/e.rs", "use std::{env, fs};\nuse std::fs::File;\nlet t = Instant::now();\n"),
        ("consensus/src/f.rs", "storage.log(1, 2);\nlet a = std::fs::read(p);\n"),
        ("node/src/core/g.rs", "let t = SystemTime::now();\nlet m = HashMap::new();\n"),
        ("simnet/src/i.rs", "use std::time::Instant;\nuse tokio::time::Instant;\nlet a = HashSet::new();\n"),
        ("simnet/src/cli/j.rs", "use std::time::Instant;\nstd::thread::scope(f);\n"),
        ("node/src/real/h.rs", "tokio::task::spawn_blocking(f);\n"),
        ("node/src/boot.rs", "tokio::task::spawn_blocking(f);\nlet t = Instant::now();\n"),
    ]);
    assert_eq!(
        places(&check(&tree)),
        [
            "protocol/src/a.rs:2",
            "kernel/src/b.rs:5",
            "kernel/src/b.rs:1",
            "kernel/src/b.rs:4",
            "storage/src/e.rs:3",
            "storage/src/e.rs:1",
            "consensus/src/f.rs:2",
            "node/src/core/g.rs:1",
            "simnet/src/i.rs:3",
            "simnet/src/i.rs:1",
            "node/src/boot.rs:1"
        ]
    );
}
